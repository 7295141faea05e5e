"""The numbered weaknesses of the staging specification, section 15, in their order: those that no other test holds.

Which test holds which of the others is said in docs/differences.md.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fringeflow.errors import DataError, NothingSelectedError
from fringeflow.graph.model import Graph
from fringeflow.graph.staging import ContinuumRecipe, LineRecipe, add_units, read_recipe, unit_id
from fringeflow.jobs.order import Job, Order
from fringeflow.keys import queries
from fringeflow.keys.lines import builtin
from fringeflow.keys.model import InterfConfig
from fringeflow.keys.parameters import override_value
from fringeflow_staging import tasks
from fringeflow_staging.continuum import stage_continuum
from fringeflow_staging.fields import Area, beam_deg
from fringeflow_staging.metadata import read_contents
from fringeflow_staging.settings import ContinuumSettings, Corrections, Source
from fringeflow_staging.stage import cover, make
from fringeflow_staging.tables import open_table
from fringeflow_staging.windows import C_KMS, line_range_ghz
from tests.simulation import CO21_GHZ, Observation, Truth, Window, simulate_disc
from tests.staging.staged import BAND, DOT, SHORT, flux, spectra, staged, wanted
from tests.staging.test_staging_units import measurement, project

pytestmark = pytest.mark.usefixtures("casa_ready")

LINE = line_range_ghz(CO21_GHZ, 1000.0, 60.0)
FILLED = (Window(24, 2.5),)  # by a line that is excluded over 80 km/s


def cell(path, column, row=0, table=""):
    with open_table(path / table if table else path) as main:
        return main.getcell(column, row)


def noisy(path, sigmas, *, windows=BAND, watch=None, delivered=1.0, **changes):
    """Simulate, with noise of `sigmas[antenna]` on baselines with antenna `antenna` and weights that tell nothing."""
    truth = simulate_disc(path, replace(DOT, sigma_jy=1e-6, **changes), windows=windows, observation=watch or SHORT)
    random = np.random.default_rng(5)
    with open_table(path, writable=True) as main:
        first = main.getcol("ANTENNA1")
        sigma = np.array([sigmas.get(int(antenna), sigmas[None]) for antenna in first])
        data = main.getcol("DATA")
        data += sigma * (random.normal(size=data.shape) + 1j * random.normal(size=data.shape))
        main.putcol("DATA", data)
        main.putcol("WEIGHT", np.full((2, len(first)), delivered))
        main.putcol("SIGMA", np.full((2, len(first)), delivered**-0.5))
    return truth


def without_target_rows(path):
    """Simulate an execution that broke off before it came to the target: only the calibrator was seen."""
    whole = simulate_disc(path.with_suffix(".whole"), DOT, windows=BAND, observation=SHORT, calibrator_jy=1.0)
    tasks.run("split", whole.path, outputvis=str(path), field="calibrator", datacolumn="data")
    return replace(whole, path=path)


def recorded(monkeypatch):
    """Note every CASA task that is called, and go on."""
    calls = []
    run = tasks.run

    def noted(task, vis, **parameters):
        calls.append((task, vis, parameters))
        return run(task, vis, **parameters)

    monkeypatch.setattr(tasks, "run", noted)
    return calls


def with_overrides(**texts):
    of = project(measurement("12m"))
    return of.model_copy(update={"overrides": {"disc_1": {f"staging_{name}": text for name, text in texts.items()}}})


def recipe_of(of, product="co21", config="12m"):
    graph = Graph({"incoming/night/12m_1.ms": "0" * 64}, lambda *_: None)
    add_units(of, "disc_1", graph)
    return read_recipe(graph[unit_id("disc_1", config, product)].recipe)


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


def test_s13_rebinning_by_overlap_keeps_what_interpolation_loses(tmp_path):
    """Native channels of 1.27 km/s go to 2.4 km/s, which an interpolation reads at single points."""
    watch = Observation(n_times=8, n_antennas=8)
    coarse = noisy(tmp_path / "coarse.ms", {None: 0.3}, windows=(Window(50, 2.4),), watch=watch, continuum_jy=0.0)
    fine = noisy(tmp_path / "fine.ms", {None: 0.3}, windows=(Window(95, 1.27),), watch=watch, continuum_jy=0.0)
    sources = [Source(coarse.path), Source(fine.path)]
    settings = wanted(channel_kms=2.5, contsub="none", weights="propagated")
    scatter = {}
    for method in ("regrid_then_rebin", "conserve"):
        output, report = staged(tmp_path, sources, replace(settings, method=method))
        ((velocities, _, data, _),) = spectra(output)
        of_fine = data[..., coarse.rows :]
        scatter[method] = float(np.concatenate([of_fine[:, :6], of_fine[:, -6:]], axis=1).real.std())
        assert flux(velocities, of_fine.mean(axis=(0, 2))) == pytest.approx(100.0, rel=0.01)
        if method == "conserve":
            found = report["channel_correlation"]
        tasks.remove(tmp_path / "out.ms")
    overlap = 2.40072 / 1.27
    expected = 0.3 * np.sqrt(overlap - 1 / 3) / overlap  # the mean over all places of channels among native ones
    assert scatter["conserve"] == pytest.approx(expected, rel=0.05)
    assert scatter["regrid_then_rebin"] > 1.15 * scatter["conserve"]
    assert 0.05 < found[0] < 0.35  # channels of either set share a native one now and then
    assert abs(found[1]) < 0.06


def test_s13_weights_of_rebinned_channels_tell_their_noise(tmp_path):
    truth = noisy(
        tmp_path / "a.ms",
        {None: 0.2},
        windows=(Window(96, 1.25),),
        watch=Observation(n_times=8, n_antennas=8),
        delivered=25.0,
        continuum_jy=0.0,
    )
    settings = wanted(channel_kms=3.1, grid_mode="exact", method="conserve", contsub="none", weights="propagated")
    output, report = staged(tmp_path, [Source(truth.path)], settings)
    with open_table(output) as main:
        data, weight, flags = (main.getcol(name) for name in ("DATA", "WEIGHT_SPECTRUM", "FLAG"))
        mean, sigma = main.getcol("WEIGHT"), main.getcol("SIGMA")
    ends = np.r_[0:5, data.shape[1] - 5 : data.shape[1]]
    pulls = (data.real * np.sqrt(weight))[:, ends][~flags[:, ends]]
    assert pulls.std() == pytest.approx(1.0, abs=0.03)
    assert mean == pytest.approx(weight.sum(axis=1) / (~flags).sum(axis=1), rel=1e-5)
    assert sigma == pytest.approx(mean**-0.5, rel=1e-5)
    assert 25.0 * 3.1 / 1.25 * 0.95 < np.median(weight[~flags]) < 25.0 * 3.1 / 1.25 * 1.3
    assert report["method"] == "conserve"


def test_s13_moving_channels_are_put_where_they_are_at_every_moment(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=Observation(n_antennas=6), frame="TOPO")
    output, report = staged(tmp_path, [Source(truth.path)], wanted(method="conserve"))
    ((velocities, mean, _, _),) = spectra(output)
    assert flux(velocities, mean) == pytest.approx(truth.line_flux_jykms, rel=0.005)
    assert float((mean.real * velocities).sum() / mean.real.sum()) == pytest.approx(1000.0, abs=0.05)
    assert velocities == pytest.approx(report["grid"]["first_kms"] + np.arange(40) * 2.5 * 1.0003, abs=1e-3)
    assert report["weights"]["method"] == "scatter"


def test_s13_flagged_native_channels_do_not_enter(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT, line_flux_jykms=0.0)
    with open_table(truth.path, writable=True) as main:
        data, flags = main.getcol("DATA"), main.getcol("FLAG")
        data[:, 10], flags[:, 10] = 1e6, True
        data[:, 20:24], flags[:, 20:24] = 1e6, True
        main.putcol("DATA", data)
        main.putcol("FLAG", flags)
    settings = wanted(channel_kms=5.1, method="conserve", contsub="none", weights="propagated")
    output, _ = staged(tmp_path, [Source(truth.path)], settings)
    ((_, mean, _, _),) = spectra(output)
    assert 1 <= np.ma.getmaskarray(mean).sum() <= 2
    assert mean.real.compressed() == pytest.approx(np.full(mean.count(), 2.0), abs=0.06)


@pytest.mark.parametrize(
    ("method", "width"),
    [
        ("regrid_then_rebin", 5.0 * 1.0003),
        ("rebin_then_regrid", 5.0 * 1.0003),
        ("just_regrid", 5.1),
        ("just_rebin", 5.0),
        ("conserve", 5.0 * 1.0003),
    ],
)
def test_s14_every_method_covers_the_window_and_keeps_the_flux(tmp_path, method, width):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT)
    output, report = staged(tmp_path, [Source(truth.path)], wanted(channel_kms=5.1, method=method))
    ((velocities, mean, _, _),) = spectra(output)
    grid = report["grid"]
    assert grid["width_kms"] == pytest.approx(width)
    assert np.diff(velocities) == pytest.approx(np.full(len(velocities) - 1, width), abs=1e-6)
    assert velocities == pytest.approx(grid["first_kms"] + np.arange(len(velocities)) * width, abs=1e-3)
    assert 102.0 - width < len(velocities) * width < 102.0 + 2 * width
    assert not np.ma.getmaskarray(mean).any()
    assert flux(velocities, mean) == pytest.approx(truth.line_flux_jykms, rel=0.015)
    assert float((mean.real * velocities).sum() / mean.real.sum()) == pytest.approx(1000.0, abs=0.15)


def test_s14_averaging_alone_leaves_independent_channels_as_they_are(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT, continuum_jy=0.0)
    settings = wanted(channel_kms=5.1, method="just_rebin", contsub="none", weights="propagated")
    output, report = staged(tmp_path, [Source(truth.path)], settings)
    ((velocities, _, data, _),) = spectra(output)
    native = spectra(truth.path)[0]
    first = int(np.argmin(np.abs(native[0] - (velocities[0] - 1.25))))
    pairs = native[2][:, first : first + 2 * len(velocities)].reshape(2, len(velocities), 2, -1).mean(axis=2)
    assert np.abs(data - pairs).max() < 1e-5
    assert abs(report["channel_correlation"][0]) < 0.1
    moving = simulate_disc(tmp_path / "b.ms", DOT, windows=BAND, observation=SHORT, frame="TOPO")
    with pytest.raises(DataError, match="TOPO channels") as told:
        staged(tmp_path, [Source(moving.path)], settings)
    assert "staging_method" in str(told.value.remedy)
    shifted = simulate_disc(tmp_path / "c.ms", DOT, windows=(Window(48, 2.5, centre_kms=1001.0),), observation=SHORT)
    with pytest.raises(DataError, match="different channels"):
        staged(tmp_path, [Source(truth.path), Source(shifted.path)], settings)


def test_s16_weights_are_never_measured_on_the_line(tmp_path):
    """Without an edge in the keys the outer tenth of the window counts as free of the line."""
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT, line_flux_jykms=1e4)
    output, report = staged(tmp_path, [Source(truth.path)], wanted(statwt_edge_kms=None))
    assert report["weights"] == {"method": "scatter", "edge_kms": pytest.approx(10.2), "line_channels": [5, 34]}
    ((_, _, _, weight),) = spectra(output)
    assert 0.5 * truth.sigma_jy < np.median(weight) ** -0.5 < 1.5 * truth.sigma_jy  # the line is of hundreds of Jy


def test_s17_native_weights_know_each_baseline_and_scatter_less(tmp_path):
    watch = Observation(n_times=12, n_antennas=6, step_s=60.0)
    truth = noisy(tmp_path / "a.ms", {0: 0.6, None: 0.2}, watch=watch, line_flux_jykms=1e4)
    ratio, spread = {}, {}
    for weights in ("scatter", "native"):
        settings = wanted(weights=weights, weight_seconds=240.0)
        output, report = staged(tmp_path, [Source(truth.path)], settings)
        with open_table(output) as main:
            weight, first = main.getcol("WEIGHT"), main.getcol("ANTENNA1")
        ratio[weights] = float(np.median(weight[:, first > 0]) / np.median(weight[:, first == 0]))
        spread[weights] = float(weight[:, first > 0].std() / weight[:, first > 0].mean())
        tasks.remove(tmp_path / "out.ms")
    assert ratio["native"] == pytest.approx(9.0, rel=0.15)
    assert np.median(weight[:, first > 0]) == pytest.approx(0.2**-2, rel=0.1)
    assert spread["native"] < 0.5 * spread["scatter"]
    assert report["weights"] == {"method": "native"}
    assert report["inputs"][0]["weights"] == [{"window": 0, "channels": 24, "bins": 15 * 2 * 3, "bins_by_median": 0}]


def test_s17_noisy_channels_at_the_edges_of_the_band_do_not_count(tmp_path):
    truth = noisy(tmp_path / "a.ms", {None: 0.2}, watch=Observation(n_times=6, n_antennas=6, step_s=60.0))
    random = np.random.default_rng(8)
    with open_table(truth.path, writable=True) as main:
        data = main.getcol("DATA")
        data[:, [0, 1, 47]] += 3.0 * random.normal(size=data[:, [0, 1, 47]].shape)
        main.putcol("DATA", data)
    settings = wanted(weights="native", weight_seconds=600.0, contsub="none")
    output, report = staged(tmp_path, [Source(truth.path)], settings)
    assert report["inputs"][0]["weights"][0]["channels"] == 24 - 3
    assert np.median(spectra(output)[0][3]) == pytest.approx(0.2**-2, rel=0.05)


@pytest.mark.parametrize("method", ["regrid_then_rebin", "conserve"])
def test_s17_native_weights_are_carried_through_averaging(tmp_path, method):
    watch = Observation(n_times=6, n_antennas=8, step_s=60.0)
    truth = noisy(tmp_path / "a.ms", {None: 0.2}, windows=(Window(96, 1.25),), watch=watch)
    settings = wanted(channel_kms=5.1, weights="native", method=method, weight_seconds=600.0)
    output, _ = staged(tmp_path, [Source(truth.path)], settings)
    ((_, _, data, weight),) = spectra(output)
    scatter = float(np.concatenate([data[:, :4], data[:, -4:]], axis=1).real.std())
    assert np.median(weight) ** -0.5 == pytest.approx(scatter, rel=0.1)


def test_s17_without_line_free_channels_the_delivered_weights_stay(tmp_path):
    truth = noisy(tmp_path / "a.ms", {None: 0.2}, windows=FILLED, delivered=7.0)
    settings = wanted(
        excluded_ghz=(line_range_ghz(CO21_GHZ, 1000.0, 80.0),), vwidth_kms=56.0, weights="native", statwt_edge_kms=10.0
    )
    output, report = staged(tmp_path, [Source(truth.path)], settings)
    assert np.unique(spectra(output)[0][3]).tolist() == pytest.approx([7.0])
    assert any("its weights are as delivered" in note for note in report["inputs"][0]["notes"])


def test_s18_the_reference_s_single_channel_can_be_had(tmp_path):
    truth = simulate_disc(
        tmp_path / "a.ms", DOT, windows=(Window(60, 20.0),), observation=SHORT, spectral_index=-3.0, sigma_jy=0.01
    )
    corrections = Corrections(limit_smearing=False)
    output, report = staged(
        tmp_path, [Source(truth.path)], ContinuumSettings(None, None, (LINE,), corrections=corrections)
    )
    ((_, mean, _, _),) = spectra(output)
    assert mean.real.tolist() == pytest.approx([2.0], rel=0.01)
    assert (report["channel_ghz"], report["smearing_limit_ghz"]) == (None, None)
    tasks.remove(tmp_path / "out.ms")
    low, high = CO21_GHZ * (1 - 1580 / C_KMS), CO21_GHZ * (1 - 420 / C_KMS)
    settings = ContinuumSettings(((low, high),), None, (LINE,), corrections=corrections)
    output, report = staged(tmp_path, [Source(truth.path)], settings)
    assert [grid["n_channels"] for grid in report["grids"]] == [1]
    assert spectra(output)[0][1].real.tolist() == pytest.approx([2.0 * ((low + high) / 2 / CO21_GHZ) ** -3.0], rel=0.01)


def test_s18_a_range_without_a_channel_width_is_cut_as_far_as_smearing_asks(tmp_path):
    watch = replace(SHORT, longest_m=10000.0)
    truth = simulate_disc(
        tmp_path / "a.ms", replace(DOT, size_arcsec=1e-5), windows=(Window(60, 20.0),), observation=watch
    )
    low, high = CO21_GHZ * (1 - 1580 / C_KMS), CO21_GHZ * (1 - 420 / C_KMS)
    output, report = staged(tmp_path, [Source(truth.path)], ContinuumSettings(((low, high),), None, (LINE,)))
    limit = 0.1 * CO21_GHZ * 12.0 / report["inputs"][0]["baselines_m"][1]
    assert report["smearing_limit_ghz"] == pytest.approx(limit, rel=0.01)
    assert report["grids"][0]["n_channels"] == np.ceil((high - low) / report["smearing_limit_ghz"])
    ((_, mean, _, _),) = spectra(output)
    assert mean.real.compressed() == pytest.approx(np.full(mean.count(), 2.0), abs=0.03)


@pytest.mark.parametrize("weights", ["scatter", "native"])
def test_s19_continuum_is_weighted_by_its_scatter(tmp_path, weights):
    watch = Observation(n_times=6, n_antennas=8, step_s=60.0)
    truth = noisy(tmp_path / "a.ms", {0: 0.6, None: 0.2}, windows=(Window(60, 20.0),), watch=watch)
    settings = ContinuumSettings(None, None, (LINE,), weights=weights, weight_seconds=600.0)
    output, report = staged(tmp_path, [Source(truth.path)], settings)
    with open_table(output) as main:
        weight, first, data = main.getcol("WEIGHT"), main.getcol("ANTENNA1"), main.getcol("DATA")
    assert np.median(weight[:, first > 0]) / np.median(weight[:, first == 0]) == pytest.approx(9.0, rel=0.2)
    assert np.median(weight[:, first > 0]) ** -0.5 == pytest.approx(float(data[:, 0, first > 0].real.std()), rel=0.2)
    assert report["weights"]["method"] == weights
    recipe = recipe_of(with_overrides(weights=weights), "cont")
    assert isinstance(recipe, ContinuumRecipe)
    assert recipe.reweigh == {"scatter": True, "native": "native"}[weights]


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
