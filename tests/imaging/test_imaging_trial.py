"""Test imaging: weightings, channels without signal, and figures that are the simulation's own (W30)."""

import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from matplotlib.contour import ContourSet

from fringeflow.errors import DataError
from fringeflow.graph.imaging_recipes import recipe_of
from fringeflow_derived.page.figures import style
from fringeflow_derived.page.figures import weightings as figures
from fringeflow_imaging import trial, trial_tool, weightings
from fringeflow_imaging.beam import gaussian
from tests.e2e.galaxy import write_keys
from tests.simulation import Observation, Point, Truth, Window, simulate_disc

SIZES = {"cell": 0.5, "deltara": 48, "deltadec": 48}
SIGMA = 0.05


def test_weightings_are_read_and_named():
    names = [one.name for one in weightings.grid(["natural", "briggs:-0.5", "briggs"], [0.0, 2.5])]
    assert names == [
        "natural", "natural_t2.5", "briggs_r-0.5", "briggs_r-0.5_t2.5", "briggs_r0.5", "briggs_r0.5_t2.5",
    ]  # fmt: skip
    assert len(weightings.grid(["briggs", "briggs:0.5"], [0.0, 0.0])) == 1
    tapered = weightings.read("briggs:1", 2.0).parameters()
    assert tapered == {"weighting": "briggs", "robust": 1.0, "uvtaper": ["2.0arcsec", "2.0arcsec", "0deg"]}
    assert weightings.read("uniform").parameters() == {"weighting": "uniform", "uvtaper": []}


@pytest.mark.parametrize("text", ["robust", "natural:0.5", "briggs:2.5", "briggs:nan", "briggs:much"])
def test_what_is_no_weighting_is_told(text):
    with pytest.raises(DataError):
        weightings.read(text)


def test_the_suggestion_is_the_wanted_beam_or_the_least_noise():
    rows = [
        {"test_name": "a", "status": "completed", "bmaj_arcsec": 2.0, "rms": 3.0},
        {"test_name": "b", "status": "skipped", "bmaj_arcsec": 3.0, "rms": 1.0},
        {"test_name": "c", "status": "failed"},
    ]
    assert weightings.suggestion(rows, None) == "b"
    assert weightings.suggestion(rows, 2.2) == "a"
    assert weightings.suggestion([row | {"rms": 0.0} for row in rows], None) == "a"
    assert weightings.suggestion(rows[2:], None) is None


@pytest.fixture(scope="module")
def disc(casa_ready, tmp_path_factory):
    """A narrow line in channels 4 to 7 of nine."""
    sky = Truth(line_flux_jykms=60.0, size_arcsec=3.0, gradient_kms_arcsec=0.5, dispersion_kms=4.0, sigma_jy=SIGMA)
    windows = (Window(n_channels=9, channel_kms=9.0, centre_kms=990.0),)
    watch = Observation(n_times=8, n_antennas=10, longest_m=120.0)
    return simulate_disc(tmp_path_factory.mktemp("trial") / "disc.ms", sky, windows=windows, observation=watch)


def test_channels_are_chosen_by_what_the_visibilities_hold(disc):
    quiet, bright = trial.choose_channels(disc.path)
    line = disc.line_cubes_jy[0].sum(axis=(1, 2))
    assert bright == int(line.argmax())
    assert line[quiet] < 1e-3 * line.max()


def tried(make_project, disc, place, product="co", overrides=None, **options):
    recipe = recipe_of(make_project(overrides=SIZES | (overrides or {})), "disc", "7m", product).model_dump(mode="json")
    asked = {
        "data": "digest", "weightings_asked": ["natural", "briggs:-1"], "tapers_arcsec": [0.0, 3.0], "channels": None,
        "clean_snr": None, "resolution_arcsec": None, "force": False,
    }  # fmt: skip
    (place / "scratch").mkdir(parents=True, exist_ok=True)
    steps = []
    result = trial_tool.make(
        disc.path, place / "out", f"disc_7m_{product}", recipe, **(asked | options), scratch=place / "scratch",
        progress=lambda step, _: steps.append(step),
    )  # fmt: skip
    assert steps[0] == "imaging natural"
    return {row["test_name"]: row for row in result["rows"]}, result["suggestion"]


