"""What the control plane costs when jobs cost nothing: throughput, growth with the survey, memory, replay, latency.

    python benchmarks/control_plane.py [--units 1000,10000,100000] [--replayed 2000]

Growth: four services in one process on the in-memory broker, with claims, manifests in a folder, and jobs that end as
they begin. Replay and latency: worker processes on a private RabbitMQ (tools/rabbitmq.sh). Exits 1 where a goal is
missed: replay of what is made at 200 units a second, an event's task begun within 100 ms when idle, cost of a unit that
does not grow with the survey.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import structlog

from fringeflow import announcements, logs
from fringeflow.bus.bus import Bus
from fringeflow.bus.settings import BusSettings
from fringeflow.catalogue import Catalogue
from fringeflow.claims import Claims
from fringeflow.events import MEMORY_CLASSES, Arrived, ArtefactRef, Task, Work
from fringeflow.graph.build import STAGES, Selection
from fringeflow.graph.model import Graph, Lookup, Need, Unit, UnitId
from fringeflow.intake import leaves
from fringeflow.jobs.request import JobRequest, JobResult, UnitResult
from fringeflow.keys.model import InterfConfig, Project, Roots, Target
from fringeflow.manifest import Artefact, Manifest
from fringeflow.operating.rebuild import history
from fringeflow.outlook import MOST_UNITS
from fringeflow.service import Service
from fringeflow.settings import Settings
from fringeflow.slots import Slots
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import Store, StoreSettings, open_store
from fringeflow.worker import Duties, Worker
from fringeflow.world import World

LEAST_REPLAYED_PER_SECOND = 200.0
MOST_LATENCY_SECONDS = 0.1
MOST_GROWTH = 1.3
"""Of the cost of one unit, from the smallest survey measured to the largest."""
PER_TARGET = 10
AT_ONCE = 100
"""Inputs that come at once: more would measure the queue, which here lies in this process."""
BROKER = Path(__file__).resolve().parents[1] / "tools" / "rabbitmq.sh"
KEYS = {
    "master_key.txt": "key_dir .\nms_key ms.txt\ntarget_key targets.txt\nconfig_key configs.txt\n",
    "configs.txt": (
        "line_product   p  {'line_tag':'co21','channel_kms':2.6}\n"
        "interf_config  c  {'array_tags':['12m'],'clean_scales_arcsec':[0,1]}\n"
    ),
}


# a survey whose units are nothing but names


def units(target: str) -> Iterator[Unit]:
    """Yield the units of a target: three blocks of a cube, the cube, and four maps of it in one job."""

    def unit(stage: str, step: str = "", *needs: UnitId, **members: Any) -> Unit:
        fact = {"staging": "visibilities.staged", "imaging": "cube.imaged", "postprocess": "cube.postprocessed"}
        return Unit(
            id=UnitId(stage, target, "c", "p", step),
            revision=1,
            recipe={"step": step},
            needs=tuple(Need(unit=need) for need in needs),
            outputs=(f"{stage}{step}.fits",),
            fact=fact.get(stage, "products.derived") if not step else "unit.made",
            **members,
        )

    yield (staged := unit("staging", leaves=(f"incoming/{target}.ms",)))
    blocks = [unit("imaging", f"block{number}", staged.id) for number in range(3)]
    yield from blocks
    yield (imaged := unit("imaging", "", *(block.id for block in blocks)))
    yield (cube := unit("postprocess", "", imaged.id))
    yield from (unit("derived", f"map{number}", cube.id, group=f"{target} maps") for number in range(4))


def build(_: Project, target: str, dropped: Mapping[str, str], lookup: Lookup) -> Graph:
    """Return the graph of a target."""
    graph = Graph(dropped, lookup)
    for unit in units(target):
        graph.add(unit)
    return graph


def names(count: int) -> list[str]:
    """Return the names of as many targets as `count` units need."""
    return [f"t{number:06d}" for number in range(count // PER_TARGET)]


def project_of(folder: Path, targets: Sequence[str]) -> Project:
    """Return a project of these targets."""
    return Project(
        master_key=folder / "master_key.txt",
        roots=Roots(key_dir=folder, ms=(folder,)),
        targets={
            name: Target(name=name, ra="0h", dec="0d", vsys_kms=0, vwidth_kms=10, directory=name) for name in targets
        },
        interf_configs={"c": InterfConfig(name="c", array_tags=("a",), clean_scales_arcsec=(0,))},
    )


# growth: the whole loop, without processes


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
        return JobResult(tuple(_result(task.unit, task.work_key) for task in self._request.tasks))


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

    def readers(self, leaf: str) -> Sequence[str]:
        """Return the one target that reads an input."""
        return [leaf.partition("/")[2].removesuffix(".ms")]


def _result(unit: Unit, key: str) -> UnitResult:
    outputs = tuple(
        Artefact(name=name, kind="file", key=f"artefacts/{unit.id}/{key}/{name}", size=1000, sha256=key)
        for name in unit.outputs
    )
    return UnitResult(unit.id, key, outputs, {}, "2026-01-01T00:00:00+00:00", 0.0, {}, 0.0, 0.0, {})


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
        catalogue=Catalogue(project_of(folder, targets), Selection(), drops, ledger, build, most_units=MOST_UNITS),
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
            [sys.executable, __file__, "--survey", str(count)], check=True, stdout=subprocess.PIPE, text=True
        )
        figures.append(json.loads(done.stdout))
    return figures


# replay and latency: workers on a real broker


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """Give the address of a private broker."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        subprocess.run([BROKER, "start", folder, str(port)], check=True)
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        subprocess.run([BROKER, "kill", folder], check=True)


