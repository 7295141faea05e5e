"""Starts jobs in child processes, watches their memory and time, and tells how each ended.

Children are forked from a server process that has CASA in memory: a job starts in milliseconds instead of seconds.
Jobs must be started from a thread that outlives them (the main thread): the kernel ends them with it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import psutil

from fringeflow.errors import FringeflowError, UnitFailedError
from fringeflow.jobs import casa, child, failure, scratch
from fringeflow.jobs.request import (
    CallRequest,
    Failure,
    JobRequest,
    JobResult,
    Made,
    Progress,
    Surroundings,
    TaskUnit,
    UnitResult,
)
from fringeflow.store.faults import faults
from fringeflow.store.settings import StoreSettings

__all__ = ["JobHost", "JobRequest", "JobResult", "Progress", "RunningJob", "TaskUnit", "UnitResult"]

_PRELOAD = "fringeflow.jobs.preload"
_WATCH_SECONDS = 0.25
_PATIENCE_SECONDS = 5.0  # for a process that is ending
_MEGABYTE = 1 << 20


class RunningJob:
    """A job's child process. Ready to be read (`multiprocessing.connection.wait`) when it has something to say."""

    def __init__(
        self,
        name: str,
        request: JobRequest | CallRequest,
        process: ForkServerProcess,
        channel: Connection,
        where: Surroundings,
    ) -> None:
        self.id = name
        self.request = request
        self.started = time.monotonic()
        self._process = process
        self._pid = process.pid
        self._channel = channel
        self._where = where
        self._said: list[Progress] = []
        self._outcome: Made | Failure | None = None
        self._verdict: Failure | None = None
        self._closed = False

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the job says something or ends."""
        return self._channel.fileno()

    @property
    def sentinel(self) -> int:
        """What `multiprocessing.connection.wait` waits for (see `fileno`)."""
        return self.fileno()

    @property
    def closed(self) -> bool:
        """Whether the end of the job has been taken note of; unlike `done`, this does not look."""
        return self._closed

    def poll(self, timeout: float = 0.0) -> list[Progress]:
        """Wait up to `timeout` seconds for the job to say something, and return what it has said."""
        self._listen(timeout)
        said, self._said = self._said, []
        return said

    @property
    def done(self) -> bool:
        """Whether the job has ended; its scratch folder is gone then."""
        self._listen(0.0)
        return self._closed

    def result(self) -> JobResult:
        """Wait for the end of the job and return its results.

        Raises
        ------
        UnitFailedError
            The job failed; ``failure_kind`` says how, ``detail`` has the traceback or the end of the log.
        """
        result: JobResult = self.value()
        return result

    def value(self) -> Any:
        """Wait for the end of the job and return what it came to, of whatever type (see `result`)."""
        while not self.done:
            self._listen(_PATIENCE_SECONDS)
        if isinstance(self._outcome, Made):
            return self._outcome.value
        ended = self._outcome or failure.of_exit(None, self._where)
        raise UnitFailedError(ended.message, kind=ended.kind, remedy=ended.remedy, detail=ended.detail)

    def stop(self, grace_seconds: float = 0.0) -> None:
        """End the job: ask, and after `grace_seconds` insist. Its `result` is then a transient failure."""
        if self.done:
            return
        self.end(Failure("transient", f"{self.id} was stopped"), signal.SIGTERM)
        self._process.join(grace_seconds)
        self.end(Failure("transient", f"{self.id} was stopped"), signal.SIGKILL)
        while not self.done:
            self._listen(_PATIENCE_SECONDS)

    def end(self, verdict: Failure, sign: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the job and all it started; `verdict` (the first one given) will be why it failed."""
        self._verdict = self._verdict or verdict
        if self._pid is not None and not self._closed:
            for send in (os.kill, os.killpg):
                with contextlib.suppress(ProcessLookupError):
                    send(self._pid, sign)

    def watch(self) -> None:
        """End the job if it has gone past one of its limits."""
        memory_mb, seconds = self.request.memory_mb, self.request.seconds
        if self._closed or self._verdict is not None:
            return
        if seconds is not None and time.monotonic() - self.started > seconds:
            self.end(
                Failure("resource", f"{self.id} took longer than its limit of {seconds:g} s", "allow it more time")
            )
        used_mb = self._memory_mb() if memory_mb is not None else 0.0
        if memory_mb is not None and used_mb > memory_mb:
            self.end(
                Failure(
                    "resource",
                    f"{self.id} used {used_mb:.0f} MB of memory, more than its limit of {memory_mb} MB",
                    "allow it more memory",
                )
            )

    def _memory_mb(self) -> float:
        try:
            return float(psutil.Process(self._pid).memory_info().rss) / _MEGABYTE
        except psutil.Error:
            return 0.0

    def _listen(self, timeout: float) -> None:
        """Take in what the job says; when it has said the last, or has gone, close."""
        try:
            while not self._closed and self._channel.poll(timeout):
                timeout = 0.0
                message = self._channel.recv()
                if not isinstance(message, Progress):
                    self._close(message)
                else:
                    self._said.append(message)
        except (EOFError, OSError):
            self._close(None)

    def _close(self, message: Made | Failure | None) -> None:
        """Let the process end, find out how it went, and remove its scratch folder."""
        self._process.join(_PATIENCE_SECONDS)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join(_PATIENCE_SECONDS)
        code = self._process.exitcode
        self._outcome = message or self._verdict or failure.of_exit(code, self._where)
        if isinstance(self._outcome, Failure) and not self._outcome.detail:
            self._outcome = Failure(
                self._outcome.kind, self._outcome.message, self._outcome.remedy, failure.log_tail(self._where)
            )
        self._closed = True
        self._process.close()
        shutil.rmtree(self._where.scratch, ignore_errors=True)


