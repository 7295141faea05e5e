"""Announces dropped inputs, each content once in the life of a store, be they found by a notice or by the poller."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from structlog import get_logger

from fringeflow import announcements
from fringeflow.bus.bus import Bus
from fringeflow.bus.topology import BUCKET_STAGE
from fringeflow.errors import CorruptInputError, TransientError
from fringeflow.events import Arrived, ArtefactRef, Event, to_bytes
from fringeflow.intake import notices
from fringeflow.intake.poller import Poller
from fringeflow.manifest import Artefact
from fringeflow.outlook import Outlook
from fringeflow.store.base import Store

FOLDER = "arrivals"
_BATCH = 100  # inputs announced together, and then noted: so many are announced twice after a crash at worst


class Gate:
    """What comes in by notice or by poller, announced; lives in the loop of one worker and never waits."""

    def __init__(self, store: Store, bus: Bus, poller: Poller, outlook: Outlook, run: str) -> None:
        self._bus = bus
        self._poller = poller
        self._outlook = outlook
        self._arrivals = Arrivals(store, bus, run)
        self._prefix = store.prefix

    @property
    def left(self) -> int:
        """Number of inputs that are still to be announced."""
        return self._arrivals.left

    def want(self) -> None:
        """Look for the inputs of new keys from now on."""
        seen = self._outlook.project()
        if seen is not None:
            self._poller.want(*seen)

    def step(self) -> None:
        """Take in what has come; what store or broker do not allow now is announced the next time."""
        for delivery in self._bus.take_notices(BUCKET_STAGE, limit=100):
            with suppress(TransientError):  # then it comes again
                try:
                    found = notices.parse(delivery.message, self._prefix)
                except CorruptInputError as error:
                    delivery.reject(error.message)
                    continue
                self._poller.hint(notice.key for notice in found)
                self._outlook.ask()  # keys that changed, inputs that were removed
                delivery.ack()  # a hint, no more: the poller would find it too
        self._arrivals.add(self._poller.take())
        try:
            if self._arrivals.announce():
                self._outlook.ask()
        except TransientError as error:
            get_logger(__name__).warning("arrivals not announced", left=self.left, reason=str(error))


class Arrivals:
    """What is to be announced and was not yet.

    Each announcement is noted in the store after it was made: a crash in between has it made twice, never not at all.
    """

    def __init__(self, store: Store, bus: Bus, run: str) -> None:
        self._store = store
        self._bus = bus
        self._run = run
        self._known: set[str] | None = None
        self._left: list[Artefact] = []

    @property
    def left(self) -> int:
        """Number of inputs that are still to be announced."""
        return len(self._left)

    def add(self, found: Iterable[Artefact]) -> None:
        """Take in what was found, announced before or not."""
        self._left += found

    def announce(self) -> int:
        """Announce what is new and return how many there were.

        Raises
        ------
        TransientError
            If store or broker are away: what is left is announced the next time.
        """
        if self._left and self._known is None:
            self._known = {info.key for info in self._store.list(FOLDER)}
        announced = 0
        while self._left:
            batch = self._left[:_BATCH]
            announced += self._announce(batch)
            del self._left[: len(batch)]
        return announced

    def _announce(self, drops: Iterable[Artefact]) -> int:
        known = self._known or set()
        fresh = {f"{FOLDER}/{drop.name}/{drop.sha256}.json": drop for drop in drops}
        fresh = {key: drop for key, drop in fresh.items() if key not in known and not self._store.exists(key)}
        events = {key: self._event(drop) for key, drop in fresh.items()}
        self._bus.announce(*events.values())
        for key, event in events.items():
            self._store.put_bytes(key, to_bytes(event), create=True)
            known.add(key)
        return len(events)

    def _event(self, drop: Artefact) -> Event:
        ref = ArtefactRef(name=drop.name, key=drop.key, size=drop.size, sha256=drop.sha256)
        return announcements.arrived(Arrived(leaf=drop.name, artefact=ref), run=self._run, source="/fringeflow/bucket")
