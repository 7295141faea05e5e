"""Workers on a real broker: sharing, dying, losing the broker, leaving, and old news."""

from __future__ import annotations

import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fringeflow import announcements, damage
from fringeflow.bus import topology
from fringeflow.bus.journal import StreamJournal
from fringeflow.bus.parcel import Parcel
from fringeflow.events import Task, Work, fact_of
from tests.broker import Broker, private_broker
from tests.toy_worker import UNITS_PER_TARGET
from tests.worker.conftest import STAGES, House

pytestmark = pytest.mark.xdist_group("rabbitmq")

IMAGED = "ms;staging;imagingblock0;ms;staging;imagingblock1;imaging;"


def test_a_drop_becomes_products_and_draining_ends(house: House) -> None:
    house.keys("a", "b")
    house.drop("a")
    worker = house.work(*STAGES, drain=True)
    house.wait_until_made(UNITS_PER_TARGET)
    assert worker.wait(30) == 0, house.logs()
    assert house.text("derived", step="mom1") == f"{IMAGED}postprocess;derivedmom1;"
    assert set(house.begun().values()) == {1}
    assert list(house.store.list("claims")) == []
    events = [event for _, event in StreamJournal(house.bus().settings, idle_seconds=0.5).read()]
    assert [event.subject for event in events if fact_of(event) == "visibilities.arrived"] == ["incoming/a.ms"]
    waiting = [event.subject for event in events if fact_of(event) == "unit.waiting"]
    assert "staging/b/c/p" in waiting
    assert len(waiting) == len(set(waiting))


def test_several_workers_share_the_work_and_do_nothing_twice(house: House) -> None:
    targets = [f"t{number}" for number in range(4)]
    house.deeds["imaging"] = {"seconds": 0.4}
    house.keys(*targets)
    workers = [house.work(*STAGES) for _ in range(2)]
    for target in targets:
        house.drop(target)
    house.wait_until_made(UNITS_PER_TARGET * len(targets))
    assert set(house.begun().values()) == {1}
    made_by = [path.read_text().count("] made ") for path in sorted(house.folder.glob("worker-*.log"))]
    assert sum("made" in path.read_text() for path in house.folder.glob("worker-*.log")) == len(workers), made_by


def test_the_work_of_a_killed_worker_is_done_by_another_when_its_claim_has_run_out(house: House) -> None:
    house.deeds["staging"] = {"seconds": 2}
    house.keys("a")
    house.drop("a")
    first = house.work(*STAGES)
    house.wait_for(lambda: house.begun()["staging/a/c/p"])
    house.work(*STAGES)
    first.kill()
    killed = time.monotonic()
    house.wait_until_made(1)
    assert 2 < time.monotonic() - killed < 15
    house.wait_until_made(UNITS_PER_TARGET)
    assert {unit: count for unit, count in house.begun().items() if count > 1} == {"staging/a/c/p": 2}
    house.wait_for(lambda: not list(house.store.list("claims")))


@pytest.fixture(scope="module")
def frail_broker() -> Iterator[Broker]:
    """A broker that may be ended and robbed, and has little patience with who does not acknowledge."""
    with private_broker(CONSUMER_TIMEOUT_MS="4000", CHANNEL_TICK_MS="500") as broker:
        yield broker


@pytest.fixture
def frail_house(tmp_path: Path, frail_broker: Broker) -> Iterator[House]:
    house = House(tmp_path, frail_broker)
    yield house
    house.end()


def test_a_job_longer_than_heartbeats_and_acknowledgement_timeout_is_done_once(frail_house: House) -> None:
    house = frail_house
    house.settings["BUS__HEARTBEAT_SECONDS"] = "2"
    house.deeds["staging"] = {"seconds": 11}
    house.keys("a")
    house.drop("a")
    for _ in range(2):
        house.work(*STAGES)
    house.wait_until_made(UNITS_PER_TARGET)
    assert set(house.begun().values()) == {1}
    assert "broker lost" in house.logs()  # the timeout has struck


@pytest.mark.parametrize("wiped", [False, True])
def test_a_broker_that_is_restarted_in_the_midst_loses_nothing_even_if_it_forgets_all(
    frail_house: House, wiped: bool
) -> None:
    house = frail_house
    house.deeds["imaging"] = {"seconds": 1}
    house.keys("a", "b")
    house.drop("a")
    house.drop("b")
    house.work(*STAGES)
    house.work("imaging")
    house.wait_for(lambda: house.begun()["imaging/a/c/p/block0"])
    house.broker.kill()
    if wiped:
        house.broker.wipe()
    house.broker.start()
    house.wait_until_made(2 * UNITS_PER_TARGET)
    assert set(house.begun().values()) == {1}
    assert house.text("derived", "b", "mom0") == f"{IMAGED}postprocess;derivedmom0;"


