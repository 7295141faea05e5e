"""Whatever is killed, cut, restarted or said twice while many units are made: the products are those of a quiet run."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from fringeflow.bus.journal import StreamJournal
from fringeflow.events import Task, Work
from fringeflow.manifest import Manifest
from tests.broker import Broker
from tests.distributed.cutter import Cutter
from tests.gateway import Gateway
from tests.toy_worker import UNITS_PER_TARGET
from tests.worker.conftest import STAGES, House, delete_queues

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SEED = 5921
EVENTS = 20
KINDS = ("worker", "child", "broker", "store", "cut", "noise")
WEIGHTS = (3, 3, 1, 1, 3, 2)  # restarts take long
WORKERS = 3
TARGETS = tuple(f"t{number:02d}" for number in range(10))
AT_ONCE = 3
"""Targets that are dropped before anything happens; the others are dropped while it happens."""
UNITS = (len(TARGETS) + 1) * UNITS_PER_TARGET  # the first target's input is replaced by a newer one
JOB_SECONDS = 0.5
WITHIN_SECONDS = 300.0


class Chaos:
    """Does harm to a house, at random but always in the same order."""

    def __init__(self, house: House, gateway: Gateway, cutter: Cutter) -> None:
        self.house = house
        self.gateway = gateway
        self.cutter = cutter
        self.random = random.Random(SEED)
        self.left = list(TARGETS)
        self.killed_children: set[str] = set()
        self.done: Counter[str] = Counter()
        self.seconds: dict[str, float] = dict.fromkeys(KINDS, 0.0)

    def kinds(self) -> list[str]:
        """Every kind at least twice, the rest as it comes."""
        chosen = [*KINDS, *KINDS, *self.random.choices(KINDS, WEIGHTS, k=EVENTS - 2 * len(KINDS))]
        self.random.shuffle(chosen)
        return chosen

    def drop_one(self) -> None:
        if self.left:
            self.house.drop(self.left.pop(0))

    def feed(self) -> None:
        """Drop another target's input when the work is running out."""
        ordered = (len(TARGETS) - len(self.left) + 1) * UNITS_PER_TARGET
        if ordered - sum(1 for _ in self.house.store.list("manifests")) < UNITS_PER_TARGET:
            self.drop_one()

    def strike(self, kind: str) -> None:
        self.feed()
        started = time.monotonic()
        getattr(self, kind)()
        self.done[kind] += 1
        self.seconds[kind] += time.monotonic() - started

    def worker(self) -> None:
        victim = self.random.choice([worker for worker in self.house.workers if worker.poll() is None])
        victim.kill()
        victim.wait()
        self.house.work(*STAGES)

    def child(self) -> None:
        """Kill a job's process; of each unit once, for a unit whose job is killed twice is rightly given up."""
        end = time.monotonic() + WITHIN_SECONDS
        while not (running := self._running()):
            assert time.monotonic() < end, self.house.logs()
            self.feed()
            time.sleep(0.05)
        unit, process = self.random.choice(running)
        process.kill()
        self.killed_children.add(unit)

    def _running(self) -> list[tuple[str, psutil.Process]]:
        found = []
        lines = self.house.diary.read_text().splitlines() if self.house.diary.exists() else []
        for unit, pid, _ in (line.split() for line in lines[-2 * WORKERS :]):
            try:
                process = psutil.Process(int(pid))
                if unit not in self.killed_children and "forkserver" in " ".join(process.cmdline()):
                    found.append((unit, process))
            except psutil.NoSuchProcess:
                continue
        return found

    def broker(self) -> None:
        self.house.broker.kill()
        self.house.broker.start()

    def store(self) -> None:
        self.gateway.kill()
        self.gateway.start()

    def cut(self) -> None:
        before = self.cutter.cuts
        self.cutter.cut(self.random.choice(("half", "unconfirmed")))
        self.house.wait_for(lambda: self.cutter.cuts > before or self.feed(), WITHIN_SECONDS)

    def noise(self) -> None:
        """Say again what was said before, and order again what was made before, in any order."""
        bus = self.house.bus()
        events = [event for _, event in StreamJournal(bus.settings, idle_seconds=0.5).read()]
        for event in self.random.sample(events, min(10, len(events))):
            bus.announce(event)
        manifests = self.house.manifests()
        for manifest in self.random.sample(manifests, min(10, len(manifests))):
            work = Work(unit=str(manifest.unit), work_key=manifest.work_key)
            bus.order(Task(stage=manifest.unit.stage, units=(work,), run="noise"))
        bus.close()


