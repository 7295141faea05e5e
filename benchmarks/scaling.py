"""How time falls with the number of pods: a simulation of the services' queue, driven by measured costs.

    python benchmarks/scaling.py [--run WORKDIR]        the curves; costs from the manifests of a run of NGC 5921
    python benchmarks/scaling.py --measure MASTER_KEY   times imaging by one worker and by two, beside the simulation

A pod takes one job at a time. A job that ends is committed and its successors are ordered by one leader, one after the
other. What is simulated is what the architecture allows; what the network and the scheduler of a cluster add is not.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.on_broker import rabbitmq
from fringeflow.manifest import Manifest
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import StoreSettings, open_store

PODS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
MOST_RATIO = 0.6
STORE_MB_PER_SECOND = 100.0
"""Of one pod's transfers from and to the bucket."""


@dataclass(frozen=True)
class Costs:
    """Processor seconds, measured on NGC 5921 (23 channels of 256 x 256), and what a unit costs beside its job."""

    staging: float = 3.0
    plan: float = 0.2
    block_fixed: float = 1.0
    clean_per_channel: float = 0.99
    """Of both clean stages."""
    mask_per_channel: float = 0.043
    gather_per_channel: float = 0.063
    postprocess: float = 0.5
    derived: float = 9.0
    latency: float = 0.05
    """From an event to the task, and from there to a running job."""
    leader: float = 0.0056
    """Of the one worker that turns events into tasks, for each unit (benchmarks/control_plane.py)."""


@dataclass(frozen=True)
class Piece:
    """One job: what it takes, and which jobs must have ended before."""

    seconds: float
    needs: tuple[int, ...] = ()


@dataclass
class Work:
    """All jobs, those that can be made first named first."""

    pieces: list[Piece] = field(default_factory=list)

    def add(self, seconds: float, *needs: int) -> int:
        """Add a job and return its number."""
        self.pieces.append(Piece(seconds, needs))
        return len(self.pieces) - 1

    @property
    def seconds(self) -> float:
        """What all jobs take together."""
        return sum(piece.seconds for piece in self.pieces)


def simulate(work: Work, pods: int, costs: Costs) -> float:
    """Return the seconds until the last job has ended."""
    waits = [len(piece.needs) for piece in work.pieces]
    follows: list[list[int]] = [[] for _ in work.pieces]
    for number, piece in enumerate(work.pieces):
        for need in piece.needs:
            follows[need].append(number)
    happenings: list[tuple[float, int, int]] = []  # time, 0: a job can begin, 1: it has ended; which
    leader = 0.0
    for number, left in enumerate(waits):
        if not left:
            leader += costs.leader
            heapq.heappush(happenings, (leader + costs.latency, 0, number))
    queue: list[int] = []
    free, now = pods, 0.0
    while happenings:
        now, kind, number = heapq.heappop(happenings)
        if kind == 0:
            heapq.heappush(queue, -number)  # the later in the chain, the sooner
        else:
            free += 1
            leader = max(leader, now) + costs.leader
            for after in follows[number]:
                waits[after] -= 1
                if not waits[after]:
                    heapq.heappush(happenings, (leader + costs.latency, 0, after))
        while free and queue:
            free -= 1
            begun = -heapq.heappop(queue)
            heapq.heappush(happenings, (now + work.pieces[begun].seconds, 1, begun))
    return now


def add_cube(work: Work, costs: Costs, staged: int, channels: int, per_block: int, weight: float, set_mb: float) -> int:
    """Add the imaging of a cube whose channels cost `weight` times those of NGC 5921; return the job that ends it."""
    plan = work.add(costs.plan, staged)
    sizes = [min(per_block, channels - start) for start in range(0, channels, per_block)]
    fetch = set_mb / STORE_MB_PER_SECOND
    half = costs.clean_per_channel / 2
    dirty = [work.add(fetch + costs.block_fixed + weight * half * size, plan) for size in sizes]
    mask = work.add(costs.mask_per_channel * channels, *dirty)
    clean = [
        work.add(fetch + costs.block_fixed + weight * half * size, mask, before)
        for size, before in zip(sizes, dirty, strict=True)
    ]
    return work.add(costs.gather_per_channel * channels, *clean)


def one_cube(costs: Costs, weight: float) -> Work:
    """Return a cube of 1,000 channels, four to a block, from a measurement set of 20 GB read block by block."""
    work = Work()
    staged = work.add(0.0)
    add_cube(work, costs, staged, channels=1000, per_block=4, weight=weight, set_mb=20_000 / 250)
    return work


def a_survey(costs: Costs, weight: float) -> Work:
    """Return 90 targets of 200 channels each."""
    work = Work()
    ends = [
        add_cube(work, costs, work.add(weight * costs.staging), channels=200, per_block=4, weight=weight, set_mb=80)
        for _ in range(90)
    ]
    for end in ends:
        work.add(weight * costs.derived, work.add(weight * costs.postprocess, end))
    return work


