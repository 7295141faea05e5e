"""A small survey as surveys are: both hemispheres, missing arrays, unlike projects, windows that end in the line."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from fringeflow.cli import coverage
from tests.e2e.galaxy import KEYS, fringeflow, run
from tests.simulation import Observation, Truth, Window

pytestmark = pytest.mark.xdist_group("e2e")

SOUTH = Truth(
    size_arcsec=3.0, gradient_kms_arcsec=4.0, line_flux_jykms=60.0, continuum_jy=0.2, sigma_jy=0.1, dec_deg=-42.5
)
NORTH = replace(SOUTH, ra_deg=30.0, dec_deg=27.25, vsys_kms=1400.0, pa_deg=250.0, line_flux_jykms=45.0)
LONG = Observation(n_times=5, n_antennas=9, longest_m=110.0)
SHORT = replace(LONG, n_antennas=7, longest_m=35.0, dish_m=7.0)
SETS: dict[str, tuple[Truth, Window, Observation, bool]] = {
    "south_12m_1": (SOUTH, Window(34, 3.0), LONG, False),
    "south_12m_2": (SOUTH, Window(17, 6.0), replace(LONG, date="2023/09/20"), False),  # another project's channels
    "south_12m_3": (SOUTH, Window(12, 6.0, centre_kms=967.0), LONG, False),  # ends at 1003 km/s
    "south_12m_4": (SOUTH, Window(34, 3.0), replace(LONG, n_times=1), True),  # broke off after the calibrator
    "south_7m_1": (SOUTH, Window(68, 1.5, ascending=False), SHORT, False),
    "north_12m_1": (NORTH, Window(34, 3.0), LONG, False),
}
MS_KEY = """\
south   p1   all   12m   1   south_12m_1.ms
south   p2   all   12m   1   south_12m_2.ms
south   p2   all   12m   2   south_12m_3.ms
south   p1   all   12m   2   south_12m_4.ms
south   p1   all   7m    1   south_7m_1.ms
north   p1   all   12m   1   north_12m_1.ms
"""
TARGET_KEY = """\
south   12h00m00.0s   -42d30m00.0s   1000.0   66.0
north   02h00m00.0s   +27d15m00.0s   1400.0   66.0
"""
CONFIG_KEY = """\
interf_config   12m      {'array_tags': ['12m'], 'clean_scales_arcsec': [0, 2.5, 5.0]}
interf_config   12m+7m   {'array_tags': ['12m', '7m'], 'clean_scales_arcsec': [0, 2.5, 5.0]}
line_product    co21     {'line_tag': 'co21', 'channel_kms': 6.1, 'statwt_edge_kms': 10.0, 'lines_to_flag': ['co21']}
"""
OVERRIDES = """\
all     cell              0.6
all     deltara           30
all     deltadec          30
north   staging_method    conserve
north   staging_grid      exact
north   staging_weights   native
"""


@dataclass(frozen=True)
class Survey:
    """The finished run."""

    master_key: Path
    workdir: Path
    summary: dict[str, Any]

    def facts(self, unit: str) -> dict[str, Any]:
        """Return the facts of the one manifest of a unit."""
        (path,) = (self.workdir / "store" / "manifests" / unit).glob("*.json")
        return dict(json.loads(path.read_text())["facts"])


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory, casa_ready: None) -> Survey:
    from fringeflow_staging import tasks
    from tests.simulation import simulate_disc

    root = tmp_path_factory.mktemp("survey")
    (root / "data").mkdir()
    for number, (name, (sky, window, watch, is_empty)) in enumerate(SETS.items()):
        path = root / "data" / f"{name}.ms"
        calibrator = 1.0 if is_empty else 0.0
        frame = "LSRK" if is_empty else "TOPO"
        made = root / "whole.ms" if is_empty else path
        simulate_disc(
            made, sky, windows=(window,), observation=watch, frame=frame, calibrator_jy=calibrator, seed=number
        )
        if is_empty:
            tasks.run("split", made, outputvis=str(path), field="calibrator", datacolumn="data")
    changed = {
        "ms_key.txt": MS_KEY,
        "target_key.txt": TARGET_KEY,
        "config_key.txt": CONFIG_KEY,
        "override_key.txt": OVERRIDES,
        "imaging_key.txt": "12m   co21   all   cube.clean\n12m+7m   co21   all   cube.clean\n",
        "distance_key.txt": "south,10.0\nnorth,12.0\n",
        "derived_key.txt": "all   co21   moments   ['strictmom0', 'strictmom1']\n",
        "moment_key.txt": "".join(KEYS["moment_key.txt"].splitlines(keepends=True)[:8]),
    }
    (root / "keys").mkdir()
    for name, text in (KEYS | changed).items():
        (root / "keys" / name).write_text(text)
    key = root / "keys" / "master_key.txt"
    return Survey(key, root / "work", run(key, root / "work", "--jobs", 2))


CUBES = {"south_12m": SOUTH, "south_12m+7m": SOUTH, "north_12m": NORTH}


def test_all_is_made_that_there_are_arrays_for(survey: Survey) -> None:
    assert survey.summary["complete"], survey.summary
    made = {item["unit"] for item in survey.summary["made"]}
    staged = {unit for unit in made if unit.startswith("staging/")}
    assert staged == {"staging/south/12m/co21", "staging/south/12m+7m/co21", "staging/north/12m/co21"}
    assert {path.name for path in survey.workdir.rglob("derived/*/*strict_mom0.fits")} == {
        f"{cube}_co21_strict_mom0.fits" for cube in CUBES
    }


def test_what_each_set_gave_is_recorded(survey: Survey) -> None:
    facts = survey.facts("staging/south/12m/co21")
    found = {item["name"]: item for item in facts["inputs"]}
    assert [found[f"{name}.ms"]["used"] for name in list(SETS)[:4]] == [True, True, True, False]
    assert "no row has field" in found["south_12m_4.ms"]["notes"][0]
    (half,) = found["south_12m_3.ms"]["coverage"]
    assert half["share"] == pytest.approx((1003 - 967) / 66, abs=0.03)
    assert half["frame"] == "TOPO"
    assert facts["grid"]["width_kms"] == pytest.approx(6.0, rel=1e-3)
    chosen = survey.facts("staging/north/12m/co21")
    assert (chosen["method"], chosen["weights"]["method"], chosen["grid"]["width_kms"]) == ("conserve", "native", 6.1)


@pytest.mark.parametrize("cube", CUBES)
def test_flux_place_and_velocity_are_the_galaxys(survey: Survey, cube: str) -> None:
    """Within 8 % of the flux, half an arcsecond and half a channel; the velocities rise the right way."""
    truth = CUBES[cube]
    (path,) = survey.workdir.rglob(f"postprocess/*/{cube}_co21_pbcorr_trimmed_k.fits")
    with fits.open(path) as hdus:
        data, header = np.nan_to_num(np.asarray(hdus[0].data, dtype=float)), hdus[0].header
    y, x = np.mgrid[: header["NAXIS2"], : header["NAXIS1"]]
    ra, dec = WCS(header).celestial.all_pix2world(x, y, 0)
    east, north = (ra - truth.ra_deg) * np.cos(np.radians(dec)) * 3600, (dec - truth.dec_deg) * 3600
    inside = np.hypot(east, north) < 6.0
    spectrum, image = data[:, inside].sum(axis=1), data.sum(axis=0)[inside]
    beam = np.pi * header["BMAJ"] * header["BMIN"] / (4 * np.log(2) * abs(header["CDELT1"] * header["CDELT2"]))
    flux = spectrum.sum() * abs(header["CDELT3"]) / 1e3 / header["JYTOK"] / beam
    assert flux == pytest.approx(truth.line_flux_jykms, rel=0.08)
    velocities = (header["CRVAL3"] + (np.arange(header["NAXIS3"]) + 1 - header["CRPIX3"]) * header["CDELT3"]) / 1e3
    assert (spectrum * velocities).sum() / spectrum.sum() == pytest.approx(truth.vsys_kms, abs=3.0)
    assert (image * east[inside]).sum() / image.sum() == pytest.approx(0.0, abs=0.5)
    assert (image * north[inside]).sum() / image.sum() == pytest.approx(0.0, abs=0.5)
    angle = np.radians(truth.pa_deg)
    along = (east * np.sin(angle) + north * np.cos(angle))[inside]
    mean = (data[:, inside] * velocities[:, None]).sum(axis=0)
    assert ((mean - truth.vsys_kms * image) * along).sum() > 0


def test_the_coverage_report_says_all_this_beforehand(survey: Survey, capsys: pytest.CaptureFixture[str]) -> None:
    done = fringeflow("coverage", survey.master_key, "--json")
    assert done.returncode == 0, done.stderr
    rows = {(row["target"], row["config"]): row for row in json.loads(done.stdout)}
    assert set(rows) == {("south", "12m"), ("south", "12m+7m"), ("north", "12m")}
    for (target, config), row in rows.items():
        facts = survey.facts(f"staging/{target}/{config}/co21")
        assert [item["windows"] for item in row["inputs"]] == [item["coverage"] for item in facts["inputs"]]
        assert row["channels"]["n_channels"] == facts["grid"]["n_channels"]
        assert row["lacking"] == []
    coverage.show(rows["south", "12m"])
    said = " ".join(capsys.readouterr().out.split())
    assert "south 12m co21: 967.0 to 1033.0 km/s (LSRK) of 230.538000 GHz in channels of 6.1 km/s or less" in said
    assert "south_12m_4.ms (12m) south_12m_4.ms: no row has field 'all'" in said
    assert "(stored TOPO 229." in said
    assert "used, covers 54%" in said
    assert f"gives {rows['south', '12m']['channels']['n_channels']} channels of 6.0018 km/s" in said
    assert "9.0 km/s of the window at its upper end are not covered" in said


def test_a_target_that_no_key_names_and_an_array_without_the_line(survey: Survey, tmp_path: Path) -> None:
    done = fringeflow("coverage", survey.master_key, "--target", "east")
    assert done.returncode == 1
    assert "'east'" in done.stderr
    assert "north, south" in " ".join(done.stderr.split())
    keys = tmp_path / "keys"
    shutil.copytree(survey.master_key.parent, keys)
    (tmp_path / "data").symlink_to(survey.master_key.parents[1] / "data")
    text = (keys / "ms_key.txt").read_text()
    (keys / "ms_key.txt").write_text(
        text.replace("south_7m_1.ms", "lost.ms").replace("north_12m_1.ms", "south_12m_1.ms")
    )
    done = fringeflow("coverage", keys / "master_key.txt")
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    assert "lost.ms (7m) it is not there" in said
    assert "no data of 7m: this is not made" in said
    assert "begins 0." in said.partition("north 12m co21")[2].partition("south 12m co21")[0]
