"""What nobody tries again by itself: lists it, orders it once more, or drops it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fringeflow.bus.bus import Bus
from fringeflow.bus.dead import DeadLetter
from fringeflow.bus.delivery import DeadMessage
from fringeflow.events import Event, Message, Task
from fringeflow.graph.build import STAGES
from fringeflow.operating.status import read_letters
from fringeflow.store.base import Store


@dataclass(frozen=True)
class Dead:
    """One of two things: a unit that was given up (`letter`), or a message left in a stage's dead queue (`message`)."""

    name: str
    letter: DeadLetter | None = None
    message: DeadMessage | None = None

    @property
    def why(self) -> str:
        """What is wrong, in one line."""
        if self.letter is not None:
            return self.letter.message.partition("\n")[0]
        return self.message.reason if self.message is not None else ""

    @property
    def kind(self) -> str:
        """What class of failure it is."""
        return self.letter.kind if self.letter is not None else "message"


def all_dead(store: Store, bus: Bus | None, pattern: str = "*") -> list[Dead]:
    """Return the units given up and, with a bus, the messages in dead queues whose name matches the glob.

    The messages stay in their queues unless settled: they return when the bus is closed.
    """
    found = [Dead(letter.unit, letter=letter) for letter in read_letters(store)]
    if bus is not None:
        found += [
            Dead(f"{stage}.dead/{_subject(message.message)}", message=message)
            for stage in STAGES
            for message in bus.dead(stage)
        ]
    return [item for item in found if fnmatchcase(item.name, pattern)]


def requeue(items: Iterable[Dead], store: Store, bus: Bus) -> Iterator[Dead]:
    """Order the tasks of `items` again, as if for the first time, and yield those that had one.

    An event is announced again. What cannot be read is left where it is.
    """
    for item in items:
        letter, message = item.letter, item.message
        sent = letter.task if letter is not None else message.message if message is not None else None
        if sent is None:
            continue
        if letter is not None:
            store.delete([letter.path])  # first: a worker leaves alone what is given up
        if isinstance(sent, Task):
            bus.order(sent.model_copy(update={"attempt": 1, "deferrals": 0}))
        else:
            bus.announce(sent)
        if message is not None:
            message.ack()
        yield item


def drop(items: Iterable[Dead], store: Store) -> Iterator[Dead]:
    """Remove `items` for good and yield them; a unit whose letter is gone is tried again when a worker next looks."""
    for item in items:
        if item.letter is not None:
            store.delete([item.letter.path])
        if item.message is not None:
            item.message.ack()
        yield item


def _subject(message: Message | None) -> str:
    if isinstance(message, Task):
        return message.units[0].unit
    return message.subject if isinstance(message, Event) else "unreadable"
