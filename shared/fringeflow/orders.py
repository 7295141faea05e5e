"""What one process knows to be on order or given up, so that it does not order it again. It spares work, no more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fringeflow.bus.dead import DeadLetter
from fringeflow.events import Work
from fringeflow.graph.model import UnitId

Item = tuple[UnitId, str]
"""A unit and its work key."""


@dataclass
class Orders:
    """The orders of one stage."""

    open: set[Item] = field(default_factory=set)
    given_up: set[Item] = field(default_factory=set)
    letters: dict[Item, DeadLetter] = field(default_factory=dict)
    """Why units were given up in this process."""

    def is_taken(self, item: Item) -> bool:
        """Return whether `item` is not to be ordered."""
        return item in self.open or item in self.given_up or item in self.letters

    def close(self, works: Iterable[Work]) -> None:
        """Take note that these are no longer on order."""
        self.open.difference_update(map(item_of, works))


def item_of(work: Work) -> Item:
    """Return the unit and the work key of one part of a task."""
    return UnitId.parse(work.unit), work.work_key
