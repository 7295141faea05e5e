"""What a worker answers over HTTP, and where."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from fringeflow.bus.dead import DeadLetter
from fringeflow.errors import DataError
from fringeflow.events import Task, Work
from fringeflow.graph.model import UnitId
from fringeflow.health import Health, Pulse
from fringeflow.manifest import Artefact, Input, Manifest
from fringeflow.metrics import CONTENT_TYPE, Metrics, step_label
from fringeflow.settings import HealthSettings
from tests.worker.conftest import House

KEY = "a" * 64


def get(address: str, path: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def values(text: str) -> dict[tuple[Any, ...], float]:
    """Return every sample by its name and the values of its labels, those of ``stage`` and ``queue`` first."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels, key=_rank))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _rank(label: str) -> bool:
    return label not in ("stage", "queue")


@pytest.fixture
def manifest() -> Manifest:
    artefact = Artefact(name="a.fits", kind="file", key="k", size=1000, sha256=KEY)
    return Manifest(
        unit=UnitId("imaging", "a", "c", "p"),
        work_key=KEY,
        revision=1,
        recipe={},
        inputs=(Input(source="s", artefacts=(artefact, artefact)),),
        outputs=(artefact,),
        started="2026-01-01T00:00:00+00:00",
        seconds=3.0,
        steps={"fetch": 1.0, "averaging of a1.ms": 2.0},
        peak_memory_mb=2.0,
    )


def test_it_says_how_it_is_and_what_it_has_done(manifest: Manifest) -> None:
    pulse, metrics = Pulse(stalled_seconds=100), Metrics(["imaging"])
    task = Task(stage="imaging", units=(Work(unit=str(manifest.unit), work_key=KEY),), run="r")
    metrics.made(manifest)
    metrics.attempted(task, "resource")
    metrics.failed(DeadLetter(unit=str(manifest.unit), work_key=KEY, kind="bug", message="?"))
    metrics.took("imaging", task, 2.5)
    metrics.depths({"imaging.tasks.small": 7, "imaging.events": 0})
    with Health("127.0.0.1:0", pulse, metrics.text, CONTENT_TYPE) as health:
        assert get(health.address, "/healthz") == (200, "ok\n")
        assert get(health.address, "/readyz") == (503, "starting\n")
        pulse.beat("")
        assert get(health.address, "/readyz") == (200, "ok\n")
        assert get(health.address, "/else")[0] == 404
        found = values(get(health.address, "/metrics")[1])
    assert found["fringeflow_units_total", "imaging", "made"] == 1
    assert found["fringeflow_units_total", "imaging", "failed"] == 1
    assert found["fringeflow_unit_seconds_sum", "imaging"] == 3
    assert found["fringeflow_step_seconds_sum", "imaging", "averaging"] == 2
    assert found["fringeflow_bytes_total", "imaging", "in"] == 2000
    assert found["fringeflow_bytes_total", "imaging", "out"] == 1000
    assert found["fringeflow_failed_attempts_total", "imaging", "resource"] == 1
    assert found["fringeflow_job_peak_memory_bytes_sum", "imaging"] == 2 << 20
    assert found["fringeflow_queue_messages", "imaging.tasks.small"] == 7
    assert found["fringeflow_queue_age_seconds", "imaging.tasks.small"] == 2.5
    assert found["process_resident_memory_bytes",] > 1e6


def test_a_loop_that_stands_still_is_dead() -> None:
    pulse = Pulse(stalled_seconds=0)
    with Health("127.0.0.1:0", pulse, bytes, CONTENT_TYPE) as health:
        assert get(health.address, "/healthz")[0] == 503


def test_two_in_one_process_do_not_clash(manifest: Manifest) -> None:
    one, other = Metrics(["imaging"]), Metrics(["imaging"])
    one.made(manifest)
    assert values(one.text().decode())["fringeflow_units_total", "imaging", "made"] == 1
    assert values(other.text().decode())["fringeflow_units_total", "imaging", "made"] == 0


def test_labels_of_steps_do_not_grow_with_files_and_numbers() -> None:
    steps = ("averaging a.ms", "12 maps", "fetch", "block3", "regridding of a.ms")
    assert [step_label(step) for step in steps] == ["averaging", "maps", "fetch", "other", "regridding"]


def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DataError, match=address):
            Health(address, Pulse(1), bytes, CONTENT_TYPE)


@pytest.mark.parametrize("address", ["8080", "host", "host:port", "a b:1", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        HealthSettings(address=address)


@pytest.mark.xdist_group("rabbitmq")
def test_a_worker_listens_where_it_is_told_and_nowhere_else(house: House) -> None:
    house.keys("a")
    house.work("derived", env={"HEALTH__ADDRESS": "127.0.0.2:0"})
    house.work("derived")
    line = house.wait_for(lambda: [line for line in house.logs().splitlines() if "answers" in line])[0]
    port = line.rpartition(":")[2].removesuffix("\x1b[0m").strip()
    house.wait_for(lambda: get(f"127.0.0.2:{port}", "/readyz") == (200, "ok\n"))
    found = house.wait_for(lambda: values(get(f"127.0.0.2:{port}", "/metrics")[1]))
    house.wait_for(lambda: values(get(f"127.0.0.2:{port}", "/metrics")[1]).get(("fringeflow_up", "broker")) == 1)
    assert found["fringeflow_units_total", "derived", "made"] == 0
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(port)), timeout=2)
    assert [line for line in house.logs().splitlines() if "answers" in line] == [line]
