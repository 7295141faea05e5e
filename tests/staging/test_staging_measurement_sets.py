"""Staging of tiny simulated measurement sets, against what was put into them."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from fringeflow.errors import CorruptInputError, DataError, MissingInputError, NothingSelectedError
from fringeflow_staging.metadata import read_contents
from fringeflow_staging.settings import ContinuumSettings, Corrections, Source
from fringeflow_staging.tables import open_table
from fringeflow_staging.windows import C_KMS, line_range_ghz
from tests.simulation import CO21_GHZ, Observation, Window, simulate_disc
from tests.staging.staged import BAND, DOT, SHORT, flux, spectra, staged, wanted

pytestmark = pytest.mark.usefixtures("casa_ready")


def test_line_flux_is_conserved_and_the_continuum_gone(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT)
    output, report = staged(tmp_path, [Source(truth.path)], wanted(channel_kms=5.1))
    ((velocities, mean, _, _),) = spectra(output)
    assert flux(velocities, mean) == pytest.approx(truth.line_flux_jykms, rel=0.01)
    assert float((mean.real * velocities).sum() / mean.real.sum()) == pytest.approx(1000.0, abs=0.1)
    assert abs(mean[:3].mean()) < 0.02  # of 2 Jy of continuum
    grid = report["grid"]
    assert velocities == pytest.approx(grid["first_kms"] + np.arange(20) * grid["width_kms"], abs=1e-3)
    assert grid["width_kms"] == pytest.approx(5.0 * 1.0003)
    assert report["inputs"][0]["windows"][0]["bin_factor"] == 2


def test_channels_are_exactly_regular(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT, frame="TOPO")
    output, _ = staged(tmp_path, [Source(truth.path)], wanted(channel_kms=5.1))
    with open_table(output / "SPECTRAL_WINDOW") as windows:
        freqs, widths = windows.getcell("CHAN_FREQ", 0), windows.getcell("CHAN_WIDTH", 0)
    assert np.array_equal(freqs, freqs[0] + widths[0] * np.arange(len(freqs)))
    assert np.ptp(widths) == 0


def test_weights_tell_the_noise_of_a_channel(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=Observation(), sigma_jy=0.2)
    output, report = staged(tmp_path, [Source(truth.path)], wanted(channel_kms=5.1))
    ((_, _, data, weight),) = spectra(output)
    scatter = np.concatenate([data[:, :3].real.ravel(), data[:, -3:].real.ravel()]).std()
    assert scatter == pytest.approx(0.2 / np.sqrt(2), rel=0.2)  # the cubic interpolation correlates channels
    assert 1 / np.sqrt(weight.mean()) == pytest.approx(scatter, rel=0.15)
    assert report["weights"] == {"method": "scatter", "edge_kms": 20.0, "line_channels": [4, 15]}


def test_without_line_free_edges_the_weights_are_propagated(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT)
    output, report = staged(tmp_path, [Source(truth.path)], wanted(statwt_edge_kms=60.0))
    assert report["weights"]["method"] == "propagated"
    ((_, _, _, weight),) = spectra(output)
    assert 1 / np.sqrt(weight.mean()) == pytest.approx(truth.sigma_jy, rel=0.3)


def test_executions_of_different_seasons_meet_on_one_grid(tmp_path):
    dates = {"spring": "2023/03/20", "autumn": "2023/09/20"}
    truths = [
        simulate_disc(
            tmp_path / f"{name}.ms", DOT, windows=BAND, frame="TOPO", observation=replace(SHORT, date=date), seed=n
        )
        for n, (name, date) in enumerate(dates.items())
    ]
    stored = [read_contents(truth.path).windows[0].centres_ghz[0] for truth in truths]
    assert abs(stored[1] - stored[0]) / CO21_GHZ * C_KMS > 10  # the Earth's orbit
    output, _ = staged(tmp_path, [Source(truth.path) for truth in truths], wanted())
    ((velocities, mean, data, _),) = spectra(output)
    assert data.shape[2] == sum(truth.rows for truth in truths)
    assert flux(velocities, mean) == pytest.approx(100.0, rel=0.01)
    assert float((mean.real * velocities).sum() / mean.real.sum()) == pytest.approx(1000.0, abs=0.1)
    width = np.sqrt((mean.real * (velocities - 1000) ** 2).sum() / mean.real.sum())
    assert float(width) == pytest.approx(8.0, rel=0.05)


def test_bin_factors_that_differ_are_merged_on_one_grid(tmp_path):
    coarse = simulate_disc(tmp_path / "coarse.ms", DOT, windows=BAND, observation=SHORT)
    fine = (Window(n_channels=144, channel_kms=0.8, ascending=False),)
    other = simulate_disc(tmp_path / "fine.ms", DOT, windows=fine, observation=SHORT)
    sources = [Source(coarse.path), Source(other.path)]
    output, report = staged(tmp_path, sources, wanted())
    assert [item["windows"][0]["bin_factor"] for item in report["inputs"]] == [1, 3]
    ((velocities, mean, data, _),) = spectra(output)
    assert data.shape[2] == coarse.rows + other.rows
    halves = [data[..., : coarse.rows], data[..., coarse.rows :]]
    means = [flux(velocities, half.mean(axis=(0, 2))) for half in halves]
    assert means == pytest.approx([100.0, 100.0], rel=0.02)
    centres = [(half.real.mean(axis=(0, 2)) * velocities).sum() / half.real.mean(axis=(0, 2)).sum() for half in halves]
    assert float(centres[0]) == pytest.approx(float(centres[1]), abs=0.1)
    assert flux(velocities, mean) == pytest.approx(100.0, rel=0.02)


def test_reference_mode_leaves_bin_factors_apart(tmp_path):
    coarse = simulate_disc(tmp_path / "coarse.ms", DOT, windows=BAND, observation=SHORT)
    fine = simulate_disc(tmp_path / "fine.ms", DOT, windows=(Window(144, 0.8),), observation=SHORT)
    settings = wanted(corrections=Corrections(one_grid=False))
    output, _ = staged(tmp_path, [Source(coarse.path), Source(fine.path)], settings)
    (first, *_), (second, *_) = spectra(output)
    assert first[0] == pytest.approx(949.0, abs=1e-3)
    assert second[0] - first[0] == pytest.approx(2.5 * 1.0003 / 3, abs=1e-3)


def test_only_the_target_s_rows_of_the_corrected_column_are_used(tmp_path):
    truth = simulate_disc(
        tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT, calibrator_jy=50.0, corrected=True, continuum_jy=0.0
    )
    output, report = staged(tmp_path, [Source(truth.path)], wanted())
    ((velocities, mean, data, _),) = spectra(output)
    assert data.shape[2] == truth.rows // 2
    assert flux(velocities, mean) == pytest.approx(100.0, rel=0.01)
    assert report["inputs"][0]["column"] == "corrected"
    assert report["inputs"][0]["notes"] == []


def test_a_set_without_intents_is_taken_whole_and_that_is_said(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT, intents=False)
    output, report = staged(tmp_path, [Source(truth.path)], wanted())
    assert spectra(output)[0][2].shape[2] == truth.rows
    assert "tells no intents" in report["inputs"][0]["notes"][0]


def test_a_field_that_is_asked_for_by_name(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT, calibrator_jy=50.0, intents=False)
    output, _ = staged(tmp_path, [Source(truth.path, field="disc")], wanted())
    assert spectra(output)[0][2].shape[2] == truth.rows // 2
    with pytest.raises(NothingSelectedError, match=r"'moon'.*disc, calibrator"):
        read_contents(truth.path, field="moon")


def test_rows_are_averaged_in_time(tmp_path):
    watch = replace(SHORT, step_s=60.0, n_times=4)
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=watch)
    with open_table(truth.path, writable=True) as main:
        main.putcol("SCAN_NUMBER", np.ones(main.nrows(), dtype=np.int32))
    output, _ = staged(tmp_path, [Source(truth.path, timebin="120s")], wanted())
    ((velocities, mean, data, _),) = spectra(output)
    assert data.shape[2] == truth.rows // 2
    assert flux(velocities, mean) == pytest.approx(100.0, rel=0.01)


def test_a_set_without_the_line_says_what_it_covers(tmp_path):
    truth = simulate_disc(tmp_path / "far.ms", DOT, windows=(Window(16, 5.0, centre_kms=3000.0),), observation=SHORT)
    with pytest.raises(DataError, match=r"949\.0 to 1051\.0 km/s.*far\.ms: window 0: 2962\.5 to 3037\.5 km/s"):
        staged(tmp_path, [Source(truth.path)], wanted(channel_kms=6.0))


def test_channels_that_are_too_wide_say_so(tmp_path):
    truth = simulate_disc(tmp_path / "wide.ms", DOT, windows=(Window(24, 5.0),), observation=SHORT)
    with pytest.raises(DataError, match=r"channels of 2\.6 km/s or less; wide\.ms: .*channels of 5\.00 km/s"):
        staged(tmp_path, [Source(truth.path)], wanted())


def test_the_other_inputs_go_on_without_one_that_lacks_the_line(tmp_path):
    near = simulate_disc(tmp_path / "near.ms", DOT, windows=BAND, observation=SHORT)
    far = simulate_disc(tmp_path / "far.ms", DOT, windows=(Window(16, 2.5, centre_kms=3000.0),), observation=SHORT)
    output, report = staged(tmp_path, [Source(far.path), Source(near.path)], wanted())
    assert [item["used"] for item in report["inputs"]] == [False, True]
    assert "far.ms does not hold the line" in report["inputs"][0]["notes"][0]
    assert spectra(output)[0][2].shape[2] == near.rows


def test_flagged_data_are_left_out(tmp_path):
    good = simulate_disc(tmp_path / "good.ms", DOT, windows=BAND, observation=SHORT)
    bad = simulate_disc(tmp_path / "bad.ms", DOT, windows=BAND, observation=SHORT)
    with open_table(bad.path, writable=True) as main:
        main.putcol("FLAG", np.ones_like(main.getcol("FLAG")))
        main.putcol("FLAG_ROW", np.ones(main.nrows(), dtype=bool))
    _, report = staged(tmp_path, [Source(good.path), Source(bad.path)], wanted())
    assert [item["used"] for item in report["inputs"]] == [True, False]
    assert "entirely flagged" in report["inputs"][1]["notes"][0]
    shutil.rmtree(tmp_path / "out.ms")
    with pytest.raises(NothingSelectedError, match=r"flagged: bad\.ms"):
        staged(tmp_path, [Source(bad.path)], wanted())
    with pytest.raises(NothingSelectedError, match=r"no continuum.*bad\.ms is entirely flagged"):
        staged(tmp_path, [Source(bad.path)], ContinuumSettings(None, None))


def test_a_window_filled_by_the_line_keeps_its_line(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=(Window(24, 2.5),), observation=SHORT, continuum_jy=0.0)
    settings = wanted(excluded_ghz=(line_range_ghz(CO21_GHZ, 1000.0, 80.0),), vwidth_kms=56.0, statwt_edge_kms=30.0)
    output, report = staged(tmp_path, [Source(truth.path)], settings)
    assert "0 line-free channels: its continuum is not subtracted" in report["inputs"][0]["notes"][0]
    assert not report["inputs"][0]["windows"][0]["continuum_subtracted"]
    velocities, mean, _, _ = spectra(output)[0]
    assert flux(velocities, mean) == pytest.approx(100.0, rel=0.01)


def test_a_continuum_fitted_across_windows_reaches_a_window_filled_by_the_line(tmp_path):
    windows = (Window(24, 2.5), Window(24, 2.5, centre_kms=1300.0), Window(24, 2.5, centre_kms=800.0))
    truth = simulate_disc(
        tmp_path / "a.ms", DOT, windows=windows, observation=SHORT, spectral_index=40.0, sigma_jy=0.01
    )
    settings = wanted(
        excluded_ghz=(line_range_ghz(CO21_GHZ, 1000.0, 80.0),),
        vwidth_kms=56.0,
        statwt_edge_kms=30.0,
        combinespw=True,
        fitorder=1,
    )
    output, report = staged(tmp_path, [Source(truth.path)], settings)
    assert report["inputs"][0]["notes"] == []
    ((velocities, mean, _, _),) = spectra(output)
    assert flux(velocities, mean) == pytest.approx(100.0, rel=0.01)  # the continuum under it is 110 Jy km/s
    assert abs(mean[0]) < 0.03


def test_a_window_that_holds_part_of_the_line_is_flagged_beyond_it(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=(Window(32, 2.5, centre_kms=970.0),), observation=SHORT)
    settings = wanted(excluded_ghz=(line_range_ghz(CO21_GHZ, 1000.0, 40.0),), statwt_edge_kms=10.0)
    output, _ = staged(tmp_path, [Source(truth.path)], settings)
    ((velocities, mean, _, _),) = spectra(output)
    assert np.ma.getmaskarray(mean)[velocities > 1012].all()
    assert not np.ma.getmaskarray(mean)[velocities < 1005].any()
    with pytest.raises(DataError, match="covers all of"):
        staged(tmp_path, [Source(truth.path)], replace(settings, full_coverage=True))


def test_continuum_flux_and_slope_are_recovered_beside_a_line(tmp_path):
    truth = simulate_disc(
        tmp_path / "a.ms", DOT, windows=(Window(60, 20.0),), observation=SHORT, spectral_index=-3.0, sigma_jy=0.01
    )
    low, high = CO21_GHZ * (1 - 1580 / C_KMS), CO21_GHZ * (1 - 420 / C_KMS)
    settings = ContinuumSettings(((low, high),), 0.1, (line_range_ghz(CO21_GHZ, 1000.0, 60.0),), weights="scatter")
    output, report = staged(tmp_path, [Source(truth.path)], settings)
    ((velocities, mean, _, _),) = spectra(output)
    freqs = CO21_GHZ * (1 - velocities / C_KMS)
    assert len(freqs) == report["grids"][0]["n_channels"] == np.ceil((high - low) / 0.1)
    assert mean.real.filled(0) == pytest.approx(2.0 * (freqs / CO21_GHZ) ** -3.0, rel=0.002)
    assert report["inputs"][0]["windows"][0]["flagged_fraction"] == 0.0


def test_continuum_without_ranges_is_averaged_as_far_as_smearing_allows(tmp_path):
    watch = replace(SHORT, longest_m=10000.0)
    truth = simulate_disc(
        tmp_path / "a.ms", replace(DOT, size_arcsec=1e-5), windows=(Window(60, 20.0),), observation=watch
    )
    line = (line_range_ghz(CO21_GHZ, 1000.0, 60.0),)
    output, report = staged(tmp_path, [Source(truth.path)], ContinuumSettings(None, None, line))
    ((velocities, mean, _, _),) = spectra(output)
    native_ghz = 20.0 / C_KMS * CO21_GHZ
    limit = 0.1 * CO21_GHZ * 12.0 / report["inputs"][0]["baselines_m"][1]
    assert report["channel_ghz"] == pytest.approx(limit, rel=0.01)
    assert 1 < limit / native_ghz < 30
    assert len(velocities) == 60 // int(limit / native_ghz)
    seen = mean.real.compressed()
    assert len(seen) == 28  # two hold the line
    assert seen == pytest.approx(np.full(28, 2.0), abs=0.02)


def test_continuum_that_is_all_line_or_elsewhere_is_refused(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT)
    with pytest.raises(NothingSelectedError, match=r"all channels of a\.ms hold lines"):
        staged(tmp_path, [Source(truth.path)], ContinuumSettings(None, None, ((200.0, 300.0),)))
    with pytest.raises(NothingSelectedError, match=r"no continuum is left in 100-101 GHz.*a\.ms holds 229\."):
        staged(tmp_path, [Source(truth.path)], ContinuumSettings(((100.0, 101.0),), None))
    with pytest.raises(DataError, match="channel_ghz is set without"):
        staged(tmp_path, [Source(truth.path)], ContinuumSettings((), 0.1))


def test_damaged_sets_are_told_from_missing_ones(tmp_path):
    truth = simulate_disc(tmp_path / "a.ms", DOT, windows=BAND, observation=SHORT)
    with pytest.raises(MissingInputError, match=r"nowhere\.ms"):
        read_contents(tmp_path / "nowhere.ms")
    with open_table(truth.path, writable=True) as main:
        main.removecols(["WEIGHT"])
    with pytest.raises(DataError, match="no column WEIGHT"):
        read_contents(truth.path)
    shutil.rmtree(truth.path / "SPECTRAL_WINDOW")
    truth = simulate_disc(tmp_path / "b.ms", DOT, windows=BAND, observation=SHORT)
    shutil.rmtree(truth.path / "SPECTRAL_WINDOW")
    with pytest.raises(CorruptInputError, match="SPECTRAL_WINDOW"):
        read_contents(truth.path)
    (truth.path / "table.dat").write_bytes(b"")
    with pytest.raises(CorruptInputError, match=r"b\.ms"):
        read_contents(truth.path)
