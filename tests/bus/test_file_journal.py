"""The journal in a file: offsets, times, torn lines, several writers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from fringeflow import announcements
from fringeflow.bus.journal import FileJournal


def events(count, run="run-1"):
    return [announcements.waiting("imaging/a/b/c", [f"incoming/{n}.ms"], run=run) for n in range(count)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "journal.jsonl"


def written(path, some):
    journal = FileJournal(path)
    for event in some:
        journal.append(event)
    journal.close()
    return FileJournal(path)


def test_a_journal_that_is_not_there_is_empty(path):
    assert list(FileJournal(path).read()) == []
    assert not path.exists()


def test_events_come_back_in_order_from_any_offset(path):
    some = events(5)
    everything = list(written(path, some).read())
    assert [event for _, event in everything] == some
    for index, (offset, _) in enumerate(everything):
        assert list(FileJournal(path).read(offset=offset)) == everything[index:]


def test_events_before_a_time_are_left_out(path):
    some = events(4)
    some[2:] = [event.model_copy(update={"time": event.time + timedelta(hours=1)}) for event in some[2:]]
    journal = written(path, some)
    assert [event for _, event in journal.read(since=some[2].time)] == some[2:]


@pytest.mark.parametrize("kept", [1, 50, -1])
def test_a_line_torn_by_a_crash_costs_that_line_alone(path, kept):
    some = events(3)
    written(path, some[:2])
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    path.write_bytes(content[:first] + content[first:][:kept])
    assert [event for _, event in FileJournal(path).read()] == some[:1]
    journal = written(path, some[2:])
    found = [event for _, event in journal.read()]
    # torn just before its line end, the second event is whole once the line is ended
    assert found == ([some[0], some[1], some[2]] if kept == -1 else [some[0], some[2]])


def test_a_foreign_line_is_passed_over(path):
    some = events(2)
    written(path, some[:1])
    with path.open("ab") as file:
        file.write(b'{"not": "an event"}\n\n')
    assert [event for _, event in written(path, some[1:]).read()] == some


def test_several_writers_do_not_mix_their_lines(path):
    path.parent.mkdir()
    with ThreadPoolExecutor() as writers:  # each with a descriptor of its own, as processes have
        list(writers.map(lambda n: written(path, events(50, f"run-{n}")), range(2)))
    found = [event for _, event in FileJournal(path).read()]
    assert len(found) == len(path.read_bytes().splitlines()) == 100
    for n in range(2):
        ids = [event.id for event in found if event.correlation_id == f"run-{n}"]
        assert ids == [event.id for event in events(50)]


def test_waiting_for_the_disk_writes_the_same(path):
    journal = FileJournal(path, fsync=True)
    (event,) = events(1)
    journal.append(event)
    assert [found for _, found in journal.read()] == [event]
    journal.close()
