"""Watches the bucket for inputs, in a thread of its own: a large object to digest keeps no worker from its broker.

Notices make it look at single objects at once; every few minutes it looks at everything, for notices get lost.
"""

from __future__ import annotations

from collections.abc import Iterable

from structlog import get_logger

from fringeflow.attendant import Attendant
from fringeflow.drops import Drops
from fringeflow.errors import FringeflowError
from fringeflow.intake import leaves
from fringeflow.intake.digests import Digests
from fringeflow.keys.model import Project
from fringeflow.manifest import Artefact
from fringeflow.store.base import Store

_LEAST_BACK_OFF_SECONDS = 1.0


class _StoppedError(Exception):
    """The thread is asked to end."""


class Poller(Attendant):
    """Finds inputs that are new or have changed. Use as a context; then `take` says what was found since last asked.

    Parameters
    ----------
    every_seconds
        Time between two looks at everything.
    """

    def __init__(self, store: Store, project: Project, wanted: Iterable[str], *, every_seconds: float) -> None:
        super().__init__("bucket-watch")
        self._store = store
        self._every = every_seconds
        self._digests = Digests(store, self._check)
        self._wanted = (project, frozenset(wanted))
        self._drops: Drops = {}
        self._fresh: dict[str, Artefact] = {}
        self._hints: set[str] = set()
        self._all_due = True

    @property
    def drops(self) -> Drops:
        """All wanted inputs that were there at the last look."""
        with self._lock:
            return dict(self._drops)

    def take(self) -> list[Artefact]:
        """Return the inputs that are new or have another content, each once; never waits."""
        with self._lock:
            fresh, self._fresh = self._fresh, {}
        return [fresh[name] for name in sorted(fresh)]

    def hint(self, keys: Iterable[str]) -> None:
        """Look at these objects at once: a notice has named them."""
        with self._lock:
            self._hints |= {name for key in keys for name in leaves.names_of(key)} & self._wanted[1]
        self._wake.set()

    def want(self, project: Project, names: Iterable[str]) -> None:
        """Watch for these inputs from now on, and look at once: the key files have changed."""
        with self._lock:
            self._wanted = (project, frozenset(names))
            self._all_due = True
        self._wake.set()

    def look(self) -> None:
        """Look now at what hints have named, or at everything when that is due, in the calling thread."""
        with self._lock:
            project, wanted = self._wanted
            hints, self._hints = self._hints & wanted, set()
            everything, self._all_due = self._all_due, False
        try:
            if everything:
                self._take_in(wanted, leaves.scan(self._store, project, wanted, digests=self._digests))
            for name in () if everything else sorted(hints):
                found = leaves.find(self._store, name, self._digests)
                self._take_in({name}, {} if found is None else {name: found})
        except BaseException:
            with self._lock:
                self._hints |= hints
                self._all_due |= everything
            raise

    def _take_in(self, looked_at: Iterable[str], found: Drops) -> None:
        with self._lock:
            before = self._drops
            fresh = {name: drop for name, drop in found.items() if before.get(name) != drop}
            kept = {name: drop for name, drop in before.items() if name not in looked_at and name in self._wanted[1]}
            self._drops = {**kept, **found}
            self._fresh.update(fresh)

    def _attend(self) -> None:
        back_off = _LEAST_BACK_OFF_SECONDS
        while not self._leaving.is_set():
            self._wake.clear()
            try:
                self.look()
            except _StoppedError:
                return
            except FringeflowError as error:
                get_logger("fringeflow.bucket").warning("not looked at", error=str(error), again_in_seconds=back_off)
                self._leaving.wait(back_off)
                back_off = min(2 * back_off, self._every)
                continue
            back_off = _LEAST_BACK_OFF_SECONDS
            if not self._wake.wait(self._every):
                with self._lock:
                    self._all_due = True

    def _check(self) -> None:
        if self._leaving.is_set():
            raise _StoppedError
