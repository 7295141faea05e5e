"""Messages on the wire: round trips, tolerance, identity, size, topics."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fringeflow import announcements
from fringeflow.events import (
    FACTS,
    MADE_FACTS,
    MAX_BYTES,
    Arrived,
    ArtefactRef,
    MessageTooLargeError,
    Task,
    UnreadableMessageError,
    Work,
    fact_of,
    parse,
    parse_task,
    place_of,
    routing_key,
    to_bytes,
)

KEY = "ab" * 32
UNIT = "imaging/ngc5921/vla/hi21cm"

names = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters="/"), min_size=1, max_size=20)
units = st.lists(names, min_size=4, max_size=5).map("/".join)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
texts = st.text(max_size=300)
sendable = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)
artefacts = st.builds(ArtefactRef, name=sendable, key=sendable, size=st.integers(0, 2**60), sha256=digests)
common = st.fixed_dictionaries({"run": sendable, "causation": st.none() | sendable})


@st.composite
def events(draw):
    """Draw an event of any fact, as any producer may announce it."""
    fact = draw(st.sampled_from(sorted(FACTS)))
    shared, unit = draw(common), draw(units)
    if fact == "visibilities.arrived":
        place = {name: draw(names | st.just("")) for name in ("target", "config", "product")}
        return announcements.arrived(
            Arrived(leaf=draw(sendable), artefact=draw(artefacts), **place), source="/fringeflow/put", **shared
        )
    if fact == "unit.failed":
        return announcements.failed(
            unit,
            work_key=draw(st.none() | digests),
            kind=draw(st.sampled_from(["transient", "resource", "data", "bug"])),
            message=draw(texts),
            remedy=draw(st.none() | texts),
            attempt=draw(st.integers(1, 99)),
            final=draw(st.booleans()),
            **shared,
        )
    if fact == "unit.waiting":
        return announcements.waiting(unit, draw(st.lists(sendable, max_size=5)), **shared)
    return announcements.made(
        fact,
        unit,
        work_key=draw(digests),
        manifest=draw(sendable),
        artefacts=draw(st.lists(artefacts, max_size=3)),
        forced=draw(st.booleans()),
        **shared,
    )


@given(events())
def test_an_event_survives_the_wire(event):
    assert parse(to_bytes(event)) == event
    assert len(to_bytes(event)) <= MAX_BYTES


@given(events())
def test_a_topic_is_five_words_that_fit_amqp(event):
    words = routing_key(event).split(".")
    assert len(words) == (6 if fact_of(event) == "unit.made" else 5)
    assert ".".join(words[:2]) == fact_of(event)
    assert all(words)
    assert not set("*#") & set(routing_key(event))
    assert len(routing_key(event).encode()) <= 255


@given(events(), st.text("abcxyz_", min_size=1).filter(lambda name: name not in {"data", "id"}))
def test_members_of_a_later_minor_version_are_ignored(event, name):
    content = json.loads(to_bytes(event))
    content[f"later{name}"] = content["data"][f"later{name}"] = {"any": ["thing"]}
    assert parse(json.dumps(content).encode()) == event


@given(st.binary(max_size=200))
def test_what_is_no_message_is_refused_in_words(body):
    with pytest.raises(UnreadableMessageError, match="not an event"):
        parse(body)
    with pytest.raises(UnreadableMessageError, match="not a task"):
        parse_task(body)


@given(
    st.builds(
        Task,
        stage=names,
        units=st.lists(st.builds(Work, unit=units, work_key=digests), min_size=1, max_size=5).map(tuple),
        run=sendable,
        causation_id=st.none() | sendable,
        attempt=st.integers(1, 9),
        deferrals=st.integers(0, 9),
        forced=st.booleans(),
        memory_class=st.sampled_from(["small", "medium", "large"]),
        time_limit_seconds=st.none() | st.floats(1, 1e6),
    )
)
def test_a_task_survives_the_wire_and_keeps_its_identity(task):
    again = parse_task(to_bytes(task))
    assert again == task
    assert again.id == task.id


def made(**changes):
    given_ = {"work_key": KEY, "manifest": "m", "artefacts": (), "run": "run-1", **changes}
    return announcements.made(given_.pop("fact", "cube.imaged"), given_.pop("unit", UNIT), **given_)


def test_a_major_version_not_known_here_is_refused():
    content = json.loads(to_bytes(made())) | {"type": "fringeflow.cube.imaged.v2"}
    with pytest.raises(UnreadableMessageError, match=r"fringeflow\.cube\.imaged\.v2"):
        parse(json.dumps(content).encode())


def test_producers_are_strict():
    event = made()
    with pytest.raises(ValidationError, match="extra"):
        type(event).model_validate({**event.model_dump(), "surplus": 1})
    with pytest.raises(ValidationError, match="work_key"):
        made(work_key="not a digest")
    with pytest.raises(ValidationError, match="unit"):
        made(unit="only/three/parts")
    with pytest.raises(ValidationError, match="is not the unit"):
        type(event).model_validate({**event.model_dump(), "subject": "imaging/another/vla/hi21cm"})
    with pytest.raises(ValueError, match="not announced"):
        made(fact="cube.burnt")


def test_the_same_fact_has_the_same_id_whoever_states_it_and_when():
    assert made().id == made(run="run-2", causation="x").id
    ids = {made(fact=fact).id for fact in MADE_FACTS} | {made(work_key="cd" * 32).id}
    assert len(ids) == len(MADE_FACTS) + 1
    said = [announcements.waiting(UNIT, waits, run="r").id for waits in (["a", "b"], ["b", "a"], ["a"])]
    assert said[0] == said[1] != said[2]
    failure = {"work_key": KEY, "kind": "bug", "message": "?", "remedy": None, "final": False, "run": "r"}
    assert len({announcements.failed(UNIT, attempt=attempt, **failure).id for attempt in (1, 2)}) == 2


def test_a_replay_is_an_event_of_its_own_that_names_the_first():
    event = made()
    replay = announcements.replayed(event, run="replay-1", forced=True)
    assert (replay.replay_of, replay.causation_id, replay.correlation_id) == (event.id, event.id, "replay-1")
    assert replay.forced
    assert replay.data == event.data
    again = announcements.replayed(replay, run="replay-2")
    assert (again.replay_of, again.causation_id) == (event.id, replay.id)
    assert len({event.id, replay.id, again.id}) == 3
    assert json.loads(to_bytes(replay))["replayof"] == event.id


def test_the_context_attributes_are_those_of_cloudevents():
    content = json.loads(to_bytes(made(causation="parent")))
    assert set(content) - {"data"} == {
        "specversion", "id", "source", "type", "subject", "time", "datacontenttype",
        "correlationid", "causationid", "forced",
    }  # fmt: skip
    assert all(name.isalnum() and name == name.lower() for name in content)
    assert datetime.fromisoformat(content["time"]).tzinfo is not None


def test_what_would_be_too_large_is_cut_and_says_so():
    many = [ArtefactRef(name=f"{n}.fits", key=f"artefacts/{n}", size=n, sha256=KEY) for n in range(1000)]
    event = made(artefacts=many)
    assert 20 < len(event.data.artefacts) < 1000
    assert len(event.data.artefacts) + event.data.left_out == 1000
    assert event.data.artefacts == tuple(many[: len(event.data.artefacts)])
    wait = announcements.waiting(UNIT, [f"incoming/{'x' * 90}{n}.ms" for n in range(1000)], run="r")
    assert len(wait.data.waits_for) + wait.data.left_out == 1000
    long = announcements.failed(
        UNIT, work_key=KEY, kind="bug", message="\0\udcff" * 9000, remedy="r" * 9000, attempt=1, final=True, run="r"
    )
    assert 1000 < len(long.data.message) < 18000
    for message in (event, wait, long):
        assert parse(to_bytes(message)) == message


def test_a_task_too_large_is_refused():
    units = tuple(Work(unit=f"{UNIT}/{n}", work_key=KEY) for n in range(500))
    with pytest.raises(MessageTooLargeError, match="16384"):
        to_bytes(Task(stage="imaging", units=units, run="r"))


def test_dots_and_wildcards_inside_names_stay_inside_their_word():
    event = made(unit="imaging/ngc.5921*/7m+tp/co#2-1/plan", fact="unit.made")
    assert routing_key(event) == "unit.made.ngc_5921_.7m+tp.co_2-1.imaging"
    drop = ArtefactRef(name="a.ms", key="incoming/a.ms", size=0, sha256=KEY)
    unknown = announcements.arrived(Arrived(leaf="incoming/a.ms", artefact=drop), run="r", source="/x")
    assert routing_key(unknown) == "visibilities.arrived.-.-.-"
    assert place_of(unknown) == ("", "", "", "")
    assert place_of(event) == ("imaging", "ngc.5921*", "7m+tp", "co#2-1")


def test_a_time_without_a_zone_is_refused():
    event = made()
    with pytest.raises(ValidationError, match="timezone"):
        type(event).model_validate({**event.model_dump(), "time": datetime.now(UTC).replace(tzinfo=None)})