def costs_of(workdir: Path) -> Costs:
    """Return the costs that the manifests of a run tell, per unit in the mean."""
    store = open_store(StoreSettings.of_folder(workdir / "store"))
    made = [manifest for manifest in Ledger(store).all() if manifest.unit.product != "cont"]
    spent: dict[str, float] = {}
    blocks: list[tuple[int, float]] = []
    for manifest in made:
        name, channels = kind_of(manifest)
        spent[name] = spent.get(name, 0.0) + manifest.cpu_seconds
        if channels:
            blocks.append((channels, manifest.cpu_seconds))
    count = sum(channels for channels, _ in blocks) / 2  # each channel is cleaned twice
    fixed = Costs().block_fixed
    return Costs(
        staging=spent["staging"],
        plan=spent["plan"],
        block_fixed=fixed,
        clean_per_channel=(sum(seconds for _, seconds in blocks) - fixed * len(blocks)) / count,
        mask_per_channel=spent["mask"] / count,
        gather_per_channel=spent["gather"] / count,
        postprocess=spent["postprocess"],
        derived=spent["derived"],
    )


def kind_of(manifest: Manifest) -> tuple[str, int]:
    """Return what kind of job made a unit, and the number of channels if it was a block of a cube."""
    unit = manifest.unit
    if unit.stage != "imaging":
        return unit.stage, 0
    name, _, span = unit.step.partition(".")
    if not span:
        return name or "gather", 0
    first, _, last = span.partition("-")
    return "block", int(last) - int(first) + 1


# two measured points


@contextmanager
def workers(count: int, stages: Sequence[str], settings: dict[str, str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Give workers that take one job at a time and end when told."""
    command = [sys.executable, "-m", "fringeflow", "worker", *stages, "--jobs", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FRINGEFLOW_LOG__LEVEL": "warning", **settings}
    running = [subprocess.Popen(command, env=environment) for _ in range(count)]
    try:
        yield running
    finally:
        for worker in running:
            worker.terminate()
        for worker in running:
            worker.wait(120)


def timed(master_key: Path, measurement_set: Path, count: int) -> tuple[float, list[Manifest]]:
    """Stage, then image with `count` workers; return the seconds from the first imaging job to the last commit."""
    with tempfile.TemporaryDirectory(prefix="fringeflow-scaling-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        store = open_store(StoreSettings.of_folder(folder / "store"))
        with rabbitmq(folder / "rabbitmq") as url:
            settings = {
                "FRINGEFLOW_BUS__URL": url,
                "FRINGEFLOW_STORE__URL": (folder / "store").as_uri(),
                "FRINGEFLOW_JOBS__SCRATCH": str(folder / "scratch"),
                "FRINGEFLOW_POLL_SECONDS": "1",
            }
            for words in (("keys", "push", master_key), ("put", measurement_set, "--keys", master_key)):
                subprocess.run(
                    [sys.executable, "-m", "fringeflow", *map(str, words)],
                    check=True,
                    env={**os.environ, **settings},
                    stdout=subprocess.DEVNULL,
                )
            products = len(list((master_key.parent).glob("*.clean")))
            with workers(1, ["staging"], settings):
                while sum(1 for _ in store.list("manifests/staging")) < products:
                    time.sleep(0.2)
            with workers(count, ["imaging"], settings):
                made = list(Ledger(store).all("imaging"))
                while sum(1 for item in made if not item.unit.step) < products:
                    time.sleep(0.2)
                    made = list(Ledger(store).all("imaging"))
        paths = [folder / "store" / item.path for item in made]
        begun = min(path.stat().st_mtime - item.seconds for path, item in zip(paths, made, strict=True))
        return max(path.stat().st_mtime for path in paths) - begun, made


def measure(master_key: Path, measurement_set: Path) -> int:
    """Print the seconds of one and of two workers and what the simulation says; return 1 if the ratio is missed."""
    one, made = timed(master_key, measurement_set, 1)
    two, _ = timed(master_key, measurement_set, 2)
    work, numbers = Work(), dict[str, int]()
    for item in sorted(made, key=_rank):
        needs = [numbers[source.source] for source in item.inputs if source.source in numbers]
        numbers[str(item.unit)] = work.add(item.seconds, *needs)
    said = [simulate(work, pods, Costs()) for pods in (1, 2)]
    figures = {
        "measured": {"one": one, "two": two, "ratio": two / one},
        "simulated": {"one": said[0], "two": said[1], "ratio": said[1] / said[0]},
    }
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return int(two > MOST_RATIO * one)


def _rank(manifest: Manifest) -> tuple[int, str]:
    order = ("plan", "multiscale", "mask", "singlescale", "")
    name = manifest.unit.step.partition(".")[0]
    return order.index(name) if name in order else len(order), str(manifest.unit)


def main() -> int:
    """Print the curves, or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="the folder of a finished run of NGC 5921")
    parser.add_argument("--measure", type=Path, metavar="MASTER_KEY")
    options = parser.parse_args()
    if options.measure is not None:
        master_key = options.measure.absolute()
        return measure(master_key, master_key.parents[1] / "data" / "ngc5921.ms")
    costs = Costs() if options.run is None else costs_of(options.run)
    sys.stdout.write(f"{costs}\n")
    columns = [
        ("cube", one_cube(costs, 1)),
        ("cube x10", one_cube(costs, 10)),
        ("survey", a_survey(costs, 1)),
        ("survey x10", a_survey(costs, 10)),
    ]
    sys.stdout.write("pods" + "".join(f"{name:>22}" for name, _ in columns) + "\n")
    first = [simulate(work, 1, costs) for _, work in columns]
    for pods in PODS:
        spent = [simulate(work, pods, costs) for _, work in columns]
        row = "".join(f"{now:>13.0f} s {alone / now:>5.0f} x" for now, alone in zip(spent, first, strict=True))
        sys.stdout.write(f"{pods:>4}{row}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
