from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fringeflow.errors import DataError
from fringeflow_derived import correlation, moments, peaks
from fringeflow_derived.collapse import Inputs, Wanted, compute
from fringeflow_derived.kinds import KINDS, options_of, width_kms
from fringeflow_derived.moments import Spectra
from fringeflow_derived.sources import as_source

V = 2.54 * (np.arange(25) - 12)
TRUTH = np.exp(-((V - 0.7) ** 2) / 72)
NOISE = 0.03
INSIDE = np.abs(V) <= 16


def spectra_of(trials, *, noise=NOISE, scale=1.0, rng=None, rho=(1.0,), values=None):
    rng = rng or np.random.default_rng(5)
    data = (TRUTH[:, None] + rng.normal(scale=noise, size=(25, trials))) if values is None else values
    mask = np.repeat(INSIDE[:, None], data.shape[1], 1)
    return Spectra(scale * data, V, mask, np.full(data.shape, scale * noise), rho)


def truth_of(make):
    return make(spectra_of(1, values=TRUTH[:, None]))[0][0]


@pytest.mark.parametrize(
    ("make", "formula"),
    [(moments.mom1, 0.1751), (moments.mom2, 0.1553), (moments.mom0, NOISE * 2.54 * np.sqrt(13))],
)
def test_w2_errors_of_line_test_are_the_monte_carlo_scatter(make, formula):
    """W2, W3: the reference is wrong by up to a factor of 9."""
    values, errors = make(spectra_of(20000))
    assert make(spectra_of(1, values=TRUTH[:, None]))[1][0] == pytest.approx(formula, rel=0.01)
    pulls = (values - truth_of(make)) / errors
    assert 0.96 < np.std(pulls) < 1.04
    assert abs(np.mean(pulls)) < 0.1


def test_error_of_ew_with_fixed_peak_channel():
    spectra = spectra_of(20000)
    peak = int(np.argmax(TRUTH))
    area = np.sum(np.where(INSIDE[:, None], spectra.data, 0), axis=0) * spectra.dv
    fixed = area / (np.sqrt(2 * np.pi) * spectra.data[peak])
    error = moments.ew(spectra_of(1, values=TRUTH[:, None]))[1][0]
    assert error == pytest.approx(0.1843, rel=0.005)
    assert np.std(fixed) == pytest.approx(error, rel=0.03)
    values, errors = moments.ew(spectra)
    assert 0.85 < np.std((values - np.median(values)) / errors) < 1.05  # the peak follows the noise: 0.165 / 0.184


def test_w3_error_of_ew_does_not_depend_on_the_unit():
    """W3: the reference adds terms of different dimension."""
    assert moments.ew(spectra_of(50, scale=5.0))[1] == pytest.approx(moments.ew(spectra_of(50))[1])


def test_w4_vquad_finds_the_vertex():
    """W4: the reference goes twice as far."""
    values, errors = peaks.vquad(spectra_of(20000))
    assert np.mean(values) == pytest.approx(0.76, abs=0.03)
    assert np.std(values) == pytest.approx(0.45, abs=0.03)
    assert 0.8 < np.std(values) / np.median(errors) < 1.2
    exact = peaks.vquad(Spectra(5 - 0.01 * (V[:, None] - 1.1) ** 2, V))[0]
    assert exact == pytest.approx([1.1])


def test_error_of_vquad_is_linear_in_the_noise():
    """W4: the reference gives a variance."""
    quiet, loud = (peaks.vquad(spectra_of(1, values=TRUTH[:, None], noise=n))[1][0] for n in (0.001, 0.01))
    assert loud == pytest.approx(10 * quiet)


def test_vpeak_is_a_channel_with_at_least_its_rounding_error():
    values, errors = peaks.vpeak(spectra_of(500))
    assert set(values) <= set(V)
    assert np.all(errors >= 2.54 / np.sqrt(12) * (1 - 1e-9))
    flat = Spectra(np.where(np.arange(25)[:, None] == 12, 1e6, 0.0), V, None, np.full((25, 1), 1e-3))
    assert peaks.vpeak(flat)[1] == pytest.approx([2.54 / np.sqrt(12)])


@pytest.mark.parametrize("window", [None, 2.54 * 2.4, 2.54 * 5])
def test_error_of_tpeak(window):
    rng = np.random.default_rng(2)
    data = np.where(np.arange(25)[:, None] == 12, 1.0, 0.9) + rng.normal(scale=1e-3, size=(25, 20000))
    values, errors = peaks.tpeak(
        Spectra(data, V, None, np.full(data.shape, 1e-3)), window_kms=window, channels=(12, 12)
    )
    assert 0.97 < np.std(values) / np.median(errors) < 1.03


