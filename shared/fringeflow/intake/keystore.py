"""Key files in a bucket: below ``keys/`` as they lie below ``key_dir``, the master key beside them.

Folders of the user's own machine mean nothing there: in the copy of the master key the roots of inputs are the folders
beside ``keys/``, others are comments, and key files are named by their place below ``key_dir``.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fringeflow.errors import DataError, MissingInputError, TransientError
from fringeflow.keys.master import INPUT_ROOTS, LAYOUTS, OUTPUT_ROOTS, expanded, read_master
from fringeflow.keys.model import Project
from fringeflow.keys.problems import Findings, KeysError, Place
from fringeflow.keys.project import load_or_raise
from fringeflow.keys.syntax import read_text, split_columns
from fringeflow.store.base import Store

FOLDER = "keys"
_ROOTS = {root: f"../{'incoming' if root == 'ms_root' else root.removesuffix('_root')}" for root in INPUT_ROOTS}
_DROPPED = frozenset({"key_dir", *OUTPUT_ROOTS})
_NEWLINE = re.compile(r"(\r\n|\r|\n)")
_TRIES = 5


def fingerprint(store: Store) -> str:
    """Return a digest of all key files in the store; it changes when one is put, changed or removed."""
    lines = sorted(f"{info.key}\n{info.size}\n{info.etag}" for info in store.list(FOLDER))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def load(store: Store, folder: Path, master: str) -> Project:
    """Bring all key files of the store into `folder` and return the project of the master key called `master`.

    Raises
    ------
    MissingInputError
        There is no such master key in the store.
    KeysError
        The key files have errors.
    TransientError
        They are being changed all the time.
    """
    for _ in range(_TRIES):
        before = fingerprint(store)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            for info in store.list(FOLDER):
                store.get_file(info.key, folder / info.key.removeprefix(f"{FOLDER}/"))
        except MissingInputError:
            continue  # removed since it was listed
        if fingerprint(store) == before:
            break
    else:
        raise TransientError(f"the key files of {store.place} change while they are being read")
    if not (folder / master).is_file():
        raise MissingInputError(
            f"there is no master key {FOLDER}/{master} in {store.place}",
            remedy="`fringeflow keys push MASTER_KEY`, or set FRINGEFLOW_MASTER_KEY to the name of the one there",
        )
    return load_or_raise(folder / master)


def push(store: Store, master_key: Path) -> list[str]:
    """Make the key files in the store those of a master key, and return which were put or removed.

    What is there already is left alone, so that nothing seems to have changed. The files are tried out first: workers
    will load the very project that is loaded here.

    Raises
    ------
    KeysError
        The key files have errors.
    DataError
        A key file lies outside ``key_dir``.
    """
    files = _files(master_key)
    there = {info.key for info in store.list(FOLDER)}
    changed: list[str] = []
    for name, content in files.items():  # the master key is the last
        key = f"{FOLDER}/{name}"
        if key not in there or store.get_bytes(key) != content:
            store.put_bytes(key, content)
            changed.append(key)
    gone = sorted(there - {f"{FOLDER}/{name}" for name in files})
    store.delete(gone)
    return [*changed, *gone]


def _files(master_key: Path) -> Mapping[str, bytes]:
    """Return what is to lie below ``keys/``, by name, and have tried that it gives the same project."""
    project = load_or_raise(master_key)
    master = read_master(master_key, Findings())
    base = project.roots.key_dir
    named = {path for paths in master.files.values() for path in paths}
    recipes = [recipe for row in project.recipe_files.values() for recipe in row.values()]
    named |= {base / name for stages in recipes for names in stages for name in names.split(",")}
    files = {_below(path, base): path.read_bytes() for path in sorted(named)}
    if master.path.name in files:
        raise DataError(f"{master.path.name} is the name of the master key and of a key file", remedy="rename one")
    files[master.path.name] = portable(master.path, base).encode()
    with tempfile.TemporaryDirectory(prefix="fringeflow-keys-") as scratch:
        for name, content in files.items():
            (Path(scratch) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(scratch) / name).write_bytes(content)
        if not _means(Path(scratch) / master.path.name, project):
            raise DataError(
                f"the key files of {master_key} mean something else when key_dir lies elsewhere",
                remedy="name every key file and recipe by its path below key_dir",
            )
    return files


def _means(master_key: Path, project: Project) -> bool:
    try:
        return load_or_raise(master_key).digest == project.digest
    except KeysError:
        return False


def portable(master_key: Path, key_dir: Path) -> str:
    """Return the text of a master key without folders, and with key files named by their path below `key_dir`."""
    findings = Findings()
    lines = _NEWLINE.split(read_text(master_key, findings))
    return "".join(_portable_line(line, master_key, key_dir, findings) for line in lines)


def _portable_line(line: str, master_key: Path, key_dir: Path, findings: Findings) -> str:
    cells = split_columns(line)
    if not cells:
        return line
    if cells[0] in _ROOTS:
        return f"{cells[0]}  {_ROOTS[cells[0]]}"
    if cells[0] in _DROPPED:
        return f"# {line}"
    if len(cells) != 2 or cells[0] not in LAYOUTS:
        return line
    relative = _below(expanded(cells[1], key_dir, Place(master_key), findings), key_dir)
    return line if relative == cells[1] else f"{cells[0]}  {_quoted(relative)}"


def _quoted(name: str) -> str:
    return f"'{name}'" if re.search(r"\s|^#", name) else name


def _below(path: Path, key_dir: Path) -> str:
    if not path.is_relative_to(key_dir):
        raise DataError(
            f"the key file {path} lies outside of key_dir, {key_dir}", remedy="move it there, for keys in a bucket"
        )
    return path.relative_to(key_dir).as_posix()
