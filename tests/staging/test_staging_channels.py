"""Weaknesses S13 to S19 of the staging specification, section 15: channels and weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fringeflow.errors import DataError
from fringeflow.graph.staging import ContinuumRecipe
from fringeflow_staging import tasks
from fringeflow_staging.settings import ContinuumSettings, Corrections, Source
from fringeflow_staging.tables import open_table
from fringeflow_staging.windows import C_KMS, line_range_ghz
from tests.simulation import CO21_GHZ, Observation, Window, simulate_disc
from tests.staging.staged import BAND, DOT, SHORT, flux, spectra, staged, wanted
from tests.staging.weak import FILLED, LINE, noisy, recipe_of, with_overrides

pytestmark = pytest.mark.usefixtures("casa_ready")


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