def test_w17_tpeak_looks_in_every_channel_of_the_range_and_the_last_one():
    """W17: the reference drops the last."""
    data = np.zeros((6, 3))
    data[4, 1] = 7.0
    mask = np.zeros((6, 1, 3), bool)
    mask[2, 0, 0] = mask[4, 0, 0] = True
    inputs = Inputs(as_source(data[:, None]), None, {"m": as_source(mask)}, np.arange(6.0), channel_kms=1.0)
    [(values, _)] = compute(inputs, [Wanted("tpeak", "m")])
    assert values[0].tolist() == [0.0, 7.0, 0.0]
    assert peaks.tpeak(Spectra(data, np.arange(6.0), mask[:, 0]), masked=True)[0][0] == 0.0


def test_box_keeps_fractions_and_a_constant():
    assert peaks.box_weights(2.4) == pytest.approx(np.array([0.7, 1, 0.7]) / 2.4)
    assert peaks.box_weights(3.0) == pytest.approx(np.ones(3) / 3)
    assert peaks.box_weights(4.0) == pytest.approx(np.array([0.5, 1, 1, 1, 0.5]) / 4)
    constant = Spectra(np.full((7, 2), 3.0), np.arange(7.0))
    assert peaks.Smoothed(constant, 4.0).values == pytest.approx(np.full((7, 2), 3.0))


def test_w16_correlated_channels():
    """W16: the reference takes channels for independent."""
    rng = np.random.default_rng(3)
    white = rng.normal(size=(62, 100, 100))
    data = 0.25 * white[:-2] + 0.5 * white[1:-1] + 0.25 * white[2:]
    noise = np.full(data.shape, np.sqrt(0.375))
    rho = correlation.measure(data, noise)
    assert rho[1:] == pytest.approx([2 / 3, 1 / 6], abs=0.02)
    mask = np.zeros(data.shape, bool)
    mask[20:33] = True
    values, errors = moments.mom0(Spectra(data, np.arange(60.0), mask, noise, rho))
    _, naive = moments.mom0(Spectra(data, np.arange(60.0), mask, noise))
    assert np.std(values) == pytest.approx(np.median(errors), rel=0.03)
    assert np.std(values) > 1.3 * np.median(naive)


def test_variance_is_the_matrix_product():
    rng = np.random.default_rng(4)
    rho = (1.0, 0.6, 0.2)
    gradient, sigma = rng.normal(size=(9, 4)), rng.random((9, 4))
    mask = rng.random((9, 4)) > 0.4
    lags = np.abs(np.subtract.outer(np.arange(9), np.arange(9)))
    matrix = np.select([lags == i for i in range(3)], rho, 0.0)
    for pixel in range(4):
        a = (gradient * sigma * mask)[:, pixel]
        assert correlation.variance((gradient * sigma * mask), rho)[pixel] == pytest.approx(max(a @ matrix @ a, 0.0))


@pytest.mark.parametrize("shared", [0.3, 0.8])
def test_correlation_that_does_not_decay_never_gives_negative_variance(shared):
    rng = np.random.default_rng(6)
    data = np.sqrt(1 - shared) * rng.normal(size=(25, 60, 60)) + np.sqrt(shared) * rng.normal(size=(1, 60, 60))
    rho = correlation.measure(data, np.ones_like(data))
    assert len(rho) == correlation.MAX_LAG + 1
    lags = np.abs(np.subtract.outer(np.arange(25), np.arange(25)))
    matrix = np.array(rho + (0.0,) * 25)[lags]
    assert np.linalg.eigvalsh(matrix).min() > -1e-3


def test_white_noise_has_no_correlation():
    data = np.random.default_rng(7).normal(size=(20, 60, 60))
    assert correlation.measure(data, np.ones_like(data)) == (1.0,)


def test_limits_where_the_mask_is_empty():
    data = np.zeros((10, 3))
    data[:, 2] = np.nan
    noise = np.full((10, 3), 0.2)
    spectra = Spectra(data, np.arange(10.0) * 2, np.zeros((10, 3), bool), noise)
    values, errors = moments.mom0(spectra)
    assert values[:2].tolist() == [0.0, 0.0]
    assert errors[:2] == pytest.approx(0.2 * np.sqrt(10 * 2))
    assert np.isnan(values[2])
    assert np.isnan(errors[2])
    assert np.isnan(moments.mom0(spectra, include_limits=False)[0]).all()


