"""The files of a unit in the store: under a key that names unit, work key and content, so nothing is overwritten."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from fringeflow.errors import CorruptInputError, MissingInputError
from fringeflow.graph.model import UnitId
from fringeflow.manifest import Artefact, Manifest
from fringeflow.store import archive
from fringeflow.store.base import Store
from fringeflow.store.digests import tree_digest


def upload(
    store: Store, unit: UnitId, work_key: str, outputs: Mapping[str, Path], *, own: Path | None = None
) -> tuple[Artefact, ...]:
    """Put the files and directories a unit made into the store; what is there already is left.

    Parameters
    ----------
    outputs
        Name of the artefact to local path.
    own
        Files below this folder will not be written to again: a store in a folder links them instead of copying.
    """
    below = folder_of(unit, work_key)
    return tuple(_upload(store, below, name, path, own) for name, path in sorted(outputs.items()))


def fetch(store: Store, artefact: Artefact, folder: Path) -> Path:
    """Bring an artefact into `folder` under its name, check its digest, and return its path; it is to be read only.

    Raises
    ------
    MissingInputError, CorruptInputError
        The artefact is not in the store, or not what was put there.
    """
    path = folder / artefact.name
    if artefact.kind == "directory":
        archive.get_directory(store, artefact.key, path, sha256=artefact.sha256)
    else:
        store.get_file(artefact.key, path, sha256=artefact.sha256)
    return path


def clean_strays(store: Store, manifest: Manifest) -> int:
    """Remove what an attempt that was killed left under this work key, and return how many objects that were.

    `manifest` must have been committed: what it names stays.
    """
    named = {artefact.key for artefact in manifest.outputs}
    strays = [info.key for info in store.list(folder_of(manifest.unit, manifest.work_key)) if info.key not in named]
    store.delete(strays)
    return len(strays)


def folder_of(unit: UnitId, work_key: str) -> str:
    """Return below which key everything of a unit lies; what its manifest does not name goes when that is written."""
    return f"artefacts/{unit.stage}/{unit.target}/{work_key}"


def _upload(store: Store, below: str, name: str, path: Path, own: Path | None) -> Artefact:
    if not path.exists():
        raise MissingInputError(f"{path} was promised as {name} but not made")
    digest = tree_digest(path, ignored=frozenset())
    if path.is_dir():
        # Another release of the compressor may write other bytes: they get another key.
        content = hashlib.sha256(f"{digest} {archive.FORMAT}".encode()).hexdigest()
        stored = archive.put_directory(store, path, f"{below}/{content[:16]}/{name}.tar.zst", create=True)
        return Artefact(name=name, kind="directory", key=stored.key, size=stored.size, sha256=stored.sha256)
    key = f"{below}/{digest[:16]}/{name}"
    size = path.stat().st_size
    if own is None or not _is_below(path, own) or not store.link_file(path, key, sha256=digest):
        stored = store.put_file(path, key, create=True)
        if stored.sha256 != digest:
            raise CorruptInputError(f"{path} changed while it was being stored")
    return Artefact(name=name, kind="file", key=key, size=size, sha256=digest)


def _is_below(path: Path, folder: Path) -> bool:
    """Return whether `path` is a file of its own in `folder`, no link to one elsewhere."""
    return not path.is_symlink() and path.stat().st_nlink == 1 and path.resolve().is_relative_to(folder.resolve())
