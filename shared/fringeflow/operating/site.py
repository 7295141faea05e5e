"""A place where a project is worked on, opened to look: the folder of a run, or a bucket with its broker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fringeflow.bus.bus import Bus
from fringeflow.bus.journal import FileJournal, JournalReader, StreamJournal
from fringeflow.bus.settings import BusSettings
from fringeflow.catalogue import Builder, Catalogue
from fringeflow.errors import DataError, MissingInputError
from fringeflow.graph.build import STAGES, Selection
from fringeflow.intake import keystore, leaves
from fringeflow.keys.model import Project
from fringeflow.keys.project import load_or_raise
from fringeflow.settings import Settings
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import Store, open_store
from fringeflow.store.settings import StoreSettings
from fringeflow.workdir import Workdir, survey


@dataclass(frozen=True)
class Site:
    """Where the work is done.

    Parameters
    ----------
    bus
        None for the folder of a run, whose services end with it.
    builder
        What builds a target's graph.
    """

    store: Store
    journal: JournalReader
    bus: BusSettings | None
    workdir: Workdir | None = None
    master_key: Path | None = None
    master_name: str = ""
    builder: Builder | None = None

    @property
    def place(self) -> str:
        """What it is called in messages."""
        return str(self.workdir.root) if self.workdir is not None else self.store.place

    def catalogue(self, selection: Selection | None = None) -> Catalogue:
        """Return the state of the project now.

        Raises
        ------
        DataError
            The keys are not known: a folder does not hold them.
        KeysError
            They have errors.
        """
        chosen = selection or Selection()
        project = self.project()
        if self.workdir is not None:
            return survey(project, chosen, self.workdir, self.builder)
        drops = leaves.scan(self.store, project, measure=False)
        return Catalogue(project, chosen, drops, Ledger(self.store), self.builder)

    def project(self) -> Project:
        """Return the project: of the master key given, else of the keys in the bucket."""
        if self.master_key is not None:
            return load_or_raise(self.master_key)
        if self.workdir is not None:
            raise DataError(f"which keys {self.place} was made from is not known", remedy="add --keys MASTER_KEY")
        with tempfile.TemporaryDirectory(prefix="fringeflow-keys-") as folder:
            return keystore.load(self.store, Path(folder) / "keys", self.master_name)

    @contextmanager
    def connected(self) -> Iterator[Bus]:
        """Give the bus for as long as the context lasts.

        Raises
        ------
        DataError
            There is none.
        TransientError
            The broker does not answer.
        """
        if self.bus is None:
            raise DataError(
                f"{self.place} is the folder of a run, which has no broker",
                remedy="`fringeflow run` does there what is left to do; --force UNIT_GLOB does it again",
            )
        bus = Bus(self.bus)
        try:
            bus.declare(STAGES)
            yield bus
        finally:
            bus.close()


def open_site(settings: Settings, workdir: Path | None, master_key: Path | None) -> Site:
    """Return the folder of a run, or without one the bucket and the broker of `settings`.

    Raises
    ------
    MissingInputError
        The folder is not one of a run.
    DataError
        Neither a folder nor a bucket is named.
    """
    if workdir is not None:
        place = Workdir(workdir.absolute())
        if not place.store.is_dir():
            raise MissingInputError(
                f"{workdir} is not the folder of a run: it has no store/", remedy="see `fringeflow run`"
            )
        store = open_store(StoreSettings(url=place.store.as_uri()))
        return Site(store, FileJournal(place.root / "journal.jsonl"), None, place, master_key)
    if settings.store is None:
        raise DataError(
            "neither a folder nor a bucket to look at",
            remedy="give --workdir DIR, or set FRINGEFLOW_STORE__URL=s3://bucket (and FRINGEFLOW_BUS__URL)",
        )
    return Site(
        open_store(settings.store),
        StreamJournal(settings.bus),
        None if settings.bus.in_memory else settings.bus,
        master_key=master_key,
        master_name=settings.master_key,
    )
