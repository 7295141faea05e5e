"""What a broker's queues of delay do, inside a process: tasks that are due at a time."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator

from fringeflow.events import Task


class Later:
    """Tasks that wait, the soonest first; those of one time in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Task]] = []
        self._count = 0

    def put(self, delay_seconds: float, tasks: Iterable[Task]) -> None:
        """Keep `tasks` for so long."""
        due = time.monotonic() + delay_seconds
        for task in tasks:
            self._count += 1
            heapq.heappush(self._waiting, (due, self._count, task))

    def due(self) -> Iterator[Task]:
        """Yield what is due, and forget it."""
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            yield heapq.heappop(self._waiting)[2]

    def seconds_to_next(self, most: float) -> float:
        """Return the time until something is due, `most` at most."""
        return min(most, max(0.0, self._waiting[0][0] - time.monotonic())) if self._waiting else most
