"""Scratch folders: one per run, held by a lock for as long as its process lives, so that the dead can be told apart."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Self

from fringeflow.store.faults import faults

_RUN = "run-"
_LOCK = "lock"
_AFTER_SOCKETS = -200  # the folder of its sockets multiprocessing removes at -100
_LONGEST_PATH = 107 - len("/pymp-12345678/listener-12345678")  # bytes; of a socket's name: 107


class RunFolder:
    """A folder below `root` that belongs to this process until `close`."""

    def __init__(self, root: Path) -> None:
        with faults("scratch", str(root)):
            root.mkdir(parents=True, exist_ok=True)
            with _guard(root):
                self.path = (root / f"{_RUN}{os.getpid()}-{secrets.token_hex(4)}").absolute()
                self.path.mkdir()
                self._lock = _lock(self.path / _LOCK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder and give up the lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def sweep(root: Path) -> int:
    """Remove the folders of runs whose process is gone, and return how many; those of living processes stay."""
    removed = 0
    if not root.is_dir():
        return removed
    with faults("scratch", str(root)), _guard(root):
        for folder in sorted(root.glob(f"{_RUN}*")):
            try:
                descriptor = _lock(folder / _LOCK)
            except BlockingIOError:
                continue
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)
            removed += 1
    return removed


def for_this_process(root: Path) -> Path:
    """Return a folder below `root` that is removed when this process ends, after all that multiprocessing removes."""
    folder = RunFolder(root)
    Finalize(None, folder.close, exitpriority=_AFTER_SOCKETS)
    return folder.path


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Let the temporary files of this process lie in `folder`; not where sockets would have too long a name there."""
    before = tempfile.tempdir
    if len(os.fsencode(folder)) <= _LONGEST_PATH:
        tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextmanager
def _guard(root: Path) -> Iterator[None]:
    """Keep a sweep from seeing a run folder between its making and its locking."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int:
    """Take the lock and return its open descriptor; BlockingIOError if another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise
    return descriptor
