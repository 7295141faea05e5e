"""One connection to the broker that survives losing it: publish with confirmation, take, settle, heartbeat.

It moves bytes between named exchanges and queues and knows nothing of what is in them. One thread uses it; nothing
blocks for longer than it was asked to, apart from the connect and confirm timeouts of the settings.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from ssl import SSLSocket
from typing import Any

import structlog
from amqp.exceptions import MessageNacked, PreconditionFailed
from kombu.utils.url import maybe_sanitize_url

from fringeflow.bus.parcel import Parcel, Received
from fringeflow.bus.settings import BusSettings
from fringeflow.bus.transport import Consumer, Producer, Queue, connection_to, private_memory
from fringeflow.errors import DataError, TransientError

FIRST_RETRY_SECONDS = 0.5
SLICE_SECONDS = 0.5
STARTUP_LOOK_SECONDS = 0.1
GLANCE_SECONDS = 0.001  # a timeout of zero is unknown to some transports

log = structlog.get_logger(__name__)


class Link:
    """The connection.

    Parameters
    ----------
    settings
        Where the broker is.
    declare
        Called with every new connection before anything else: a wiped broker gets its queues back.
    """

    def __init__(self, settings: BusSettings, declare: Callable[[Any], None]) -> None:
        self._settings = settings
        self._declare = declare
        self._transport = private_memory() if settings.in_memory else None
        self._connection: Any = None
        self._control: Any = None
        self._producer: Any = None
        self._returned: list[str] = []
        self._prefetch: dict[str, int] = {}
        self._channels: dict[str, Any] = {}
        self._consumers: dict[str, Any] = {}
        self._taken: dict[str, deque[Received]] = {}
        self._news: set[str] = set()
        self.generation = 0
        self._failures = 0
        self._last_error = ""
        self._retry_at = 0.0

    def connect(self) -> None:
        """Connect now if it is not connected.

        Raises
        ------
        TransientError
            If the broker does not answer, or not yet again.
        """
        if not self._alive():
            raise TransientError(
                f"the broker at {self._place} does not answer: {self._last_error}",
                remedy="check that it runs, and the user and password",
            )

    def redeclare(self) -> None:
        """Declare again on the present connection, or connect, which declares; a starting broker is waited for."""
        if self._connection is None:
            end = time.monotonic() + self._settings.startup_seconds
            while not self._alive() and time.monotonic() < end:
                time.sleep(STARTUP_LOOK_SECONDS)
            self.connect()
        elif not self._guarded(self._declare_all):
            raise TransientError(f"the broker at {self._place} went away")

    def publish(self, exchange: str, routing_key: str, parcel: Parcel, *, mandatory: bool) -> None:
        """Publish and wait until the broker has it safe.

        Raises
        ------
        TransientError
            If the broker is away or refuses it, or if `mandatory` and no queue takes it.
        """
        self.connect()
        self._returned.clear()
        try:
            self._check()
            self._producer.publish(
                parcel.body,
                exchange=exchange,
                routing_key=routing_key,
                mandatory=mandatory,
                delivery_mode=2,
                content_type=parcel.content_type,
                content_encoding="utf-8",
                message_id=parcel.message_id,
                correlation_id=parcel.correlation_id,
                headers=dict(parcel.headers),
                confirm_timeout=self._settings.confirm_timeout_seconds,
            )
        except MessageNacked as error:
            raise TransientError(f"the broker refused a message for {exchange or routing_key}") from error
        except self._errors as error:
            self._lose(error)
            raise TransientError(f"the broker at {self._place} went away: {error}") from error
        if self._returned:
            raise TransientError(
                f"no queue takes {routing_key!r} from {exchange!r}: {self._returned[0]}",
                remedy="declare the stage's queues first",
            )

    def take(self, queues: Sequence[str], limit: int, prefetch: int) -> list[Received]:
        """Take up to `limit` messages that have come in `queues`, without waiting; it begins to consume them."""
        for queue in queues:
            if queue not in self._prefetch:
                self._prefetch[queue] = prefetch
                self._taken.setdefault(queue, deque())
                if self._connection is not None:  # else the next connection begins to consume it
                    self._guarded(lambda queue=queue: self._consume(queue))  # type: ignore[misc]  # bound at once
        if sum(len(self._taken[queue]) for queue in queues) < limit:
            self._pump()
        self._news.difference_update(queues)
        found: list[Received] = []
        for queue in queues:
            waiting = self._taken[queue]
            found += [waiting.popleft() for _ in range(min(limit - len(found), len(waiting)))]
        return found

    def leave(self, queues: Sequence[str]) -> list[Received]:
        """Stop consuming `queues` until `take` is called again; return what has come and was not taken."""
        left: list[Received] = []
        for queue in queues:
            if self._prefetch.pop(queue, None) is None:
                continue
            consumer = self._consumers.pop(queue, None)
            if self._connection is not None and consumer is not None:
                self._guarded(consumer.cancel)
            left += self._taken[queue]
            self._taken[queue].clear()
        self._news.difference_update(queues)
        return left

    def untaken(self, queue: str) -> int:
        """Return how many messages of `queue` have come and were not taken."""
        return len(self._taken.get(queue, ()))

    def depth(self, queue: str) -> int:
        """Return how many messages are ready in `queue`, those given out not counted."""
        self.connect()
        try:
            self._check()
            return int(self._control.queue_declare(queue, passive=True).message_count)
        except self._errors as error:
            self._lose(error)
            raise TransientError(f"the broker at {self._place} does not tell of {queue}: {error}") from error

    def get(self, queue: str) -> Received | None:
        """Take one message from `queue` without consuming from it."""
        self.connect()
        try:
            self._check()
            message = Queue(queue)(self._control).get(no_ack=False)
        except self._errors as error:
            self._lose(error)
            raise TransientError(f"the broker at {self._place} went away: {error}") from error
        return None if message is None else self._received(queue, message)

    def acknowledge(self, received: Received) -> bool:
        """Settle `received`; false if its connection is gone, in which case the broker gives it out again."""
        return self.is_current(received) and self._guarded(received.raw.ack)

    def is_current(self, received: Received) -> bool:
        """Whether `received` came by the present connection."""
        return self._connection is not None and received.generation == self.generation

    def drain(self, timeout: float, wake: Sequence[int] = ()) -> None:
        """Let the transport work (deliveries, heartbeats) for up to `timeout` seconds, or until there is news.

        News is a message that came since its queue was last looked at, be it while something was published, or that
        one of the descriptors `wake` can be read. It ends one call only: whoever chooses to leave it lying does not
        spin.
        """
        end = time.monotonic() + timeout
        self._pump()
        while not self._news and (left := end - time.monotonic()) > 0:
            if self._wait(min(left, self._slice), wake):
                break
            self._pump()
        self._news.clear()

    def close(self) -> None:
        """Say goodbye; what was taken and not settled goes back to its queue."""
        if self._connection is not None:
            self._guarded(self._connection.release)
        self._forget()

    @property
    def alive(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None

    @property
    def _place(self) -> str:
        return str(maybe_sanitize_url(self._settings.url))

    @property
    def _slice(self) -> float:
        heartbeat = self._settings.heartbeat_seconds
        return min(SLICE_SECONDS, heartbeat / 4) if heartbeat else SLICE_SECONDS

    @property
    def _errors(self) -> tuple[type[BaseException], ...]:
        connection = self._connection
        return (*connection.connection_errors, *connection.channel_errors, OSError) if connection else (OSError,)

    def _alive(self) -> bool:
        """Connect if there is no connection and the back-off has passed."""
        if self._connection is None and time.monotonic() >= self._retry_at:
            self._connection = connection_to(self._settings, self._transport)
            self.generation += 1
            self._guarded(self._begin, connected=False)
        return self._connection is not None

    def _begin(self) -> None:
        connection = self._connection
        connection.ensure_connection(max_retries=0, reraise_as_library_errors=False)
        try:
            self._declare_all()
        except DataError:
            self._forget()
            connection.release()
            raise
        self._control = connection.channel()
        self._producer = Producer(connection.channel(), auto_declare=False, on_return=self._on_return)
        for queue in self._prefetch:
            self._consume(queue)
        if self.generation > 1:
            log.info("broker connected", broker=self._place)
        self._failures = 0

    def _declare_all(self) -> None:
        try:
            with self._connection.channel() as channel:  # its own: a refusal closes it
                self._declare(channel)
        except PreconditionFailed as error:
            raise DataError(
                f"a queue or exchange of the broker at {self._place} exists with other arguments: {error}",
                remedy="delete it when it is empty, or set another bus prefix",
            ) from error

    def _check(self) -> None:
        """Kombu would connect again behind our back, without our consumers: notice a loss first."""
        if not self._connection.connected:
            raise ConnectionResetError("the connection was lost")

    def _consume(self, queue: str) -> None:
        if queue not in self._channels:  # one each, kept: what was taken is settled on it
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
        self._taken[queue].append(self._received(queue, message))
        self._news.add(queue)

    def _received(self, queue: str, message: Any) -> Received:
        body = message.body if isinstance(message.body, bytes) else str(message.body or "").encode()
        return Received(
            queue, body, str(message.content_type or ""), dict(message.headers or {}), self.generation, message
        )

    def _on_return(self, reason: Exception, exchange: str, routing_key: str, message: object) -> None:
        del exchange, routing_key, message  # what kombu tells a return handler and we know already
        self._returned.append(str(reason))

    def _pump(self) -> None:
        """Let the transport deliver what it has."""
        if self._alive():
            self._guarded(self._deliver)

    def _deliver(self) -> None:
        connection = self._connection
        try:
            while self._transport or self._has_come():
                connection.drain_events(timeout=0 if self._transport else GLANCE_SECONDS)
        except TimeoutError:
            pass
        if self._transport is None:
            connection.heartbeat_check()

    def _has_come(self) -> bool:
        """Whether the broker has sent something; asking is cheaper than a reading that times out."""
        sock = self._connection.connection.sock
        return (isinstance(sock, SSLSocket) and sock.pending() > 0) or bool(wait([sock], 0))

    def _wait(self, timeout: float, wake: Sequence[int]) -> bool:
        """Wait until something can be read, from the broker or from `wake`; return whether it is the latter."""
        connection = self._connection
        sockets = [] if connection is None or self._transport else [connection.connection.sock]
        ready = wait([*sockets, *wake], timeout)
        return any(item not in sockets for item in ready)

    def _guarded(self, act: Callable[[], object], *, connected: bool = True) -> bool:
        """Do `act`; if the connection turns out to be lost, note it and return false."""
        try:
            if connected:
                self._check()
            act()
        except self._errors as error:
            self._lose(error)
            return False
        return True

    def _lose(self, error: BaseException) -> None:
        connection = self._connection
        self._failures += 1
        self._last_error = str(error) or type(error).__name__
        wait = min(FIRST_RETRY_SECONDS * 2 ** (self._failures - 1), self._settings.reconnect_max_seconds)
        self._retry_at = time.monotonic() + wait
        log.warning("broker lost", broker=self._place, error=self._last_error, retry_seconds=wait)
        self._forget()
        try:
            connection.collect(socket_timeout=1)
        except Exception as untidy:  # noqa: BLE001  a broken connection may fail in any way while it is torn down
            log.debug("broken connection", error=str(untidy))

    def _forget(self) -> None:
        self._connection = self._control = self._producer = None
        self._channels.clear()
        self._consumers.clear()
        self._news.clear()
        for taken in self._taken.values():
            taken.clear()
