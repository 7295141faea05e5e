"""A house of workers on a real broker and a store in a folder, each worker a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fringeflow.bus import Bus, BusSettings
from fringeflow.manifest import Manifest
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import StoreSettings, open_store
from tests.broker import Broker

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("staging", "imaging", "postprocess", "derived")
KEYS = {
    "master_key.txt": "key_dir .\nms_key ms.txt\ntarget_key targets.txt\nconfig_key configs.txt\n",
    "configs.txt": (
        "line_product   p  {'line_tag':'co21','channel_kms':2.6}\n"
        "interf_config  c  {'array_tags':['12m'],'clean_scales_arcsec':[0,1]}\n"
    ),
}


class House:
    """One store, one corner of a broker, and the workers started on them."""

    def __init__(self, folder: Path, broker: Broker, store: StoreSettings | None = None) -> None:
        self.folder = folder
        self.broker = broker
        self.prefix = f"t{uuid.uuid4().hex[:8]}."
        self.store_settings = store or StoreSettings.of_folder(folder / "store")
        self.store = open_store(self.store_settings)
        self.diary = folder / "diary"
        self.deeds: dict[str, dict[str, Any]] = {"": {"diary": str(self.diary)}}
        self.workers: list[subprocess.Popen[bytes]] = []
        self.settings = {
            "BUS__URL": broker.url,
            "BUS__PREFIX": self.prefix,
            "BUS__RECONNECT_MAX_SECONDS": "1",
            "STORE__URL": self.store_settings.url,
            "STORE__ENDPOINT": self.store_settings.endpoint or "",
            "STORE__ALLOW_HTTP": str(self.store_settings.allow_http),
            "JOBS__SCRATCH": str(folder / "scratch"),
            "JOBS__GRACE_SECONDS": "30",
            "CLAIM_SECONDS": "3",
            "POLL_SECONDS": "1",
            "RECONCILE_SECONDS": "5",
        }

    def keys(self, *targets: str) -> None:
        """Push the keys of these targets."""
        lines = {
            "targets.txt": "".join(f"{name}  01h00m00s  -01d00m00s  1000  200\n" for name in targets),
            "ms.txt": "".join(f"{name}  p1  all  12m  1  {name}.ms\n" for name in targets),
        }
        for name, text in {**lines, **KEYS}.items():
            self.store.put_bytes(f"keys/{name}", text.encode())

    def drop(self, target: str, text: str = "ms;") -> None:
        self.store.put_bytes(f"incoming/{target}.ms", text.encode())

    def work(
        self,
        *stages: str,
        env: dict[str, str] | None = None,
        plain_env: dict[str, str] | None = None,
        **duties: Any,
    ) -> subprocess.Popen[bytes]:
        """Start a worker; `env` are settings of ours, `plain_env` others'."""
        deeds = self.folder / f"deeds-{len(self.workers)}.json"
        deeds.write_text(json.dumps(self.deeds))
        settings = {f"FRINGEFLOW_{name}": value for name, value in {**self.settings, **(env or {})}.items()}
        command = [sys.executable, "-m", "tests.toy_worker", str(deeds), json.dumps({"stages": stages, **duties})]
        log = (self.folder / f"worker-{len(self.workers)}.log").open("wb")
        worker = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **settings, **(plain_env or {})}, stdout=log, stderr=log
        )
        self.workers.append(worker)
        return worker

    def bus(self, **settings: Any) -> Bus:
        """A bus of the test's own, on the workers' queues."""
        bus = Bus(BusSettings(url=self.broker.url, prefix=self.prefix, **settings))
        bus.declare(STAGES)
        return bus

    def manifests(self) -> list[Manifest]:
        return list(Ledger(self.store).all())

    def wait_for(self, look: Callable[[], Any], within: float = 60.0) -> Any:
        """Wait until `look` returns something true."""
        end = time.monotonic() + within
        while not (found := look()):
            assert time.monotonic() < end, self.logs()
            assert not any(worker.poll() not in (None, 0, -signal.SIGKILL) for worker in self.workers), self.logs()
            time.sleep(0.2)
        return found

    def wait_until_made(self, count: int, within: float = 60.0) -> None:
        self.wait_for(lambda: sum(1 for _ in self.store.list("manifests")) >= count, within)

    def begun(self) -> Counter[str]:
        """How often each unit was begun."""
        lines = self.diary.read_text().splitlines() if self.diary.exists() else []
        return Counter(line.split()[0] for line in lines)

    def logs(self) -> str:
        """All that the workers wrote; whole, since tests look into it for what must or must not be there."""
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("worker-*.log")))

    def text(self, stage: str, target: str = "a", step: str = "") -> str:
        """The product of a unit."""
        (manifest,) = [
            item
            for item in self.manifests()
            if (item.unit.stage, item.unit.target, item.unit.step) == (stage, target, step)
        ]
        return self.store.get_bytes(manifest.outputs[0].key).decode()

    def end(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGKILL)
            worker.wait()


@pytest.fixture
def house(tmp_path: Path, broker: Broker) -> Iterator[House]:
    house = House(tmp_path, broker)
    yield house
    house.end()
    delete_queues(house)


def delete_queues(house: House) -> None:
    from contextlib import suppress

    from amqp.exceptions import NotFound

    from fringeflow.bus import topology
    from fringeflow.bus.transport import connection_to

    settings = BusSettings(url=house.broker.url, prefix=house.prefix)
    with connection_to(settings, None) as connection:
        for entity in topology.entities(settings, STAGES):
            with suppress(NotFound), connection.channel() as channel:
                entity(channel).delete()
