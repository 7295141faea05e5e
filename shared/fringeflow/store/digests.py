"""Digests of files and of directory trees, remembered as long as sizes and times of change stay the same."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fringeflow.store.base import Digesting, exhaust, read_blocks
from fringeflow.store.faults import faults

LOCKS = frozenset({"table.lock"})
"""CASA writes to these whenever a table is opened. They are not idle, though: they hold numbers of rows."""


def tree_digest(path: Path, cache: Path | None = None, *, ignored: frozenset[str] = LOCKS) -> str:
    """Return the sha256 of a file's content, or of a directory's names and contents.

    Parameters
    ----------
    path
        A file or a directory.
    cache
        Folder in which digests are remembered. A tree is read again when a name, a size or a time of change in it
        is another than before.
    ignored
        File names that do not count.

    Raises
    ------
    MissingInputError
        There is nothing at `path`.
    """
    with faults(path.name, str(path.parent)):
        path = path.resolve(strict=True)
        if cache is None:
            return _digest(path, ignored)
        state = _state(path, ignored)
        note = cache / f"{hashlib.sha256(os.fsencode(path)).hexdigest()}.json"
        remembered = _remembered(note, state)
    if remembered is None:
        with faults(path.name, str(path.parent)):
            remembered = _digest(path, ignored)
        with faults(note.name, str(cache)):
            _remember(note, state, remembered)
    return remembered


def entries(folder: Path, ignored: frozenset[str] = frozenset()) -> Iterator[tuple[str, Path]]:
    """Return relative name and path of everything below `folder` but files called as in `ignored`, sorted by name.

    Directories are named if they are empty. Links are not followed.
    """
    found: list[tuple[str, Path]] = []
    for parent, folders, files in os.walk(folder, onerror=_raise):
        here = Path(parent)
        kept = [name for name in files if name not in ignored]
        kept += [name for name in folders if (here / name).is_symlink()]
        if not kept and not folders and here != folder:
            found.append((here.relative_to(folder).as_posix(), here))
        found += [((here / name).relative_to(folder).as_posix(), here / name) for name in kept]
    return iter(sorted(found))


def _raise(error: OSError) -> None:
    raise error


def _digest(path: Path, ignored: frozenset[str]) -> str:
    if not path.is_dir():
        content = Digesting(read_blocks(path))
        exhaust(content)
        return content.sha256
    total = hashlib.sha256()
    for name, entry in entries(path, ignored):
        if entry.is_symlink():
            line = ["link", name, str(entry.readlink())]
        elif entry.is_dir():
            line = ["directory", name]
        else:
            line = ["file", name, _digest(entry, ignored)]
        total.update(json.dumps(line).encode() + b"\n")
    return total.hexdigest()


def _state(path: Path, ignored: frozenset[str]) -> str:
    """Return a digest of names, sizes and times of change."""
    total = hashlib.sha256(json.dumps(sorted(ignored)).encode())
    for name, entry in entries(path, ignored) if path.is_dir() else [("", path)]:
        status = entry.lstat()
        line = [name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        total.update(json.dumps(line).encode() + b"\n")
    return total.hexdigest()


def _remembered(note: Path, state: str) -> str | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(note.read_text())
        if content["state"] == state:
            return str(content["sha256"])
    return None


def _remember(note: Path, state: str, digest: str) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    draft = note.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps({"state": state, "sha256": digest}))
    draft.replace(note)
