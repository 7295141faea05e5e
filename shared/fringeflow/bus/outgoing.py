"""Publishes many messages and then waits until the broker has confirmed each: one wait, not one a message.

A confirmation comes when the queues have the message safe. What no queue takes comes back before it is confirmed, so
that once all is confirmed all that came back has come back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from fringeflow.bus.parcel import Addressed
from fringeflow.bus.transport import Producer
from fringeflow.errors import TransientError

PERSISTENT = 2


class Outgoing:
    """The way out of one connection, on a channel of its own.

    Parameters
    ----------
    connection
        A connection that stands.
    confirm_seconds
        How long to wait for the next confirmation; None where there is none to be had (inside a process).
    """

    def __init__(self, connection: Any, confirm_seconds: float | None) -> None:
        self._connection = connection
        self._confirm_seconds = confirm_seconds
        self._sent = 0
        self._unconfirmed: set[int] = set()
        self._refused = 0
        self._returned: list[str] = []
        channel = connection.channel()
        self._producer = Producer(channel, auto_declare=False, on_return=self._on_return)
        if confirm_seconds is not None:
            channel.confirm_select()
            channel.events["basic_ack"].add(self._on_ack)
            channel.events["basic_nack"].add(self._on_nack)

    def publish(self, items: Sequence[Addressed]) -> None:
        """Publish all of `items` and wait until the broker has them safe.

        Raises
        ------
        TransientError
            If the broker refuses one, or no queue takes one that is mandatory; the others may be there or not.
        OSError, and the errors of the transport
            If the connection is lost, or the broker does not confirm in time.
        """
        self._refused = 0
        self._returned.clear()
        for item in items:
            self._send(item)
        self._wait()
        if self._refused:
            raise TransientError(f"the broker refused {self._refused} of {len(items)} messages for {_place(items[0])}")
        if self._returned:
            raise TransientError(f"no queue takes {self._returned[0]}", remedy="declare the queues of the stages first")

    def _send(self, item: Addressed) -> None:
        self._producer.publish(
            item.parcel.body,
            exchange=item.exchange,
            routing_key=item.routing_key,
            mandatory=item.mandatory,
            delivery_mode=PERSISTENT,
            content_type=item.parcel.content_type,
            content_encoding="utf-8",
            message_id=item.parcel.message_id,
            correlation_id=item.parcel.correlation_id,
            headers=dict(item.parcel.headers),
        )
        if self._confirm_seconds is not None:
            self._sent += 1
            self._unconfirmed.add(self._sent)

    def _wait(self) -> None:
        left, end = len(self._unconfirmed), time.monotonic() + (self._confirm_seconds or 0.0)
        while self._unconfirmed:
            seconds = end - time.monotonic()
            if seconds <= 0:
                raise TimeoutError(f"{len(self._unconfirmed)} messages were not confirmed")
            self._connection.drain_events(timeout=seconds)
            if len(self._unconfirmed) < left:  # a heartbeat is no progress
                left, end = len(self._unconfirmed), time.monotonic() + (self._confirm_seconds or 0.0)

    def _on_ack(self, number: int, multiple: bool) -> None:
        if multiple:
            self._unconfirmed = {other for other in self._unconfirmed if other > number}
        else:
            self._unconfirmed.discard(number)

    def _on_nack(self, number: int, multiple: bool) -> None:
        before = len(self._unconfirmed)
        self._on_ack(number, multiple)
        self._refused += before - len(self._unconfirmed)

    def _on_return(self, reason: Exception, exchange: str, routing_key: str, message: object) -> None:
        del message  # the body, which may be large
        self._returned.append(f"{routing_key!r} from {exchange!r}: {reason}")


def _place(item: Addressed) -> str:
    return item.exchange or item.routing_key
