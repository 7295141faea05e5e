"""The loop of a worker: round after round until it is told to leave, or what it was asked for is done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from fringeflow.arrivals import Gate
from fringeflow.errors import TransientError
from fringeflow.events import MEMORY_CLASSES, MemoryClass
from fringeflow.leave import Leave
from fringeflow.metrics import Metrics
from fringeflow.outlook import Outlook
from fringeflow.service import Service
from fringeflow.settings import Settings
from fringeflow.waker import Waker
from fringeflow.world import World

IDLE_SECONDS = 0.5
_QUIET_SECONDS = 2.0  # without a message before a queue counts as empty
_BRIEF_SECONDS = 0.2  # of a job: to stop asking for tasks and to begin again takes the broker longer than that is worth
_COUNT_SECONDS = 5.0  # between two looks at the queues' lengths


@dataclass(frozen=True)
class Duties:
    """What one worker is asked to do.

    `classes` are the memory classes of the tasks it takes, none for no tasks; `dispatches`, whether it turns events
    into tasks. `drain`: end when its queues are empty; `max_tasks`: end after so many jobs.
    """

    stages: tuple[str, ...]
    classes: tuple[MemoryClass, ...] = MEMORY_CLASSES
    dispatches: bool = True
    drain: bool = False
    max_tasks: int | None = None


class Rounds:
    """What happens in one round, and what is remembered from one to the next.

    Parameters
    ----------
    gate
        Announces what is dropped, if that is among the duties.
    """

    def __init__(
        self,
        settings: Settings,
        duties: Duties,
        world: World,
        services: Sequence[Service],
        gate: Gate | None,
        outlook: Outlook,
        leave: Leave,
        waker: Waker,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._duties = duties
        self._world = world
        self._services = services
        self._gate = gate
        self._outlook = outlook
        self._leave = leave
        self._waker = waker
        self._metrics = metrics
        self._nudged: dict[str, tuple[int, float]] = {}
        self._counted = 0.0
        self._quiet_since: float | None = None
        self._full_since: float | None = None

    def turn(self) -> bool:
        """Do what there is to do, or wait a moment if there is nothing; return False if it was the last round."""
        self._follow()
        if self._gate is not None and not self._leave.told:
            self._gate.step()
        did = [service.step() for service in reversed(self._services)]  # what is nearly finished gets the free core
        busy = any(did)
        self._leave_tasks_to_others()
        self._count()
        if self._is_over(busy=busy):
            return False
        if not busy:
            sentinels = [job.sentinel for service in self._services for job in service.running]
            self._world.bus.drain(IDLE_SECONDS, [*sentinels, self._waker.fileno()])
            self._waker.clear()
        return True

    @property
    def complaint(self) -> str:
        """Why there is no work being done though there may be some; empty if all is well."""
        if self._leave.told:
            return "leaves"
        if not self._world.bus.connected:
            return "no broker"
        unwell = [service.stage for service in self._services if not service.well]
        return f"{', '.join(unwell)}: store or broker do not answer" if unwell else self._outlook.complaint

    def _follow(self) -> None:
        """Take in new keys and inputs, and let whoever leads look at what they concern; now and then, at everything."""
        world = self._world
        catalogue, targets = self._outlook.follow(world.catalogue)
        if catalogue is not None and catalogue is not world.catalogue:
            world.catalogue = catalogue
            if self._gate is not None:
                self._gate.want()
        for service in self._services if targets else ():
            service.look_at(targets)
        if self._duties.dispatches and not self._leave.told and world.bus.connected:
            for service in self._services:
                self._nudge(service.stage)

    def _nudge(self, stage: str) -> None:
        bus = self._world.bus
        connection, at = self._nudged.get(stage, (-1, 0.0))
        if connection == bus.generation and time.monotonic() - at < self._settings.reconcile_seconds:
            return
        with suppress(TransientError):  # the next connection brings the next nudge
            bus.nudge(stage)
            self._nudged[stage] = (bus.generation, time.monotonic())

    def _leave_tasks_to_others(self) -> None:
        """While no job can begin let nothing lie idle here; no more is asked for once that has lasted a moment."""
        if self._world.slots.free:
            self._full_since = None
            return
        self._full_since = self._full_since or time.monotonic()
        for service in self._services:
            brief = time.monotonic() - self._full_since < _BRIEF_SECONDS
            self._world.bus.leave_tasks(service.stage, idle_only=brief)

    def _count(self) -> None:
        if self._settings.health.address is None or time.monotonic() - self._counted < _COUNT_SECONDS:
            return
        bus = self._world.bus
        self._counted = time.monotonic()
        self._metrics.up(broker=bus.connected, store=not self._outlook.complaint)
        with suppress(TransientError):
            for stage in self._duties.stages if bus.connected else ():
                self._metrics.depths(bus.depths(stage))

    # the end

    def _is_over(self, *, busy: bool) -> bool:
        services = self._services
        if self._leave.told:
            self._stop_taking()
            return self._leave.overdue or not any(service.running or service.unsettled for service in services)
        in_hand = any(service.running or service.in_hand for service in services)
        if self._world.slots.spent and not in_hand:
            return True
        if not self._duties.drain or busy or in_hand or (self._gate and self._gate.left):
            self._quiet_since = None
            return False
        self._quiet_since = self._quiet_since or time.monotonic()
        return time.monotonic() - self._quiet_since > _QUIET_SECONDS and self._is_empty()

    def _stop_taking(self) -> None:
        for service in self._services:
            service.leaving = True
            self._world.bus.leave_tasks(service.stage)
            self._world.bus.leave_events(service.stage)

    def _is_empty(self) -> bool:
        """Return whether nothing is left in the queues this worker serves."""
        served = [f"tasks.{name}" for name in self._duties.classes]
        served += ["events", "bucket"] if self._duties.dispatches else []
        bus = self._world.bus
        try:
            depths = {name: count for stage in self._duties.stages for name, count in bus.depths(stage).items()}
        except TransientError:
            return False
        return not any(count for name, count in depths.items() if name.partition(".")[2] in served)
