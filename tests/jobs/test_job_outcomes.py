"""How a job ends is told as what it is, and nothing of it is left behind."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

import psutil
import pytest

from fringeflow.errors import UnitFailedError
from fringeflow.jobs.host import JobHost, JobRequest, Progress, RunningJob
from fringeflow.store.objects import Store, StoreSettings

Order = Callable[..., JobRequest]


def failure_of(job: RunningJob) -> UnitFailedError:
    with pytest.raises(UnitFailedError) as caught:
        job.result()
    return caught.value


def listen(job: RunningJob, seconds: float = 20.0) -> list[Progress]:
    said: list[Progress] = []
    end = time.monotonic() + seconds
    while not job.done and time.monotonic() < end:
        said += job.poll(0.1)
    assert job.done
    return said + job.poll()


def test_units_made_are_in_the_store(host: JobHost, order: Order, store: Store) -> None:
    made = host.start(order("work", names=("a", "b"))).result().results
    assert [result.work_key for result in made] == ["a" * 64, "b" * 64]
    for result in made:
        assert store.get_bytes(result.outputs[0].key).startswith(str(result.unit).encode())
        assert result.facts == {"cell": 15.0, "beam": [1.0, 2.0]}
        assert {"fetch", "grid", "clean", "upload"} <= set(result.steps)
        assert 0.05 < result.steps["grid"] < 5
        assert 0.05 < result.steps["clean"] < 5  # the last step before the results are handed in
        assert result.seconds == pytest.approx(sum(result.steps.values()))
        assert 10 < result.peak_memory_mb < 4000
        assert {"python", "fringeflow", "numpy", "astropy"} <= set(result.software)
        assert result.started.endswith("+00:00")


def test_progress_is_heard_while_it_happens(host: JobHost, order: Order) -> None:
    job = host.start(order("work"))
    assert wait([job.sentinel], timeout=20)
    said = listen(job)
    assert [item.step for item in said] == ["fetch", "make", "grid", "clean", "upload"]
    assert said[3].fraction == 0.5
    assert said[3].elapsed >= 0.05


def test_a_chatterbox_neither_blocks_nor_floods(host: JobHost, order: Order) -> None:
    job = host.start(order("chatter"))
    time.sleep(1.0)
    assert len(listen(job)) < 50
    assert job.result().results


@pytest.mark.parametrize(
    ("behaviour", "kind", "message", "detail"),
    [
        ("data_error", "data", "no spectral window covers the line", "NothingSelectedError"),
        ("transient", "transient", "the store did not answer", "TransientError"),
        ("bug", "bug", "KeyError: 'forgotten'", "fake_stage.py"),
        ("unfinished", "bug", "did not finish fake/ngc5921/vla/hi21cm/x", ""),
        ("bad_facts", "bug", "not plain JSON", ""),
        ("leave", "bug", "exit code 3", "making fake/ngc5921"),
        ("killed", "resource", "SIGKILL.*probably for memory", ""),
        ("terminated", "transient", "ended from outside", ""),
        ("segfault", "bug", "crashed.*SIGSEGV", ""),
        ("abort", "resource", "SIGABRT.*memory", ""),
        ("abort_saying_full", "resource", "disk full: no space is left in", "No space left on device"),
        ("full", "resource", "disk full: no space is left in .*/work", "could not write the cube"),
        ("casa_full", "resource", "disk full", "FiledesIO"),
        ("memory_error", "resource", "out of memory", "MemoryError"),
        ("own_memory_error", "resource", "the image is too large", ""),
    ],
)
def test_failures_are_told_apart(
    host: JobHost, order: Order, tmp_path: Path, behaviour: str, kind: str, message: str, detail: str
) -> None:
    job = host.start(order(behaviour))
    error = failure_of(job)
    assert error.failure_kind == kind
    assert re.search(message, error.message)
    assert detail in error.detail
    assert list((tmp_path / "scratch").glob("run-*/job-*")) == []


def test_a_remedy_crosses_the_border(host: JobHost, order: Order) -> None:
    assert failure_of(host.start(order("data_error"))).remedy == "check the ms key"


@pytest.mark.parametrize("behaviour", ["really_full", "fill_and_abort"])
def test_a_full_scratch_disk_is_named(
    small_disk: Path, settings: StoreSettings, order: Order, monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with JobHost(small_disk / "scratch", settings) as host:
        error = failure_of(host.start(order(behaviour)))
        assert error.failure_kind == "resource"
        assert f"disk full: no space is left in {small_disk}" in error.message
        assert host.start(order("work")).result().results


def test_a_full_store_is_named(small_disk: Path, tmp_path: Path, order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    (small_disk / "filling").write_bytes(bytes((4 << 20) - 8192))
    with JobHost(tmp_path / "scratch", StoreSettings.of_folder(small_disk)) as host:
        error = failure_of(host.start(order("work", names=tuple("abcdefgh"))))
    assert error.failure_kind == "resource"
    assert f"no space is left in {small_disk}" in error.message


def test_a_memory_limit_is_held(host: JobHost, order: Order) -> None:
    error = failure_of(host.start(order("eat", memory_mb=600)))
    assert error.failure_kind == "resource"
    assert "more than its limit of 600 MB" in error.message


def test_a_time_limit_is_held(host: JobHost, order: Order) -> None:
    started = time.monotonic()
    error = failure_of(host.start(order("sleep", seconds=0.5)))
    assert error.failure_kind == "resource"
    assert "limit of 0.5 s" in error.message
    assert time.monotonic() - started < 20


def test_a_job_is_stopped_with_all_it_started(host: JobHost, order: Order) -> None:
    job = host.start(order("sleep_with_a_child"))
    said: list[str] = []
    while not any(step.startswith("child") for step in said):
        said += [progress.step for progress in job.poll(1.0)]
    grandchild = psutil.Process(int(said[-1].split()[1]))
    job.stop(grace_seconds=5.0)
    assert job.done
    assert failure_of(job).failure_kind == "transient"
    grandchild.wait(5)


def test_jobs_run_side_by_side_and_leaving_ends_them(
    settings: StoreSettings, tmp_path: Path, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with JobHost(tmp_path / "scratch", settings) as host:
        jobs = [host.start(order("sleep", names=(name,))) for name in "ab"]
        quick = host.start(order("work"))
        assert quick.result().results
        assert not any(job.done for job in jobs)
        assert len({job.id for job in jobs}) == 2
    assert all(job.done for job in jobs)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_logs_are_kept(host: JobHost, order: Order, tmp_path: Path) -> None:
    host.start(order("work", attempt=2)).result()
    assert (tmp_path / "logs" / "fake_ngc5921_vla_hi21cm_x.2.log").read_text().startswith("making fake/ngc5921")


def test_a_function_is_called(host: JobHost) -> None:
    said: list[tuple[str, float | None]] = []
    total = host.call(
        "fake_stage:add", {"left": 1, "right": 2}, on_progress=lambda step, fraction: said.append((step, fraction))
    )
    assert total == 3
    assert said == [("adding", 0.5)]


def test_a_function_that_fails_says_so(host: JobHost) -> None:
    with pytest.raises(UnitFailedError, match="nothing there") as caught:
        host.call("fake_stage:fail", {})
    assert caught.value.failure_kind == "data"
    assert caught.value.remedy == "put something there"


def test_a_child_works_where_it_should(host: JobHost, tmp_path: Path) -> None:
    before = dict(os.environ)
    seen = host.call("fake_stage:surroundings", {})
    assert os.environ == before
    assert Path(seen["folder"]).is_relative_to(tmp_path / "scratch")
    assert Path(seen["temporary"]).is_relative_to(tmp_path / "scratch")
    assert seen["input"] == os.devnull
    assert seen["group"] == seen["pid"]
    assert seen["threads"] == "1"
    assert seen["server"] != os.getpid()
    assert seen["main"] == ""
    # the client of a store that was used leaves threads, which do not survive a fork
    assert not [name for name in seen["server threads"] if "tokio" in name]
    assert host.call("fake_stage:surroundings", {})["server"] == seen["server"]


def test_jobs_start_again_after_the_fork_server_was_killed(host: JobHost, order: Order) -> None:
    job = host.start(order("sleep"))
    server = host.call("fake_stage:surroundings", {})["server"]
    os.kill(server, 9)
    error = failure_of(job)
    assert error.failure_kind == "transient"
    assert host.call("fake_stage:surroundings", {})["server"] != server


def test_a_casa_job_logs_for_itself(host: JobHost, tmp_path: Path) -> None:
    from fringeflow.jobs import casa

    if not casa.is_installed():
        pytest.skip("CASA is not installed")
    assert host.call("fake_stage:surroundings", {})["casa"]
    log, shape = host.call("fake_stage:image_in_casa", {})
    assert Path(log) == tmp_path / "logs" / "fake_stage.image_in_casa.casa.log"
    assert shape == [4, 3]
