"""The folders of a run, what is made in them, and the lock that keeps two runs out of the same ones."""

from __future__ import annotations

import errno
import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from fringeflow import drops
from fringeflow.catalogue import Builder, Catalogue
from fringeflow.errors import DataError, ReadOnlyError
from fringeflow.graph.build import Selection
from fringeflow.graph.model import Graph, Unit
from fringeflow.keys.model import Project
from fringeflow.sources import ManifestSource, NoManifests


@dataclass(frozen=True)
class Workdir:
    """The folders of a run."""

    root: Path

    @property
    def store(self) -> Path:
        """Where artefacts and manifests lie."""
        return self.root / "store"

    @property
    def scratch(self) -> Path:
        """Where jobs work."""
        return self.root / "scratch"

    @property
    def products(self) -> Path:
        """Where finished products are laid out."""
        return self.root / "products"

    @property
    def logs(self) -> Path:
        """Where the logs of jobs go."""
        return self.root / "logs"

    @property
    def digests(self) -> Path:
        """Where digests of inputs read in place are remembered."""
        return self.root / "digests"

    def create(self) -> None:
        """Make the folders; raise `ReadOnlyError` where that is not allowed."""
        for folder in (self.store, self.scratch, self.products, self.logs):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):  # has no name: nothing is left whatever happens
                    pass
            except PermissionError as error:
                raise _read_only(folder) from error
            except OSError as error:
                if error.errno == errno.EROFS:
                    raise _read_only(folder) from error
                raise

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one run; the lock goes with the process, however it ends."""
        with (self.root / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataError(
                    f"another run is using {self.root}", remedy="wait for it, or give another --workdir"
                ) from error
            yield


def survey(
    project: Project, selection: Selection, workdir: Workdir | None, builder: Builder | None = None
) -> Catalogue:
    """Return the state of `project` without touching anything: what is dropped, and what is made in `workdir`."""
    ledger, cache = _made_in(workdir)
    catalogue = Catalogue(project, selection, {}, ledger, builder)
    catalogue.refresh()
    names = {target: drops.names(catalogue.units(target)) for target in catalogue.targets}
    found = {drop.name: drop for drop in drops.scan(project, sorted(set(chain.from_iterable(names.values()))), cache)}
    catalogue.follow(found, (target for target, wanted in names.items() if not found.keys().isdisjoint(wanted)))
    return catalogue


class Passage:
    """The state of `project`, as `survey` finds it, one target after another: memory holds no more than one of them."""

    def __init__(self, project: Project, selection: Selection, workdir: Workdir | None) -> None:
        ledger, self._cache = _made_in(workdir)
        self._catalogue = Catalogue(project, selection, {}, ledger, most_units=1)
        self._catalogue.refresh()
        self._looked_at = ""

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets that are asked for, sorted."""
        return self._catalogue.targets

    def graph(self, target: str) -> Graph:
        """Return the graph of `target`."""
        return self._look_at(target).graph(target)

    def units(self, target: str) -> Iterator[Unit]:
        """Yield the units of `target` that are asked for or needed, in an order in which they could be made."""
        return self._look_at(target).units(target)

    def _look_at(self, target: str) -> Catalogue:
        catalogue = self._catalogue
        if target != self._looked_at:
            wanted = drops.names(catalogue.units(target))
            found = {drop.name: drop for drop in drops.scan(catalogue.project, wanted, self._cache)}
            catalogue.follow(found, [target] if found else [])
            self._looked_at = target
        return catalogue


def _made_in(workdir: Workdir | None) -> tuple[ManifestSource, Path | None]:
    """Return what is made in `workdir`, and the folder where it remembers digests of inputs."""
    if workdir is None or not workdir.store.is_dir():
        return NoManifests(), None
    from fringeflow.store.ledger import Ledger
    from fringeflow.store.objects import StoreSettings, open_store

    return Ledger(open_store(StoreSettings(url=workdir.store.absolute().as_uri()))), workdir.digests


def _read_only(folder: Path) -> ReadOnlyError:
    return ReadOnlyError(
        f"cannot write to {folder}: read-only or not permitted", remedy="give a --workdir that you may write to"
    )
