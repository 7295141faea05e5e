"""Nothing is acknowledged, or noted as announced, before what follows from it is safe with the broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fringeflow.arrivals import Arrivals
from fringeflow.attendant import Attendant
from fringeflow.bus import Bus
from fringeflow.bus.journal import StreamJournal
from fringeflow.catalogue import Catalogue
from fringeflow.dispatch import Dispatcher
from fringeflow.errors import TransientError
from fringeflow.events import Event
from fringeflow.graph.build import Selection
from fringeflow.graph.model import Graph, Lookup
from fringeflow.keys.model import Project
from fringeflow.manifest import Artefact
from fringeflow.orders import Orders
from fringeflow.slots import Slots
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import StoreSettings, open_store
from fringeflow.world import World
from tests import toy
from tests.distributed.cutter import Cutter
from tests.worker.conftest import House

pytestmark = pytest.mark.xdist_group("rabbitmq")

TARGETS = ("a", "b", "c")


def build(_: Project, target: str, leaves: Mapping[str, str], lookup: Lookup) -> Graph:
    graph = Graph(leaves, lookup)
    graph.add(toy.unit("staging", target=target, leaves=(f"incoming/{target}.ms",)))
    return graph


def drop(target: str) -> Artefact:
    return Artefact(name=f"incoming/{target}.ms", kind="file", key=f"incoming/{target}.ms", size=1, sha256="0" * 64)


def dispatcher(house: House, bus: Bus, *dropped: str) -> Dispatcher:
    """The dispatcher of staging of three targets, some of whose inputs are there."""
    ledger = Ledger(house.store)
    drops = {f"incoming/{target}.ms": drop(target) for target in dropped}
    catalogue = Catalogue(toy.project(house.folder, *TARGETS), Selection(), drops, ledger, build)
    host: Any = None  # no job is begun here
    return Dispatcher("staging", World("r", catalogue, house.store, ledger, bus, host, Slots(1, 1000)), Orders())


@pytest.fixture
def cutter(house: House) -> Iterator[Cutter]:
    cutter = Cutter(house.broker.port)
    yield cutter
    cutter.close()


@pytest.mark.parametrize("dropped", [TARGETS, ()], ids=["tasks", "news of what waits"])
def test_an_event_is_acknowledged_when_what_follows_from_it_is_confirmed(
    house: House, cutter: Cutter, dropped: tuple[str, ...]
) -> None:
    direct = house.bus(tasks_prefetch=10)
    cut = Bus(direct.settings.model_copy(update={"url": f"amqp://guest:guest@127.0.0.1:{cutter.port}//"}))
    cut.declare(["staging"])
    mine = dispatcher(house, cut, *dropped)
    arrivals = Arrivals(house.store, direct, "r")
    arrivals.add([drop("a")])
    assert arrivals.announce() == 1
    cutter.cut("unconfirmed")  # all that follows reaches the broker, and its answer does not reach us
    with pytest.raises(TransientError, match="went away"):
        until(lambda: mine.step() or cut.drain(0.1))
    again = until(lambda: direct.take_events("staging") or direct.drain(0.1))
    assert [(delivery.message.subject, delivery.deliveries) for delivery in again] == [("incoming/a.ms", 2)]
    again[0].requeue()
    direct.leave_events("staging")

    until(lambda: goes_on(mine, cut))
    cut.close()
    assert direct.take_events("staging") == []
    direct.drain(0.5)
    assert direct.take_events("staging") == []
    tasks = direct.take_tasks("staging", limit=10) or [direct.drain(0.5), *direct.take_tasks("staging", limit=10)][1:]
    assert {delivery.message.units[0].unit for delivery in tasks} == {f"staging/{target}/c/p" for target in dropped}
    told = {event.subject for _, event in StreamJournal(direct.settings, idle_seconds=0.5).read()}
    assert told == {"incoming/a.ms", *(f"staging/{target}/c/p" for target in set(TARGETS) - set(dropped))}


def goes_on(mine: Dispatcher, bus: Bus) -> bool:
    """Step once; a broker that is still away is no failure."""
    try:
        return mine.step()
    except TransientError:
        return False
    finally:
        bus.drain(0.1)


def until(look: Callable[[], Any], within: float = 20.0) -> Any:
    end = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < end
    return found


class Failing:
    """As much of a bus as announces, after it has failed once."""

    def __init__(self) -> None:
        self.failures = 1
        self.announced: list[str] = []

    def announce(self, *several: Event) -> None:
        if self.failures:
            self.failures -= 1
            raise TransientError("the broker went away")
        self.announced += [event.subject for event in several]


def test_an_arrival_is_noted_when_it_is_announced(tmp_path: Path) -> None:
    store, bus = open_store(StoreSettings.of_folder(tmp_path)), Failing()
    arrivals = Arrivals(store, bus, "r")  # type: ignore[arg-type]
    arrivals.add(map(drop, TARGETS))
    with pytest.raises(TransientError):
        arrivals.announce()
    assert (arrivals.left, list(store.list("arrivals"))) == (3, [])
    assert arrivals.announce() == 3
    assert bus.announced == [f"incoming/{target}.ms" for target in TARGETS]
    assert len(list(store.list("arrivals"))) == 3
    arrivals.add(map(drop, TARGETS))
    assert (arrivals.announce(), arrivals.left) == (0, 0)


class Careless(Attendant):
    """Ends before its time."""

    def _attend(self) -> None:
        raise KeyError("a mistake")


def test_what_ends_a_thread_before_its_time_is_raised_to_who_relies_on_it() -> None:
    with Careless("careless") as careless:
        careless._thread.join()
        with pytest.raises(KeyError, match="a mistake"):
            careless.check()
