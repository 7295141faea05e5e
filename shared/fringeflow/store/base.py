"""The interface of a store: immutable objects under text keys, each written whole or not at all.

Must not know what the objects mean. `open_store` (in `objects`) chooses between the folder and the bucket.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.store import ObjectStore

from fringeflow.errors import MissingInputError
from fringeflow.store.faults import corrupt, faults

if TYPE_CHECKING:
    from obstore import ObjectMeta

BLOCK = 1 << 20  # bytes read at a time

# no text, dots, a draft's name, a control character, a drive letter (a path to the client)
_UNFIT = re.compile(r"[\x00-\x1f]|(?:^|/)(?:\.{0,2}|[^/]*:|[^/]*#\d+)(?:/|$)")


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing says about an object.

    `etag` is another whenever the object was put again with another content; objects compare by key and size.
    """

    key: str
    size: int
    etag: str = field(default="", compare=False)


@dataclass(frozen=True)
class Stored:
    """What was put: `created` is false when an object was there already and stayed."""

    key: str
    size: int
    sha256: str
    created: bool


class Digesting:
    """Passes chunks of bytes through and keeps their count and digest."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self._hash = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._hash.update(chunk)
            self.size += len(chunk)
            yield chunk

    @property
    def sha256(self) -> str:
        """The digest of what has passed so far."""
        return self._hash.hexdigest()


class Store(ABC):
    """Objects under keys such as ``artefacts/imaging/ngc5921/<work key>/<digest>/<name>``.

    `place` is what it is called in messages; `prefix` is what comes before every key where others share the bucket.
    Every method raises TransientError, DiskFullError, ReadOnlyError or MissingInputError for what the medium does.
    """

    def __init__(self, backend: ObjectStore, place: str, prefix: str = "") -> None:
        self._backend = backend
        self.place = place
        self.prefix = prefix

    def put_bytes(self, key: str, data: bytes, *, create: bool = False) -> bool:
        """Write a small object; with `create`, return False and change nothing if it exists already."""
        return self.put_chunks(key, [data], create=create, size_hint=len(data))

    def get_bytes(self, key: str) -> bytes:
        """Return a small object."""
        with faults(key, self.place):
            return bytes(obstore.get(self._backend, checked(key)).bytes())

    def exists(self, key: str) -> bool:
        """Return whether there is such an object."""
        try:
            self.size(key)
        except MissingInputError:
            return False
        return True

    def size(self, key: str) -> int:
        """Return the number of bytes of an object."""
        return self.info(key).size

    def info(self, key: str) -> ObjectInfo:
        """Return what a listing says about one object."""
        with faults(key, self.place):
            return _info(obstore.head(self._backend, checked(key)))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Return what lies below `prefix` (whole path segments), in no particular order."""
        with faults(prefix or "the listing", self.place):
            for page in obstore.list(self._backend, prefix or None):
                yield from map(_info, page)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; that one is not there is no error."""
        for key in keys:
            try:
                with faults(key, self.place):
                    obstore.delete(self._backend, checked(key))
            except MissingInputError:
                continue

    def put_file(self, path: Path, key: str, *, create: bool = False) -> Stored:
        """Write a file as an object, in blocks, taking its digest on the way."""
        content = Digesting(read_blocks(path))
        created = self.put_chunks(key, content, create=create, size_hint=path.stat().st_size)
        if not created:
            content = Digesting(read_blocks(path))
            exhaust(content)
        return Stored(key, content.size, content.sha256, created)

    def get_file(self, key: str, path: Path, *, sha256: str | None = None) -> None:
        """Write an object to a local file, in blocks; CorruptInputError if its digest is not `sha256`."""
        content = Digesting(self.chunks(key))
        draft = path.with_name(path.name + ".part")
        try:
            with faults(str(path), str(path.parent)):
                path.parent.mkdir(parents=True, exist_ok=True)
                with draft.open("wb") as file:
                    for chunk in content:
                        file.write(chunk)
            if sha256 is not None and content.sha256 != sha256:
                raise corrupt(f"{key} of {self.place}", content.sha256, sha256)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def chunks(self, key: str) -> Iterator[bytes]:
        """Return the content of an object, in blocks."""
        with faults(key, self.place):
            for chunk in obstore.get(self._backend, checked(key)).stream(min_chunk_size=BLOCK):
                yield bytes(chunk)

    @abstractmethod
    def put_chunks(self, key: str, chunks: Iterable[bytes], *, create: bool = False, size_hint: int = 0) -> bool:
        """Write an object from blocks of bytes; visible only when all of it is there.

        With `create`, return False if it exists already. `size_hint` is the number of bytes to expect, about.
        """

    @abstractmethod
    def link_file(self, path: Path, key: str, *, sha256: str | None = None) -> bool:
        """Take a file that nobody will write to again as an object without copying it; False where that cannot be.

        `sha256` is its digest, if that is known.
        """

    @abstractmethod
    def local_path(self, key: str) -> Path | None:
        """Return the path of an object that is a local file (not to be written to), else None."""

    @abstractmethod
    def sweep(self, min_age_seconds: float | None = None) -> int:
        """Remove what writers that were killed left behind, and return how many pieces; never of live writers."""


def _info(meta: ObjectMeta) -> ObjectInfo:
    return ObjectInfo(meta["path"], int(meta["size"]), (meta["e_tag"] or "").strip('"'))


def checked(key: str) -> str:
    """Return `key` if every store can hold it."""
    if not key or _UNFIT.search(key):
        raise ValueError(f"not a key that every store can hold: {key!r}")
    return key


def read_blocks(path: Path) -> Iterator[bytes]:
    """Return the content of a local file, in blocks."""
    with faults(path.name, str(path.parent)), path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def exhaust(chunks: Iterable[object]) -> None:
    """Read everything, keeping nothing."""
    for _ in chunks:
        pass