def test_old_events_and_repeated_tasks_change_nothing(house: House) -> None:
    house.keys("a")
    house.drop("a", "old;")
    house.work(*STAGES)
    house.wait_until_made(UNITS_PER_TARGET)
    old = house.manifests()
    house.drop("a")
    house.wait_until_made(2 * UNITS_PER_TARGET)
    bus = house.bus()
    done = house.begun()
    for event in [event for _, event in StreamJournal(bus.settings, idle_seconds=0.5).read()]:
        bus.announce(event)
    for manifest in house.manifests():
        unit = Work(unit=str(manifest.unit), work_key=manifest.work_key)
        bus.order(Task(stage=manifest.unit.stage, units=(unit,), run="again"))
    never = Work(unit="derived/a/c/p/mom0", work_key="0" * 64)
    bus.order(Task(stage="derived", units=(never,), run="again"))
    house.wait_for(lambda: house.logs().count("unwanted"))
    house.wait_for(lambda: not any(sum(bus.depths(stage).values()) for stage in STAGES))
    time.sleep(1)
    assert house.begun() == done
    assert len(house.manifests()) == 2 * len(old)


def test_a_worker_told_to_leave_finishes_its_job_first(house: House) -> None:
    house.deeds["staging"] = {"seconds": 3}
    house.keys("a")
    house.drop("a")
    worker = house.work(*STAGES)
    house.wait_for(lambda: house.begun()["staging/a/c/p"])
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert [str(manifest.unit) for manifest in house.manifests()] == ["staging/a/c/p"]
    assert house.begun() == {"staging/a/c/p": 1}
    assert list(house.store.list("claims")) == []


def test_a_worker_without_time_gives_its_job_back(house: House) -> None:
    house.deeds["staging"] = {"seconds": 5}
    house.keys("a")
    house.drop("a")
    worker = house.work(*STAGES, env={"JOBS__GRACE_SECONDS": "0.5"})
    house.wait_for(lambda: house.begun()["staging/a/c/p"])
    worker.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    assert worker.wait(20) == 0
    assert time.monotonic() - asked < 4
    assert (house.manifests(), list(house.store.list("claims"))) == ([], [])
    assert house.bus().depths("staging")["staging.tasks.small"] == 1
    assert [path for path in (house.folder / "scratch").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("gone", ["broker", "store", "silent broker"])
def test_a_worker_leaves_at_once_though_nobody_answers(house: House, gone: str) -> None:
    house.keys("a")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        env = {"BUS__URL": f"amqp://guest:guest@127.0.0.1:{port}//", "BUS__CONNECT_TIMEOUT_SECONDS": "2"}
        if gone == "store":
            env = {
                "STORE__URL": "s3://nowhere",
                "STORE__ENDPOINT": f"http://127.0.0.1:{port}",
                "STORE__ALLOW_HTTP": "1",
            }
        if gone != "silent broker":
            silent.close()
        credentials = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        worker = house.work(*STAGES, env=env, plain_env=credentials)
        keys = house.folder / "scratch"
        house.wait_for(lambda: "not read" in house.logs() if gone == "store" else list(keys.glob("run-*/keys/*.txt")))
        worker.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        assert worker.wait(40) == 0, house.logs()
        assert time.monotonic() - asked < 6


def test_what_a_killed_worker_leaves_lies_in_its_scratch_and_is_swept(house: House) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))  # the names of sockets are short
    try:
        (temporary := house.folder / "tmp").mkdir()
        house.settings["JOBS__SCRATCH"] = str(scratch)
        house.keys("a")
        house.drop("a")
        killed = house.work(*STAGES, plain_env={"TMPDIR": str(temporary)})
        house.wait_until_made(UNITS_PER_TARGET)
        killed.kill()
        killed.wait()
        left = {path.name for folder in scratch.iterdir() for path in folder.iterdir()}
        assert "keys" in left
        assert any(name.startswith("pymp-") for name in left)
        assert house.work(*STAGES, drain=True, plain_env={"TMPDIR": str(temporary)}).wait(30) == 0, house.logs()
        assert (list(scratch.iterdir()), list(temporary.iterdir())) == ([], [])
        assert "Traceback" not in house.logs()
    finally:
        shutil.rmtree(scratch)


