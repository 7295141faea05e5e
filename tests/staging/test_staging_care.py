"""Weaknesses S20 to S34 of the staging specification, section 15: inputs untouched, areas, ends, reports."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from fringeflow.errors import DataError, NothingSelectedError
from fringeflow.graph.model import Graph
from fringeflow.graph.staging import LineRecipe, add_units, unit_id
from fringeflow.jobs.order import Job, Order
from fringeflow.keys.lines import builtin
from fringeflow.keys.parameters import override_value
from fringeflow_staging import tasks
from fringeflow_staging.continuum import stage_continuum
from fringeflow_staging.fields import Area, beam_deg
from fringeflow_staging.metadata import read_contents
from fringeflow_staging.settings import ContinuumSettings, Corrections, Source
from fringeflow_staging.stage import make
from fringeflow_staging.tables import open_table
from fringeflow_staging.windows import C_KMS, line_range_ghz
from tests.simulation import CO21_GHZ, Truth, Window, simulate_disc
from tests.staging.staged import BAND, DOT, SHORT, flux, spectra, staged, wanted
from tests.staging.test_staging_units import measurement, project
from tests.staging.weak import LINE, recipe_of, recorded, with_overrides

pytestmark = pytest.mark.usefixtures("casa_ready")


def test_s20_the_input_is_read_once_however_many_ranges(tmp_path, monkeypatch):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=(Window(60, 20.0),), observation=SHORT)
    calls = recorded(monkeypatch)
    middle = CO21_GHZ * (1 - 1000 / C_KMS)
    ranges = tuple((middle + n * 0.1, middle + (n + 1) * 0.1) for n in (-3, -2, 1, 2))
    staged(tmp_path, [Source(truth.path)], ContinuumSettings(ranges, 0.05, (LINE,)))
    assert [task for task, vis, _ in calls if vis == truth.path] == ["mstransform"]


def test_s20_nothing_is_left_behind_by_a_failure(tmp_path, monkeypatch):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT)
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr("fringeflow_staging.combine.join", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stage_continuum(
            [Source(truth.path)],
            ContinuumSettings(None, None),
            tmp_path / "out.ms",
            tmp_path / "scratch",
            lambda *_: None,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "scratch"])  # which goes with the job


def test_s25_s27_the_input_and_the_working_folder_stay_as_they_are(tmp_path, monkeypatch):
    def content(folder):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "table.lock")
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT)
    before = content(truth.path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for settings in (wanted(weights="native", method="conserve"), wanted(), ContinuumSettings(None, None, (LINE,))):
        staged(tmp_path, [Source(truth.path)], settings)
        tasks.remove(tmp_path / "out.ms")
    assert Path.cwd() == tmp_path / "elsewhere"
    assert list(Path.cwd().iterdir()) == []
    assert content(truth.path) == before


def test_s26_pointing_tables_are_not_carried_along(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT)
    with open_table(truth.path / "POINTING") as pointing:
        assert pointing.nrows() > 0
    for method in ("regrid_then_rebin", "conserve"):
        output, _ = staged(tmp_path, [Source(truth.path)], wanted(method=method))
        with open_table(output / "POINTING") as pointing:
            assert pointing.nrows() == 0
        tasks.remove(output)


def test_s28_the_beam_is_that_of_the_specification():
    assert beam_deg(12.0, 230.0) * 3600 == pytest.approx(31.18, rel=1e-3)


@pytest.mark.parametrize(
    ("corners", "inside", "outside"),
    [
        (((359.99, -0.01), (0.01, 0.01)), [(0.0, 0.0), (359.995, 0.005)], [(180.0, 0.0), (0.02, 0.0), (359.98, 0.0)]),
        (((150.0, -0.5), (151.0, 0.5)), [(150.5, -0.2), (150.01, 0.49)], [(149.9, 0.0), (150.5, 0.6), (330.5, 0.0)]),
        (((10.0, 88.0), (20.0, 89.0)), [(15.0, 88.5)], [(15.0, 87.9), (25.0, 88.5), (195.0, 88.5)]),
        (((0.0, 89.0), (120.0, 89.0), (240.0, 89.0)), [(60.0, 89.9), (300.0, 90.0)], [(60.0, 89.0), (0.0, 88.9)]),
        (((40.0, 0.0), (42.0, 0.0), (40.0, 2.0)), [(40.5, 0.5)], [(41.8, 1.8), (39.9, 0.1)]),
    ],
)
def test_s28_areas_are_right_at_0h_at_the_equator_and_at_the_pole(corners, inside, outside):
    area = Area(corners)
    assert area.distances_deg(np.array(inside)).tolist() == [0.0] * len(inside)
    assert (area.distances_deg(np.array(outside)) > 0).all()


@pytest.mark.parametrize(
    ("said", "degrees"),
    [
        ("10:43:59.3138 +11:41:52.303", (160.9971408, 11.6978619)),
        ("J2000 10h43m59.3040s +11d41m52.2960s", (160.9971, 11.69786)),
        ("10 43 59.3138 -00.30.00.0", (160.9971408, -0.5)),
        ((359.9, -0.0), (359.9, 0.0)),
    ],
)
def test_s28_corners_are_degrees_or_the_usual_texts(said, degrees):
    first, _ = override_value("staging_area", repr([said, [0.0, 1.0]]))
    assert first == pytest.approx(degrees, abs=1e-6)


def test_s28_the_distance_is_an_angle_on_the_sky():
    area = Area(((359.99, 59.99), (0.01, 60.01)))
    found = area.distances_deg(np.array([(0.0, 60.11), (0.21, 60.0), (359.79, 60.0)]))
    assert found == pytest.approx([0.1, 0.1, 0.1], rel=2e-3)
    with pytest.raises(DataError, match="wider than 120 degrees"):
        Area(((0.0, 0.0), (170.0, 0.0), (90.0, 80.0))).distances_deg(np.zeros((1, 2)))


def test_s28_only_pointings_that_see_the_area_are_used(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT, calibrator_jy=9.0, intents=False)
    area = Area(((truth.ra_deg + 0.001, truth.dec_deg), (truth.ra_deg - 0.001, truth.dec_deg + 0.001)))
    assert read_contents(truth.path, area=area).fields == (0,)
    output, report = staged(tmp_path, [Source(truth.path, area=area)], wanted())
    ((velocities, mean, data, _),) = spectra(output)
    assert data.shape[2] == truth.rows // 2
    assert flux(velocities, mean) == pytest.approx(100.0, rel=0.01)
    assert report["inputs"][0]["field"] == "0"
    edge = beam_deg(12.0, 229.77) * 0.8  # 1.6 beams wide
    near, far = (
        Area(((truth.ra_deg, truth.dec_deg + d), (truth.ra_deg + 0.001, truth.dec_deg + 2 * d)))
        for d in (edge * 0.95, edge * 1.05)
    )
    assert read_contents(truth.path, area=near).fields == (0,)
    with pytest.raises(NothingSelectedError, match="none of its 2 pointings sees"):
        read_contents(truth.path, area=far)


def test_s29_the_input_is_read_where_it_is_needed_and_only_the_window_of_the_line(tmp_path, monkeypatch):
    windows = (Window(16, 2.5, centre_kms=3000.0), *BAND)
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=windows, observation=SHORT)
    calls = recorded(monkeypatch)
    staged(tmp_path, [Source(truth.path)], wanted())
    assert [task for task, *_ in calls] == ["uvcontsub", "mstransform", "statwt"]
    assert [(task, parameters["spw"]) for task, vis, parameters in calls if vis == truth.path] == [("uvcontsub", "1")]


def test_s30_metadata_are_read_from_the_tables_alone(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT, calibrator_jy=1.0)
    contents = read_contents(truth.path)
    assert "analysisUtils" not in sys.modules
    (window,) = contents.windows
    assert window.centres_ghz == pytest.approx(truth.windows_ghz[0].tolist(), rel=1e-12)
    assert window.width_kms(CO21_GHZ) == pytest.approx(2.5)
    assert (contents.rows, window.rows, contents.dish_m, contents.frame) == (
        truth.rows // 2,
        truth.rows // 2,
        12.0,
        "LSRK",
    )


def test_s31_exact_channels_are_the_same_for_every_target_of_a_survey(tmp_path):
    one = simulate_disc(tmp_path / "one.ms", DOT, windows=BAND, observation=SHORT, frame="TOPO")
    fine = (Window(150, 0.8, ascending=False),)
    other = simulate_disc(tmp_path / "other.ms", DOT, windows=fine, observation=SHORT)
    found = []
    for truth in (one, other):
        settings = wanted(channel_kms=2.6, grid_mode="exact")
        output, report = staged(tmp_path, [Source(truth.path)], settings)
        with open_table(output / "SPECTRAL_WINDOW") as table:
            freqs, width = table.getcell("CHAN_FREQ", 0), abs(table.getcell("CHAN_WIDTH", 0)[0])
        found.append(np.sort(freqs))
        ((velocities, mean, _, _),) = spectra(output)
        assert width == pytest.approx(2.6 / C_KMS * CO21_GHZ * 1e9, rel=1e-9)
        assert (velocities / 2.6 - 0.5) == pytest.approx(np.round(velocities / 2.6 - 0.5), abs=1e-5)
        low, high = report["grid"]["covered_kms"]
        assert low <= 949.0 < 1051.0 <= high
        assert flux(velocities, mean) == pytest.approx(100.0, rel=0.02)
        tasks.remove(output)
    assert np.array_equal(found[0], found[1])
    assert recipe_of(with_overrides(grid="exact")).grid == "exact"


def test_s32_the_window_is_covered_to_both_ends_where_that_is_asked_for(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT)
    _, report = staged(tmp_path, [Source(truth.path)], wanted(corrections=Corrections(cover=True)))
    low, high = report["grid"]["covered_kms"]
    assert low <= report["grid"]["asked_kms"][0]
    assert high >= report["grid"]["asked_kms"][1]
    assert recipe_of(with_overrides(cover_window="True")).cover_window is True


def test_s33_hyperfine_structure_is_padded_line_by_line():
    of = project(measurement("12m"), lines_to_flag=("hcn10", "co21"))
    table = builtin().lines
    of = of.model_copy(
        update={
            "line_frequencies_ghz": {tag: line.restfreq_ghz for tag, line in table.items()},
            "line_families": builtin().families,
            "line_padding_kms": {"hcn10": 7.1},
        }
    )
    recipe = recipe_of(of)
    assert {line.restfreq_ghz: line.padding_kms for line in recipe.exclude_lines} == {88.63185: 7.1, 230.538: 0.0}
    wide, narrow = line_range_ghz(88.63185, 1000.0, 90.0, 7.1), line_range_ghz(88.63185, 1000.0, 90.0)
    assert (narrow[0] - wide[0]) / 88.63185 * C_KMS == pytest.approx(7.1)
    assert (wide[1] - narrow[1]) / 88.63185 * C_KMS == pytest.approx(7.1)


def test_s34_the_report_says_what_was_used_and_what_is_left(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT, frame="TOPO")
    with open_table(truth.path, writable=True) as main:
        flags = main.getcol("FLAG")
        gone = (main.getcol("ANTENNA1") == 0) | (main.getcol("ANTENNA2") == 0)
        flags[..., gone] = True
        main.putcol("FLAG", flags)
        main.putcol("FLAG_ROW", gone)
        lengths = np.hypot(*main.getcol("UVW")[:2, ~gone])
    _, report = staged(tmp_path, [Source(truth.path)], wanted())
    left = report["left"]
    assert (left["antennas"], left["seconds"]) == (SHORT.n_antennas - 1, pytest.approx(3 * SHORT.integration_s))
    assert left["rows"] == int((~gone).sum())
    assert left["baselines_m"] == pytest.approx([lengths.min(), lengths.max()], rel=1e-3)
    assert report["flagged_fraction"] == 0.0
    (item,) = report["inputs"]
    (window,) = item["windows"]
    assert (window["line_free_channels"], window["fit_order"], window["line_free"]) == (22, 0, "0:0~10,0:37~47")
    assert window["native_kms"] == pytest.approx(2.5, rel=1e-3)
    assert set(report["weight_percentiles"]) == {"p16", "p50", "p84"}
    (covered,) = item["coverage"]
    assert covered["kms"] == pytest.approx([1000 - 58.75, 1000 + 58.75], abs=0.5)
    assert (covered["frame"], covered["used"], covered["share"]) == ("TOPO", True, 1.0)
    assert np.ptp(covered["stored_ghz"]) == pytest.approx(np.ptp(truth.windows_ghz[0]), rel=1e-3)


CHOICES = {
    "method": ("conserve", "best"),
    "grid": ("exact", "any"),
    "weights": ("native", "no"),
    "weight_seconds": ("30", "-1"),
    "contsub": ("require", "maybe"),
    "intent": ("'OBSERVE_TARGET#ON_SOURCE'", "3"),
    "area": ("[[359.9,-1],[0.1,1]]", "[[0,1]]"),
    "area_beams": ("0.5", "-2"),
    "cover_window": ("True", "perhaps"),
    "full_coverage": ("True", "7"),
    "corrections_off": ("['S1','S18']", "['S99']"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices_reach_the_recipe_change_the_work_key_and_are_checked(name):
    right, wrong = CHOICES[name]
    with pytest.raises(ValueError, match=r"\S"):
        override_value(f"staging_{name}", wrong)
    plain, chosen = project(measurement("12m")), with_overrides(**{name: right})
    keys = []
    for of in (plain, chosen):
        graph = Graph({"incoming/night/12m_1.ms": "0" * 64}, lambda *_: None)
        add_units(of, "disc_1", graph)
        keys.append(graph.key(unit_id("disc_1", "12m", "co21")))
    assert keys[0] != keys[1]
    recipe = recipe_of(chosen)
    assert isinstance(recipe, LineRecipe)
    value = getattr(recipe, name)
    assert json.loads(json.dumps(value)) == json.loads(json.dumps(override_value(f"staging_{name}", right)))


def test_what_the_keys_choose_is_what_is_done(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", Truth(continuum_jy=1.0), windows=BAND, observation=SHORT)
    of = with_overrides(method="conserve", grid="exact", weights="native", contsub="require", weight_seconds="30")
    graph = Graph({"incoming/night/12m_1.ms": "0" * 64}, lambda *_: None)
    add_units(of, "disc_1", graph)
    order = Order(graph[unit_id("disc_1", "12m", "co21")], "key", leaves={"incoming/night/12m_1.ms": truth.path})
    job = Job((order,), tmp_path / "scratch")
    make(job)
    facts = job.made["staging/disc_1/12m/co21"].facts
    assert (facts["method"], facts["weights"], facts["grid"]["width_kms"]) == ("conserve", {"method": "native"}, 2.6)