class JobHost:
    """Starts jobs, each in a scratch folder of its own below `scratch`.

    Parameters
    ----------
    scratch
        Folder on a local disk; shared with other hosts if need be.
    store
        Where jobs fetch their inputs and put their outputs.
    log_folder
        Where the jobs' logs are kept; without it they go with the scratch folder.
    digest_cache
        Folder in which digests of inputs read in place are remembered; without it, for the life of this host.
    """

    def __init__(
        self, scratch: Path, store: StoreSettings, *, log_folder: Path | None = None, digest_cache: Path | None = None
    ) -> None:
        self._root = scratch.absolute()
        self._store = store
        self._logs = log_folder.absolute() if log_folder else None
        self._digest_cache = digest_cache.absolute() if digest_cache else None
        self._context = multiprocessing.get_context("forkserver")
        self._folder: Path | None = None
        self._life = contextlib.ExitStack()
        self._running: dict[str, RunningJob] = {}
        self._lock = threading.Lock()
        self._count = 0
        self._leaving = threading.Event()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as life:
            self._folder = life.enter_context(scratch.RunFolder(self._root)).path
            watcher = threading.Thread(target=self._watch, name="job-limits", daemon=True)
            self._leaving.clear()
            watcher.start()
            life.callback(watcher.join)
            life.callback(self._leaving.set)
            life.callback(self._stop_all)
            self._context.set_forkserver_preload([_PRELOAD])
            self._life = life.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._life.close()
        self._folder = None

    def start(self, request: JobRequest) -> RunningJob:
        """Start a job and return at once (the very first waits until the fork server has loaded CASA)."""
        first = request.tasks[0].unit.id
        return self._start(f"{first}".replace("/", "_") + f".{request.attempt}", request)

    def call(
        self,
        function: str,
        kwargs: Mapping[str, Any],
        *,
        on_progress: Callable[[str, float | None], None] | None = None,
        seconds: float | None = None,
        memory_mb: int | None = None,
    ) -> Any:
        """Call ``module:function`` in a child process and return what it returns; `on_progress` gets step and fraction.

        If the function takes ``progress`` (a function of step and fraction) or ``scratch`` (a folder), it gets them.

        Raises
        ------
        UnitFailedError
            The function raised, or its process ended.
        """
        request = CallRequest(function, kwargs, memory_mb, seconds)
        job = self._start(function.replace(":", "."), request)
        try:
            while not job.done:
                for progress in job.poll(0.5):
                    if on_progress is not None:
                        on_progress(progress.step, progress.fraction)
            return job.value()
        finally:
            job.stop()

    def sweep(self) -> int:
        """Remove the scratch folders that killed runs left behind, and return how many; never of living ones."""
        return scratch.sweep(self._root)

    def _start(self, name: str, request: JobRequest | CallRequest) -> RunningJob:
        if self._folder is None:
            raise RuntimeError("a job host must be entered before it starts a job")
        self._count += 1
        folder = self._folder / f"job-{self._count:05d}"
        logs = self._logs or folder
        where = Surroundings(
            host_pid=os.getpid(),
            scratch=folder,
            log=logs / f"{name}.log",
            casa_log=logs / f"{name}.casa.log",
            store=self._store,
            digest_cache=self._digest_cache or self._folder / "digests",
        )
        with faults(name, str(self._root)):
            folder.mkdir()
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = self._context.Process(target=child.main, args=(theirs, request, where), name=name, daemon=True)
        try:
            with _server_environment(self._folder), _without_main():
                process.start()
        except OSError as error:
            ours.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise _not_started(name, error) from error
        finally:
            theirs.close()
        job = RunningJob(name, request, process, ours, where)
        with self._lock:
            self._running[f"{folder.name}"] = job
        return job

    def _watch(self) -> None:
        """Hold running jobs to their limits, whatever the thread that started them is doing."""
        while not self._leaving.wait(_WATCH_SECONDS):
            with self._lock:
                self._running = {name: job for name, job in self._running.items() if not job.closed}
                jobs = list(self._running.values())
            for job in jobs:
                job.watch()

    def _stop_all(self) -> None:
        with self._lock:
            jobs = list(self._running.values())
        for job in jobs:
            job.stop()


@contextlib.contextmanager
def _server_environment(folder: Path) -> Iterator[None]:
    """Let a fork server that is started now find CASA's configuration, and leave this process as it was."""
    before = dict(os.environ)
    try:
        casa.enable(folder / "casa")
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Keep multiprocessing from importing this program's main module again in every child: jobs do not need it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _not_started(name: str, error: OSError) -> FringeflowError:
    return UnitFailedError(f"{name} could not be started: {error}", kind="transient")