def begin(house: House, diary: Path) -> None:
    """Make the first target from an input that is then replaced."""
    house.deeds[""] = {"diary": str(diary), "seconds": JOB_SECONDS}
    house.keys(*TARGETS)
    house.drop(TARGETS[0], "old;")
    for _ in range(WORKERS):
        house.work(*STAGES)
    house.wait_until_made(UNITS_PER_TARGET, WITHIN_SECONDS)


def products(manifests: list[Manifest]) -> dict[str, list[tuple[str, str]]]:
    return {item.path: [(output.name, output.sha256) for output in item.outputs] for item in manifests}


def leave(house: House) -> None:
    for worker in house.workers:
        if worker.poll() is None:
            worker.send_signal(signal.SIGTERM)
    for worker in house.workers:
        assert worker.wait(60) in (0, -signal.SIGKILL), house.logs()


@pytest.fixture
def quiet(tmp_path: Path, mortal_broker: Broker) -> dict[str, list[tuple[str, str]]]:
    """The products of a run to which nothing happens."""
    house = House(tmp_path / "quiet", mortal_broker)
    try:
        begin(house, tmp_path / "diary")
        for target in TARGETS:
            house.drop(target)
        house.wait_until_made(UNITS, WITHIN_SECONDS)
        leave(house)
        return products(house.manifests())
    finally:
        house.end()
        delete_queues(house)
        (tmp_path / "diary").unlink(missing_ok=True)


def test_twenty_disasters_change_nothing(
    bucket_house: House, quiet: dict[str, list[tuple[str, str]]], mortal_gateway: Gateway
) -> None:
    house, port = bucket_house, bucket_house.broker.port
    cutter = Cutter(port)
    house.settings["BUS__URL"] = house.broker.url.replace(f":{port}", f":{cutter.port}")
    chaos = Chaos(house, mortal_gateway, cutter)
    started = time.monotonic()
    try:
        begin(house, house.diary)
        for _ in range(AT_ONCE):
            chaos.drop_one()
        for number, kind in enumerate(chaos.kinds()):
            house.wait_until_made(UNITS_PER_TARGET + number, WITHIN_SECONDS)
            chaos.strike(kind)
        while chaos.left:
            chaos.drop_one()
        made_amid = len(house.manifests())
        house.wait_until_made(UNITS, WITHIN_SECONDS)
        bus = house.bus()
        house.wait_for(lambda: not any(sum(bus.depths(stage).values()) for stage in STAGES), 60)
        house.wait_for(lambda: not list(house.store.list("claims")), 60)
        seconds = time.monotonic() - started
        leave(house)
    finally:
        cutter.close()
    begun = house.begun()
    print(  # noqa: T201 - the figures
        f"\n{UNITS} units, {sum(chaos.done.values())} events {dict(sorted(chaos.done.items()))}, seed {SEED}: "
        f"{seconds:.0f} s, {made_amid} units made amid them, {sum(begun.values()) - UNITS} units begun more than once "
        f"or in vain, {cutter.cuts} messages cut; seconds by event "
        f"{ {kind: round(spent) for kind, spent in chaos.seconds.items()} }"
    )
    assert sum(chaos.done.values()) == EVENTS
    assert set(chaos.done) == set(KINDS)
    assert products(house.manifests()) == quiet
    assert len(quiet) == UNITS
    assert list(house.store.list("dead")) == []
    assert list((house.folder / "scratch").glob("run-*")) == []
