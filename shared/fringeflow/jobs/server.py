"""The process that jobs are forked from: it loads libraries while the program that wants the jobs still reads its keys.

Begun early, it loads what every job needs; told what the jobs will be, it loads the rest. A program that ends before it
has told anything takes the server with it.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing import forkserver
from types import ModuleType

from fringeflow.jobs import casa

ASK = "FRINGEFLOW_FORK_SERVER_ASKS"
"""Environment variable of the server: where it asks what to load. Without it, it loads everything."""

_PATIENCE_SECONDS = 30.0  # until a server that was begun asks
_PRELOAD = ("fringeflow.jobs.preload", "fringeflow.jobs.preload_casa")

# Arrays are freed and made again all the time. What they leave is kept for the next: to return it to the kernel and be
# given it back, zeroed, takes a third of the processor time of a job on a small cube.
_KEEPING_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}


@dataclass(frozen=True)
class Load:
    """What a server is to have in memory: stages (None: all that are installed), CASA or not, and its environment."""

    stages: Sequence[str] | None = None
    casa: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


class ForkServer:
    """The fork server of this process, of which there is only one at a time; begun when this is made."""

    def __init__(self) -> None:
        self._asking: socket.socket | None = None
        multiprocessing.get_context("forkserver").set_forkserver_preload(list(_PRELOAD))
        name = f"fringeflow-{os.getpid()}-{uuid.uuid4().hex}"
        asking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        asking.settimeout(_PATIENCE_SECONDS)
        asking.bind(f"\0{name}")  # in no folder: there is nothing to clear away
        asking.listen(1)
        before = server_pid()
        with environment({ASK: name}), without_main():
            forkserver.ensure_running()
        if server_pid() == before:
            asking.close()  # one was running, and has been told
        else:
            self._asking = asking

    def tell(self, load: Load) -> None:
        """Say what the server is to load; only the first time, and only if it was begun here, does it matter."""
        asking, self._asking = self._asking, None
        if asking is not None:  # answered as soon as it asks, whatever this thread is doing then
            threading.Thread(target=_answer, args=(asking, load), name="fork-server", daemon=True).start()


class Question:
    """What a server asks the program that began it: what to load. Asked at once, heard when there is time for it."""

    def __init__(self) -> None:
        self._channel: socket.socket | None = None
        name = os.environ.pop(ASK, None)
        if name is None:
            return
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            channel.connect(f"\0{name}")
        except OSError:  # it waits no more, or it is gone
            if name.split("-")[1] != str(os.getppid()):
                sys.exit(0)
        else:
            self._channel = channel

    def answer(self) -> Load:
        """Wait for the answer; a program that is gone gives none, and this one ends."""
        if self._channel is None:
            return Load()
        said = b""
        with self._channel, contextlib.suppress(OSError):  # one that goes before it has listened resets the connection
            said = self._channel.makefile("rb").read()
        if not said:
            sys.exit(0)
        return Load(**json.loads(said))


def _answer(asking: socket.socket, load: Load) -> None:
    with asking, contextlib.suppress(OSError):  # one that has not asked finds nobody, and loads everything
        channel, _ = asking.accept()
        with channel:
            channel.sendall(json.dumps(asdict(load)).encode())


def server_pid() -> int | None:
    """Return the process number of the fork server, None if there was none yet."""
    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # noqa: SLF001
    return pid


@contextlib.contextmanager
def environment(more: Mapping[str, str]) -> Iterator[None]:
    """Let a fork server that is started now find its environment, and leave this process as it was."""
    before = dict(os.environ)
    try:
        os.environ.update(casa.ONE_THREAD)
        os.environ.update(_KEEPING_MEMORY)
        os.environ.update(more)
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Keep multiprocessing from importing this program's main module again in every child: jobs do not need it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
