"""What a bus promises, on every transport."""

from __future__ import annotations

import time

import pytest

from fringeflow.bus import topology
from fringeflow.bus.dead import DeadLetter
from fringeflow.errors import TransientError
from fringeflow.events import FACTS

pytestmark = pytest.mark.xdist_group("rabbitmq")

HEARD = {
    ("visibilities.arrived", "staging"): ["staging"],
    ("visibilities.staged", "staging"): ["imaging"],
    ("cube.imaged", "imaging"): ["postprocess"],
    ("cube.postprocessed", "postprocess"): ["derived"],
    ("products.derived", "derived"): ["derived"],
    ("unit.made", "staging"): ["staging"],
    ("unit.made", "imaging"): ["imaging"],
    ("unit.made", "postprocess"): ["postprocess"],
    ("unit.made", "derived"): ["derived"],
    ("unit.failed", "imaging"): [],
    ("unit.waiting", "imaging"): [],
}


def test_every_fact_reaches_the_stages_that_listen_and_no_other(make_bus, take, fact):
    assert {name for name, _ in HEARD} == set(FACTS)
    bus = make_bus()
    sent = {heard: fact(*heard, key=f"{index:064x}") for index, heard in enumerate(HEARD)}
    for event in sent.values():
        bus.announce(event)
    for stage in topology.LISTENS:
        expected = [sent[heard] for heard, stages in HEARD.items() if stage in stages]
        got = take(bus, stage, "events", count=len(expected) + 1, within=0.3)
        assert [delivery.message for delivery in got] == expected


def test_a_task_goes_to_its_own_stage_in_order(make_bus, take, task):
    bus = make_bus(tasks_prefetch=5)
    for number in range(3):
        bus.order(task(number))
    assert take(bus, "staging", "tasks", within=0.2) == []
    assert [delivery.message for delivery in take(bus, "imaging", "tasks", 3)] == [task(0), task(1), task(2)]


def test_declaring_twice_keeps_what_is_queued(make_bus, take, task):
    bus = make_bus()
    bus.order(task())
    bus.declare(["imaging", "derived"])
    assert len(take(bus, "imaging", "tasks")) == 1


def test_no_more_is_held_than_the_prefetch_allows(make_bus, take, task):
    bus = make_bus(tasks_prefetch=2)
    for number in range(4):
        bus.order(task(number))
    held = take(bus, "imaging", "tasks", count=4, within=0.5)
    assert [delivery.message for delivery in held] == [task(0), task(1)]
    assert held[0].ack()
    assert [delivery.message for delivery in take(bus, "imaging", "tasks")] == [task(2)]


def test_a_message_is_settled_once(make_bus, take, task):
    bus = make_bus()
    bus.order(task())
    delivery = take(bus, "imaging", "tasks")[0]
    assert delivery.ack()
    assert not delivery.ack()
    assert not delivery.requeue()
    assert not delivery.reject("too late")
    assert take(bus, "imaging", "tasks", within=0.3) == []
    assert bus.dead("imaging") == []


def test_giving_back_does_not_count_as_a_delivery(make_bus, take, task):
    bus = make_bus(delivery_limit=1)
    bus.order(task())
    for _ in range(4):
        delivery = take(bus, "imaging", "tasks")[0]
        assert delivery.deliveries == 1
        assert delivery.requeue()
    assert take(bus, "imaging", "tasks")[0].message == task()
    assert bus.dead("imaging") == []


def test_what_is_given_back_goes_to_its_own_queue_only(make_bus, take, fact):
    """A transport that puts it through the exchange again would multiply it where several queues listen."""
    bus = make_bus()
    event = fact("visibilities.staged", "staging")
    bus.announce(event)
    take(bus, "imaging", "events")[0].requeue()
    assert [delivery.message for delivery in take(bus, "imaging", "events", count=2, within=0.4)] == [event]


def test_a_rejected_message_is_among_the_dead_with_its_reason(make_bus, take, task):
    bus = make_bus()
    bus.order(task())
    assert take(bus, "imaging", "tasks")[0].reject("no such unit")
    bus.drain(0.1)
    (letter,) = bus.dead("imaging")
    assert (letter.message, letter.reason) == (task(), "no such unit")
    assert letter.ack()
    assert bus.dead("imaging") == []


def test_a_delayed_task_comes_later_and_not_before(make_bus, take, task):
    bus = make_bus()
    begin = time.monotonic()
    bus.order(task(), delay_seconds=1)
    assert take(bus, "imaging", "tasks", within=0.5) == []
    assert [delivery.message for delivery in take(bus, "imaging", "tasks")] == [task()]
    assert 0.9 < time.monotonic() - begin < 3


def test_a_task_that_nobody_would_take_is_noticed(make_bus, task):
    bus = make_bus(stages=["staging"])
    with pytest.raises(TransientError, match="declare"):
        bus.order(task(stage="imaging"))


@pytest.mark.parametrize("garbage", [b"", b"\x00\xff", b"[]", b'{"type": "fringeflow.cube.imaged.v2"}'])
def test_an_unreadable_message_is_buried_once_and_the_next_is_read(make_bus, take, task, garbage):
    letters: list[DeadLetter] = []
    bus = make_bus(on_unreadable=letters.append)
    put_raw(bus, topology.task_queue(bus.settings, "imaging", "small"), garbage)
    bus.order(task())
    assert [delivery.message for delivery in take(bus, "imaging", "tasks")] == [task()]
    assert len(letters) == 1
    assert letters[0].path.startswith("dead/unreadable/")
    bus.drain(0.1)
    (dead,) = bus.dead("imaging")
    assert (dead.message, dead.body) == (None, garbage)
    assert "not a task" in dead.reason


def test_a_task_among_the_events_is_unreadable_there(make_bus, take, task):
    bus = make_bus()
    put_raw(bus, topology.queue_name(bus.settings, "imaging", "events"), task().model_dump_json().encode())
    assert take(bus, "imaging", "events", within=0.5) == []
    assert len(bus.dead("imaging")) == 1


def test_draining_ends_when_something_comes_and_when_the_time_is_up(make_bus, task):
    bus = make_bus()
    bus.take_tasks("imaging")
    begin = time.monotonic()
    bus.drain(0.6)
    assert 0.5 < time.monotonic() - begin < 1.2
    bus.order(task())
    begin = time.monotonic()
    bus.drain(5)
    assert time.monotonic() - begin < 1
    begin = time.monotonic()
    bus.drain(0.4)
    assert time.monotonic() - begin > 0.3, "a message left lying must not make the loop spin"
    assert len(bus.take_tasks("imaging")) == 1


def put_raw(bus, queue, body):
    """Send bytes no producer of ours would send."""
    from fringeflow.bus.parcel import Parcel

    bus._link.publish("", queue, Parcel(body, "text/plain"), mandatory=True)


def test_tasks_that_nobody_has_taken_are_counted(make_bus, task):
    """Those that have come and lie untaken here as well as those still in the queue; of the classes asked for."""
    bus = make_bus(tasks_prefetch=2)
    bus.order(*(task(number) for number in range(4)), task(4, memory_class="large"))
    end = time.monotonic() + 5  # a broker counts what it gives out a moment later
    while not bus.take_tasks("imaging", 1, ["small"]) and time.monotonic() < end:
        bus.drain(0.05)
    while bus.waiting_tasks("imaging") != 4 and time.monotonic() < end:
        bus.drain(0.05)
    waiting = [bus.waiting_tasks("imaging", [name]) for name in ("small", "large")]
    assert (waiting, bus.waiting_tasks("derived")) == ([3, 1], 0)
