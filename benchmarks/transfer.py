"""How fast a measurement set of 1 GB is packed and moved, against one object of its size by the same client.

    python benchmarks/transfer.py [--mb 1000] [--folder DIR]

Talks to the bucket that FRINGEFLOW_STORE__URL names, or else to a private Ceph gateway started for it (tools/ceph.sh).
Every transfer is a process of its own, so that its peak of memory is its own. Exits 1 where a goal is missed: at least
0.8 of the plain object's speed both ways, under 300 MB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import obstore
from obstore.store import S3Store

from fringeflow.settings import Settings
from fringeflow.store import archive, aws
from fringeflow.store.base import Digesting, exhaust
from fringeflow.store.objects import open_store
from fringeflow.store.settings import StoreSettings

LEAST_SHARE = 0.8
MOST_MEMORY_MB = 300
BLOCK = 4 << 20
CEPH = Path(__file__).resolve().parents[1] / "tools" / "ceph.sh"
OBJECT, PACKED = "transfer/object", "transfer/galaxy.ms.tar.zst"


def plant(folder: Path, megabytes: int) -> None:
    """Write a tree like a measurement set: noise in single precision, weights that repeat, flags, many small tables."""
    random_numbers = np.random.default_rng(1)
    total = megabytes * 1_000_000
    (folder / "table.dat").parent.mkdir(parents=True)
    (folder / "table.dat").write_bytes(b"\xbe\xbe\xbe\xbe" + bytes(2000))
    for number in range(80):
        table = folder / f"TABLE_{number:02d}"
        table.mkdir()
        (table / "table.dat").write_bytes(random_numbers.bytes(2000))
        (table / "table.f0").write_bytes(random_numbers.bytes(40_000))
    with (folder / "table.f3_TSM1").open("wb") as visibilities:
        for _ in range(int(0.8 * total) // BLOCK):
            visibilities.write(random_numbers.normal(0, 1, BLOCK // 4).astype(np.float32).tobytes())
    with (folder / "table.f4_TSM1").open("wb") as weights:
        for _ in range(int(0.15 * total) // BLOCK):
            weights.write(np.repeat(random_numbers.uniform(0, 1, BLOCK // 256).astype(np.float32), 64).tobytes())
    with (folder / "table.f5_TSM1").open("wb") as flags:
        for _ in range(int(0.05 * total) // BLOCK):
            flags.write(bytes(BLOCK))


def client(settings: StoreSettings) -> S3Store:
    """Return the plain client of the store, as our own uses it."""
    backend = open_store(settings)._backend  # noqa: SLF001 - the very client, without what we do around it
    assert isinstance(backend, S3Store)
    return backend


def object_up(settings: StoreSettings, folder: Path) -> None:
    """Move a file up."""
    obstore.put(client(settings), OBJECT, folder / "object", chunk_size=8 << 20, max_concurrency=4)


def object_down(settings: StoreSettings, folder: Path) -> None:
    """Move it down to a file."""
    with (folder / "object.down").open("wb") as file:
        for chunk in obstore.get(client(settings), OBJECT).stream(min_chunk_size=1 << 20):
            file.write(chunk)


def tree_up(settings: StoreSettings, folder: Path) -> None:
    """Pack a measurement set and move it up."""
    archive.put_directory(open_store(settings), folder / "galaxy.ms", PACKED)


def tree_down(settings: StoreSettings, folder: Path) -> None:
    """Move it down and unpack it, checking its digest."""
    sha256 = (folder / "sha256").read_text()
    archive.get_directory(open_store(settings), PACKED, folder / "down.ms", sha256=sha256)


STEPS: dict[str, Callable[[StoreSettings, Path], None]] = {
    step.__name__: step for step in (object_up, tree_up, object_down, tree_down)
}


def child(step: str, settings: str, folder: str) -> None:
    """Do one transfer and say how long it took and how much memory."""
    known = StoreSettings.model_validate_json(settings)
    started = time.monotonic()
    STEPS[step](known, Path(folder))
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


def run(step: str, settings: StoreSettings, folder: Path) -> dict[str, float]:
    """Run one transfer in a process of its own."""
    command = [sys.executable, __file__, "--step", step, settings.model_dump_json(), str(folder)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


@contextmanager
def bucket(folder: Path) -> Iterator[StoreSettings]:
    """Yield a store: that of the settings, or a private one."""
    given = Settings().store
    if given is not None:
        yield given
        return
    base = folder / "ceph"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = min(probe.getsockname()[1], 60_000)
    try:
        subprocess.run([CEPH, "start", base, str(port)], check=True)
        for line in (base / "credentials").read_text().split():
            name, _, value = line.partition("=")
            os.environ[name] = value
        os.environ["NO_PROXY"] = "127.0.0.1"
        endpoint = f"http://127.0.0.1:{port}"
        aws.client("s3", endpoint=endpoint, region="default").create_bucket(Bucket="transfer")
        yield StoreSettings(url="s3://transfer", endpoint=endpoint, region="default", allow_http=True)
    finally:
        subprocess.run([CEPH, "kill", base], check=True)


def measure(megabytes: int, folder: Path, rounds: int) -> bool:
    """Print the figures; return whether the goals are met."""
    plant(folder / "galaxy.ms", megabytes)
    size = archive.size_of(folder / "galaxy.ms")
    with (folder / "object").open("wb") as file:
        source = random.Random(1)
        for _ in range(size // BLOCK):
            file.write(source.randbytes(BLOCK))
    with bucket(folder) as settings:
        store = open_store(settings)
        best: dict[str, dict[str, float]] = {}
        for _ in range(rounds):
            for step in STEPS:
                if step == "tree_down":
                    content = Digesting(store.chunks(PACKED))
                    exhaust(content)
                    (folder / "sha256").write_text(content.sha256)
                shutil.rmtree(folder / "down.ms", ignore_errors=True)
                found = run(step, settings, folder)
                if step not in best or found["seconds"] < best[step]["seconds"]:
                    best[step] = found
        packed = store.size(PACKED)
        store.delete([OBJECT, PACKED])
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    print(
        f"measurement set {size / 1e6:.0f} MB, packed {packed / 1e6:.0f} MB; best of {rounds}; load {busy:.1f} a core"
    )
    met = True
    for way in ("up", "down"):
        plain, tree = best[f"object_{way}"], best[f"tree_{way}"]
        share = plain["seconds"] / tree["seconds"]
        met &= share >= LEAST_SHARE and tree["peak_mb"] < MOST_MEMORY_MB
        print(
            f"{way:5} one object {size / 1e6 / plain['seconds']:5.0f} MB/s   "
            f"measurement set {size / 1e6 / tree['seconds']:5.0f} MB/s   "
            f"share {share:.2f} (goal {LEAST_SHARE})   peak {tree['peak_mb']:.0f} MB (goal < {MOST_MEMORY_MB})"
        )
    return met


def main() -> int:
    """Read the command line."""
    if sys.argv[1:2] == ["--step"]:
        child(*sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work; needs four times the size")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fringeflow-transfer-", dir=arguments.folder) as folder:
        return 0 if measure(arguments.mb, Path(folder), arguments.rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