def test_classes_and_number_of_tasks_are_kept_to(house: House) -> None:
    house.deeds["imaging"] = {"memory_mb": 10_000}
    house.keys("a")
    house.drop("a")
    house.work("staging", "imaging", classes=["small"])
    house.wait_until_made(1)
    bus = house.bus()
    house.wait_for(lambda: bus.depths("imaging")["imaging.tasks.medium"] == 2)
    only_one = house.work("imaging", classes=["medium"], max_tasks=1, dispatches=False)
    assert only_one.wait(30) == 0
    assert len(house.manifests()) == 2
    assert bus.depths("imaging")["imaging.tasks.medium"] == 1


def test_failures_are_told_kept_and_not_repeated_and_others_go_on(house: House) -> None:
    house.deeds["postprocess/bad/c/p"] = {"do": "data"}
    house.keys("bad", "good")
    house.drop("bad")
    house.drop("good")
    worker = house.work(*STAGES)
    house.wait_until_made(UNITS_PER_TARGET + 4)
    (letter,) = house.wait_for(lambda: list(house.store.list("dead")))
    assert letter.key.startswith("dead/postprocess/bad/c/p/")
    worker.kill()
    house.work(*STAGES, drain=True).wait(60)
    assert set(house.begun().values()) == {1}


def test_what_cannot_be_read_ends_among_the_dead(house: House) -> None:
    house.keys("a")
    house.work(*STAGES)
    bus = house.bus()
    bus._link.publish(
        "", topology.task_queue(bus.settings, "derived", "small"), Parcel(b"?", "text/plain"), mandatory=True
    )
    bus._link.publish(topology.exchange_name(bus.settings, "bucket"), "any", Parcel(b"?", ""), mandatory=True)
    house.wait_for(lambda: bus.depths("derived")["derived.dead"] and bus.depths("staging")["staging.dead"])
    assert [info.key.rpartition("/")[0] for info in house.store.list("dead")] == [
        f"dead/unreadable/{house.prefix}derived.tasks.small"
    ]


def test_changed_keys_make_what_they_concern_and_a_new_target_begins(house: House) -> None:
    house.keys("a")
    house.drop("a")
    house.drop("b")
    house.work(*STAGES)
    house.wait_until_made(UNITS_PER_TARGET)
    house.keys("a", "b")
    house.wait_until_made(2 * UNITS_PER_TARGET)
    assert set(house.begun().values()) == {1}


def test_a_forced_event_makes_again_what_follows_from_it_and_nothing_else(house: House) -> None:
    house.keys("a")
    house.drop("a")
    house.work(*STAGES)
    house.wait_until_made(UNITS_PER_TARGET)
    bus = house.bus()
    events = [event for _, event in StreamJournal(bus.settings, idle_seconds=0.5).read()]
    (imaged,) = [event for event in events if fact_of(event) == "cube.imaged"]
    before = house.manifests()
    bus.announce(announcements.replayed(imaged, run="again", forced=True))
    expected = {"postprocess/a/c/p": 2, "derived/a/c/p/mom0": 2, "derived/a/c/p/mom1": 2}
    house.wait_for(lambda: {unit: count for unit, count in house.begun().items() if count > 1} == expected)
    time.sleep(1)
    assert max(house.begun().values()) == 2
    assert house.manifests() == before
    assert list(house.store.list("dead")) == []


def test_a_damaged_manifest_ends_no_worker_is_named_and_its_unit_is_made_again_once_it_is_gone(house: House) -> None:
    house.keys("a")
    house.drop("a")
    assert house.work(*STAGES, drain=True).wait(60) == 0, house.logs()
    (imaged,) = [item for item in house.manifests() if str(item.unit) == "imaging/a/c/p"]
    maps = [item for item in house.manifests() if item.unit.stage in ("postprocess", "derived")]
    house.store.put_bytes(imaged.path, b"{}")
    house.store.delete([item.path for item in maps])
    worker = house.work(*STAGES)  # what follows is to be made again, from what cannot be read
    house.wait_for(lambda: list(house.store.list("damaged")))
    unit, key = str(imaged.unit), imaged.work_key
    letter = damage.known(house.store)[unit, key]
    assert imaged.path in letter.message
    assert letter.remedy == "remove it, and its unit will be made again"
    house.drop("b")
    house.keys("a", "b")  # other targets go on
    house.wait_for(lambda: any(info.key.startswith("manifests/derived/b/") for info in house.store.list("manifests")))
    assert worker.poll() is None
    house.store.delete([imaged.path])
    house.wait_until_made(2 * UNITS_PER_TARGET)
    assert damage.known(house.store) == {}
    assert house.begun()[unit] == 2
    assert list(house.store.list("dead")) == []
