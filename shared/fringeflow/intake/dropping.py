"""Puts an input into the bucket, where the key files look for it, and leaves a note of its digest."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fringeflow.errors import DataError, MissingInputError
from fringeflow.intake import leaves
from fringeflow.intake.digests import remember
from fringeflow.keys.model import Project
from fringeflow.store import archive
from fringeflow.store.base import Digesting, Store, read_blocks
from fringeflow.store.untar import SUFFIXES

_TABLE = "table.dat"
PACKED = ".tar.zst"


@dataclass(frozen=True)
class Dropped:
    """What was put: the object, and older archives of the same input that were removed."""

    key: str
    size: int
    sha256: str
    replaced: tuple[str, ...] = ()


def name_for(path: Path, project: Project) -> str:
    """Return the name of the input that the key files mean by the file or measurement set `path`.

    Of several with the same file name it is the one that agrees with most of the folders in `path`.

    Raises
    ------
    DataError
        The key files name none such, or several that agree equally well.
    """
    path = path.absolute()
    own = plain_name(path.name)
    found = [name for name in leaves.names_in(project) if plain_name(PurePosixPath(name).name) == own]
    best = max((_agreement(name, path) for name in found), default=0)
    chosen = [name for name in found if _agreement(name, path) == best]
    if not chosen:
        raise DataError(
            f"the key files of {project.master_key} name no {own}", remedy="add it to the key files, or say --as PATH"
        )
    if len(chosen) > 1:
        raise DataError(f"{path} may be any of {', '.join(chosen)}", remedy="say which with --as PATH")
    return chosen[0]


def drop(store: Store, path: Path, name: str, on_bytes: Callable[[int], None] = lambda _: None) -> Dropped:
    """Put the measurement set, archive or file `path` as the input `name`; it takes the place of what was there.

    `on_bytes` is told, as it goes on, how many more bytes have been read.

    Raises
    ------
    MissingInputError
        There is nothing at `path`.
    DataError
        It is a folder and no measurement set, or the name is unfit.
    """
    try:
        stored = _put(store, path, name, on_bytes)
    except ValueError as error:
        raise DataError(f"{name} cannot be the name of an input: {error}", remedy="say another with --as") from error
    info = store.info(stored.key)
    if info.size == stored.size:
        remember(store, info, stored.sha256)
    older = tuple(key for key in leaves.keys_of(name) if key != stored.key and store.exists(key))
    store.delete(older)
    return Dropped(stored.key, stored.size, stored.sha256, older)


def size_of(path: Path) -> int:
    """Return how many bytes `drop` will read.

    Raises
    ------
    MissingInputError
        There is nothing at `path`.
    """
    if not path.exists():
        raise MissingInputError(
            f"there is no {path}", remedy="give the path of a measurement set, archive or FITS file"
        )
    return archive.size_of(path) if path.is_dir() else path.stat().st_size


def plain_name(name: str) -> str:
    """Return the name of a file without an archive's ending."""
    ending = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
    return name.removesuffix(ending)


def _put(store: Store, path: Path, name: str, on_bytes: Callable[[int], None]) -> Dropped:
    if path.is_dir():
        if not (path / _TABLE).is_file():
            raise DataError(f"{path} is no measurement set: it has no {_TABLE}", remedy="give the folder of one")
        stored = archive.put_directory(store, path, name + PACKED, on_bytes=on_bytes)
        return Dropped(stored.key, stored.size, stored.sha256)
    content = Digesting(_told(read_blocks(path), on_bytes))
    key = name + _ending(path.name, name)
    store.put_chunks(key, content, size_hint=path.stat().st_size)
    return Dropped(key, content.size, content.sha256)


def _told(blocks: Iterable[bytes], on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    for block in blocks:
        on_bytes(len(block))
        yield block


def _ending(file: str, name: str) -> str:
    """Return what the key of an archive has behind the name of its input."""
    ending = next((suffix for suffix in SUFFIXES if file.endswith(suffix)), "")
    return "" if name.endswith(SUFFIXES) else ending.replace(".tgz", ".tar.gz")


def _agreement(name: str, path: Path) -> int:
    """Return how many folders of an input's name, from the last, are those of `path`."""
    pairs = zip(reversed(PurePosixPath(name).parts[1:-1]), reversed(path.parts[:-1]), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
