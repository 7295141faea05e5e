"""What the control plane costs on a real broker: replay of what is made, and the time from a fact to what follows it.

Two worker processes of all stages on a private RabbitMQ (tools/rabbitmq.sh), a store in a folder.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.synthetic import PER_TARGET, as_if_made, build, names, project_of, write_keys
from fringeflow import announcements, logs
from fringeflow.bus.bus import Bus
from fringeflow.bus.settings import BusSettings
from fringeflow.events import Arrived, ArtefactRef, Task, Work
from fringeflow.graph.build import STAGES
from fringeflow.intake import leaves
from fringeflow.operating.rebuild import history
from fringeflow.operating.replay import replay as announce_again
from fringeflow.rounds import Duties
from fringeflow.settings import Settings
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import StoreSettings, open_store
from fringeflow.worker import Worker

BROKER = Path(__file__).resolve().parents[1] / "tools" / "rabbitmq.sh"
SCRIPT = Path(__file__).with_name("control_plane.py")
_START_SECONDS = 60.0


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """Give the address of a private broker."""
    port = _free_port()
    try:
        subprocess.run([BROKER, "start", folder, str(port)], check=True)
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        subprocess.run([BROKER, "kill", folder], check=True)


@contextmanager
def workers(folder: Path, url: str, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Give workers of all stages, once they are ready."""
    settings = {
        "BUS__URL": url,
        "STORE__URL": (folder / "store").as_uri(),
        "JOBS__SCRATCH": str(folder / "scratch"),
        "LOG__LEVEL": "warning",
    }
    environment = {**os.environ, **{f"FRINGEFLOW_{name}": value for name, value in settings.items()}}
    addresses = [f"127.0.0.1:{_free_port()}" for _ in range(count)]
    running = [
        subprocess.Popen(
            [sys.executable, SCRIPT, "--worker"], env={**environment, "FRINGEFLOW_HEALTH__ADDRESS": address}
        )
        for address in addresses
    ]
    try:
        for address in addresses:
            _wait_until_ready(address)
        yield running
    finally:
        for worker in running:
            worker.terminate()
        for worker in running:
            worker.wait(60)


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
            _until_empty(bus)
            events = list(enumerate(history(manifests)))
            speeds, cpu, memory = [], [], []
            for number in range(3):
                begun, used = time.perf_counter(), _processor_seconds(running, folder)
                announced = sum(1 for _ in announce_again(events, bus, run=f"replay {number}"))
                if announced != len(events):
                    raise RuntimeError(f"{announced} of {len(events)} events were announced")
                _until_empty(bus)
                speeds.append(len(manifests) / (time.perf_counter() - begun))
                cpu.append(1000 * (_processor_seconds(running, folder) - used) / len(manifests))
                memory.append(max(psutil.Process(worker.pid).memory_info().rss for worker in running) / 1e6)
            begun = time.perf_counter()
            works = {manifest.unit: Work(unit=str(manifest.unit), work_key=manifest.work_key) for manifest in manifests}
            bus.order(*(Task(stage=unit.stage, units=(work,), run="r") for unit, work in works.items()))
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(address: str) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        with suppress(urllib.error.URLError), urllib.request.urlopen(f"http://{address}/readyz"):
            return
        time.sleep(0.1)
    raise TimeoutError(f"the worker at {address} is not ready after {_START_SECONDS:.0f} s")


def _until_empty(bus: Bus) -> None:
    """Wait until the queues have been empty for two looks in a row."""
    quiet = 0
    while quiet < 2:
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
