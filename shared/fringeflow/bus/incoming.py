"""What comes from the queues of one connection after another: which are consumed, what has come, what is settled.

Each queue is consumed on a channel of its own, for as long as the connection lasts: what was taken is settled on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from fringeflow.bus.parcel import Received
from fringeflow.bus.transport import Consumer, Queue


class Incoming:
    """The queues that are consumed. What is asked for outlives a connection; what has come by it does not.

    Parameters
    ----------
    acknowledges_many
        Whether the transport can acknowledge everything up to a message at once.
    """

    def __init__(self, *, acknowledges_many: bool) -> None:
        self._acknowledges_many = acknowledges_many
        self._connection: Any = None
        self._generation = 0
        self._prefetch: dict[str, int] = {}
        self._channels: dict[str, Any] = {}
        self._consumers: dict[str, Any] = {}
        self._untaken: dict[str, deque[Received]] = {}
        self._unsettled: dict[str, dict[int, None]] = {}  # tags in the order in which they came
        self.news: set[str] = set()
        """Queues in which something has come since they were last looked at."""

    def begin(self, connection: Any, generation: int) -> None:
        """Consume what is asked for by a new connection."""
        self._connection, self._generation = connection, generation
        for queue in self._prefetch:
            self._consume(queue)

    def forget(self) -> None:
        """Forget what came by a connection that is lost."""
        self._connection = None
        for known in (self._channels, self._consumers, self._untaken, self._unsettled, self.news):
            known.clear()

    def wants(self, queue: str) -> bool:
        """Return whether `queue` is to be consumed."""
        return queue in self._prefetch

    def want(self, queue: str, prefetch: int) -> None:
        """Consume `queue`, from the next connection on if there is none; at most `prefetch` are held unsettled."""
        self._prefetch[queue] = prefetch
        if self._connection is not None:
            self._consume(queue)

    def stop(self, queue: str) -> None:
        """Consume `queue` no more."""
        self._prefetch.pop(queue, None)
        consumer = self._consumers.pop(queue, None)
        if consumer is not None:
            consumer.cancel()

    def untaken(self, queue: str) -> int:
        """Return how many messages of `queue` have come and were not taken."""
        return len(self._untaken.get(queue, ()))

    def take(self, queues: Sequence[str], limit: int | None = None) -> list[Received]:
        """Return what has come in `queues`, up to `limit`."""
        self.news.difference_update(queues)
        found: list[Received] = []
        for queue in queues:
            waiting = self._untaken.get(queue, deque())
            count = len(waiting) if limit is None else min(limit - len(found), len(waiting))
            found += [waiting.popleft() for _ in range(count)]
        return found

    def acknowledge(self, several: Sequence[Received]) -> None:
        """Settle messages of this connection, with as few words as can be."""
        for queue in dict.fromkeys(received.queue for received in several):
            mine = {received.raw.delivery_tag: received.raw for received in several if received.queue == queue}
            unsettled = self._unsettled.get(queue, {})
            oldest = self._oldest(unsettled, mine) if self._acknowledges_many else []
            if len(oldest) > 1:
                mine[oldest[-1]].ack(multiple=True)
            else:
                oldest = []
            for tag in mine.keys() - set(oldest):
                mine[tag].ack()
            for tag in mine:
                unsettled.pop(tag, None)

    @staticmethod
    def _oldest(unsettled: dict[int, None], mine: dict[int, Any]) -> list[int]:
        """Return the tags among `mine` before which nothing is unsettled that is not among them."""
        found = []
        for tag in unsettled:
            if tag not in mine:
                break
            found.append(tag)
        return found

    def received(self, queue: str, message: Any) -> Received:
        """Return a message as it is handed on."""
        body = message.body if isinstance(message.body, bytes) else str(message.body or "").encode()
        headers = dict(message.headers or {})
        return Received(queue, body, str(message.content_type or ""), headers, self._generation, message)

    def _consume(self, queue: str) -> None:
        if queue not in self._channels:
            self._channels[queue] = self._connection.channel()
        self._consumers[queue] = Consumer(
            self._channels[queue],
            queues=[Queue(queue)],
            on_message=lambda message: self._on_message(queue, message),
            auto_declare=False,
            prefetch_count=self._prefetch[queue],
        )
        self._consumers[queue].consume()

    def _on_message(self, queue: str, message: Any) -> None:
        self._unsettled.setdefault(queue, {})[message.delivery_tag] = None
        self._untaken.setdefault(queue, deque()).append(self.received(queue, message))
        self.news.add(queue)
