"""Reading ahead: the same blocks in the same order, errors where they belong, and no thread left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from fringeflow.errors import TransientError
from fringeflow.store.ahead import ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_the_blocks_come_in_order_and_early() -> None:
    fetched: list[int] = []

    def blocks() -> Iterator[bytes]:
        for number in range(20):
            fetched.append(number)
            yield b"%d" % number

    with closing(ahead(blocks())) as chunks:
        assert next(chunks) == b"0"
        time.sleep(0.1)
        assert 3 < len(fetched) < 8
        assert list(chunks) == [b"%d" % number for number in range(1, 20)]
    assert threads() == []


def test_an_error_comes_after_what_was_before_it() -> None:
    def blocks() -> Iterator[bytes]:
        yield b"one"
        raise TransientError("away")

    chunks = ahead(blocks())
    assert next(chunks) == b"one"
    with pytest.raises(TransientError, match="away"):
        next(chunks)
    assert threads() == []


def test_who_leaves_early_leaves_no_thread() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"more"

    with closing(ahead(endless())) as chunks:
        next(chunks)
    assert threads() == []
