"""Starts jobs in child processes and holds them to their limits.

Children are forked from a server process that has CASA in memory: a job starts in milliseconds instead of seconds.
What does without CASA is made in a child that has made something before (see `processes`). Jobs must be started from a
thread that outlives them (the main thread): the kernel ends them with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from fringeflow.errors import UnitFailedError
from fringeflow.jobs import casa, scratch
from fringeflow.jobs.processes import Processes
from fringeflow.jobs.request import CallRequest, JobRequest, JobResult, Progress, Surroundings, TaskUnit, UnitResult
from fringeflow.jobs.running import RunningJob
from fringeflow.jobs.server import ForkServer, Load, environment
from fringeflow.store.faults import faults
from fringeflow.store.settings import StoreSettings

__all__ = ["JobHost", "JobRequest", "JobResult", "Progress", "RunningJob", "TaskUnit", "UnitResult"]

_WATCH_SECONDS = 0.25
_IDLE_SECONDS = 5.0  # after which a process that waits for another job is let go


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
    stages
        Stages that jobs find in memory; None: all. The others are loaded by the job that needs them.
    with_casa
        Whether jobs find CASA in memory; without it the first starts seconds earlier, and one that needs CASA loads it.
    server
        The fork server, if it has been begun before.
    checkpoint_seconds
        How often a job may keep what it has not finished.
    """

    def __init__(
        self,
        scratch: Path,
        store: StoreSettings,
        *,
        log_folder: Path | None = None,
        digest_cache: Path | None = None,
        stages: Sequence[str] | None = None,
        with_casa: bool = True,
        server: ForkServer | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        self._root = scratch.absolute()
        self._store = store
        self._logs = log_folder.absolute() if log_folder else None
        self._digest_cache = digest_cache.absolute() if digest_cache else None
        self._stages = stages
        self._with_casa = with_casa
        self._server = server
        self._checkpoint_seconds = checkpoint_seconds
        self._processes = Processes()
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
            life.callback(self._processes.let_go, 0.0)
            life.callback(self._stop_all)
            server = self._server or ForkServer()  # it loads its libraries while the caller goes on
            server.tell(Load(self._stages, self._with_casa, casa.site(self._folder / "casa")))
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
            checkpoint_seconds=self._checkpoint_seconds,
        )
        with faults(name, str(self._root)):
            folder.mkdir()
        try:
            with environment(casa.site(self._folder / "casa")):  # for a server that must be replaced
                process = self._processes.begin(request, where)
        except (OSError, EOFError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise UnitFailedError(f"{name} could not be started: {error}", kind="transient") from error
        job = RunningJob(name, request, where, process, self._processes)
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
            self._processes.let_go(_IDLE_SECONDS)

    def _stop_all(self) -> None:
        with self._lock:
            jobs = list(self._running.values())
        for job in jobs:
            job.stop()
