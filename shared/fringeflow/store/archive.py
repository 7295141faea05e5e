"""Directories as single archives: packed and unpacked as streams, never whole in memory nor twice on disk.

The same directory always gives the same bytes: entries sorted, without owners and times. CASA's lock files travel with
their tables: the number of rows can be found nowhere else.
"""

from __future__ import annotations

import io
import posixpath
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import zstandard

from fringeflow.errors import CorruptInputError, FringeflowError
from fringeflow.store.base import Digesting, Store, Stored, exhaust, read_blocks
from fringeflow.store.digests import entries
from fringeflow.store.faults import corrupt, faults

LEVEL = 1  # of zstd: three times smaller than a measurement set at 300 MB/s, higher levels gain little
FORMAT = f"tar, zstd {'.'.join(str(part) for part in zstandard.ZSTD_VERSION)} level {LEVEL}"
SUFFIXES = (".tar.zst", ".tar.gz", ".tgz", ".tar")
_TABLE = "table.dat"  # the file that makes a directory a CASA table


def put_directory(store: Store, folder: Path, key: str, *, create: bool = False) -> Stored:
    """Pack `folder` into the object `key`; its size and digest are those of the archive."""
    content = Digesting(pack(folder))
    if not store.put_chunks(key, content, create=create, size_hint=sum(size for _, size in _sizes(folder))):
        content = Digesting(pack(folder))
        exhaust(content)
        return Stored(key, content.size, content.sha256, created=False)
    return Stored(key, content.size, content.sha256, created=True)


def get_directory(store: Store, key: str, folder: Path, *, sha256: str | None = None) -> None:
    """Unpack the archive `key` as `folder`, which must not exist; it appears only when its digest is right.

    Raises
    ------
    CorruptInputError
        The archive is damaged, or its digest is not `sha256`.
    """
    _unpack(store.chunks(key), folder, f"{key} of {store.place}", ".tar.zst", sha256)


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


def pack(folder: Path) -> Iterator[bytes]:
    """Return the archive of `folder`, in blocks."""
    compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()
    for chunk in _tar(folder):
        if packed := compressor.compress(chunk):
            yield packed
    yield compressor.flush()


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
    content = Digesting(read_blocks(path))
    yield from content
    if content.size != size:
        raise CorruptInputError(
            f"{path} changed while it was being packed", remedy="try again when nobody writes to it"
        )
    yield bytes(-size % tarfile.BLOCKSIZE)


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    for name, path in entries(folder):
        yield name, path.lstat().st_size


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


def _unpack(chunks: Iterable[bytes], folder: Path, what: str, suffix: str, sha256: str | None) -> None:
    draft = folder.with_name(folder.name + ".part")
    content = Digesting(chunks)
    try:
        with faults(str(folder), str(folder.parent)):
            draft.mkdir(parents=True)
        _extract(content, draft, what, suffix)
        if sha256 is not None and content.sha256 != sha256:
            raise corrupt(what, content.sha256, sha256)
        with faults(str(folder), str(folder.parent)):
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _extract(content: Digesting, folder: Path, what: str, suffix: str) -> None:
    source = _Reader(content)
    try:
        if suffix == ".tar.zst":
            with zstandard.ZstdDecompressor().stream_reader(
                io.BufferedReader(source), read_across_frames=True
            ) as plain:
                _extract_tar(plain, "r|", folder)
        else:
            _extract_tar(source, "r|" if suffix == ".tar" else "r|gz", folder)
        exhaust(iter(lambda: source.read(1 << 20), b""))
    except FringeflowError:
        raise
    except (tarfile.TarError, zstandard.ZstdError, EOFError, ValueError) as error:
        raise CorruptInputError(
            f"{what} cannot be unpacked: {error}", remedy="make the archive again and put it there again"
        ) from error


def _extract_tar(source: io.RawIOBase | zstandard.ZstdDecompressionReader, mode: str, folder: Path) -> None:
    with faults(str(folder), str(folder.parent)), tarfile.open(fileobj=source, mode=mode) as archive:  # type: ignore[call-overload]
        for member in archive:
            _extract_member(archive, member, folder)
        exhaust(iter(lambda: source.read(1 << 20), b""))


def _extract_member(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one file, folder or link below `folder` and nothing outside (Python 3.11.2 has no extraction filters)."""
    if _leads_outside(member.name) or (
        member.issym() and _leads_outside(member.linkname, posixpath.dirname(member.name))
    ):
        raise tarfile.TarError(f"{member.name} leads outside the archive's folder")
    target = folder / member.name
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    if member.issym():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(member.linkname)
        return
    content = archive.extractfile(member) if member.isreg() else None
    if content is None:
        raise tarfile.TarError(f"{member.name} is neither file, folder nor link")
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
        if file.tell() != member.size:
            raise tarfile.ReadError(f"{member.name} ends early")


def _leads_outside(name: str, start: str = "") -> bool:
    normal = posixpath.normpath(posixpath.join(start, name))
    return normal.startswith(("/", "../")) or normal == ".."


def _tables(folder: Path) -> list[Path]:
    """Return the outermost CASA tables in `folder`."""
    if (folder / _TABLE).is_file():
        return [folder]
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    return [table for path in below for table in _tables(path)]


class _Reader(io.RawIOBase):
    """Chunks of bytes as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
