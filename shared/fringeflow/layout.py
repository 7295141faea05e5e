"""The product tree: finished products under the reference's names, laid out for people.

    DIR/products/{imaging,postprocess,derived}/<target's directory>/<name>

The files are hard links to the store's objects where the file system allows, else copies. They are made read-only,
since a link edited in place would change the store.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from fringeflow.graph.model import Unit, UnitId
from fringeflow.keys.model import Project
from fringeflow.manifest import Artefact, Manifest
from fringeflow.store.objects import Store

INDEX = ".index.json"
Row = Mapping[str, str]
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EOPNOTSUPP}


class ProductTree:
    """The product tree below one folder.

    An index in the tree says which unit each file came from, so that files of units a project no longer has can be
    told from files the user put there.
    """

    def __init__(self, folder: Path, project: Project, store: Store) -> None:
        self.folder = folder
        self._project = project
        self._store = store

    def place(self, manifest: Manifest) -> list[Path]:
        """Lay out the products of `manifest`; return their paths."""
        placed = []
        for artefact in products(manifest):
            path = self._path(manifest.unit, artefact.name)
            if not self._holds(path, artefact):
                self._put(artefact, path)
            placed.append(path)
        if placed:
            row = {"unit": str(manifest.unit), "work_key": manifest.work_key}
            self._record({str(path.relative_to(self.folder)): row for path in placed})
        return placed

    def prune(self, current: Iterable[Unit]) -> list[Path]:
        """Remove the files that were laid out and that none of the units `current` makes; return what was removed."""
        kept = {str(self._path(unit.id, name).relative_to(self.folder)) for unit in current for name in unit.outputs}
        index = self.index()
        stale = [name for name in index if name not in kept]
        for name in stale:
            (self.folder / name).unlink(missing_ok=True)
        if stale:
            self._write({name: row for name, row in index.items() if name not in stale})
        return [self.folder / name for name in stale]

    def index(self) -> dict[str, Row]:
        """Return the files laid out so far: path below the tree -> unit and work key."""
        path = self.folder / INDEX
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _path(self, unit: UnitId, name: str) -> Path:
        return self.folder / unit.stage / self._project.targets[unit.target].directory / name

    def _holds(self, path: Path, artefact: Artefact) -> bool:
        source = self._store.local_path(artefact.key)
        if not path.exists() or path.stat().st_size != artefact.size:
            return False
        return source is None or source.stat().st_mtime_ns == path.stat().st_mtime_ns

    def _put(self, artefact: Artefact, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)
        source = self._store.local_path(artefact.key)
        if source is None:
            self._store.get_file(artefact.key, draft, sha256=artefact.sha256)
        else:
            link_or_copy(source, draft)
        draft.chmod(0o444)
        draft.replace(path)

    def _record(self, rows: Mapping[str, Row]) -> None:
        index = self.index()
        if not rows.items() <= index.items():
            self._write({**index, **rows})

    def _write(self, index: Mapping[str, Row]) -> None:
        draft = self.folder / f"{INDEX}.new"
        draft.write_text(json.dumps(dict(sorted(index.items())), indent=1))
        draft.replace(self.folder / INDEX)


def products(manifest: Manifest) -> list[Artefact]:
    """Return the artefacts of `manifest` that belong in the product tree: the FITS files."""
    return [item for item in manifest.outputs if item.kind == "file" and item.name.endswith(".fits")]


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy where the file system has no links across."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copy2(source, target)
