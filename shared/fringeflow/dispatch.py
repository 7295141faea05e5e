"""From events to tasks: which units does this make possible, and are they on order? One worker of a stage does it.

It reads the catalogue and writes messages; it knows nothing of jobs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from structlog import get_logger

from fringeflow import announcements
from fringeflow.bus.dead import item_of_key
from fringeflow.bus.delivery import Delivery
from fringeflow.errors import FringeflowError, TransientError
from fringeflow.events import MEMORY_CLASSES, Arrived, Event, Made, MemoryClass, Task, Work
from fringeflow.graph.model import Unit, UnitId
from fringeflow.orders import Orders, item_of
from fringeflow.world import World

_BATCH = 100  # events looked at together: a target is looked at once for all of them; and messages sent together
_MOST_UNITS = 50  # of one task, which must stay below the 16 KiB of a message

log = get_logger(__name__)


class Dispatcher:
    """Turns the events of one stage into tasks.

    Of all workers of a stage the broker gives the events to one. That one `leads`: it also compares store and graph.
    """

    def __init__(self, stage: str, world: World, orders: Orders) -> None:
        self._stage = stage
        self._world = world
        self._orders = orders
        self._inbox: list[Delivery[Event]] = []
        self._tasks: list[Task] = []  # to be ordered, and
        self._waits: list[Event] = []  # to be announced: kept until the broker has confirmed them
        self._waiting: set[UnitId] = set()
        self._remade: set[tuple[UnitId, str]] = set()
        self._connection = 0
        self._compared: float | None = None
        self._changed: set[str] = set()
        self.leads = False

    @property
    def pending(self) -> int:
        """Number of events that have been taken and not been dealt with, and of what is still to be sent."""
        return len(self._inbox) + len(self._tasks) + len(self._waits)

    def step(self) -> bool:
        """Deal with the events that have come; return whether there were any.

        Raises
        ------
        TransientError
            If store or broker are away: the events are kept and looked at again the next time. None is acknowledged
            before what follows from it is safe with the broker.
        """
        bus = self._world.bus
        if bus.generation != self._connection:  # the broker may have lost all that was ordered, or chosen another
            self._connection, self.leads, self._compared = bus.generation, False, None
            self._inbox = [delivery for delivery in self._inbox if delivery.alive]  # the others are given out again
        fresh = bus.take_events(self._stage, limit=_BATCH)
        for delivery in fresh:
            for observer in self._world.observers:
                observer.took(self._stage, delivery.message, delivery.waited_seconds)
        self._inbox += fresh
        self.leads |= bus.nudged(self._stage) or bool(self._inbox)
        if self.leads:
            self._compare_when_due()
        self._deal_with([delivery.message for delivery in self._inbox])
        self._send()
        bus.ack_all(self._inbox)
        did = bool(self._inbox)
        self._inbox.clear()
        return did

    def reconcile(self) -> int:
        """Order what is ready and not made, whatever messages were lost; return how many tasks."""
        if self._world.claims is not None:
            self._compare_with_store()
        ordered = sum(self._order_and_send(target, None) for target in self._world.catalogue.targets)
        self._send()
        return ordered

    def look_at(self, targets: Iterable[str]) -> None:
        """Order what is ready of `targets` in the next step, if this is who leads: keys or inputs have changed."""
        self._changed.update(targets)

    def _compare_when_due(self) -> None:
        """Order what an earlier leader, or this one before a connection was lost, ordered in vain; and now and then."""
        if self._world.claims is None:
            return
        if self._compared is None:
            log.info("leads", stage=self._stage)
            self._orders.open = {item_of(work) for task in self._tasks for work in task.units}
        elif time.monotonic() - self._compared < self._world.reconcile_seconds:
            for target in sorted(self._changed):
                self._order_and_send(target, None)
            self._changed.clear()
            return
        self._world.catalogue.refresh()
        self.reconcile()
        self._changed.clear()
        self._compared = time.monotonic()

    def _compare_with_store(self) -> None:
        """Forget orders that were carried out elsewhere, and learn what was given up there."""
        catalogue, orders = self._world.catalogue, self._orders
        orders.open = {item for item in orders.open if not catalogue.is_made(*item)}
        letters = self._world.store.list(f"dead/{self._stage}")
        orders.given_up = {item for info in letters if (item := item_of_key(info.key)) is not None}
        orders.letters = {item: letter for item, letter in orders.letters.items() if item in orders.given_up}

    def _deal_with(self, events: Sequence[Event]) -> None:
        concerned = [(event, targets) for event in events for targets in [self._take_in(event)] if targets]
        causes = {target: event for event, targets in concerned for target in targets}
        for target, cause in sorted(causes.items()):
            self._order_and_send(target, cause)
        for event, targets in concerned:
            if event.forced:
                self._order_again(event, targets)

    def _take_in(self, event: Event) -> Iterable[str]:
        """Return the targets an event concerns; if that goes wrong, the other events go on."""
        try:
            return tuple(self._note(event))
        except TransientError:
            raise
        except FringeflowError as error:  # a manifest that cannot be read, for one
            if self._world.claims is None:
                raise
            log.exception("event left out", stage=self._stage, subject=event.subject, reason=str(error))
            return ()

    def _note(self, event: Event) -> Iterable[str]:
        """Take in what an event says; return the targets it concerns."""
        catalogue, lookout = self._world.catalogue, self._world.lookout
        if isinstance(event.data, Arrived):
            known = catalogue.drops.get(event.data.leaf)
            if lookout is None:
                return catalogue.targets
            if known is None or known.sha256 != event.data.artefact.sha256:
                lookout.ask(since=event.time.timestamp())
            return lookout.readers(event.data.leaf)
        if not isinstance(event.data, Made):
            return []
        unit = UnitId.parse(event.data.unit)
        if not catalogue.includes(unit.target):
            return []
        catalogue.note(unit, event.data.work_key)
        if lookout is not None and (catalogue.unit(unit) is None or catalogue.key(unit) != event.data.work_key):
            lookout.ask(since=event.time.timestamp())  # others know of newer inputs or keys, or this is an old event
        return catalogue.concerned(unit.target)

    def _order_and_send(self, target: str, cause: Event | None) -> int:
        """Order what is ready of one target; send now and then, so that a survey's tasks do not lie here."""
        ordered = self._order_ready(target, cause)
        if len(self._tasks) + len(self._waits) >= _BATCH:
            self._send()
        return ordered

    def _order_ready(self, target: str, cause: Event | None) -> int:
        """Order what is ready of one target; if that goes wrong, the other targets go on."""
        try:
            ordered = self._order(self._ready(target), cause)
            self._announce_waiting(target, cause)
        except TransientError:
            raise
        except FringeflowError as error:
            log.exception("target left out", stage=self._stage, target=target, reason=str(error))
            return 0
        return ordered

    def _send(self) -> None:
        """Send what is to be sent; what may not have reached the broker is sent again the next time."""
        self._world.bus.order(*self._tasks)
        self._tasks.clear()
        self._world.bus.announce(*self._waits)
        self._waits.clear()

    def _ready(self, target: str) -> list[tuple[Unit, str]]:
        catalogue = self._world.catalogue
        found = []
        for unit in catalogue.ready(target):
            key = catalogue.key(unit.id) if unit.id.stage == self._stage else None
            if key is not None and not self._orders.is_taken((unit.id, key)):
                found.append((unit, key))
        return found

    def _order(self, wanted: Sequence[tuple[Unit, str]], cause: Event | None, *, forced: bool = False) -> int:
        """Order units, those of a group together; return the number of tasks."""
        groups: dict[str, list[tuple[Unit, str]]] = {}
        for unit, key in wanted:
            groups.setdefault(unit.group or str(unit.id), []).append((unit, key))
        batches = [
            members[start : start + _MOST_UNITS]
            for members in groups.values()
            for start in range(0, len(members), _MOST_UNITS)
        ]
        for members in batches:
            self._tasks.append(self._task(members, cause, forced=forced))
            self._orders.open.update((unit.id, key) for unit, key in members)
        return len(batches)

    def _task(self, members: Sequence[tuple[Unit, str]], cause: Event | None, *, forced: bool) -> Task:
        return Task(
            stage=self._stage,
            run=cause.correlation_id if cause is not None else self._world.run,
            causation_id=cause.id if cause is not None else None,
            units=tuple(Work(unit=str(unit.id), work_key=key) for unit, key in members),
            memory_class=self._memory_class(max(unit.memory_mb for unit, _ in members)),
            forced=forced,
        )

    def _memory_class(self, memory_mb: int) -> MemoryClass:
        """Return the smallest class that holds `memory_mb`, else the largest."""
        limits = self._world.memory_limit_mb
        fitting = [name for name, limit in limits.items() if memory_mb <= limit]
        return fitting[0] if fitting else MEMORY_CLASSES[-1] if limits else MEMORY_CLASSES[0]

    def _order_again(self, event: Event, targets: Iterable[str]) -> None:
        """Order what reads the input or unit of a forced event, though it may be made; once in one run."""
        catalogue = self._world.catalogue
        wanted: list[tuple[Unit, str]] = []
        for target in targets:
            for unit in catalogue.units(target):
                reads = event.subject in unit.leaves or any(str(need.unit) == event.subject for need in unit.needs)
                key, mark = catalogue.key(unit.id), (unit.id, event.correlation_id)
                if unit.id.stage != self._stage or not reads or key is None or mark in self._remade:
                    continue
                if catalogue.graph(target).is_ready(unit.id):
                    self._remade.add(mark)
                    wanted.append((unit, key))
        self._order(wanted, event, forced=True)

    def _announce_waiting(self, target: str, cause: Event | None) -> None:
        """Say what is waited for: of each unit once, and unless an event has come about it only of missing inputs."""
        catalogue = self._world.catalogue
        graph = catalogue.graph(target)
        for unit in catalogue.units(target):
            if unit.id.stage != self._stage:
                continue
            if graph.made(unit.id):
                self._waiting.discard(unit.id)
            if unit.id in self._waiting or graph.made(unit.id):
                continue
            missing = graph.missing(unit.id)
            if missing and (cause is not None or not set(unit.leaves).isdisjoint(missing)):
                self._waits.append(announcements.waiting(str(unit.id), missing, run=self._world.run))
                self._waiting.add(unit.id)
