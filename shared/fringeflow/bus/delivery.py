"""A message in hand: what was taken from a queue and what can be done with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from fringeflow.bus.parcel import Received
from fringeflow.events import Message, UnreadableMessageError, parse, parse_task

REASON_HEADER = "x-fringeflow-reason"
SENT_HEADER = "x-fringeflow-sent"

M = TypeVar("M", bound="Message | bytes")


class Settler(Protocol):
    """Whoever can tell the broker what became of a message; each method returns whether that had an effect."""

    def settle_done(self, *several: Received) -> bool:
        """Acknowledge."""
        ...

    def settle_again(self, received: Received) -> bool:
        """Give it back to its own queue."""
        ...

    def settle_dead(self, received: Received, reason: str) -> bool:
        """Send it to the stage's dead letters."""
        ...

    def holds(self, received: Received) -> bool:
        """Return whether the broker still counts `received` as ours."""
        ...


class Delivery(Generic[M]):
    """A message that is ours until one of `ack`, `requeue`, `reject` is called.

    Each returns whether it had an effect: on a connection lost since, the broker gives the message out again by
    itself and there is nothing to settle.
    """

    def __init__(self, message: M, received: Received, settler: Settler) -> None:
        self.message = message
        self.received = received
        self._settler = settler
        self.settled = False
        self._taken_at = time.time()

    @property
    def deliveries(self) -> int:
        """How often the broker has handed this out, this time included: workers that died on it count."""
        return self.received.deliveries

    @property
    def sent_at(self) -> float:
        """When it was published, by the sender's clock; 0 if the sender did not say."""
        return float(self.received.headers.get(SENT_HEADER, 0.0))

    @property
    def waited_seconds(self) -> float | None:
        """How long it lay in its queue, by the clocks of sender and taker; None if the sender did not say."""
        return max(0.0, self._taken_at - self.sent_at) if self.sent_at else None

    @property
    def alive(self) -> bool:
        """Whether it is still ours: not settled, and the connection it came by still there."""
        return not self.settled and self._settler.holds(self.received)

    def ack(self) -> bool:
        """Say that it is done."""
        return self._once(self._settler.settle_done)

    def requeue(self) -> bool:
        """Give it back, uncounted, to the end of its queue."""
        return self._once(self._settler.settle_again)

    def reject(self, reason: str) -> bool:
        """Send it to the stage's dead letters."""
        return self._once(lambda received: self._settler.settle_dead(received, reason))

    def _once(self, settle: Callable[[Received], bool]) -> bool:
        if self.settled:
            return False
        effect = settle(self.received)
        self.settled = True
        return effect


@dataclass(frozen=True)
class DeadMessage:
    """What lies in a stage's queue of dead letters; `message` is None if it cannot be read."""

    message: Message | None
    body: bytes
    reason: str
    received: Received
    settler: Settler

    def ack(self) -> bool:
        """Take it out of the queue."""
        return self.settler.settle_done(self.received)


def dead_message(received: Received, settler: Settler) -> DeadMessage:
    """Return what was found in a queue of dead letters."""
    return DeadMessage(_readable(received.body), received.body, _reason(received), received, settler)


def _readable(body: bytes) -> Message | None:
    for read in (parse, parse_task):
        try:
            return read(body)
        except UnreadableMessageError:
            continue
    return None


def _reason(received: Received) -> str:
    if REASON_HEADER in received.headers:
        return str(received.headers[REASON_HEADER])
    deaths = received.headers.get("x-death") or [{}]
    return str(deaths[0].get("reason", "unknown"))
