"""Directories as single archives: packed and unpacked as streams, never whole in memory nor twice on disk.

The same directory always gives the same bytes: entries sorted, without owners and times. CASA's lock files travel with
their tables: the number of rows can be found nowhere else.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import zstandard

from fringeflow.errors import CorruptInputError
from fringeflow.store.ahead import ahead
from fringeflow.store.base import Digesting, Store, Stored, exhaust, read_blocks
from fringeflow.store.digests import entries
from fringeflow.store.faults import corrupt, faults
from fringeflow.store.untar import SUFFIXES, untar

LEVEL = 1  # of zstd: three times smaller than a measurement set at 300 MB/s, higher levels gain little
FORMAT = f"tar, zstd {'.'.join(str(part) for part in zstandard.ZSTD_VERSION)} level {LEVEL}"
_TABLE = "table.dat"  # the file that makes a directory a CASA table


def put_directory(
    store: Store, folder: Path, key: str, *, create: bool = False, on_bytes: Callable[[int], None] | None = None
) -> Stored:
    """Pack `folder` into the object `key`; its size and digest are those of the archive.

    `on_bytes` is told, as packing goes on, how many more bytes of files have been read.
    """
    with closing(ahead(pack(folder, on_bytes))) as packed:
        content = Digesting(packed)
        created = store.put_chunks(key, content, create=create, size_hint=size_of(folder))
        if not created:
            content = Digesting(pack(folder))
            exhaust(content)
    return Stored(key, content.size, content.sha256, created)


def get_directory(store: Store, key: str, folder: Path, *, sha256: str | None = None) -> None:
    """Unpack the archive `key` as `folder`, which must not exist; it appears only when its digest is right.

    Raises
    ------
    CorruptInputError
        The archive is damaged, or its digest is not `sha256`.
    """
    _unpack(store.chunks(key), folder, f"{key} of {store.place}", ".tar.zst", sha256, links=True)


def unpack_dropped(archive: Path, folder: Path) -> Path:
    """Unpack a ``.tar``, ``.tar.gz`` or ``.tar.zst`` file into `folder` and return the measurement set in it.

    Raises
    ------
    CorruptInputError
        The archive is damaged, or holds no measurement set, or several.
    """
    return _unpack_dropped(read_blocks(archive), archive.name, folder, str(archive), None)


def get_dropped(store: Store, key: str, folder: Path, *, sha256: str | None = None) -> Path:
    """Do as `unpack_dropped` with an object of the store."""
    return _unpack_dropped(store.chunks(key), key.rpartition("/")[2], folder, f"{key} of {store.place}", sha256)


def pack(folder: Path, on_bytes: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """Return the archive of `folder`, in blocks; `on_bytes` is told what was read."""
    compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()
    for chunk in _tar(folder):
        if on_bytes is not None:
            on_bytes(len(chunk))
        if packed := compressor.compress(chunk):
            yield packed
    yield compressor.flush()


def size_of(folder: Path) -> int:
    """Return the bytes of all files in `folder`."""
    return sum(path.lstat().st_size for _, path in entries(folder))


def _tar(folder: Path) -> Iterator[bytes]:
    with faults(folder.name, str(folder.parent)):
        for name, path in entries(folder):
            member = tarfile.TarInfo(name)
            if path.is_symlink():
                member.type, member.linkname = tarfile.SYMTYPE, str(path.readlink())
            elif path.is_dir():
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            else:
                member.size = path.stat().st_size
            yield member.tobuf(tarfile.PAX_FORMAT)
            if member.isreg():
                yield from _content(path, member.size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _content(path: Path, size: int) -> Iterator[bytes]:
    read = 0
    for block in read_blocks(path):
        read += len(block)
        yield block
    if read != size:
        raise CorruptInputError(
            f"{path} changed while it was being packed", remedy="try again when nobody writes to it"
        )
    yield bytes(-size % tarfile.BLOCKSIZE)


def _unpack_dropped(chunks: Iterable[bytes], name: str, folder: Path, what: str, sha256: str | None) -> Path:
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    if suffix is None:
        raise CorruptInputError(f"{what} is no archive", remedy=f"give one of {', '.join(SUFFIXES)}")
    inside = folder / "dropped"
    _unpack(chunks, inside, what, suffix, sha256)
    tables = _tables(inside)
    if len(tables) != 1:
        found = ", ".join(str(path.relative_to(inside)) for path in tables) or "none"
        shutil.rmtree(inside)
        raise CorruptInputError(
            f"{what} should hold one measurement set: {found} found", remedy="pack one measurement set as one archive"
        )
    return inside.rename(folder / name.removesuffix(suffix)) if tables == [inside] else tables[0]


def _unpack(
    chunks: Iterable[bytes], folder: Path, what: str, suffix: str, sha256: str | None, *, links: bool = False
) -> None:
    draft = folder.with_name(folder.name + ".part")
    content = Digesting(chunks)
    try:
        with faults(str(folder), str(folder.parent)):
            draft.mkdir(parents=True)
        with closing(ahead(content)) as fetched:
            untar(fetched, draft, suffix, what, links=links)
        if sha256 is not None and content.sha256 != sha256:
            raise corrupt(what, content.sha256, sha256)
        with faults(str(folder), str(folder.parent)):
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _tables(folder: Path) -> list[Path]:
    """Return the outermost CASA tables in `folder`."""
    if (folder / _TABLE).is_file():
        return [folder]
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    return [table for path in below for table in _tables(path)]
