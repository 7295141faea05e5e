"""Announces what happened before once more, from the journal: whoever missed it, or should do it again, hears it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from fringeflow import announcements
from fringeflow.bus.bus import Bus
from fringeflow.bus.journal import JournalReader
from fringeflow.events import Arrived, Event, Made
from fringeflow.graph.model import UnitId

_BATCH = 500  # events announced together; the journal is read as they go


@dataclass(frozen=True)
class Choice:
    """Which events; what is empty or None chooses all.

    `stages` are those whose units the events are about; the arrival of an input is of no stage and no target, and so
    is chosen only where neither is asked for, or by the name of the input.
    """

    since: datetime | None = None
    offset: int | None = None
    targets: tuple[str, ...] = ()
    configs: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()

    def includes(self, event: Event) -> bool:
        """Return whether `event` is one of them."""
        if self.facts and fact_of(event) not in self.facts:
            return False
        if not isinstance(event.data, Made):
            return not (self.targets or self.configs or self.products or self.stages)
        unit = UnitId.parse(event.data.unit)
        pairs = (
            (self.targets, unit.target),
            (self.configs, unit.config),
            (self.products, unit.product),
            (self.stages, unit.stage),
        )
        return all(not wanted or value in wanted for wanted, value in pairs)


def fact_of(event: Event) -> str:
    """Return what an event states, e.g. ``cube.imaged``."""
    return event.type.removeprefix("fringeflow.").rpartition(".")[0]


def chosen(journal: JournalReader, choice: Choice) -> Iterator[tuple[int, Event]]:
    """Yield offset and event of those to replay, each fact once though it was announced often, the oldest first.

    Only what was made and what arrived is replayed: that something failed or waited concerns the past.
    """
    seen: set[str] = set()
    for offset, event in journal.read(choice.since, choice.offset):
        original = event.replay_of or event.id
        if isinstance(event.data, Made | Arrived) and original not in seen and choice.includes(event):
            seen.add(original)
            yield offset, event


def replay(events: Iterable[tuple[int, Event]], bus: Bus, *, run: str, forced: bool = False) -> Iterator[Event]:
    """Announce events again, as a new run, and yield what was announced, once it is safe with the broker."""
    coming = (announcements.replayed(event, run=run, forced=forced) for _, event in events)
    while batch := list(itertools.islice(coming, _BATCH)):
        bus.announce(*batch)
        yield from batch
