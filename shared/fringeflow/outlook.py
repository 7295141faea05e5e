"""What lies in the bucket of keys and inputs, looked at in a thread of its own, and a catalogue that follows it.

Work keys follow from keys and inputs alone, so every worker sees the same units without asking another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from structlog import get_logger

from fringeflow import drops
from fringeflow.attendant import Attendant
from fringeflow.catalogue import Builder, Catalogue
from fringeflow.drops import Drops
from fringeflow.errors import FringeflowError
from fringeflow.graph.build import Selection
from fringeflow.intake import keystore, leaves
from fringeflow.intake.digests import Digests
from fringeflow.keys.model import Project
from fringeflow.sources import NoManifests
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import Store

_CLOCKS_DIFFER_BY_SECONDS = 5.0
_FIRST_REST_SECONDS = 1.0
_LONGEST_REST_SECONDS = 30.0
MOST_UNITS = 20_000
"""Units whose graphs a worker keeps in memory, whatever the size of the survey."""

log = get_logger(__name__)


@dataclass(frozen=True)
class View:
    """What a look has shown."""

    number: int
    fingerprint: str
    project: Project
    readers: dict[str, tuple[str, ...]]
    """Name of a dropped input -> the targets that read it."""
    drops: Drops


class Outlook(Attendant):
    """Keeps a catalogue in step with the bucket. Use as a context; `follow` brings the catalogue up to date.

    Parameters
    ----------
    folder
        Where key files are brought to be read; its own.
    master
        Name of the master key below ``keys/``.
    every_seconds
        Time between looks nobody asked for; none: only when asked.
    tell
        Called in the thread when there is something to `follow`.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        folder: Path,
        master: str,
        builder: Builder | None,
        *,
        every_seconds: float | None,
        tell: Callable[[], None],
    ) -> None:
        super().__init__("outlook")
        self._store = store
        self._ledger = ledger
        self._folder = folder
        self._master = master
        self._builder = builder
        self._every = every_seconds
        self._tell = tell
        self._digests = Digests(store)
        self._view: View | None = None
        self._followed: View | None = None
        self._begun = 0
        self._begun_at = 0.0
        self._asked = True
        self._complaint = ""

    @property
    def complaint(self) -> str:
        """Why the last look failed; empty if it did not."""
        return self._complaint

    def ask(self, since: float = 0.0) -> int:
        """Ask for a look and return its ticket; one that began after the time `since` will do."""
        with self._lock:
            if since and self._begun_at > since + _CLOCKS_DIFFER_BY_SECONDS:
                return self._begun
            self._asked = True
            self._wake.set()
            return self._begun + 1

    def seen(self, ticket: int) -> bool:
        """Return whether that look is over and the catalogue tells of it."""
        return self._followed is not None and self._followed.number >= ticket

    def readers(self, leaf: str) -> Sequence[str]:
        """Return the targets that read the dropped input `leaf`."""
        return () if self._followed is None else self._followed.readers.get(leaf, ())

    def project(self) -> tuple[Project, Collection[str]] | None:
        """Return the project of the last look and the names of the inputs it wants, if there has been one."""
        with self._lock:
            return None if self._view is None else (self._view.project, self._view.readers)

    def follow(self, catalogue: Catalogue | None) -> tuple[Catalogue | None, Collection[str]]:
        """Return a catalogue of what was last seen, `catalogue` itself if it can be changed; and the targets concerned.

        Call it from the thread that uses the catalogue.
        """
        with self._lock:
            view, before = self._view, self._followed
        if view is None or view is before:
            return catalogue, ()
        self._followed = view
        if catalogue is None or before is None or view.project is not before.project:
            fresh = Catalogue(view.project, Selection(), view.drops, self._ledger, self._builder, most_units=MOST_UNITS)
            log.info("keys read", targets=len(fresh.targets), inputs=len(view.drops))
            return fresh, fresh.targets
        changed = {name for name in {*view.drops, *before.drops} if view.drops.get(name) != before.drops.get(name)}
        targets = sorted({target for name in changed for target in view.readers.get(name, ())})
        catalogue.follow(view.drops, targets)
        return catalogue, targets

    def _attend(self) -> None:
        rest = _FIRST_REST_SECONDS
        while not self._leaving.is_set():
            with self._lock:
                asked, self._asked = self._asked, False
                self._wake.clear()
                if asked:
                    self._begun += 1
                    self._begun_at = time.time()
            if not asked:
                timed_out = not self._wake.wait(self._every)
                with self._lock:
                    self._asked |= timed_out
                continue
            try:
                self._look()
                self._complaint, rest = "", _FIRST_REST_SECONDS
            except FringeflowError as error:
                if str(error) != self._complaint:
                    log.warning("keys and inputs not read", reason=str(error))
                self._complaint = str(error)
                self._leaving.wait(rest)
                rest = min(2 * rest, _LONGEST_REST_SECONDS)
                with self._lock:
                    self._asked = True

    def _look(self) -> None:
        before, number = self._view, self._begun
        fingerprint = keystore.fingerprint(self._store)
        if before is not None and before.fingerprint == fingerprint:
            project, readers = before.project, before.readers
        else:
            project = keystore.load(self._store, self._folder, self._master)
            readers = _readers(project, self._builder)
        found = leaves.scan(self._store, project, readers, digests=self._digests, measure=False)
        with self._lock:
            self._view = View(number, fingerprint, project, readers, found)
        self._tell()


def _readers(project: Project, builder: Builder | None) -> dict[str, tuple[str, ...]]:
    blank = Catalogue(project, Selection(), {}, NoManifests(), builder, most_units=0)
    readers: dict[str, tuple[str, ...]] = {}
    for target in blank.targets:
        for name in drops.names(blank.units(target)):
            readers[name] = (*readers.get(name, ()), target)
    return readers
