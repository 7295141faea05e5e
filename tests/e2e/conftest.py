"""A simulated galaxy and one finished run of it, shared by the end-to-end tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.galaxy import Galaxy, run, write_keys


@dataclass(frozen=True)
class Finished:
    """A run that has ended."""

    galaxy: Galaxy
    workdir: Path
    summary: dict[str, Any]


@pytest.fixture(scope="session")
def galaxy(tmp_path_factory: pytest.TempPathFactory, casa_ready: None) -> Galaxy:
    from tests.simulation import Observation, Window, simulate_disc

    root = tmp_path_factory.mktemp("galaxy")
    (root / "data").mkdir()
    truth = simulate_disc(
        root / "data" / "disc.ms",
        windows=(Window(n_channels=20),),
        observation=Observation(n_times=12, longest_m=150.0),
        size_arcsec=3.0,  # small enough for the shortest baselines to see nearly all of its flux
        gradient_kms_arcsec=5.0,
        line_flux_jykms=60.0,
        continuum_jy=0.2,
        sigma_jy=0.2,
    )
    write_keys(root / "keys")
    return Galaxy(root, truth)


@pytest.fixture(scope="session")
def finished(galaxy: Galaxy, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    workdir = tmp_path_factory.mktemp("finished") / "work"
    return Finished(galaxy, workdir, run(galaxy.master_key, workdir, "--jobs", 2))
