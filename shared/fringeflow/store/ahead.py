"""Reads ahead in a thread, so that the net, the digest and the disk work at the same time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable

_DEPTH = 3  # blocks that may wait
_LOOK_SECONDS = 0.5

_Waiting = queue.Queue[bytes | BaseException | None]
"""Blocks, in the end None or what was raised."""


def ahead(chunks: Iterable[bytes]) -> Generator[bytes]:
    """Yield what `chunks` yields, but nothing empty, and raise what it raises; a few are fetched ahead.

    What `chunks` does happens in another thread, which ends when this iterator does.
    """
    waiting: _Waiting = queue.Queue(_DEPTH)
    left = threading.Event()
    thread = threading.Thread(target=_fetch, args=(chunks, waiting, left), name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()
        thread.join()


def _fetch(chunks: Iterable[bytes], waiting: _Waiting, left: threading.Event) -> None:
    try:
        for chunk in chunks:
            if chunk and not _handed_over(chunk, waiting, left):
                return
    except BaseException as error:  # noqa: BLE001 - whatever it is belongs to who asked
        _handed_over(error, waiting, left)
    else:
        _handed_over(None, waiting, left)


def _handed_over(item: bytes | BaseException | None, waiting: _Waiting, left: threading.Event) -> bool:
    """Put `item` where it is waited for; return False when nobody waits any more."""
    while not left.is_set():
        try:
            waiting.put(item, timeout=_LOOK_SECONDS)
        except queue.Full:
            continue
        return True
    return False
