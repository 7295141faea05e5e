"""A store in a local folder: an object is a file, made under a draft name and then given its own.

Drafts end in ``#<digits>``; listings do not show them. A writer keeps its draft open until it has its name, so that
`FolderStore.sweep` can tell the drafts of the dead from those of the living. An object's digest is noted at its file,
with size and time of change: as long as those are the same, it is not read only to be checked.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from obstore.store import LocalStore

from fringeflow.store.base import Digesting, Store, checked, exhaust, read_blocks
from fringeflow.store.faults import corrupt, faults

_DRAFT = re.compile(r"#\d+$")
_SEAL = "user.fringeflow.sha256"
_UNKNOWN_AGE_SECONDS = 3600.0


class FolderStore(Store):
    """Objects as files below `root`, which is made if it is not there."""

    def __init__(self, root: Path) -> None:
        with faults(root.name, str(root)):
            root.mkdir(parents=True, exist_ok=True)
            super().__init__(LocalStore(root, automatic_cleanup=True), str(root))
        self.root = root

    def put_chunks(self, key: str, chunks: Iterable[bytes], *, create: bool = False, size_hint: int = 0) -> bool:  # noqa: ARG002 - the bucket needs the hint
        """Write an object from blocks of bytes (see `Store.put_chunks`)."""
        path = self.root / checked(key)
        if create and path.exists():
            return False
        draft = path.with_name(f"{path.name}#{os.getpid()}{time.monotonic_ns()}")
        with faults(key, self.place):
            try:
                with _new_file(draft) as descriptor:
                    for chunk in chunks:
                        _write_all(descriptor, chunk)
                    return _give_name(draft, path, create=create)
            finally:
                draft.unlink(missing_ok=True)

    def get_bytes(self, key: str) -> bytes:
        """Return a small object."""
        with faults(key, self.place):
            return (self.root / checked(key)).read_bytes()

    def exists(self, key: str) -> bool:
        """Return whether there is such an object."""
        return (self.root / checked(key)).is_file()

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, and the folders that are empty then (see `Store.delete`)."""
        for key in keys:
            path = self.root / checked(key)
            with faults(key, self.place):
                path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty, or being filled
                for folder in path.parents:
                    if folder == self.root:
                        break
                    folder.rmdir()

    def link_file(self, path: Path, key: str, *, sha256: str | None = None) -> bool:
        """Take a file as an object (see `Store.link_file`); it is made read-only."""
        target = self.root / checked(key)
        with faults(key, self.place):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, target)
            except FileExistsError:
                return True
            except OSError as error:
                if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                    return False
                raise
            if sha256 is not None:
                _seal(target, sha256)
            target.chmod(0o444)
        return True

    def get_file(self, key: str, path: Path, *, sha256: str | None = None) -> None:
        """Bring an object to a local path: as a hard link where that can be, to be read only."""
        source = self.root / checked(key)
        with faults(key, self.place):
            source.stat()
        if not _linked(source, path):
            super().get_file(key, path, sha256=sha256)
            return
        if sha256 is None or _sealed(source) == sha256:
            return
        content = Digesting(read_blocks(source))
        exhaust(content)
        if content.sha256 != sha256:
            path.unlink()
            raise corrupt(str(source), content.sha256, sha256)
        _seal(source, sha256)

    def local_path(self, key: str) -> Path | None:
        """Return the path of an object."""
        return self.root / checked(key)

    def sweep(self, min_age_seconds: float | None = None) -> int:
        """Remove drafts of dead writers and empty folders (see `Store.sweep`)."""
        removed = 0
        with faults("drafts", self.place):
            for folder, _, names in os.walk(self.root, topdown=False):
                for name in names:
                    removed += bool(_DRAFT.search(name)) and _remove_draft(Path(folder, name), min_age_seconds)
                if Path(folder) != self.root:
                    with suppress(OSError):  # not empty, or being filled
                        Path(folder).rmdir()
        return removed


@contextmanager
def _new_file(path: Path) -> Iterator[int]:
    """Open a new file for writing; its folder may be removed by a sweep at any moment before that."""
    while True:
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            break
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _seal(path: Path, sha256: str) -> None:
    """Note the digest of a file at it, where the file system can and the file may be changed."""
    with suppress(OSError):
        os.setxattr(path, _SEAL, f"{_state(path)} {sha256}".encode())


def _sealed(path: Path) -> str | None:
    """Return the digest that was noted at a file, if the file is still what it was."""
    try:
        state, _, sha256 = os.getxattr(path, _SEAL).decode().rpartition(" ")
    except OSError:
        return None
    return sha256 if state == _state(path) else None


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"


def _linked(source: Path, path: Path) -> bool:
    """Make `path` a link to `source` and return True, if both are on one file system that has links."""
    with faults(str(path), str(path.parent)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    try:
        os.link(source, path)
    except OSError:
        return False
    return True


def _write_all(descriptor: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _give_name(draft: Path, path: Path, *, create: bool) -> bool:
    if not create:
        draft.replace(path)
        return True
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    return True


def _remove_draft(path: Path, min_age_seconds: float | None) -> bool:
    """Remove a draft unless it is younger than asked or someone has it open; return whether it was removed."""
    try:
        age = time.time() - path.stat().st_mtime
        if age < (min_age_seconds or 0.0) or _is_open(path, age):
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _is_open(path: Path, age_seconds: float) -> bool:
    """Return whether any process has the file open: only then is a write lease refused."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return True
        return age_seconds < _UNKNOWN_AGE_SECONDS  # no leases here: judge by age
    else:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    finally:
        os.close(descriptor)
