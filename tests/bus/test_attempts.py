"""What follows a failure, and the letters about those that are given up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fringeflow.bus import dead
from fringeflow.bus.attempts import GiveUp, Retry, after_failure
from fringeflow.bus.settings import BusSettings
from fringeflow.bus.topology import DELAYS_SECONDS, delay_exchange
from fringeflow.errors import CorruptInputError
from fringeflow.events import MEMORY_CLASSES, Task, Work

KINDS = ("transient", "resource", "data", "bug")
classes = st.sampled_from(MEMORY_CLASSES)


def history(kind, memory_class="small"):
    """Follow a task that always fails in the same way, to its end or for twenty times."""
    decisions, attempt, deferrals = [], 1, 0
    while len(decisions) < 20:
        decision = after_failure(kind, attempt, memory_class, deferrals=deferrals)
        decisions.append(decision)
        if isinstance(decision, GiveUp):
            break
        attempt, memory_class, deferrals = decision.attempt, decision.memory_class, decision.deferrals
    return decisions


def test_a_store_or_broker_that_is_away_is_waited_for_without_counting():
    decisions = history("transient")
    assert len(decisions) == 20
    assert all(isinstance(decision, Retry) and decision.attempt == 1 for decision in decisions)
    delays = [decision.delay_seconds for decision in decisions]
    assert delays[:5] == list(DELAYS_SECONDS)
    assert delays == sorted(delays)


def test_resources_get_one_more_attempt_in_the_next_class():
    assert history("resource") == [Retry(0, 2, "medium"), GiveUp()]
    assert history("resource", "large") == [Retry(0, 2, "large"), GiveUp()]


def test_bad_data_is_not_tried_again_and_is_nobodys_fault_here():
    assert history("data") == [GiveUp()]


def test_a_bug_has_three_attempts():
    retry, again, end = history("bug")
    assert (retry.attempt, again.attempt) == (2, 3)
    assert end == GiveUp()


@given(st.sampled_from(KINDS), st.integers(1, 50), classes, st.integers(0, 50))
def test_every_failure_has_one_answer_and_every_delay_a_queue(kind, attempt, memory_class, deferrals):
    decision = after_failure(kind, attempt, memory_class, deferrals=deferrals)
    assert decision == after_failure(kind, attempt, memory_class, deferrals=deferrals)
    if isinstance(decision, Retry):
        assert decision.delay_seconds in (0, *DELAYS_SECONDS)
        assert MEMORY_CLASSES.index(decision.memory_class) >= MEMORY_CLASSES.index(memory_class)
        assert attempt <= decision.attempt <= attempt + 1


@given(st.floats(0.01, 10_000))
def test_the_shortest_delay_that_lasts_is_taken(seconds):
    level = int(delay_exchange(BusSettings(), seconds).rpartition(".")[2])
    assert level >= min(seconds, DELAYS_SECONDS[-1])
    assert not [shorter for shorter in DELAYS_SECONDS if seconds <= shorter < level]


def test_a_dead_letter_keeps_all_that_is_needed_to_look_and_to_try_again():
    unit = "imaging/ngc5921/vla/hi21cm"
    task = Task(stage="imaging", units=(Work(unit=unit, work_key="a" * 64),), run="r", attempt=3)
    letter = dead.DeadLetter(
        unit=unit, work_key="a" * 64, kind="bug", message="?", detail="Traceback ...", attempts=3, task=task
    )
    assert letter.path == f"dead/{unit}/{'a' * 64}.json"
    assert dead.from_json(dead.to_json(letter), letter.path) == letter


def test_a_damaged_dead_letter_is_named():
    with pytest.raises(CorruptInputError, match=r"dead/x\.json"):
        dead.from_json(b'{"unit": 1}', "dead/x.json")


def test_an_unreadable_message_has_a_letter_of_its_own():
    one, other = (dead.unreadable("imaging.tasks", body, "why") for body in (b"\xff\x00", b"\xff\x01"))
    assert one.path != other.path
    assert one.detail == r"\xff" + "\x00"
    assert "why" in one.message
