"""Unpacks an archive that comes as a stream into a folder, writing there and nowhere else, whoever made the archive.

Archives made with plain tar are taken as they are: absolute names lose their slash, hard links become the file they
name. A symbolic link is refused unless the archive is our own, and so is what is neither file nor folder.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import posixpath
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import zstandard

from fringeflow.errors import CorruptInputError, FringeflowError
from fringeflow.store.ahead import ahead
from fringeflow.store.base import BLOCK, exhaust
from fringeflow.store.faults import faults

SUFFIXES = (".tar.zst", ".tar.gz", ".tgz", ".tar")
_PIECE = 1 << 18  # bytes, that stay in the processor's cache on their way
_END = 2 * tarfile.BLOCKSIZE  # bytes: zeros that end every archive
_MISFITS = frozenset(
    {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP, errno.ENOENT}
)


def untar(chunks: Iterable[bytes], folder: Path, suffix: str, what: str, *, links: bool = False) -> None:
    """Unpack the archive that `chunks` make up into `folder`, which is there and empty; all chunks are read.

    Parameters
    ----------
    suffix
        The kind of archive: one of `SUFFIXES`.
    what
        What the archive is called in messages.
    links
        Take symbolic links, in archives that we made ourselves.

    Raises
    ------
    CorruptInputError
        The archive is damaged or cut short, or holds what is refused.
    """
    try:
        with closing(ahead(_decompressed(chunks, suffix))) as plain:
            _extract(_Plain(plain), folder, links=links)
    except FringeflowError:
        raise
    except (tarfile.TarError, ValueError) as error:
        raise CorruptInputError(
            f"{what} cannot be unpacked: {error}", remedy="make the archive again and put it there again"
        ) from error


def _decompressed(chunks: Iterable[bytes], suffix: str) -> Iterator[bytes]:
    """Yield the archive without its compression, in blocks; all of `chunks` is read."""
    source = iter(chunks)
    try:
        if suffix == ".tar":
            yield from source
        elif suffix == ".tar.zst":
            feed: Any = _Feed(source)
            with zstandard.ZstdDecompressor().stream_reader(feed, read_across_frames=True) as plain:
                yield from iter(lambda: plain.read(_PIECE), b"")
        else:
            with gzip.GzipFile(fileobj=io.BufferedReader(_Reader(source), BLOCK), mode="rb") as unzipped:
                yield from iter(lambda: unzipped.read(_PIECE), b"")
    except (zstandard.ZstdError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise tarfile.ReadError(str(error)) from error
    exhaust(source)


def _extract(plain: _Plain, folder: Path, *, links: bool) -> None:
    symlinks: dict[Path, str] = {}
    reader: Any = plain
    with faults(str(folder), str(folder.parent)), tarfile.open(fileobj=reader, mode="r:") as archive:
        for member in archive:
            target = folder / _inside(member.name)
            if member.issym() and links:
                _inside(posixpath.join(posixpath.dirname(member.name), member.linkname))
                symlinks[target] = member.linkname
            else:
                with _misfits(member.name):
                    _write(plain, member, target, folder)
            plain.seek(archive.offset)
        plain.finish()
        for target, aim in symlinks.items():  # last, so that nothing is written through one
            with _misfits(str(target)):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(aim)


def _write(plain: _Plain, member: tarfile.TarInfo, target: Path, folder: Path) -> None:
    """Write one member below `folder` (Python 3.11.2 has no extraction filters)."""
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # of two members of one name the later counts
    if member.islnk():
        os.link(folder / _inside(member.linkname), target)
        return
    if not member.isreg() or member.issparse():
        raise tarfile.TarError(f"{member.name} is neither file nor folder")
    with target.open("xb", buffering=0) as file:
        for piece in plain.pieces(member.size):
            rest = piece
            while rest:
                rest = rest[file.write(rest) :]


def _inside(name: str) -> str:
    """Return a member's name below the folder it is unpacked to, as tar does: without the slash in front."""
    normal = posixpath.normpath(name.lstrip("/"))
    if normal == ".." or normal.startswith("../"):
        raise tarfile.TarError(f"{name} leads outside the archive's folder")
    return normal


@contextmanager
def _misfits(name: str) -> Iterator[None]:
    """Blame the archive for members that do not fit each other or any file system."""
    try:
        yield
    except OSError as error:
        if error.errno not in _MISFITS:
            raise
        raise tarfile.TarError(f"{name} cannot be written: {error.strerror}") from error


class _Plain:
    """An uncompressed archive as a file that only goes forward, and hands out what it has without copying."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self._place = 0
        self._tail = b""

    def tell(self) -> int:
        """Return how many bytes have been read."""
        return self._place

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer only at the end."""
        return b"".join(self._pieces(size))

    def seek(self, place: int) -> None:
        """Go forward to `place`."""
        exhaust(self.pieces(place - self._place))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield so many bytes in pieces.

        Raises
        ------
        tarfile.ReadError
            The archive ends before.
        """
        end = self._place + size
        yield from self._pieces(size)
        if self._place != end:
            raise tarfile.ReadError("it ends early")

    def finish(self) -> None:
        """Read to the end.

        Raises
        ------
        tarfile.ReadError
            It is not the end of an archive.
        """
        while self._more():
            self._rest = self._rest[:0]
        if self._tail != bytes(_END):
            raise tarfile.ReadError("its end is missing")

    def _pieces(self, size: int) -> Iterator[memoryview]:
        while size > 0 and self._more():
            piece = self._rest[:size]
            self._rest = self._rest[len(piece) :]
            self._place += len(piece)
            size -= len(piece)
            yield piece

    def _more(self) -> bool:
        """Return whether there is anything left, and have it at hand."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._rest = memoryview(chunk)
            self._tail = (self._tail + chunk[-_END:])[-_END:]
        return True


class _Feed:
    """Chunks of bytes as what the decompressor reads from: it takes them as they come."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, _: int) -> bytes:
        """Return the next chunk, nothing at the end."""
        return next(self._chunks, b"")


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
