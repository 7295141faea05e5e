"""Many messages published with one wait, and many acknowledged with one word: what holds when that goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import kombu.message
import pytest

from fringeflow.bus import Bus, BusSettings
from fringeflow.bus.journal import StreamJournal
from fringeflow.bus.link import WINDOW
from fringeflow.errors import TransientError
from tests.distributed.cutter import Cutter

pytestmark = pytest.mark.xdist_group("rabbitmq")


@pytest.fixture
def cutter(broker) -> Iterator[Cutter]:
    cutter = Cutter(broker.port)
    yield cutter
    cutter.close()


@pytest.fixture
def arrivals(fact):
    return lambda count: [fact("visibilities.arrived", "staging", key=f"{number:064x}") for number in range(count)]


def test_more_than_are_on_their_way_at_once_come_each_once_and_in_order(make_bus, take, arrivals):
    bus = make_bus(events_prefetch=1000)
    events = arrivals(2 * WINDOW + 7)
    bus.announce(*events)
    got = take(bus, "staging", "events", count=len(events) + 1, within=3)
    assert [delivery.message for delivery in got] == events


def test_where_there_is_nothing_to_say_no_broker_is_needed():
    bus = Bus(BusSettings(url="amqp://guest:guest@127.0.0.1:1//"))
    bus.announce()
    bus.order()
    bus.ack_all([])
    assert not bus.connected


def test_what_came_by_a_lost_connection_is_not_acknowledged(broker, cutter, bus_on, take, arrivals):
    bus = bus_on(f"amqp://guest:guest@127.0.0.1:{cutter.port}//")
    events = arrivals(3)
    bus.announce(*events)
    got = take(bus, "staging", "events", count=3)
    cutter.cut("half")
    with pytest.raises(TransientError, match="went away"):
        bus.announce(*arrivals(1))
    bus.ack_all(got)
    assert not any(delivery.alive for delivery in got)
    again = take(bus_on(broker.url), "staging", "events", count=3)
    assert {delivery.message.id for delivery in again} == {event.id for event in events}


@pytest.mark.parametrize("moment", ["half", "unconfirmed"])
def test_a_connection_lost_before_all_is_confirmed_is_told_and_again_brings_every_event(
    broker, cutter, bus_on, take, arrivals, moment
):
    listener = bus_on(broker.url, events_prefetch=1000)
    bus = bus_on(f"amqp://guest:guest@127.0.0.1:{cutter.port}//", reconnect_max_seconds=0.1)
    events = arrivals(50)
    cutter.cut(moment)
    with pytest.raises(TransientError, match="went away"):
        bus.announce(*events)
    assert cutter.cuts == 1
    until_it_succeeds(lambda: bus.announce(*events))
    got = [delivery.message for delivery in take(listener, "staging", "events", count=2 * len(events), within=2)]
    assert got[-len(events) :] == events
    assert len(got) <= 2 * len(events)
    kept = {event.id for _, event in StreamJournal(bus.settings, idle_seconds=0.5).read()}
    assert kept == {event.id for event in events}


def test_a_broker_killed_between_publish_and_confirm_is_told_and_again_brings_every_event(
    frail_broker, bus_on, take, arrivals
):
    bus = bus_on(frail_broker.url, reconnect_max_seconds=0.5)
    events = arrivals(50)
    frail_broker.freeze()  # takes what is sent, and confirms nothing
    failures: list[Exception] = []

    def announce() -> None:
        try:
            bus.announce(*events)
        except TransientError as error:
            failures.append(error)

    waiting = threading.Thread(target=announce)
    waiting.start()
    waiting.join(1)
    assert waiting.is_alive(), "not confirmed, and yet it went on"
    frail_broker.kill()
    waiting.join(10)
    assert len(failures) == 1
    frail_broker.start()
    until_it_succeeds(lambda: bus.announce(*events))
    got = {delivery.message.id for delivery in take(bus, "staging", "events", count=2 * len(events), within=3)}
    assert got == {event.id for event in events}


def test_of_many_one_that_no_queue_takes_is_told_and_the_others_are_there(broker, bus_on, take, task):
    bus = bus_on(broker.url, stages=["imaging"], tasks_prefetch=10)
    with pytest.raises(TransientError, match=r"no queue takes 'derived\.small'.*declare"):
        bus.order(task(0), task(1, stage="derived"), task(2))
    assert [delivery.message for delivery in take(bus, "imaging", "tasks", 3, within=1)] == [task(0), task(2)]
    bus.order(task(3))  # what came back does not count against what is sent later


@pytest.mark.parametrize("done", [[0, 1, 2, 3, 4], [0, 1, 3], [4], [1, 2], [3, 2, 1, 0]])
def test_what_was_not_acknowledged_comes_again_whichever_was(broker, bus_on, take, arrivals, done):
    bus, events = bus_on(broker.url), arrivals(6)
    bus.announce(*events)
    got = take(bus, "staging", "events", count=5)  # the sixth has come and was not taken
    bus.ack_all([got[number] for number in done])
    assert [delivery.alive for delivery in got] == [number not in done for number in range(5)]
    bus.close()
    again = take(bus_on(broker.url), "staging", "events", count=6, within=1)
    left = [event for number, event in enumerate(events) if number not in done]
    assert sorted(delivery.message.id for delivery in again) == sorted(event.id for event in left)


def test_what_follows_one_another_is_acknowledged_with_one_word(broker, bus_on, take, arrivals, monkeypatch):
    said: list[bool] = []
    ack = kombu.message.Message.ack
    monkeypatch.setattr(
        kombu.message.Message, "ack", lambda self, multiple=False: (said.append(multiple), ack(self, multiple))[1]
    )
    bus = bus_on(broker.url)
    bus.announce(*arrivals(8))
    got = take(bus, "staging", "events", count=7)
    bus.ack_all([got[0], got[1], got[2], got[4]])
    assert said == [True, False]
    bus.ack_all(got)  # three are left, the oldest there are
    assert said[2:] == [True]


def until_it_succeeds(act, within: float = 20.0) -> None:
    end = time.monotonic() + within
    while True:
        try:
            return act()
        except TransientError:
            assert time.monotonic() < end
            time.sleep(0.1)