@pytest.fixture(scope="module")
def grid(disc, make_project, tmp_path_factory):
    place = tmp_path_factory.mktemp("grid")
    return (*tried(make_project, disc, place), place)


def test_noise_is_what_was_put_in_and_what_the_weights_predict(disc, grid):
    rows, suggestion, _ = grid
    natural = rows["natural"]
    assert natural["predicted_rms"] == pytest.approx(SIGMA / np.sqrt(2 * disc.rows), rel=1e-3)
    ratios = [row["rms"] / row["predicted_rms"] for row in rows.values()]
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.25)  # of some twenty to forty beams
    for row in rows.values():
        assert row["rms"] == pytest.approx(row["predicted_rms"], rel=0.4)
        assert row["rms"] < 0.2 * row["plain_rms"]  # which signal is in
        assert row["status"] == "completed"
    assert natural["predicted_rms"] == min(row["predicted_rms"] for row in rows.values())
    assert rows[suggestion]["rms"] == min(row["rms"] for row in rows.values())


def test_beams_follow_weighting_and_taper(grid):
    rows, _, _ = grid
    size = {name: row["bmaj_arcsec"] * row["bmin_arcsec"] for name, row in rows.items()}
    assert size["briggs_r-1"] < size["natural"] < size["natural_t3"]
    assert rows["briggs_r-1_t3"]["bmin_arcsec"] > 0.9 * 3.0 > rows["briggs_r-1"]["bmin_arcsec"]
    for row in rows.values():
        assert abs(row["kappa"]) < 0.05
        assert 0.5 < row["epsilon"] < 1.5
        assert row["cell_arcsec"] == 0.5


