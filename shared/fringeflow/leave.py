"""Whether a process has been told to leave, by a signal for one, and how long it may still work."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from structlog import get_logger


class Leave:
    """The request to leave.

    Parameters
    ----------
    grace_seconds
        For what runs, from the time it is told on.
    """

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._since: float | None = None

    @property
    def told(self) -> bool:
        """Whether to take nothing more, and end when what runs has ended."""
        return self._since is not None

    @property
    def overdue(self) -> bool:
        """Whether the grace period has passed."""
        return self._since is not None and time.monotonic() - self._since > self._grace_seconds

    def tell(self) -> None:
        """Ask to leave; asked a second time there is no grace any more."""
        if self._since is None:
            get_logger(__name__).info("leaves", grace_seconds=self._grace_seconds)
            self._since = time.monotonic()
        else:
            self._since = -self._grace_seconds

    @contextmanager
    def by_signals(self, wake: Callable[[], None]) -> Iterator[None]:
        """While the context lasts let SIGTERM and SIGINT tell, and then `wake` whoever waits."""

        def told(_number: int, _frame: FrameType | None) -> None:
            self.tell()
            wake()

        before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
