"""One connection to the broker that survives losing it: publish with confirmation, take, settle, heartbeat.

It moves bytes between named exchanges and queues and knows nothing of what is in them. One thread uses it; nothing
blocks for longer than it was asked to, apart from the connect and confirm timeouts of the settings.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from multiprocessing.connection import wait
from ssl import SSLSocket
from typing import Any

import structlog
from amqp.exceptions import PreconditionFailed
from kombu.utils.url import maybe_sanitize_url

from fringeflow.bus.incoming import Incoming
from fringeflow.bus.outgoing import Outgoing
from fringeflow.bus.parcel import Addressed, Parcel, Received
from fringeflow.bus.settings import BusSettings
from fringeflow.bus.transport import Queue, connection_to, private_memory
from fringeflow.errors import DataError, TransientError

FIRST_RETRY_SECONDS = 0.5
SLICE_SECONDS = 0.5
STARTUP_LOOK_SECONDS = 0.1
WINDOW = 200  # messages published before the first is waited for: a wait of the disk is shared by all
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
        self._outgoing: Any = None
        self._incoming = Incoming(acknowledges_many=not settings.in_memory)
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
        """Publish one parcel; otherwise as `publish_all`."""
        self.publish_all([Addressed(exchange, routing_key, parcel, mandatory)])

    def publish_all(self, items: Iterable[Addressed]) -> None:
        """Publish and wait until the broker has all of it safe; up to `WINDOW` are on their way at once.

        Raises
        ------
        TransientError
            If the broker is away or refuses one, or if no queue takes one that is mandatory. Others may have been
            published: whoever tries again publishes all again.
        """
        coming = iter(items)
        while window := list(itertools.islice(coming, WINDOW)):
            self.connect()
            try:
                self._check()
                self._outgoing.publish(window)
            except self._errors as error:
                self._lose(error)
                raise TransientError(f"the broker at {self._place} went away: {error}") from error

    def take(self, queues: Sequence[str], limit: int, prefetch: int) -> list[Received]:
        """Take up to `limit` messages that have come in `queues`, without waiting; it begins to consume them."""
        for queue in queues:
            if not self._incoming.wants(queue):
                self._guarded(partial(self._incoming.want, queue, prefetch), connected=self._connection is not None)
        if sum(map(self._incoming.untaken, queues)) < limit:
            self._pump()
        return self._incoming.take(queues, limit)

    def leave(self, queues: Sequence[str]) -> list[Received]:
        """Stop consuming `queues` until `take` is called again; return what has come and was not taken."""
        for queue in queues:
            if self._incoming.wants(queue):
                self._guarded(partial(self._incoming.stop, queue), connected=self._connection is not None)
        return self._incoming.take(queues)

    def untaken(self, queue: str) -> int:
        """Return how many messages of `queue` have come and were not taken."""
        return self._incoming.untaken(queue)

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
        return None if message is None else self._incoming.received(queue, message)

    def acknowledge(self, *several: Received) -> bool:
        """Settle `several`, all of one connection; false if it is gone, then the broker gives them out again."""
        if not several or not all(map(self.is_current, several)):
            return False
        return self._guarded(partial(self._incoming.acknowledge, several))

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
        while not self._incoming.news and (left := end - time.monotonic()) > 0:
            if self._wait(min(left, self._slice), wake):
                break
            self._pump()
        self._incoming.news.clear()

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
        confirm_seconds = None if self._settings.in_memory else self._settings.confirm_timeout_seconds
        self._outgoing = Outgoing(connection, confirm_seconds)
        self._incoming.begin(connection, self.generation)
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
        self._connection = self._control = self._outgoing = None
        self._incoming.forget()
