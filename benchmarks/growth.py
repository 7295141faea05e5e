"""What the control plane costs as a survey grows: the whole loop in one process, with jobs that end as they begin.

Four services on the in-memory broker, with claims, and manifests in a folder.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.synthetic import build, names, project_of, result_of
from fringeflow import announcements
from fringeflow.bus.bus import Bus
from fringeflow.bus.settings import BusSettings
from fringeflow.catalogue import Catalogue
from fringeflow.claims import Claims
from fringeflow.events import MEMORY_CLASSES, Arrived, ArtefactRef
from fringeflow.graph.build import STAGES, Selection
from fringeflow.jobs.request import JobRequest, JobResult
from fringeflow.manifest import Artefact
from fringeflow.outlook import MOST_UNITS
from fringeflow.service import Service
from fringeflow.slots import Slots
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import StoreSettings, open_store
from fringeflow.world import World

AT_ONCE = 100
"""Inputs that come at once: more would measure the queues, which here lie in this process."""
SCRIPT = Path(__file__).with_name("control_plane.py")


class NoJob:
    """A job that has ended before it began."""

    def __init__(self, request: JobRequest) -> None:
        self.id = str(request.tasks[0].unit.id)
        self._request = request
        self.done = True

    def poll(self) -> Sequence[Any]:
        """Return nothing."""
        return ()

    def result(self) -> JobResult:
        """Return that everything was made of nothing."""
        return JobResult(tuple(result_of(task.unit, task.work_key) for task in self._request.tasks))


class NoHost:
    """Starts jobs that have ended."""

    def start(self, request: JobRequest) -> NoJob:
        """Return what has ended."""
        return NoJob(request)


class NoLookout:
    """Nothing changes."""

    def ask(self, since: float = 0.0) -> int:
        """Return a ticket."""
        del since
        return 0

    def seen(self, ticket: int) -> bool:
        """Return that all was seen."""
        return ticket == 0

    @staticmethod
    def readers(leaf: str) -> Sequence[str]:
        """Return the one target that reads an input."""
        return [leaf.partition("/")[2].removesuffix(".ms")]


def survey(folder: Path, count: int) -> dict[str, float]:
    """Make `count` units and return what each cost, at first and when all is made already."""
    targets = names(count)
    store = open_store(StoreSettings.of_folder(folder / "store"))
    ledger = Ledger(store)
    drops = {
        name: Artefact(name=name, kind="file", key=name, size=1, sha256=f"{number:064d}")
        for number, name in enumerate(f"incoming/{target}.ms" for target in targets)
    }
    bus = Bus(BusSettings())
    bus.declare(STAGES)
    world = World(
        run="r",
        catalogue=Catalogue(project_of(folder, targets), Selection(), {}, ledger, build, most_units=MOST_UNITS),
        store=store,
        ledger=ledger,
        bus=bus,
        host=NoHost(),  # type: ignore[arg-type]  # as much of one as a service uses
        slots=Slots(2, 1_000_000),
        memory_limit_mb=dict.fromkeys(MEMORY_CLASSES, 1_000_000),
        claims=Claims(store, "me", 1e6),
        lookout=NoLookout(),
    )
    before = psutil.Process().memory_info().rss / 1e6
    first = _spent(lambda: _turn(world, drops), count)
    memory = psutil.Process().memory_info().rss / 1e6
    again = _spent(lambda: _turn(world, drops), count)
    after = psutil.Process().memory_info().rss / 1e6
    made = sum(1 for _ in store.list("manifests"))
    if made != count:
        raise RuntimeError(f"{made} of {count} units were made")
    return {
        "units": count,
        "units_per_second": 1 / first[0],
        "cpu_ms_per_unit": 1000 * first[1],
        "again_cpu_ms_per_unit": 1000 * again[1],
        "memory_mb_of_keys_and_inputs": before,
        "memory_mb": memory,
        "memory_mb_after_again": after,
    }


def _turn(world: World, drops: Mapping[str, Artefact]) -> None:
    services = [Service(stage, world) for stage in STAGES]
    coming = iter(drops.values())
    while batch := list(itertools.islice(coming, AT_ONCE)):
        there = {**world.catalogue.drops, **{drop.name: drop for drop in batch}}
        world.catalogue.follow(there, [NoLookout.readers(drop.name)[0] for drop in batch])
        for drop in batch:
            ref = ArtefactRef(name=drop.name, key=drop.key, size=drop.size, sha256=drop.sha256)
            world.bus.announce(announcements.arrived(Arrived(leaf=drop.name, artefact=ref), run="r", source="/bench"))
        did = [True]
        while any(did) or any(service.in_hand for service in services):
            did = [service.step() for service in reversed(services)]


def _spent(work: Callable[[], None], count: int) -> tuple[float, float]:
    """Return the wall and the processor seconds of each of `count` units."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count


def growth(counts: Sequence[int]) -> list[dict[str, float]]:
    """Return the figures of surveys of different sizes, each made in a process of its own."""
    figures = []
    for count in counts:
        done = subprocess.run(
            [sys.executable, SCRIPT, "--survey", str(count)], check=True, stdout=subprocess.PIPE, text=True
        )
        figures.append(json.loads(done.stdout))
    return figures
