"""The child process of jobs: settles in, makes what is asked, says how it went, and may be asked again.

Runs forked from the fork server; until the work begins it must not touch the store. What a job leaves in a process
could be felt by the next: only a process that has made its units without CASA, and has kept neither threads nor much
memory, goes on.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import inspect
import io
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fringeflow import software
from fringeflow.errors import BugError
from fringeflow.graph.stages import CASA_STAGES
from fringeflow.jobs import casa, failure, kernel
from fringeflow.jobs.order import Job, Order
from fringeflow.jobs.request import (
    CallRequest,
    JobRequest,
    JobResult,
    Made,
    Progress,
    Surroundings,
    UnitResult,
)

if TYPE_CHECKING:
    from fringeflow.jobs.unfinished import Unfinished
    from fringeflow.store.base import Store

_LEAST_INTERVAL_SECONDS = 0.2
_MOST_KEPT_MB = 256.0  # between two jobs, beyond what the process began with


def main(channel: Connection, host_pid: int) -> None:
    """Do what each request says and send what comes of it, until one fails or nobody will ask any more."""
    kernel.die_with_parent()
    server = sys.modules.get("fringeflow.jobs.preload")  # never imported here: it is the fork server's
    if server is not None:
        kernel.end_if_orphaned(server.SERVER_PID, host_pid)
    kernel.settle()
    most_mb = kernel.memory_mb() + _MOST_KEPT_MB
    with channel, contextlib.suppress(EOFError):
        going_on = True
        while going_on:
            request, where = channel.recv()
            going_on = _answer(channel, request, where, most_mb)
            os.chdir("/")


def _answer(channel: Connection, request: JobRequest | CallRequest, where: Surroundings, most_mb: float) -> bool:
    """Do what a request says; the last message about it is `Made` or `Failure`. Return whether to wait for another."""
    try:
        with warnings.catch_warnings():  # each job is told all of its own
            voice = Voice(channel)
            _settle_in(where)
            made = _call(request, where, voice) if isinstance(request, CallRequest) else _make(request, where, voice)
        again = isinstance(request, JobRequest) and request.stage not in CASA_STAGES and _is_as_new(most_mb)
        channel.send(Made(made, again))
    except BaseException as error:  # noqa: BLE001 - whatever ends the work must be told to the parent
        channel.send(failure.of_exception(error, where))
        return False
    return again


def _is_as_new(most_mb: float) -> bool:
    """Return whether another job would find this process as it was; its peak of memory is then measured anew."""
    alone = threading.active_count() == 1 and not multiprocessing.active_children()
    return alone and kernel.memory_mb() < most_mb and kernel.forget_peak_memory()


class Voice:
    """Sends progress, not too often, and takes the time of each step."""

    def __init__(self, channel: Connection) -> None:
        self._channel = channel
        self._begun = self._step_begun = time.monotonic()
        self.cpu_before = kernel.cpu_seconds()
        self._said = 0.0
        self._step = ""
        self._seconds: dict[str, float] = {}

    def report(self, step: str, fraction: float | None = None) -> None:
        """Say that `step` is running, and how much of it is done."""
        now = time.monotonic()
        if step != self._step:
            self._close_step(now)
            self._step = step
        elif now - self._said < _LEAST_INTERVAL_SECONDS:
            return
        self._said = now
        self._channel.send(Progress(step, fraction, now - self._begun))

    def take_steps(self) -> dict[str, float]:
        """Return the seconds of each step since last asked."""
        self._close_step(time.monotonic())
        taken, self._seconds = self._seconds, {}
        return taken

    def _close_step(self, now: float) -> None:
        if self._step:
            self._seconds[self._step] = self._seconds.get(self._step, 0.0) + now - self._step_begun
        self._step_begun = now


class _TimedJob(Job):
    """A job that notes how long each of its orders took."""

    def __init__(
        self,
        orders: tuple[Order, ...],
        scratch: Path,
        voice: Voice,
        cores: int,
        unfinished: Callable[[Order], Unfinished],
    ) -> None:
        super().__init__(orders, scratch, voice.report, cores=cores, unfinished=unfinished)
        self.steps: dict[str, dict[str, float]] = {}
        self._voice = voice
        self._cpu_taken = voice.cpu_before

    def take_cpu_seconds(self) -> float:
        """Return the processor seconds of this process since last asked; the first time, since the job began."""
        now = kernel.cpu_seconds()
        taken, self._cpu_taken = now - self._cpu_taken, now
        return taken

    def finish(self, order: Order, outputs: Mapping[str, Path], facts: Mapping[str, Any] | None = None) -> None:
        """Hand in the files of `order` (see `Job.finish`)."""
        super().finish(order, outputs, facts)
        self.steps[str(order.unit.id)] = self._voice.take_steps()


def _make(request: JobRequest, where: Surroundings, voice: Voice) -> JobResult:
    from fringeflow.jobs.inputs import Fetcher
    from fringeflow.jobs.unfinished import Unfinished
    from fringeflow.store.objects import open_store

    make = _function(request.make) if request.make else stage(request.stage)
    started = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    store = open_store(where.store)
    voice.report("fetch")
    fetcher = Fetcher(store, where.scratch / "inputs", where.digest_cache)
    orders = tuple(fetcher.order(task) for task in request.tasks)
    fetching = {step: seconds / len(orders) for step, seconds in voice.take_steps().items()}
    work = where.scratch / "work"
    work.mkdir()

    def unfinished(order: Order) -> Unfinished:
        made_with, every = software.installed(), where.checkpoint_seconds
        return Unfinished(store, order.unit.id, order.work_key, software=made_with, every_seconds=every)

    job = _TimedJob(orders, work, voice, request.cores, unfinished)
    voice.report("make")
    make(job)
    unmade = [str(order.unit.id) for order in orders if str(order.unit.id) not in job.made]
    if unmade:
        raise BugError(f"the stage {request.stage} did not finish {', '.join(unmade)}")
    return JobResult(tuple(_hand_in(order, job, store, voice, started, fetching) for order in orders))


def _hand_in(
    order: Order, job: _TimedJob, store: Store, voice: Voice, started: str, fetching: Mapping[str, float]
) -> UnitResult:
    """Put what was made for `order` into the store and say what it came to."""
    from fringeflow.store.artefacts import upload

    name = str(order.unit.id)
    made = job.made[name]
    voice.report("upload")
    outputs = upload(store, order.unit.id, order.work_key, made.outputs, own=job.scratch)
    parts = (fetching, job.steps[name], voice.take_steps())
    steps = {step: sum(part.get(step, 0.0) for part in parts) for step in dict.fromkeys(chain.from_iterable(parts))}
    return UnitResult(
        unit=order.unit.id,
        work_key=order.work_key,
        outputs=outputs,
        facts=_plain(name, made.facts),
        started=started,
        seconds=sum(steps.values()),
        steps=steps,
        cpu_seconds=job.take_cpu_seconds(),
        peak_memory_mb=kernel.peak_memory_mb(),
        software=software.installed(),
    )


def _call(request: CallRequest, where: Surroundings, voice: Voice) -> Any:
    function = _function(request.function)
    offered = {"progress": voice.report, "scratch": where.scratch}
    wanted = inspect.signature(function).parameters
    extra = {name: value for name, value in offered.items() if name in wanted and name not in request.kwargs}
    return function(**request.kwargs, **extra)


@cache  # asked for in the fork server, where jobs then find it
def stage(name: str) -> Callable[[Job], None]:
    """Return the function that makes units of a stage.

    Raises
    ------
    BugError
        It is not installed, or more than once.
    """
    found = [entry for entry in software.stages() if entry.name == name]
    if len(found) != 1:
        raise BugError(f"{len(found)} stages called {name} are installed", remedy=f"install fringeflow-{name}")
    make: Callable[[Job], None] = found[0].load()
    return make


def _settle_in(where: Surroundings) -> None:
    where.log.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(where.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, standard)
    for descriptor in {nothing, log} - {0, 1, 2}:  # a process begun without one of them has just got it
        os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):  # a job that dies takes with it what it has not flushed
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    temporary = where.scratch / "tmp"
    temporary.mkdir(parents=True)
    os.environ["TMPDIR"] = str(temporary)
    tempfile.tempdir = None  # what the fork server found does not hold here
    os.chdir(where.scratch)  # CASA writes files there whose names other jobs use too
    if "casatasks" in sys.modules:
        casa.log_to(where.casa_log)


def _function(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return function


def _plain(unit: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return `facts` as they will be read back from the manifest."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(facts, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BugError(f"the facts of {unit} are not plain JSON: {error}") from error
    return plain
