"""No process outlives the one that started it, however that ended, and what it left is swept."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fringeflow.jobs.host import JobHost
from fringeflow.jobs.scratch import RunFolder, sweep
from fringeflow.store.objects import StoreSettings

HOST = Path(__file__).with_name("host_process.py")


def start_host(when: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(HOST), when, str(folder)], stdout=subprocess.PIPE, text=True)


def wait_gone(processes: list[psutil.Process], seconds: float) -> None:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_a_killed_host_takes_its_jobs_with_it(tmp_path: Path) -> None:
    with start_host("running", tmp_path) as host:
        assert host.stdout
        job, server = (psutil.Process(int(pid)) for pid in host.stdout.readline().split())
        descendants = psutil.Process(host.pid).children(recursive=True)
        assert {job, server} <= set(descendants)
        host.kill()
    wait_gone(descendants, 10.0)
    assert len(list((tmp_path / "scratch").glob("run-*"))) == 1
    with JobHost(tmp_path / "scratch", StoreSettings.of_folder(tmp_path / "store")) as successor:
        assert successor.sweep() == 1
        assert successor.sweep() == 0
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_host_killed_while_the_first_job_starts_leaves_no_job(tmp_path: Path) -> None:
    with start_host("early", tmp_path) as host:
        assert host.stdout
        assert host.stdout.readline() == "starting\n"
        server = fork_server_of(psutil.Process(host.pid))
        server.suspend()  # before it has asked the kernel to end it with its parent
        time.sleep(0.3)  # the request for the first job is on its way
        host.kill()
    server.resume()
    wait_gone([server], 60.0)
    assert not (tmp_path / "note").exists()


def fork_server_of(process: psutil.Process) -> psutil.Process:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for child in process.children():
            if "multiprocessing.forkserver" in " ".join(child.cmdline()):
                return child
    raise AssertionError("no fork server was started")


def test_a_sweep_spares_the_living(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as living:
        (living.path / "file").touch()
        dead = tmp_path / "run-1-dead"
        (dead / "deep").mkdir(parents=True)
        other = tmp_path / "something-else"
        other.mkdir()
        assert sweep(tmp_path) == 1
        assert sorted(tmp_path.iterdir()) == sorted([living.path, other])
    assert list(tmp_path.iterdir()) == [other]


def test_a_sweep_of_nothing_is_no_error(tmp_path: Path) -> None:
    assert sweep(tmp_path / "not there") == 0
    assert not (tmp_path / "not there").exists()


def test_a_host_that_was_not_entered_starts_nothing(tmp_path: Path) -> None:
    host = JobHost(tmp_path / "scratch", StoreSettings.of_folder(tmp_path / "store"))
    with pytest.raises(RuntimeError, match="entered"):
        host.call("fake_stage:fail", {})