@contextmanager
def workers(folder: Path, url: str, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Give workers of all stages."""
    settings = {
        "BUS__URL": url,
        "STORE__URL": (folder / "store").as_uri(),
        "JOBS__SCRATCH": str(folder / "scratch"),
        "LOG__LEVEL": "warning",
    }
    environment = {**os.environ, **{f"FRINGEFLOW_{name}": value for name, value in settings.items()}}
    running = [subprocess.Popen([sys.executable, __file__, "--worker"], env=environment) for _ in range(count)]
    try:
        yield running
    finally:
        for worker in running:
            worker.terminate()
        for worker in running:
            worker.wait(60)


def write_keys(store: Store, targets: Sequence[str]) -> None:
    """Put the keys of these targets into the bucket."""
    lines = {
        "targets.txt": "".join(f"{name}  01h00m00s  -01d00m00s  1000  200\n" for name in targets),
        "ms.txt": "".join(f"{name}  p  all  12m  1  {name}.ms\n" for name in targets),
    }
    for name, text in {**lines, **KEYS}.items():
        store.put_bytes(f"keys/{name}", text.encode())


def as_if_made(store: Store, targets: Sequence[str]) -> list[Manifest]:
    """Put inputs into the bucket and the manifests of everything that follows from them."""
    ledger = Ledger(store)
    for target in targets:
        store.put_bytes(f"incoming/{target}.ms", target.encode())
    project = project_of(Path("/"), targets)
    drops = leaves.scan(store, project, [f"incoming/{target}.ms" for target in targets])
    digests = {name: drop.sha256 for name, drop in drops.items()}
    manifests = []
    for target in targets:
        graph = build(project, target, digests, lambda *_: {})
        for unit in graph:
            key = graph.key(unit.id) or ""
            result = _result(unit, key)
            manifest = Manifest(
                unit=unit.id,
                work_key=key,
                revision=unit.revision,
                fact=unit.fact,
                recipe=unit.recipe,
                outputs=result.outputs,
                started=result.started,
                seconds=0.0,
            )
            manifests.append(ledger.commit(manifest))
    return manifests


def replay(folder: Path, count: int) -> dict[str, Any]:
    """Replay the journal of `count` units that are made, and order them all again; return units a second of both."""
    store = open_store(StoreSettings.of_folder(folder / "store"))
    targets = names(count)
    manifests = as_if_made(store, targets)
    write_keys(store, targets)
    with rabbitmq(folder / "rabbitmq") as url:
        bus = Bus(BusSettings(url=url))
        bus.declare(STAGES)
        with workers(folder, url, 2) as running:
            _until_empty(bus, least=5.0)
            events = [announcements.replayed(event, run="r", forced=False) for event in history(manifests)]
            speeds, cpu, memory = [], [], []
            for _ in range(3):
                begun, used = time.perf_counter(), _processor_seconds(running, folder)
                for event in events:
                    bus.announce(event)
                _until_empty(bus)
                speeds.append(len(manifests) / (time.perf_counter() - begun))
                cpu.append(1000 * (_processor_seconds(running, folder) - used) / len(manifests))
                memory.append(max(psutil.Process(worker.pid).memory_info().rss for worker in running) / 1e6)
            begun = time.perf_counter()
            for manifest in manifests:
                unit = Work(unit=str(manifest.unit), work_key=manifest.work_key)
                bus.order(Task(stage=manifest.unit.stage, units=(unit,), run="r"))
            _until_empty(bus)
            ordered = len(manifests) / (time.perf_counter() - begun)
            bus.close()
    if len(list(store.list("manifests"))) != len(manifests) or list(store.list("claims")):
        raise RuntimeError("a replay has made something")
    return {
        "units": count,
        "units_per_second": speeds,
        "ordered_per_second": ordered,
        "cpu_ms_per_unit": cpu,
        "worker_memory_mb": memory,
    }


def _processor_seconds(running: Sequence[subprocess.Popen[bytes]], folder: Path) -> float:
    """Return what this process, the workers and the broker have used so far."""
    home = f"{folder}/rabbitmq/home"
    spent = time.process_time()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid in {worker.pid for worker in running} or process.environ().get("HOME") == home:
                times = process.cpu_times()
                spent += times.user + times.system
    return spent


def _until_empty(bus: Bus, least: float = 0.0) -> None:
    """Wait until the queues have been empty for two looks in a row."""
    end, quiet = time.monotonic() + least, 0
    while quiet < 2 or time.monotonic() < end:
        depths = [count for stage in STAGES for count in bus.depths(stage).values()]
        quiet = 0 if any(depths) else quiet + 1
        time.sleep(0.05)


def latency(folder: Path, count: int) -> dict[str, float]:
    """Make one target after another and return the seconds from a unit's commit to the start of the job it allows."""
    store = open_store(StoreSettings.of_folder(folder / "store"))
    targets = names(count)
    write_keys(store, targets)
    ledger, project = Ledger(store), project_of(Path("/"), targets)
    with rabbitmq(folder / "rabbitmq") as url, workers(folder, url, 2):
        bus = Bus(BusSettings(url=url))
        bus.declare(STAGES)
        for number, target in enumerate(targets):
            key = f"incoming/{target}.ms"
            store.put_bytes(key, target.encode())
            (drop,) = leaves.scan(store, project, [key]).values()
            ref = ArtefactRef(name=key, key=key, size=drop.size, sha256=drop.sha256)
            bus.announce(announcements.arrived(Arrived(leaf=key, artefact=ref), run="r", source="/bench"))
            while sum(1 for _ in store.list("manifests")) < (number + 1) * PER_TARGET:
                bus.drain(0.05)
        bus.close()
    found = []
    for target in targets:
        made = {(item.unit.stage, item.unit.step): item for item in ledger.all() if item.unit.target == target}
        for before, after in (
            (("staging", ""), ("imaging", "block0")),
            (("imaging", ""), ("postprocess", "")),
            (("postprocess", ""), ("derived", "map0")),
        ):
            committed = (folder / "store" / made[before].path).stat().st_mtime
            found.append(made[after].facts["began"] - committed)
    found.sort()
    return {"links": len(found), "median": statistics.median(found), "nine_of_ten": found[int(0.9 * len(found))]}


def work() -> None:
    """Be a worker of all stages."""
    settings = Settings()
    logs.configure("console", settings.log.level, sys.stderr)
    Worker(settings, Duties(stages=STAGES), builder=build, make="no_science:make").run()


def main() -> int:
    """Measure, print, and say whether the goals are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", default="1000,10000,100000", help="sizes of the surveys, a multiple of 10 each")
    parser.add_argument("--replayed", type=int, default=2000, help="units of the replay")
    parser.add_argument("--survey", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work()
        return 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="fringeflow-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if options.survey is not None:
            sys.stdout.write(json.dumps(survey(folder, options.survey)))
            return 0
        sizes = [int(text) for text in options.units.split(",") if text]
        figures = {
            "growth": growth(sizes),
            "replay": replay(folder / "replay", options.replayed) if options.replayed else None,
            "latency_seconds": latency(folder / "latency", 100) if options.replayed else None,
        }
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    missed = list(_missed(figures))
    for line in missed:
        sys.stdout.write(f"missed: {line}\n")
    return 1 if missed else 0


def _missed(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield the goals that are missed."""
    sizes, replayed, delay = figures["growth"], figures["replay"], figures["latency_seconds"]
    if sizes and sizes[-1]["cpu_ms_per_unit"] > MOST_GROWTH * sizes[0]["cpu_ms_per_unit"]:
        yield "the cost of a unit grows with the survey"
    if replayed and max(replayed["units_per_second"]) < LEAST_REPLAYED_PER_SECOND:
        yield f"replay of {LEAST_REPLAYED_PER_SECOND:.0f} units a second"
    if delay and delay["median"] > MOST_LATENCY_SECONDS:
        yield f"an event's task begun within {1000 * MOST_LATENCY_SECONDS:.0f} ms"


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
