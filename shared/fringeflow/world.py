"""What a service works with, and who watches it work."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from structlog import get_logger

from fringeflow.bus.bus import Bus
from fringeflow.bus.dead import DeadLetter
from fringeflow.catalogue import Catalogue
from fringeflow.events import MemoryClass
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


@dataclass(frozen=True)
class World:
    """What a service works with; built once, by whoever runs it."""

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
