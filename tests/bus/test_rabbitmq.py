"""What only a broker can show: confirms, redelivery, dead-lettering, heartbeats, the stream, its loss and return."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kombu import Connection, Queue
from structlog.testing import capture_logs

from fringeflow.bus import Bus, BusSettings, topology
from fringeflow.bus.journal import StreamJournal
from fringeflow.errors import DataError, TransientError

pytestmark = pytest.mark.xdist_group("rabbitmq")

WORKER = Path(__file__).with_name("worker.py")


def kill_a_worker_on_its_task(broker, prefix, limit):
    """Start a worker, let it take a task, kill -9 it; return how often that task had been delivered."""
    arguments = [sys.executable, WORKER, broker.url, prefix, str(limit)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as worker:
        try:
            return int(worker.stdout.readline())
        finally:
            worker.kill()


def test_a_killed_worker_loses_nothing_and_a_task_that_kills_each_ends_among_the_dead(
    broker, bus_on, prefix, take, task
):
    bus = bus_on(broker.url, delivery_limit=1)
    bus.order(task())
    assert kill_a_worker_on_its_task(broker, prefix, 1) == 1
    assert kill_a_worker_on_its_task(broker, prefix, 1) == 2
    letters = wait_for(lambda: bus.dead("imaging"))
    assert [(letter.message, letter.reason) for letter in letters] == [(task(), "delivery_limit")]
    assert take(bus, "imaging", "tasks", within=0.2) == []


def test_an_event_that_no_queue_keeps_is_noticed(broker, bus_on, fact):
    bus = bus_on(broker.url)
    event = fact("unit.failed", "imaging")
    bus.announce(event)  # the journal takes everything
    with Connection(broker.url) as connection:
        Queue(topology.journal_name(bus.settings))(connection.channel()).delete()
    with pytest.raises(TransientError, match="no queue takes"):
        bus.announce(event)


def test_a_queue_declared_otherwise_is_named_with_a_remedy(broker, bus_on, prefix):
    bus_on(broker.url, delivery_limit=5)
    other = Bus(BusSettings(url=broker.url, prefix=prefix, delivery_limit=6))
    with pytest.raises(DataError, match=r"imaging\.events.*prefix"):
        other.declare(["imaging"])
    other.close()


def test_a_wrong_password_is_named_and_not_told(broker):
    bus = Bus(BusSettings(url=broker.url.replace("guest:guest", "guest:opensesame"), startup_seconds=0))
    with capture_logs() as logs, pytest.raises(TransientError, match=r"ACCESS_REFUSED.*password") as failure:
        bus.declare(["imaging"])
    assert "opensesame" not in str(failure.value) + str(logs)


def test_credentials_may_be_given_apart_from_the_url(broker, prefix):
    url = broker.url.replace("guest:guest@", "")
    bus = Bus(BusSettings(url=url, prefix=prefix, username="guest", password="nonsense", startup_seconds=0))
    with pytest.raises(TransientError, match="ACCESS_REFUSED"):
        bus.declare([])
    bus = Bus(BusSettings(url=url, prefix=prefix, username="guest", password="guest"))
    bus.declare([])
    assert list(StreamJournal(bus.settings, idle_seconds=0.1).read()) == []
    bus.close()


def test_the_journal_can_be_read_from_an_offset_and_from_a_time(broker, bus_on, fact):
    bus = bus_on(broker.url)
    events = []
    for number in range(10):
        events.append(fact("cube.imaged", "imaging", key=f"{number:064x}"))
        bus.announce(events[-1])
    journal = StreamJournal(bus.settings, idle_seconds=0.5)
    everything = list(journal.read())
    assert [event for _, event in everything] == events
    assert [offset for offset, _ in everything] == sorted({offset for offset, _ in everything})
    assert list(journal.read(offset=everything[7][0])) == everything[7:]
    assert list(journal.read(since=events[5].time)) == everything[5:]
    assert list(journal.read(since=datetime.now(UTC) + timedelta(days=1))) == []


def test_the_connection_outlives_a_long_job_only_if_the_bus_is_drained(broker, bus_on, take, task):
    """Three heartbeats of two seconds and more pass while a job runs in a child process."""
    watched, neglected = (bus_on(broker.url, heartbeat_seconds=2) for _ in range(2))
    watched.order(task(1))
    mine = take(watched, "imaging", "tasks")[0]
    watched.order(task(2))
    its = take(neglected, "imaging", "tasks")[0]
    with subprocess.Popen(["sleep", "7"]) as job:
        while job.poll() is None:
            watched.drain(0.5)
    assert mine.ack()
    again = take(watched, "imaging", "tasks")
    assert [(delivery.message, delivery.deliveries) for delivery in again] == [(task(2), 2)]
    neglected.drain(0.1)
    assert not its.ack()


def test_a_broker_that_hangs_is_noticed_in_time(broker, bus_on, fact):
    bus = bus_on(broker.url, confirm_timeout_seconds=1)
    broker.freeze()
    try:
        begin = time.monotonic()
        with pytest.raises(TransientError, match="went away"):
            bus.announce(fact("cube.imaged", "imaging"))
        assert time.monotonic() - begin < 3
    finally:
        broker.thaw()


def test_all_goes_on_when_the_broker_was_killed_and_is_back(frail_broker, bus_on, take, task, fact):
    bus = bus_on(frail_broker.url, reconnect_max_seconds=1)
    bus.order(task(1))
    bus.order(task(2))
    held = take(bus, "imaging", "tasks")[0]
    assert held.message == task(1)
    bus.take_events("imaging")
    frail_broker.kill()
    begin = time.monotonic()
    assert bus.take_tasks("imaging") == []
    bus.drain(0.2)
    assert not held.ack()
    with pytest.raises(TransientError):
        bus.announce(fact("cube.imaged", "imaging"))
    assert time.monotonic() - begin < 2, "a lost broker must not hold up the loop"

    frail_broker.start()
    again = take(bus, "imaging", "tasks", within=20)
    assert not held.requeue(), "what was taken before the loss is stale"
    assert again[0].ack()
    again += take(bus, "imaging", "tasks")
    assert {delivery.message for delivery in again} == {task(1), task(2)}, "what was not acknowledged is there again"
    event = fact("visibilities.staged", "staging")
    bus.announce(event)
    assert [delivery.message for delivery in take(bus, "imaging", "events")] == [event], "events are consumed again"


def test_a_broker_that_is_still_starting_is_waited_for(bus_on, open_door, take, task):
    door = open_door()
    door.close()  # its port is free again, and nobody answers there
    opening = threading.Timer(1, open_door, kwargs={"port": door.port})
    opening.start()
    bus = bus_on(f"amqp://guest:guest@127.0.0.1:{door.port}//")
    opening.join()
    bus.order(task())
    assert len(take(bus, "imaging", "tasks")) == 1


def wait_for(look, within=5.0):
    end = time.monotonic() + within
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return found
