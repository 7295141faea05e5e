"""A job that has been started: hears what it says, ends it when it must, and tells how it ended.

A job is held to its limits by another thread than the one that listens to it: what it was told to end is not given
another job, and what has gone on to another job is not ended.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from typing import Any

import psutil

from fringeflow.errors import UnitFailedError
from fringeflow.jobs import failure
from fringeflow.jobs.processes import JobProcess, Processes
from fringeflow.jobs.request import CallRequest, Failure, JobRequest, JobResult, Made, Progress, Surroundings

_PATIENCE_SECONDS = 5.0  # for a process that is ending
_MEGABYTE = 1 << 20


class RunningJob:
    """A job in its process. Ready to be read (`multiprocessing.connection.wait`) when it has something to say.

    Parameters
    ----------
    process, processes
        Where the job runs, and who is given that process back when it is as new.
    """

    def __init__(
        self,
        name: str,
        request: JobRequest | CallRequest,
        where: Surroundings,
        process: JobProcess,
        processes: Processes,
    ) -> None:
        self.id = name
        self.request = request
        self.started = time.monotonic()
        self._process = process
        self._processes = processes
        self._where = where
        self._said: list[Progress] = []
        self._outcome: Made | Failure | None = None
        self._verdict: Failure | None = None
        self._closed = False
        self._ending = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the job says something or ends."""
        return self._process.channel.fileno()

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
        self._process.wait(grace_seconds)
        self.end(Failure("transient", f"{self.id} was stopped"), signal.SIGKILL)
        while not self.done:
            self._listen(_PATIENCE_SECONDS)

    def end(self, verdict: Failure, sign: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the job and all it started; `verdict` (the first one given) will be why it failed."""
        with self._ending:
            self._verdict = self._verdict or verdict
            if not self._closed:
                for send in (os.kill, os.killpg):
                    with contextlib.suppress(ProcessLookupError):
                        send(self._process.pid, sign)

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
            return float(psutil.Process(self._process.pid).memory_info().rss) / _MEGABYTE
        except psutil.Error:
            return 0.0

    def _listen(self, timeout: float) -> None:
        """Take in what the job says; when it has said the last, or has gone, close."""
        try:
            while not self._closed and self._process.channel.poll(timeout):
                timeout = 0.0
                message = self._process.channel.recv()
                if not isinstance(message, Progress):
                    self._close(message)
                else:
                    self._said.append(message)
        except (EOFError, OSError):
            self._close(None)

    def _close(self, message: Made | Failure | None) -> None:
        """Let the process end or go on to another job, find out how this one went, and remove its scratch folder."""
        with self._ending:
            is_free = isinstance(message, Made) and message.again and self._verdict is None
            code = None if is_free else self._process.end(_PATIENCE_SECONDS)
            self._closed = True
        if is_free:
            self._processes.put_back(self._process)
        self._outcome = message or self._verdict or failure.of_exit(code, self._where)
        if isinstance(self._outcome, Failure) and not self._outcome.detail:
            self._outcome = Failure(
                self._outcome.kind, self._outcome.message, self._outcome.remedy, failure.log_tail(self._where)
            )
        shutil.rmtree(self._where.scratch, ignore_errors=True)
