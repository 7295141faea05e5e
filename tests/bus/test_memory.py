"""What holds on the transport inside the process alone."""

from __future__ import annotations

import pytest

from fringeflow.bus import Bus, BusSettings
from fringeflow.bus.journal import FileJournal


def test_two_buses_in_one_process_do_not_see_each_other(take, task):
    one, other = Bus(BusSettings()), Bus(BusSettings())
    for bus in (one, other):
        bus.declare(["imaging"])
    one.order(task())
    assert take(other, "imaging", "tasks", within=0.2) == []
    other.close()
    assert len(take(one, "imaging", "tasks")) == 1
    one.close()


def test_a_closed_bus_leaves_nothing_to_the_next(take, task):
    first = Bus(BusSettings())
    first.declare(["imaging"])
    first.order(task())
    first.close()
    second = Bus(BusSettings())
    second.declare(["imaging"])
    assert take(second, "imaging", "tasks", within=0.2) == []


def test_the_journal_keeps_every_event_whether_or_not_anyone_listens(tmp_path, fact):
    journal = FileJournal(tmp_path / "journal.jsonl")
    bus = Bus(BusSettings(), journal)
    bus.declare(["imaging"])
    events = [fact("cube.imaged", "imaging"), fact("unit.failed", "imaging")]
    for event in events:
        bus.announce(event)
    assert [event for _, event in journal.read()] == events


def test_tls_without_an_authority_is_refused():
    with pytest.raises(ValueError, match="tls_ca"):
        BusSettings(url="amqps://broker/")
