"""Wakes a thread that waits for descriptors, from another thread or from a signal's handler."""

from __future__ import annotations

import os
from contextlib import suppress
from types import TracebackType
from typing import Self


class Waker:
    """A descriptor that can be read after `wake`, until `clear`. Use as a context."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        os.set_blocking(self._out, False)
        os.set_blocking(self._in, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._out)
        os.close(self._in)

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._out

    def wake(self) -> None:
        """Make the descriptor readable."""
        with suppress(BlockingIOError):  # full: it is readable
            os.write(self._in, b"w")

    def clear(self) -> None:
        """Make the descriptor unreadable again."""
        with suppress(BlockingIOError):
            while os.read(self._out, 4096):
                pass
