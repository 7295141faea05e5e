"""The processes jobs run in: forked from the fork server, and asked again as long as they are as new (see `child`)."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from fringeflow.jobs import child
from fringeflow.jobs.request import CallRequest, JobRequest, Surroundings
from fringeflow.jobs.server import without_main

_KILLED_SECONDS = 5.0  # for the kernel to take apart what was killed
_UNTIL_REAPED_SECONDS = (0.01, 0.1, 0.5, 2.0)


class JobProcess:
    """A child process and the channel on which it is asked and answers."""

    def __init__(self, process: ForkServerProcess, channel: Connection) -> None:
        self._process = process
        self.channel = channel
        self.pid = process.pid or 0
        self.idle_since = 0.0

    def ask(self, request: JobRequest | CallRequest, where: Surroundings) -> bool:
        """Give it a job; return False if it is gone."""
        try:
            self.channel.send((request, where))
        except OSError:
            return False
        return True

    def wait(self, seconds: float) -> int | None:
        """Wait until it ends, and return its exit code; None if it has not ended."""
        self._process.join(seconds)
        return self._process.exitcode

    def end(self, seconds: float) -> int | None:
        """Let it end for up to `seconds`, then kill it; return its exit code."""
        code = self.wait(seconds)
        if code is None:
            self._process.kill()
            code = self.wait(_KILLED_SECONDS)
        self.channel.close()
        if code is not None:
            self._process.close()
        return code


class Processes:
    """Those of one host: the ones that wait for another job, and new ones."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._idle: list[JobProcess] = []
        self._lock = threading.Lock()

    def begin(self, request: JobRequest | CallRequest, where: Surroundings) -> JobProcess:
        """Begin a job and return where it runs.

        Raises
        ------
        OSError, EOFError
            No process is to be had.
        """
        while isinstance(request, JobRequest) and (waiting := self._take()):
            if waiting.ask(request, where):
                return waiting
            waiting.end(0.0)
        return self._new(request, where)

    def put_back(self, process: JobProcess) -> None:
        """Keep a process that waits for another job."""
        process.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(process)

    def let_go(self, idle_seconds: float) -> None:
        """End the processes that have waited for so long."""
        latest = time.monotonic() - idle_seconds
        with self._lock:
            gone = [process for process in self._idle if process.idle_since <= latest]
            self._idle = [process for process in self._idle if process not in gone]
        for process in gone:
            process.end(0.0)

    def _take(self) -> JobProcess | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _new(self, request: JobRequest | CallRequest, where: Surroundings) -> JobProcess:
        ours, theirs = multiprocessing.Pipe()
        process = self._context.Process(target=child.main, args=(theirs, os.getpid()), name="job", daemon=True)
        with contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            with theirs, without_main():
                _start(process)
            begun = JobProcess(process, ours)
            undo.pop_all()
        begun.ask(request, where)  # one that is gone already is heard of as any that ends
        return begun


def _start(process: ForkServerProcess) -> None:
    """Start a process; a fork server that has ended is started again, once the kernel says that it has ended."""
    for seconds in _UNTIL_REAPED_SECONDS:
        try:
            return process.start()
        except (ConnectionError, EOFError):  # it may have heard of the job, and died before it made it
            time.sleep(seconds)
    return process.start()
