"""Weaknesses S1 to S11 of the staging specification, section 15: what is read of which inputs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fringeflow.errors import DataError
from fringeflow.graph.model import Graph
from fringeflow.graph.staging import add_units, unit_id
from fringeflow.jobs.order import Job, Order
from fringeflow.keys import queries
from fringeflow.keys.model import InterfConfig
from fringeflow_staging import tasks
from fringeflow_staging.settings import ContinuumSettings, Corrections, Source
from fringeflow_staging.stage import cover, make
from fringeflow_staging.tables import open_table
from fringeflow_staging.windows import C_KMS, line_range_ghz
from tests.simulation import CO21_GHZ, Window, simulate_disc
from tests.staging.staged import BAND, DOT, SHORT, flux, spectra, staged, wanted
from tests.staging.test_staging_units import measurement, project
from tests.staging.weak import FILLED, LINE, cell, without_target_rows

pytestmark = pytest.mark.usefixtures("casa_ready")


def test_s1_windows_are_chosen_by_what_they_cover_in_lsrk(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT, frame="TOPO")
    stored = cell(truth.path, "CHAN_FREQ", table="SPECTRAL_WINDOW") / 1e9
    assert np.abs(stored / truth.windows_ghz[0] - 1).min() * C_KMS > 1.5
    margin = 117.5 - 1.0  # between the outermost channel centres, less a km/s of drift along the track
    settings = wanted(vwidth_kms=margin, full_coverage=True, statwt_edge_kms=20.0)
    _, report = staged(tmp_path, [Source(truth.path)], settings)
    assert report["inputs"][0]["used"]
    with pytest.raises(DataError, match="covers all of"):
        staged(tmp_path, [Source(truth.path)], replace(settings, corrections=Corrections(lsrk=False)))


def test_s7_an_empty_execution_is_left_out_and_that_is_said(tmp_path):
    good = simulate_disc(tmp_path / "good.ms", DOT, windows=BAND, observation=SHORT)
    empty = without_target_rows(tmp_path / "empty.ms")
    for settings in (wanted(), ContinuumSettings(None, None, (LINE,))):
        _, report = staged(tmp_path, [Source(empty.path), Source(good.path)], settings)
        assert [item["used"] for item in report["inputs"]] == [False, True]
        assert "empty.ms: no row has field" in report["inputs"][0]["notes"][0]
        json.dumps(report, allow_nan=False)
        tasks.remove(tmp_path / "out.ms")
        with pytest.raises(DataError, match=r"empty\.ms.*no row has field 'all' and intent 'OBSERVE_TARGET\*'"):
            staged(tmp_path, [Source(empty.path)], settings)


@pytest.mark.parametrize("ranges", [None, ()])
def test_s7_empty_lists_mean_none(tmp_path, ranges):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT, line_flux_jykms=0.0)
    output, _ = staged(tmp_path, [Source(truth.path)], ContinuumSettings(ranges, None, ()))
    ((_, mean, _, _),) = spectra(output)
    assert mean.real.compressed() == pytest.approx(np.full(mean.count(), 2.0), abs=0.03)


def test_s8_s9_an_empty_selection_is_nothing_and_projects_restrict():
    of = project(measurement("12m"), measurement("12m", "2").model_copy(update={"project": "q"}))
    assert queries.measurement_sets(of, targets=[]) == ()
    assert len(queries.measurement_sets(of)) == 2
    assert [item.project for item in queries.measurement_sets(of, projects=["q"])] == ["q"]


def test_s10_a_window_that_cannot_be_subtracted_concerns_only_itself(tmp_path):
    narrow = simulate_disc(tmp_path / "narrow.ms", DOT, windows=FILLED, observation=SHORT)
    wide = simulate_disc(tmp_path / "wide.ms", DOT, windows=BAND, observation=SHORT)
    sources = [Source(narrow.path), Source(wide.path)]
    settings = wanted(excluded_ghz=(line_range_ghz(CO21_GHZ, 1000.0, 80.0),), weights="propagated")
    _, report = staged(tmp_path, sources, settings)
    assert [item["windows"][0]["continuum_subtracted"] for item in report["inputs"]] == [False, True]
    tasks.remove(tmp_path / "out.ms")
    output, report = staged(tmp_path, sources, replace(settings, contsub="require"))
    assert [item["used"] for item in report["inputs"]] == [False, True]
    assert "narrow.ms has 0 line-free channels: it is left out" in report["inputs"][0]["notes"][0]
    assert abs(spectra(output)[0][1][:3].mean()) < 0.03
    with pytest.raises(DataError, match="no spectral window covers"):
        staged(tmp_path, sources[:1], replace(settings, contsub="require"))
    tasks.remove(tmp_path / "out.ms")
    output, report = staged(tmp_path, sources[1:], replace(settings, contsub="none"))
    assert not report["inputs"][0]["windows"][0]["continuum_subtracted"]
    assert "not subtracted, as asked for" in report["inputs"][0]["notes"][0]
    assert spectra(output)[0][1][:3].mean().real == pytest.approx(2.0, abs=0.03)


@pytest.mark.parametrize(("requires", "is_made"), [((), False), (("12m|7m",), True)])
def test_s11_an_array_may_be_missing_only_where_the_keys_say_so(tmp_path, requires, is_made):
    near = simulate_disc(tmp_path / "near.ms", DOT, windows=BAND, observation=SHORT)
    far = simulate_disc(tmp_path / "far.ms", DOT, windows=(Window(16, 2.5, centre_kms=3000.0),), observation=SHORT)
    both = InterfConfig(name="12m+7m", array_tags=("12m", "7m"), requires=requires, clean_scales_arcsec=(0.0,))
    of = project(measurement("12m"), measurement("7m")).model_copy(update={"interf_configs": {"12m+7m": both}})
    leaves = {"incoming/night/12m_1.ms": near.path, "incoming/night/7m_1.ms": far.path}
    graph = Graph(dict.fromkeys(leaves, "0" * 64), lambda *_: None)
    add_units(of, "disc_1", graph)
    unit = graph[unit_id("disc_1", "12m+7m", "co21")]
    (covered,) = cover([(unit.recipe, {name: str(path) for name, path in leaves.items()})])
    assert covered["lacking"] == ([] if is_made else [["7m"]])
    job = Job((Order(unit, "key", leaves=leaves),), tmp_path / "scratch")
    if not is_made:
        with pytest.raises(DataError, match="no data of array 7m could be used"):
            make(job)
        return
    make(job)
    facts = job.made[str(unit.id)].facts
    assert [item["used"] for item in facts["inputs"]] == [True, False]


def test_s11_arrays_that_all_contribute_are_combined(tmp_path):
    large = simulate_disc(tmp_path / "12m.ms", DOT, windows=BAND, observation=SHORT)
    watch = replace(SHORT, dish_m=7.0, longest_m=40.0)
    small = simulate_disc(tmp_path / "7m.ms", DOT, windows=(Window(96, 1.25),), observation=watch)
    sources = [Source(large.path, array_tag="12m"), Source(small.path, array_tag="7m")]
    output, report = staged(tmp_path, sources, wanted())
    ((velocities, mean, data, _),) = spectra(output)
    assert data.shape[2] == large.rows + small.rows
    assert flux(velocities, mean) == pytest.approx(100.0, rel=0.02)
    with open_table(output / "ANTENNA") as antennas:
        assert sorted(set(antennas.getcol("DISH_DIAMETER"))) == [7.0, 12.0]
    assert [item["array_tag"] for item in report["inputs"]] == ["12m", "7m"]
