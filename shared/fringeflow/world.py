"""What a service works with, and who watches it work."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from structlog import get_logger

from fringeflow.bus.bus import Bus
from fringeflow.bus.dead import DeadLetter
from fringeflow.catalogue import Catalogue
from fringeflow.claims import Claims
from fringeflow.events import MEMORY_CLASSES, Event, FailureKind, MemoryClass, Task
from fringeflow.graph.model import Unit
from fringeflow.jobs.host import JobHost, RunningJob
from fringeflow.layout import ProductTree
from fringeflow.manifest import Manifest
from fringeflow.slots import Slots
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import Store


class Observer:
    """Whoever wants to watch: the progress display, a log. Watches nothing unless a method is overridden."""

    def counted(self, made: int, total: int) -> None:
        """Take in how many of the units that are asked for are made."""

    def started(self, job: RunningJob, units: Sequence[Unit]) -> None:
        """Take in that a job has begun to make `units`."""

    def progressed(self, job: RunningJob, step: str, fraction: float | None) -> None:
        """Take in that a job has come to `step`."""

    def ended(self, job: RunningJob) -> None:
        """Take in that a job has ended, well or not."""

    def made(self, manifest: Manifest) -> None:
        """Take in that a unit has been made and committed."""

    def failed(self, letter: DeadLetter) -> None:
        """Take in that a unit has been given up."""

    def attempted(self, task: Task, kind: FailureKind) -> None:
        """Take in that an attempt at a task has failed, for good or not."""

    def settled(self, stage: str, outcome: str) -> None:
        """Take in that a unit of a task needed no making: ``made before``, ``claimed``, ``given up``, ``unwanted``."""

    def took(self, stage: str, message: Event | Task, waited_seconds: float | None) -> None:
        """Take in that a message has come out of its queue, and how long it lay there."""


class Lookout(Protocol):
    """Whoever keeps the catalogue in step with keys and inputs that change while services work."""

    def ask(self, since: float = 0.0) -> int:
        """Ask for a look at keys and inputs and return its ticket; one that began after the time `since` will do."""
        ...

    def seen(self, ticket: int) -> bool:
        """Return whether the look of that ticket is over and the catalogue tells of it."""
        ...

    def readers(self, leaf: str) -> Sequence[str]:
        """Return the targets that read the dropped input `leaf`."""
        ...


@dataclass
class World:
    """What a service works with; built once, by whoever runs it. The catalogue follows keys and inputs.

    Where other processes work on the same store, there are `claims` and a `lookout`; without them everything that
    happens, happens here.
    """

    run: str
    catalogue: Catalogue
    store: Store
    ledger: Ledger
    bus: Bus
    host: JobHost
    slots: Slots
    observers: tuple[Observer, ...] = ()
    memory_limit_mb: Mapping[MemoryClass, int] = field(default_factory=dict)
    time_limit_seconds: float | None = None
    make: str | None = None
    """``module:function`` that makes the units instead of the stages' entry points."""
    claims: Claims | None = None
    lookout: Lookout | None = None
    classes: tuple[MemoryClass, ...] = MEMORY_CLASSES
    """The memory classes of the tasks that are taken; none: only events are turned into tasks."""
    dispatches: bool = True
    """Whether events are turned into tasks."""
    reconcile_seconds: float = 300.0
    """Between two comparisons of store and graph by whoever leads a stage."""


class Log(Observer):
    """Writes what happens to the log."""

    def __init__(self) -> None:
        self._log = get_logger("fringeflow.run")

    def started(self, job: RunningJob, units: Sequence[Unit]) -> None:
        """Take in that a job has begun to make `units`."""
        self._log.info("started", clock=time.time(), job=job.id, units=[str(unit.id) for unit in units])

    def ended(self, job: RunningJob) -> None:
        """Take in that a job has ended, well or not."""
        self._log.info("ended", clock=time.time(), job=job.id)

    def made(self, manifest: Manifest) -> None:
        """Take in that a unit has been made and committed."""
        self._log.info(
            "made",
            unit=str(manifest.unit),
            work_key=manifest.work_key,
            seconds=round(manifest.seconds, 3),
            peak_memory_mb=round(manifest.peak_memory_mb),
        )

    def failed(self, letter: DeadLetter) -> None:
        """Take in that a unit has been given up."""
        self._log.error("failed", unit=letter.unit, kind=letter.kind, message=letter.message, attempts=letter.attempts)


@dataclass(frozen=True)
class Layer(Observer):
    """Lays out the products of every unit as soon as it is made."""

    tree: ProductTree

    def made(self, manifest: Manifest) -> None:
        """Lay out the products of a unit."""
        self.tree.place(manifest)