def test_w23_mean_velocity_of_little_signal_is_blank():
    """W23: the reference gives velocities beyond the band."""
    rng = np.random.default_rng(8)
    data = rng.normal(size=(20, 500))
    spectra = Spectra(data, np.arange(20.0), None, np.ones_like(data))
    good = np.isfinite(moments.mom1(spectra)[0])
    assert good.mean() < 0.02
    free = moments.mom1(spectra, min_snr=None)[0]
    assert np.nanmin(free) >= -0.5
    assert np.nanmax(free) <= 19.5


def test_errors_under_a_mask_with_gaps_are_the_matrix_product():
    rng = np.random.default_rng(8)
    data, noise, mask = rng.normal(size=(12, 30)), rng.uniform(0.5, 2, (12, 30)), rng.random((12, 30)) < 0.5
    mask[:, 0] = False
    data[rng.random(data.shape) < 0.1] = np.nan
    rho = (1.0, 0.5, -0.2, 0.1)
    spectra = Spectra(data, np.arange(12.0), mask, noise, rho)
    gradient = rng.normal(size=data.shape)
    lags = np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
    correlation_matrix = np.array([*rho, *[0.0] * 12])[lags]
    a = np.where(mask & np.isfinite(data), gradient * noise, 0.0)
    truth = np.sqrt(np.maximum(np.einsum("ip,ij,jp->p", a, correlation_matrix, a), 0))
    assert spectra.error(gradient[spectra.valid]) == pytest.approx(truth, rel=1e-12, abs=1e-12)
    assert spectra.error(gradient[spectra.valid])[0] == 0


def test_the_peak_under_a_mask_is_the_first_of_the_largest_values():
    data = np.array([[1.0, 5, np.nan], [3, -2, np.nan], [3, -1, np.nan], [9, -7, np.nan]])
    mask = np.array([[True, False, True]] * 3 + [[False, True, True]])
    spectra = Spectra(data, np.arange(4.0), mask)
    assert spectra.peak.tolist() == [3, -7, 0]
    found = np.stack([spectra.pixel[spectra.is_peak], spectra.channel[spectra.is_peak]])
    assert found.tolist() == [[0, 1], [1, 3]]


