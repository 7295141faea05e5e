"""Times the main job: NGC 5921, visibilities to maps, and prints where the time and the memory go.

    make bench                              calibrates in a folder of its own, then three timed runs
    python benchmarks/main_job.py --keys MASTER_KEY [--runs N] [--jobs N]

Wall seconds of a stage are from its first job's start to its last job's end, so stages overlap; processor seconds are
what its jobs used. Loading CASA once (the fork server) is in the whole, in no stage.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STAGES = ("staging", "imaging", "postprocess", "derived")


@dataclass(frozen=True)
class Figures:
    """What one run took."""

    wall: float
    stage_cpu: dict[str, float]
    stage_wall: dict[str, float]
    peak_mb: float
    own_cpu: float


def command(*arguments: object) -> list[str]:
    """Return a command line of fringeflow in this environment."""
    return [sys.executable, "-m", "fringeflow", *(str(item) for item in arguments)]


def timed(master_key: Path, workdir: Path, jobs: int) -> Figures:
    """Run the project in an empty folder and return what it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = subprocess.run(
        command("run", master_key, "--workdir", workdir, "--jobs", jobs, "--json"),
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    made = json.loads(done.stdout)["made"]
    cpu = {stage: sum(unit["cpu_seconds"] for unit in made if unit["unit"].startswith(stage)) for stage in STAGES}
    return Figures(
        wall=wall,
        stage_cpu=cpu,
        stage_wall=dict(stage_walls(workdir)),
        peak_mb=max(unit["peak_mb"] for unit in made),
        own_cpu=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )


def stage_walls(workdir: Path) -> Iterator[tuple[str, float]]:
    """Yield the seconds during which at least one job of a stage ran, from the manifests' times in the log."""
    lines = [json.loads(line) for line in (workdir / "logs" / "run.log").read_text().splitlines()]
    for stage in STAGES:
        begun: dict[str, float] = {}
        spans: list[tuple[float, float]] = []
        for line in lines:
            if line["event"] == "started" and line["units"][0].startswith(stage):
                begun[line["job"]] = line["clock"]
            elif line["event"] == "ended" and line["job"] in begun:
                spans.append((begun[line["job"]], line["clock"]))
        yield stage, covered(spans)


def covered(spans: list[tuple[float, float]]) -> float:
    """Return the length of the union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def prepare(folder: Path) -> Path:
    """Calibrate NGC 5921 in `folder` and return its master key."""
    subprocess.run(command("demo", folder, "--calibrate-only"), check=True)
    return folder / "keys" / "master_key.txt"


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=Path, help="master key of a project whose data are in place")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fringeflow-bench-") as name:
        folder = Path(name)
        master_key = options.keys or prepare(folder / "project")
        runs = [timed(master_key, folder / f"run{turn}", options.jobs) for turn in range(options.runs)]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {options.jobs} jobs")
    print(f"{'':12} wall s (median)   cpu s (median)")
    for stage in STAGES:
        wall = statistics.median(run.stage_wall[stage] for run in runs)
        cpu = statistics.median(run.stage_cpu[stage] for run in runs)
        print(f"{stage:12} {wall:15.1f}   {cpu:14.1f}")
    whole = statistics.median(run.wall for run in runs)
    print(f"{'whole':12} {whole:15.1f}   {statistics.median(sum(run.stage_cpu.values()) for run in runs):14.1f}")
    print(f"the command itself: {statistics.median(run.own_cpu for run in runs):.1f} s of processor")
    print(f"largest process: {max(run.peak_mb for run in runs):.0f} MB")
    print(f"wall of each run: {', '.join(f'{run.wall:.1f}' for run in runs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
