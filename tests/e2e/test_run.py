"""A whole run: everything is made, nothing twice, only what changed again, and the same bits however it is done."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from fringeflow.layout import INDEX, read_index
from tests.e2e.conftest import Finished
from tests.e2e.galaxy import Galaxy, fringeflow, products, run

pytestmark = pytest.mark.xdist_group("e2e")


def test_everything_that_was_asked_for_is_made(finished: Finished) -> None:
    assert finished.summary["returncode"] == 0
    assert finished.summary["complete"]
    made = set(products(finished.workdir))
    root = "disc_12m_co21"
    wanted = {f"imaging/disc/{root}{ext}.fits" for ext in ("", "_residual", "_model", "_mask", "_psf", "_pb")}
    wanted |= {f"postprocess/disc/{root}{ext}.fits" for ext in ("_pbcorr_trimmed_k", "_trimmed_pb")}
    for tag in ("", "_4as"):
        maps = ("strict_mom0", "strict_mom1", "strict_mom2", "broad_tpeak")
        errors = ("strict_emom0", "strict_emom1", "strict_emom2", "broad_etpeak")
        wanted |= {f"derived/disc/{root}{tag}_{name}.fits" for name in (*maps, *errors, "noise", "strictmask")}
        wanted.add(f"derived/disc/{root}{tag}.fits")
    wanted.add(f"derived/disc/{root}_broadmask.fits")
    assert wanted <= made


def test_nothing_changed_runs_no_science(finished: Finished) -> None:
    before = products(finished.workdir)
    started = time.monotonic()
    again = run(finished.galaxy.master_key, finished.workdir)
    seconds = time.monotonic() - started
    assert (again["jobs"], again["made"], again["complete"]) == (0, [], True)
    assert products(finished.workdir) == before
    assert seconds < 10, f"a run with nothing to do took {seconds:.1f} s"


def test_one_moments_parameters_remake_only_its_map(finished: Finished, tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    shutil.copytree(finished.workdir, workdir)
    key = finished.galaxy.copy_keys(
        tmp_path / "changed",
        moment_key=(
            "broadtpeak   ext_error   _broad_etpeak\n",
            "broadtpeak   ext_error   _broad_etpeak\nbroadtpeak   kwargs   {'window': '15km/s'}\n",
        ),
    )
    before = products(finished.workdir)
    summary = run(key, workdir)
    after = products(workdir)
    assert summary["complete"]
    assert {item["unit"].rsplit("/", 1)[-1].partition("@")[0] for item in summary["made"]} == {"broadtpeak"}
    changed = {name for name in after if after[name] != before[name]}
    assert {Path(name).name.replace("_4as", "") for name in changed} == {
        "disc_12m_co21_broad_tpeak.fits",
        "disc_12m_co21_broad_etpeak.fits",
    }


def test_the_number_of_workers_does_not_change_a_bit(finished: Finished, tmp_path: Path) -> None:
    summary = run(finished.galaxy.master_key, tmp_path / "work", "--jobs", 1)
    assert summary["complete"]
    ours, theirs = products(tmp_path / "work"), products(finished.workdir)
    assert set(ours) == set(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_lineage_reaches_the_measurement_set(finished: Finished) -> None:
    done = fringeflow("products", finished.workdir, "--lineage", "disc_12m_co21_strict_mom0.fits")
    assert done.returncode == 0
    assert "incoming/disc.ms" in done.stdout
    for stage in ("staging", "imaging", "postprocess", "derived"):
        assert f"{stage}/disc/12m/co21" in done.stdout


def kill_at(moment: float, command: list[str], whom: str, rng: np.random.Generator) -> None:
    """Start `command`, and after `moment` seconds kill -9 the run itself, or one of the processes below it.

    A run whose child was killed goes on for a while, then it is killed, too.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(moment)
    victims = descendants(process.pid) if whom == "child" else []
    with contextlib.suppress(ProcessLookupError):
        os.kill(victims[int(rng.integers(len(victims)))] if victims else process.pid, signal.SIGKILL)
    if victims:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=3)
        process.kill()
    process.wait()


def descendants(pid: int) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []


def test_killed_at_ten_moments_the_products_are_the_same(finished: Finished, galaxy: Galaxy, tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    command = [sys.executable, "-m", "fringeflow", "run", str(galaxy.master_key), "--workdir", str(workdir)]
    rng = np.random.default_rng(5)
    whole = finished.summary["seconds"]
    for turn in range(10):
        kill_at(float(rng.uniform(0.5, 0.6 * whole)), command, ("run", "child")[turn % 2], rng)
    summary = run(galaxy.master_key, workdir)
    assert summary["complete"], summary
    ours, theirs = products(workdir), products(finished.workdir)
    assert set(ours) == set(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert strays(workdir) == []


def strays(workdir: Path) -> list[str]:
    """Return the files of a run that nothing refers to: in scratch, in the store, in the product tree."""
    store = workdir / "store"
    manifests = [json.loads(path.read_text()) for path in (store / "manifests").rglob("*.json")]
    named = {output["key"] for manifest in manifests for output in manifest["outputs"]}
    kept = {str(path.relative_to(store)) for path in (store / "artefacts").rglob("*") if path.is_file()}
    index = set(read_index(workdir / "products"))
    laid = {str(path.relative_to(workdir / "products")) for path in (workdir / "products").rglob("*") if path.is_file()}
    scratch = [str(path) for path in (workdir / "scratch").rglob("*") if path.is_file()]
    return [*sorted(kept - named), *sorted(laid - index - {INDEX}), *scratch]
