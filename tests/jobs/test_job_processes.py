"""A process that has made something is asked again while it is as new; no job can tell, and none is lost with it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import psutil
import pytest

from fringeflow.errors import UnitFailedError
from fringeflow.jobs import host as hosts
from fringeflow.jobs.host import JobHost, JobRequest
from fringeflow.jobs.request import Failure
from fringeflow.store.objects import StoreSettings

Order = Callable[..., JobRequest]


def facts(host: JobHost, request: JobRequest) -> Mapping[str, Any]:
    return host.start(request).result().results[0].facts


def test_the_next_job_finds_a_process(host: JobHost, order: Order) -> None:
    first, second = (facts(host, order("who", names=(name,))) for name in "ab")
    assert second["pid"] == first["pid"]
    assert second["files"] == first["files"]
    for seen in (first, second):
        assert Path(seen["scratch"]).is_relative_to(seen["folder"])
        assert Path(seen["temporary"]).is_relative_to(seen["folder"])
    assert second["folder"] != first["folder"]


def test_every_job_logs_for_itself(host: JobHost, order: Order, tmp_path: Path) -> None:
    for name in "ab":
        facts(host, order("who", names=(name,)))
    logs = {name: (tmp_path / "logs" / f"fake_ngc5921_vla_hi21cm_{name}.1.log").read_text() for name in "ab"}
    for name, said in logs.items():
        assert said.startswith(f"making fake/ngc5921/vla/hi21cm/{name}\n")
        assert said.count("look out") == 2  # the warning, and the line it stands in
        assert said.count("making") == 1


def test_jobs_side_by_side_have_each_their_own(host: JobHost, order: Order) -> None:
    jobs = [host.start(order("who", names=(name,))) for name in "abc"]
    assert len({job.result().results[0].facts["pid"] for job in jobs}) == 3


def test_memory_and_processor_time_are_the_jobs_own(host: JobHost, order: Order) -> None:
    large, small = (host.start(order(behaviour)).result().results[0] for behaviour in ("who_with_memory", "who"))
    assert large.facts["pid"] == small.facts["pid"]
    assert large.peak_memory_mb > small.peak_memory_mb + 150
    assert large.cpu_seconds > small.cpu_seconds > 0
    assert small.cpu_seconds < 0.1


@pytest.mark.parametrize("behaviour", ["who_keeping_memory", "who_with_a_thread"])
def test_a_process_that_is_not_as_new_ends(host: JobHost, order: Order, behaviour: str) -> None:
    first = facts(host, order(behaviour))
    assert not psutil.pid_exists(first["pid"])
    assert facts(host, order("who"))["pid"] != first["pid"]


def test_a_process_that_has_worked_with_casa_ends(host: JobHost, order: Order) -> None:
    first = facts(host, order("who", stage="imaging"))
    assert facts(host, order("who", stage="imaging"))["pid"] != first["pid"]


def test_a_process_that_has_failed_ends(host: JobHost, order: Order) -> None:
    first = facts(host, order("who"))
    with pytest.raises(UnitFailedError):
        host.start(order("bug")).result()
    assert not psutil.pid_exists(first["pid"])
    assert facts(host, order("who"))["pid"] != first["pid"]


def test_nothing_is_lost_with_a_process_that_died_waiting(host: JobHost, order: Order) -> None:
    first = facts(host, order("who"))
    os.kill(first["pid"], signal.SIGKILL)
    psutil.wait_procs([psutil.Process(first["pid"])], timeout=5)
    assert facts(host, order("who"))["pid"] != first["pid"]


def test_what_was_told_to_end_is_not_asked_again(host: JobHost, order: Order) -> None:
    job = host.start(order("who"))
    wait([job.sentinel], 20)
    time.sleep(1.0)  # by now it has made its unit, and nobody has listened
    job.end(Failure("resource", "it took too long"))
    made = job.result().results[0].facts
    assert facts(host, order("who"))["pid"] != made["pid"]


def test_those_that_wait_for_long_and_those_of_a_host_that_leaves_end(
    tmp_path: Path, settings: StoreSettings, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(hosts, "_IDLE_SECONDS", 0.5)
    with JobHost(tmp_path / "scratch", settings) as host:
        first = facts(host, order("who"))["pid"]
        psutil.wait_procs([psutil.Process(first)], timeout=5)
        assert not psutil.pid_exists(first)
        second = facts(host, order("who"))["pid"]
    assert not psutil.pid_exists(second)
