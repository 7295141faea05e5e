"""The journal: every event ever announced, in order, to be read again from an offset or a time.

Inside a process it is a file of JSON lines, on a broker a stream. Neither knows what the events are about. What cannot
be read (a line torn by a crash, a foreign message) is passed over with a warning: a replay must get past it.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import structlog

from fringeflow.bus.settings import BusSettings
from fringeflow.bus.topology import journal_name
from fringeflow.bus.transport import connection_to
from fringeflow.errors import TransientError
from fringeflow.events import Event, UnreadableMessageError, parse, to_bytes

STREAM_PREFETCH = 500
CLOCKS_DIFFER_BY = timedelta(minutes=10)  # an event's time is its producer's, a stream's the broker's

log = structlog.get_logger(__name__)


class JournalReader(Protocol):
    """Reads events in the order they were announced."""

    def read(self, since: datetime | None = None, offset: int | None = None) -> Iterator[tuple[int, Event]]:
        """Yield (offset, event) from `offset` on, leaving out events before `since`."""
        ...


class Journal(JournalReader, Protocol):
    """Keeps events as well."""

    def append(self, event: Event) -> None:
        """Keep `event`."""
        ...


class FileJournal:
    """A journal in a file; an offset is the place of a line in bytes.

    Parameters
    ----------
    path
        The file; it and its folder are made by the first `append`.
    fsync
        Wait for the disk at every event: survives a power cut, not only a crash.
    """

    def __init__(self, path: Path, *, fsync: bool = False) -> None:
        self._path = path
        self._fsync = fsync
        self._descriptor: int | None = None

    def append(self, event: Event) -> None:
        """Write one line, in one system call, so that writers do not mix and a crash tears the last line at most."""
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            end = os.lseek(self._descriptor, 0, os.SEEK_END)
            if end and os.pread(self._descriptor, 1, end - 1) != b"\n":
                os.write(self._descriptor, b"\n")  # ends a torn line, so that ours does not continue it
        os.write(self._descriptor, to_bytes(event) + b"\n")
        if self._fsync:
            os.fsync(self._descriptor)

    def read(self, since: datetime | None = None, offset: int | None = None) -> Iterator[tuple[int, Event]]:
        """Yield (offset, event) from `offset` on, leaving out events before `since`; nothing if there is no file."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            place = file.seek(offset or 0)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # torn, or being written at this moment
                event = _event(line, f"{self._path} at byte {place}") if line.strip() else None
                if event is not None and (since is None or event.time >= since):
                    yield place, event
                place += len(line)

    def close(self) -> None:
        """Close the file; a later `append` opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class StreamJournal:
    """Reads the broker's stream; an offset is the stream's own.

    Parameters
    ----------
    settings
        Where the broker is.
    idle_seconds
        The end is reached when nothing has come for so long: a stream has no last message.
    """

    def __init__(self, settings: BusSettings, idle_seconds: float = 2.0) -> None:
        self._settings = settings
        self._idle_seconds = idle_seconds

    def read(self, since: datetime | None = None, offset: int | None = None) -> Iterator[tuple[int, Event]]:
        """Yield (offset, event) from `offset` on, leaving out events before `since`.

        Raises
        ------
        TransientError
            If the broker does not answer or there is no such stream.
        """
        import pika
        from pika.exceptions import AMQPError

        name = journal_name(self._settings)
        begin: Any = "first" if since is None else since - CLOCKS_DIFFER_BY
        begin = begin if offset is None else offset
        try:
            with pika.BlockingConnection(_parameters(self._settings)) as connection:
                channel = connection.channel()
                channel.basic_qos(prefetch_count=STREAM_PREFETCH)
                consumed = channel.consume(
                    name, arguments={"x-stream-offset": begin}, inactivity_timeout=self._idle_seconds
                )
                for method, properties, body in consumed:
                    if method is None:
                        return
                    channel.basic_ack(method.delivery_tag)
                    place = int(properties.headers["x-stream-offset"])
                    event = _event(body, f"{name} at offset {place}")
                    # a stream begins to read at a chunk, which may lie before the place asked for
                    if event is not None and place >= (offset or 0) and (since is None or event.time >= since):
                        yield place, event
        except (AMQPError, OSError) as error:
            raise TransientError(f"the journal {name} cannot be read: {error!r}", remedy="is the broker up?") from error


def _event(body: bytes, place: str) -> Event | None:
    try:
        return parse(body)
    except UnreadableMessageError as error:
        log.warning("unreadable event in the journal", place=place, reason=str(error))
        return None


def _parameters(settings: BusSettings) -> Any:
    import pika

    where = connection_to(settings, None).info()  # kombu's reading of the url, so that both mean the same place
    options = None
    if settings.encrypted:
        context = ssl.create_default_context(cafile=settings.tls_ca)
        if settings.tls_certificate is not None:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key)
        options = pika.SSLOptions(context, where["hostname"])
    return pika.ConnectionParameters(
        host=where["hostname"],
        port=where["port"],
        virtual_host=where["virtual_host"],
        credentials=pika.PlainCredentials(where["userid"], where["password"]),
        ssl_options=options,
        socket_timeout=settings.connect_timeout_seconds,
        heartbeat=settings.heartbeat_seconds,
    )