@pytest.mark.parametrize("channels", [1, 2, 7, 8])
def test_median_over_channels_of_any_noise(channels):
    rng = np.random.default_rng(channels)
    separable = (rng.uniform(1, 2, (channels, 1)) * rng.uniform(1, 2, 40)).astype(np.float32)
    separable[:, :3] = np.nan
    mixed = separable.copy()
    mixed[:, 10] = rng.permutation(mixed[:, 11])
    mixed[0, 12] = np.nan
    for noise in (separable, mixed, mixed.reshape(channels, 5, 8), mixed[:, :3], mixed[:, :0]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of blank pixels
            truth = np.nanmedian(noise.astype(float), axis=0)
        np.testing.assert_array_equal(moments.median_channel(noise), truth)


def test_w24_response_is_taken_off_in_quadrature():
    """W24: an optional correction for the spectral response."""
    plain, _ = moments.mom2(spectra_of(1, values=TRUTH[:, None]))
    narrow, _ = moments.mom2(spectra_of(1, values=TRUTH[:, None]), subtract_response=True)
    assert plain[0] ** 2 - narrow[0] ** 2 == pytest.approx((2.54 / np.sqrt(2 * np.pi)) ** 2)
    assert correlation.response_sigma(1.0, (1.0, 2 / 3, 1 / 6)) == pytest.approx(1.94 / np.sqrt(2 * np.pi), rel=0.01)


def test_a_cube_without_noise_has_maps_without_errors():
    """W7c: the reference crashes."""
    spectra = Spectra(TRUTH[:, None], V)
    for kind in KINDS.values():
        values, errors = kind.make(spectra)
        assert np.isfinite(values).all()
        assert errors is None


lines = st.tuples(st.floats(0.5, 5), st.floats(-8, 8), st.floats(4, 8), st.integers(0, 2**31))


def a_line(line):
    peak, centre, width, seed = line
    noise = np.random.default_rng(seed).normal(scale=0.01 * peak, size=V.size)
    return (peak * np.exp(-0.5 * ((V - centre) / width) ** 2) + noise)[:, None]


@settings(max_examples=40, deadline=None)
@given(lines, st.floats(-1000, 1000))
def test_a_shifted_axis_shifts_velocities_and_nothing_else(line, shift):
    data, noise = a_line(line), np.full((25, 1), 0.01)
    for kind, moved in (
        (moments.mom1, shift),
        (peaks.vpeak, shift),
        (peaks.vquad, shift),
        (moments.mom2, 0),
        (moments.ew, 0),
    ):
        here, there = (kind(Spectra(data, V + by, None, noise)) for by in (0.0, shift))
        assert there[0] == pytest.approx(here[0] + moved, rel=1e-6, abs=1e-6, nan_ok=True)
        assert there[1] == pytest.approx(here[1], rel=1e-5, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(lines)
def test_flipping_the_axis_changes_nothing(line):
    data, noise = a_line(line), np.full((25, 1), 0.01)
    for kind in KINDS.values():
        here = kind.make(Spectra(data, V, None, noise, (1.0, 0.5, 0.2)))
        there = kind.make(Spectra(data[::-1], V[::-1], None, noise, (1.0, 0.5, 0.2)))
        assert there[0] == pytest.approx(here[0], rel=1e-6, abs=1e-6, nan_ok=True)
        assert there[1] == pytest.approx(here[1], rel=1e-5, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(lines, st.floats(0.01, 100))
def test_scaling_scales_intensities_only(line, factor):
    data, noise = a_line(line), np.full((25, 1), 0.01)
    for name, kind in KINDS.items():
        here = kind.make(Spectra(data, V, None, noise))
        there = kind.make(Spectra(factor * data, V, None, factor * noise))
        expected = factor if name in ("mom0", "tpeak") else 1.0
        assert there[0] == pytest.approx(expected * here[0], rel=1e-6, abs=1e-6, nan_ok=True)
        assert there[1] == pytest.approx(expected * here[1], rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_maps_are_bit_identical_whatever_the_blocks(rows):
    rng = np.random.default_rng(9)
    data = rng.normal(size=(12, 20, 17)).astype(np.float32)
    data[4:8, 5:14, 4:12] += 4
    data[:, 0, :3] = np.nan
    data[3, 10] = np.nan
    noise = (1 + 0.1 * rng.random(data.shape)).astype(np.float32)
    mask = data > 1.5
    wanted = [Wanted(name, which) for name in KINDS for which in ("m", None)]
    wanted.append(Wanted("tpeak", "m", {"window_kms": 5.0}))
    sources = (as_source(data), as_source(noise), {"m": as_source(mask)})
    inputs = Inputs(*sources, np.arange(12) * 2.5, channel_kms=2.5, rho=(1.0, 0.4))
    results = [compute(inputs, wanted, rows=size) for size in (rows, None)]
    for (a, ea), (b, eb) in zip(*results, strict=True):
        assert a.tobytes() == b.tobytes()
        assert ea.tobytes() == eb.tobytes()


def test_the_velocity_of_a_single_channel_is_known_to_that_channel():
    """Lines much narrower than a channel lie anywhere in it; the noise does not move their mean."""
    data = np.zeros((7, 2))
    data[3, 0], data[3:5, 1] = 9.0, 5.0
    spectra = Spectra(data, 2.0 * np.arange(7), data > 0, np.full_like(data, 0.1))
    values, errors = moments.mom1(spectra)
    within = np.random.default_rng(4).uniform(-1.0, 1.0, 100_000)
    assert values[0] == 6.0
    assert errors[0] == pytest.approx(within.std(), rel=0.01)
    assert errors[1] == pytest.approx(2.0 * 0.1 / 10 / np.sqrt(2))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_few_channels(channels):
    data = np.ones((channels, 4))
    spectra = Spectra(data, np.arange(float(channels)), None, np.full_like(data, 0.1), channel_kms=1.0)
    for name, kind in KINDS.items():
        values, errors = kind.make(spectra)
        assert values.shape == errors.shape == (4,)
        if name != "mom2" or channels > 1:
            assert np.isfinite(values).all()


def test_widths_have_units():
    """W14: the reference ignores a width given as text."""
    assert width_kms("12.5km/s") == 12.5
    assert width_kms("2500 m/s") == 2.5
    assert width_kms(3) == 3.0
    for wrong in ("12 furlongs", "-3km/s", "km/s"):
        with pytest.raises(DataError, match="velocity width"):
            width_kms(wrong)


def test_unknown_options_are_named():
    """W19: the reference ignores them."""
    with pytest.raises(DataError, match="no option 'windw'"):
        options_of("tpeak", {"windw": 3})
    with pytest.raises(DataError, match="'mom9'"):
        options_of("mom9", {})
