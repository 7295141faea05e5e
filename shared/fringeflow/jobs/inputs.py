"""Brings what a unit needs to local disk, checks it against its digest, and writes the order for the stage."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from fringeflow.errors import CorruptInputError
from fringeflow.jobs.order import Order
from fringeflow.jobs.request import TaskUnit
from fringeflow.manifest import Artefact
from fringeflow.store import archive
from fringeflow.store.artefacts import fetch
from fringeflow.store.base import Store
from fringeflow.store.digests import tree_digest
from fringeflow.store.untar import SUFFIXES


class Fetcher:
    """Brings artefacts into `folder`, each once."""

    def __init__(self, store: Store, folder: Path, digest_cache: Path) -> None:
        self._store = store
        self._folder = folder
        self._digest_cache = digest_cache
        self._here: dict[str, Path] = {}

    def order(self, task: TaskUnit) -> Order:
        """Return the order for `task`, with all its inputs on local disk."""
        made = [item for item in task.inputs if item.work_key is not None]
        dropped = [item for item in task.inputs if item.work_key is None]
        return Order(
            unit=task.unit,
            work_key=task.work_key,
            inputs={item.source: {file.name: self._output(file) for file in item.artefacts} for item in made},
            leaves={item.source: self._leaf(file) for item in dropped for file in item.artefacts},
            facts=task.facts,
            ancestors=task.ancestors,
        )

    def _output(self, artefact: Artefact) -> Path:
        if artefact.key not in self._here:
            self._here[artefact.key] = fetch(self._store, artefact, self._new_folder())
        return self._here[artefact.key]

    def _leaf(self, artefact: Artefact) -> Path:
        if artefact.key not in self._here:
            in_place = artefact.key.startswith("file://")
            self._here[artefact.key] = self._in_place(artefact) if in_place else self._dropped(artefact)
        return self._here[artefact.key]

    def _in_place(self, artefact: Artefact) -> Path:
        path = Path(unquote(urlsplit(artefact.key).path))
        found = tree_digest(path, self._digest_cache)
        if found != artefact.sha256:
            raise CorruptInputError(
                f"{path} is not what it was when the work was planned (sha256 {found}, was {artefact.sha256})",
                remedy="run again when nobody writes to it",
            )
        if path.is_dir() or not path.name.endswith(SUFFIXES):
            return path
        return archive.unpack_dropped(path, self._new_folder())

    def _dropped(self, artefact: Artefact) -> Path:
        if artefact.key.endswith(SUFFIXES):
            return archive.get_dropped(self._store, artefact.key, self._new_folder(), sha256=artefact.sha256)
        return fetch(self._store, artefact, self._new_folder())

    def _new_folder(self) -> Path:
        folder = self._folder / f"{len(self._here):03d}"
        folder.mkdir(parents=True)
        return folder
