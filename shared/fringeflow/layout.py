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
from contextlib import suppress
from pathlib import Path

from fringeflow.graph.model import Unit, UnitId
from fringeflow.keys.model import Project
from fringeflow.manifest import Artefact, Manifest
from fringeflow.store.objects import Store

INDEX = ".index.jsonl"
Row = Mapping[str, str]
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EOPNOTSUPP}


class ProductTree:
    """The product tree below one folder.

    An index in the tree says which unit each file came from, so that files of units a project no longer has can be
    told from files the user put there. It is added to line by line: of a file that has several, the last one counts.
    """

    def __init__(self, folder: Path, project: Project, store: Store) -> None:
        self.folder = folder
        self._project = project
        self._store = store
        self._recorded: dict[str, Row] | None = None

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
        return read_index(self.folder)

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
        if self._recorded is None:
            self._recorded = self.index()
        fresh = {name: row for name, row in rows.items() if self._recorded.get(name) != row}
        if fresh:
            with (self.folder / INDEX).open("a") as file:
                file.write("" if _ends_a_line(self.folder / INDEX) else "\n")
                file.write("".join(f"{json.dumps({name: row})}\n" for name, row in fresh.items()))
            self._recorded |= fresh

    def _write(self, index: Mapping[str, Row]) -> None:
        draft = self.folder / f"{INDEX}.new"
        draft.write_text("".join(f"{json.dumps({name: row})}\n" for name, row in sorted(index.items())))
        draft.replace(self.folder / INDEX)
        self._recorded = dict(index)


def read_index(folder: Path) -> dict[str, Row]:
    """Return the files laid out in the product tree below `folder`: path below it -> unit and work key."""
    path = folder / INDEX
    found: dict[str, Row] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        with suppress(ValueError):  # cut short when a run was killed: the file is laid out again
            found |= json.loads(line)
    return found


def products(manifest: Manifest) -> list[Artefact]:
    """Return the artefacts of `manifest` that belong in the product tree: the FITS files."""
    return [item for item in manifest.outputs if item.kind == "file" and item.name.endswith(".fits")]


def _ends_a_line(path: Path) -> bool:
    """Return whether what is added to a file is a line of its own."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read() in (b"", b"\n")


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy where the file system has no links across."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copy2(source, target)