def test_files_and_table_hold_what_was_made(grid):
    rows, _, place = grid
    header = fits.getheader(place / "out" / "disc_7m_co_test_natural_t3.fits")
    assert header["BMAJ"] * 3600 == pytest.approx(rows["natural_t3"]["bmaj_arcsec"])
    assert header["CRVAL1"] == pytest.approx(180.0)
    assert fits.getdata(place / "out" / "disc_7m_co_test_natural_psf.fits").max() == pytest.approx(1.0, abs=1e-3)
    shown = fits.getdata(place / "out" / "disc_7m_co_test_natural.fits")
    assert np.nanmax(shown) == pytest.approx(rows["natural"]["max"], rel=1e-5)
    with (place / "out" / "disc_7m_co_test_summary.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [line["test_name"] for line in table] == list(rows)
    assert float(table[1]["bmaj_arcsec"]) == rows["natural_t3"]["bmaj_arcsec"]
    assert table[0]["taper_arcsec"] == "0.0"
    assert not any((place / "scratch").glob("natural*"))


def test_what_is_made_is_not_made_again_and_keeps_its_figures(disc, grid, make_project):
    rows, _, place = grid
    again, _ = tried(make_project, disc, place)
    assert {row["status"] for row in again.values()} == {"skipped"}
    assert {name: row | {"status": ""} for name, row in again.items()} == {
        name: row | {"status": ""} for name, row in rows.items()
    }
    changed, _ = tried(make_project, disc, place, weightings_asked=["natural"], tapers_arcsec=[0.0], data="other")
    assert changed["natural"]["status"] == "completed"


def test_a_set_that_fails_does_not_stop_the_others(disc, make_project, tmp_path, monkeypatch):
    real = trial.image

    def sometimes(parameters, *rest):
        if parameters["weighting"] == "natural":
            raise RuntimeError("no such luck")
        return real(parameters, *rest)

    monkeypatch.setattr(trial, "image", sometimes)
    rows, suggestion = tried(make_project, disc, tmp_path, tapers_arcsec=[0.0])
    assert rows["natural"]["status"] == "failed"
    assert rows["natural"]["message"] == "no such luck"
    assert suggestion == "briggs_r-1"
    assert not (tmp_path / "out" / "disc_7m_co_test_natural.json").exists()


def test_a_shallow_clean_takes_the_sidelobes_away(disc, grid, make_project, tmp_path):
    rows, _, _ = grid
    options = {"weightings_asked": ["natural"], "tapers_arcsec": [0.0], "clean_snr": 4.0}
    cleaned, _ = tried(make_project, disc, tmp_path, **options)
    assert cleaned["natural"]["min"] > 0.3 * rows["natural"]["min"]
    assert cleaned["natural"]["max"] == pytest.approx(rows["natural"]["max"], rel=0.2)
    with pytest.raises(DataError, match="not both in a cube of 9"):
        tried(make_project, disc, tmp_path, channels=(0, 9))


def test_a_continuum_is_one_image(casa_ready, make_project, tmp_path):
    sky = Truth(line_flux_jykms=0.0, size_arcsec=3.0, sigma_jy=SIGMA, points=(Point(2.0, 1.0, 0.5),))
    watch = Observation(n_times=4, n_antennas=10, longest_m=120.0)
    seen = simulate_disc(tmp_path / "c.ms", sky, windows=(Window(n_channels=4, channel_kms=40.0),), observation=watch)
    options = {"weightings_asked": ["natural"], "tapers_arcsec": [0.0], "clean_snr": 3.0}
    rows, _ = tried(make_project, seen, tmp_path, product="cont", **options)
    row = rows["natural"]
    assert row["predicted_rms"] == pytest.approx(SIGMA / np.sqrt(2 * 4 * seen.rows), rel=1e-3)
    assert row["rms"] == pytest.approx(row["predicted_rms"], rel=0.3)
    assert row["max"] == pytest.approx(0.5, rel=0.1)


def test_the_command_stages_tries_and_draws(casa_ready, disc, tmp_path):
    write_keys(tmp_path / "keys")
    (tmp_path / "data").mkdir()
    simulate_disc(
        tmp_path / "data" / "disc.ms",
        replace(disc, sigma_jy=0.1),
        windows=(Window(n_channels=12),),
        observation=Observation(n_times=4, n_antennas=8, longest_m=120.0),
    )
    command = [
        sys.executable, "-m", "fringeflow", "test-imaging", str(tmp_path / "keys" / "master_key.txt"), "--workdir",
        str(tmp_path / "work"), "--weighting", "natural", "--weighting", "briggs:0", "--json",
    ]  # fmt: skip
    first = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    result = json.loads(first.stdout)
    assert [row["status"] for row in result["rows"]] == ["completed", "completed"]
    page = (tmp_path / "work" / "test_imaging" / "disc" / "disc_12m_co21_test_report.html").read_text()
    assert result["page"].endswith("disc_12m_co21_test_report.html")
    assert page.count("data:image/png;base64,") == 5
    assert "Not shown" not in page
    assert "briggs_r0" in page
    again = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout)
    assert [row["status"] for row in again["rows"]] == ["skipped", "skipped"]
    wrong = subprocess.run([*command, "--product", "co10"], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert wrong.returncode == 1
    assert "one of: co21" in wrong.stderr
    assert not list((tmp_path / "work" / "scratch").iterdir())


@pytest.mark.parametrize(
    ("angle", "east", "north"), [(30.0, np.sin(np.pi / 6), np.cos(np.pi / 6)), (-60.0, -0.866, 0.5)]
)
def test_beams_are_drawn_as_they_lie_on_the_sky(angle, east, north):
    kernel = gaussian((9.0, 3.0, angle), 0.5)
    half = kernel.shape[0] // 2
    plane = kernel[half - 20 : half + 21, half - 20 : half + 21].astype(float)
    row = {"cell_arcsec": 0.5, "bmaj_arcsec": 9.0, "bmin_arcsec": 3.0, "bpa_deg": angle, "test_name": "x"}
    axes = style.place(style.new_figure(4, 4), 0.5, 0.5, 3, 3)
    figures._panel(axes, row, plane, 0.0, 1.0, half=True)
    (ellipse,) = axes.patches
    places = axes.transData.transform(ellipse.get_patch_transform().transform([(0.0, 0.0), (0.0, 1.0)]))
    tip = (places[1] - places[0]) / np.hypot(*(places[1] - places[0]))
    assert tip == pytest.approx([-east, north], abs=0.01)  # on the screen east is to the left
    (contour,) = [one for one in axes.collections if isinstance(one, ContourSet)]
    far = max(contour.get_paths()[0].vertices, key=lambda place: np.hypot(*place))
    assert abs(far @ [east, north]) == pytest.approx(4.5, abs=0.2)  # half the major axis, along it
