"""Workers on a bucket: notices, latency, and credentials that stay where they are."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fringeflow.bus import topology
from fringeflow.bus.journal import StreamJournal
from fringeflow.bus.parcel import Parcel
from fringeflow.events import to_bytes
from fringeflow.store.objects import StoreSettings
from tests.broker import Broker
from tests.store.conftest import BUCKET, s3_endpoint  # noqa: F401 - a fixture
from tests.toy_worker import UNITS_PER_TARGET
from tests.worker.conftest import STAGES, House, delete_queues

pytestmark = pytest.mark.xdist_group("rabbitmq")

CANARY = "canary-of-the-secret-key"


@pytest.fixture
def bucket_house(
    tmp_path: Path,
    broker: Broker,
    s3_endpoint: str,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[House]:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    store = StoreSettings(url=f"s3://{BUCKET}/{uuid.uuid4().hex}", endpoint=s3_endpoint, allow_http=True)
    house = House(tmp_path, broker, store)
    house.settings |= {"POLL_SECONDS": "600", "RECONCILE_SECONDS": "600", "LOG__LEVEL": "debug"}
    yield house
    house.end()
    delete_queues(house)


def notify(house: House, key: str, event: str) -> None:
    """Say what a bucket would say."""
    prefix = house.store_settings.url.rpartition("/")[2]
    record = {"eventName": event, "s3": {"object": {"key": f"{prefix}/{key}", "size": 1, "eTag": "e"}}}
    bus = house.bus()
    exchange = topology.exchange_name(bus.settings, "bucket")
    bus._link.publish(exchange, "topic", Parcel(json.dumps({"Records": [record]}).encode(), ""), mandatory=True)
    bus.close()


def test_a_notice_is_enough_and_no_secret_is_told(bucket_house: House) -> None:
    house = bucket_house
    house.keys("a")
    house.work(*STAGES)
    house.wait_for(lambda: house.logs().count("leads") == len(STAGES))
    house.drop("a")
    notify(house, "incoming/a.ms", "s3:ObjectCreated:Put")
    house.wait_until_made(UNITS_PER_TARGET)
    house.drop("b")
    house.keys("a", "b")
    notify(house, "keys/targets.txt", "ObjectCreated:Put")
    house.wait_until_made(2 * UNITS_PER_TARGET)
    assert set(house.begun().values()) == {1}
    events = b"".join(to_bytes(event) for _, event in StreamJournal(house.bus().settings, idle_seconds=0.5).read())
    objects = b"".join(house.store.get_bytes(info.key) for info in house.store.list())
    assert CANARY.encode() not in events + objects + house.logs().encode()
    assert b"imaging/b/c/p" in events + objects


def test_a_task_begins_soon_after_the_event_that_makes_it_possible(bucket_house: House) -> None:
    """Of two links of a chain; a figure only where the machine is busy with something else."""
    house = bucket_house
    house.keys("a")
    house.work(*STAGES)
    house.wait_for(lambda: house.logs().count("leads") == len(STAGES))
    house.drop("a")
    notify(house, "incoming/a.ms", "ObjectCreated:Put")
    house.wait_until_made(UNITS_PER_TARGET)
    clock = {}
    for path in house.folder.glob("worker-*.log"):
        for line in re.sub(r"\x1b\[[0-9;]*m", "", path.read_text()).splitlines():
            for what in ("made", "started"):
                if f"] {what} " in line and (unit := re.search(r"(?:unit=|units=\[')([^'\s]+)", line)):
                    clock[what, unit[1]] = _seconds(line.split()[0])
    chain = ["staging/a/c/p", "imaging/a/c/p/block0"], ["imaging/a/c/p", "postprocess/a/c/p"]
    delays = [clock["started", after] - clock["made", before] for before, after in chain]
    print("event to task, milliseconds:", [round(1000 * delay) for delay in delays])  # noqa: T201 - a figure
    assert min(delays) > 0
    if os.getloadavg()[0] < len(os.sched_getaffinity(0)):
        assert min(delays) < 0.1


def _seconds(stamp: str) -> float:
    hours, minutes, seconds = stamp.partition("T")[2].removesuffix("Z").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
