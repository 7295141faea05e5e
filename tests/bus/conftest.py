"""A real RabbitMQ for the session, and buses that clean up after themselves on either transport."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from amqp.exceptions import NotFound

from fringeflow import announcements
from fringeflow.bus import Bus, BusSettings, topology
from fringeflow.bus.transport import connection_to
from fringeflow.events import Arrived, ArtefactRef, Event, Task, Work
from tests.broker import Broker, private_broker

STAGES = ("staging", "imaging", "postprocess", "derived")
FIRST_STREAM_SECONDS = 5.0


class Door:
    """Passes what is said at its port, in TLS if there is a context, to the port behind it."""

    def __init__(self, behind: int, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        self._behind = behind
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                outside, _ = self._listener.accept()
                with suppress(OSError):  # a client that does not trust us ends the handshake
                    self._join(self._context.wrap_socket(outside, server_side=True) if self._context else outside)

    def _join(self, outside: socket.socket) -> None:
        inside = socket.create_connection(("127.0.0.1", self._behind))
        for pair in ((outside, inside), (inside, outside)):
            threading.Thread(target=_copy, args=pair, daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def frail_broker() -> Iterator[Broker]:
    """A broker of one test's own, to be killed.

    RabbitMQ 3.10 that was killed writes on for queues that are deleted by then, and may not survive it: after that it
    refuses every new queue. Nobody else shall depend on such a one. Nor does it survive in the first seconds after the
    first stream of its life. To be asked for before `bus_on`, which ends first.
    """
    with private_broker() as broker:
        first = Bus(BusSettings(url=broker.url, prefix="first."))
        first.declare([])
        first.close()
        time.sleep(FIRST_STREAM_SECONDS)
        yield broker


@pytest.fixture
def open_door(broker: Broker) -> Iterator[Callable[..., Door]]:
    """Open doors to the broker, of any port and with or without TLS."""
    doors: list[Door] = []

    def make(**how: Any) -> Door:
        doors.append(Door(broker.port, **how))
        return doors[-1]

    yield make
    for door in doors:
        door.close()


@pytest.fixture(params=["memory", "rabbitmq"])
def transport(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("broker").url if request.param == "rabbitmq" else "memory://"


@pytest.fixture
def prefix() -> str:
    return f"t{uuid.uuid4().hex[:8]}."


MakeBus = Callable[..., Bus]


@pytest.fixture
def bus_on(prefix: str, tmp_path: Path) -> Iterator[MakeBus]:
    """Make buses on a url with any settings; what they declared is deleted in the end."""
    del tmp_path  # certificates lie there: it must outlive the buses
    made: list[Bus] = []

    def make(url: str, *, journal: Any = None, on_unreadable: Any = None, stages: Any = STAGES, **settings: Any) -> Bus:
        bus = Bus(BusSettings(url=url, prefix=prefix, **settings), journal, on_unreadable)
        made.append(bus)
        bus.declare(stages)
        return bus

    yield make
    for bus in made:
        bus.close()
    for settings in {bus.settings.url: bus.settings for bus in made if not bus.settings.in_memory}.values():
        delete_all(settings)


def delete_all(settings: BusSettings) -> None:
    with connection_to(settings, None) as connection:
        for entity in topology.entities(settings, STAGES):
            # a broker that was started a moment ago does not find all of its queues at once
            with suppress(NotFound), connection.channel() as channel:
                entity(channel).delete()


@pytest.fixture
def make_bus(bus_on: MakeBus, transport: str) -> MakeBus:
    return lambda **settings: bus_on(transport, **settings)


Take = Callable[..., list[Any]]


@pytest.fixture
def take() -> Take:
    """Poll until `count` messages have come; fewer if they do not within so many seconds."""

    def poll(bus: Bus, stage: str, kind: Any, count: int = 1, within: float = 5.0) -> list[Any]:
        end = time.monotonic() + within
        look = {"events": bus.take_events, "tasks": bus.take_tasks}[kind]
        found: list[Any] = []
        while len(found) < count and time.monotonic() < end:
            found += look(stage, count - len(found))
            if len(found) < count:
                bus.drain(0.05)
        return found

    return poll


@pytest.fixture
def task() -> Callable[..., Task]:
    """Make the task of one block."""

    def make(number: int = 0, **members: Any) -> Task:
        work = Work(unit=f"imaging/ngc5921/vla/hi21cm/block-{number}", work_key=f"{number:064x}")
        return Task(**{"stage": "imaging", "units": (work,), "run": "run-1", **members})

    return make


@pytest.fixture
def fact() -> Callable[..., Event]:
    """Make the event of any fact, about a unit of `stage`."""

    def make(name: str, stage: str, key: str = "a" * 64, **members: Any) -> Event:
        unit = f"{stage}/ngc5921/vla/hi21cm"
        common = {"run": "run-1", **members}
        if name == "visibilities.arrived":
            drop = ArtefactRef(name="a.ms", key="incoming/a.ms.tar", size=1, sha256=key)
            return announcements.arrived(Arrived(leaf="incoming/a.ms", artefact=drop), source="/test", **common)
        if name == "unit.failed":
            said = {"kind": "bug", "message": "?", "remedy": None, "attempt": 1, "final": True}
            return announcements.failed(unit, work_key=key, **said, **common)
        if name == "unit.waiting":
            return announcements.waiting(unit, ["incoming/b.ms"], **common)
        return announcements.made(name, unit, work_key=key, manifest=f"manifests/{unit}/{key}", artefacts=[], **common)

    return make
