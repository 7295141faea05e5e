"""What is measured is true: noise and uncertainties against simulations whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from fringeflow_derived import moments, peaks
from fringeflow_derived.moments import Spectra
from fringeflow_derived.noise import NoiseOptions
from fringeflow_derived.signalfree import measure
from tests.derived.derived_support import beam_noise

FWHM = 4.0
PPB = np.pi * FWHM**2 / (4 * np.log(2))
DV = 2.54
REALISATIONS = 200
IN_A_STRIP = 8


def a_field(seed, beams, *, emission, channels=32, cut=0.22):
    """Noise that rises as 1 / (a primary beam `beams` wide), cut off at `cut`, and a rotating galaxy."""
    rng = np.random.default_rng(seed)
    size = int(1.62 * beams * FWHM)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    r = np.hypot(x, y)
    response = np.exp(-4 * np.log(2) * (r / (beams * FWHM)) ** 2)
    spectrum = 1 + 0.2 * np.sin(2 * np.pi * np.arange(channels) / channels)
    truth = np.where(response > cut, spectrum[:, None, None] / response, np.nan)
    centre = channels / 2 + channels / 5 * np.tanh(x / (2 * FWHM))
    line = np.exp(-0.5 * ((np.arange(channels)[:, None, None] - centre) / 1.5) ** 2)
    line = 15 * emission * line * np.exp(-r / (0.2 * beams * FWHM))
    data = beam_noise(rng, truth.shape, FWHM) * truth + line
    return data.astype(np.float32), truth, line > 0.5 * truth


def ratios(beams, options, *, emission, seeds):
    """Return mean ratios of measured to true noise: all, on and off the source, two beams and two pixels inside."""
    found = []
    for seed in range(seeds):
        data, truth, signal = a_field(seed, beams, emission=emission)
        ratio = measure(data, PPB, options).model.rows(0, data.shape[1]) / truth
        assert np.array_equal(np.isfinite(ratio), np.isfinite(data))
        inside = ndimage.distance_transform_edt(np.pad(np.isfinite(truth[0]), 1))[1:-1, 1:-1]
        rings = (inside > 0) & (inside <= 2 * FWHM), (inside > 0) & (inside <= 2)
        source = ratio[signal] if signal.any() else ratio
        found.append(
            [np.nanmean(part) for part in (ratio, source, ratio[~signal], *(ratio[:, ring] for ring in rings))]
        )
    return np.mean(found, axis=0)


def test_w13_noise_is_unbiased_on_the_source_off_it_and_at_a_steep_edge():
    everywhere, on, off, ring, brink = ratios(10, NoiseOptions(), emission=True, seeds=6)
    assert everywhere == pytest.approx(1, abs=0.02)
    assert on == pytest.approx(1, abs=0.02)
    assert off == pytest.approx(1, abs=0.02)
    assert ring == pytest.approx(1, abs=0.03)
    assert brink == pytest.approx(1, abs=0.05)


def test_noise_at_the_edge_of_a_very_small_field():
    everywhere, _, _, ring, brink = ratios(6, NoiseOptions(), emission=False, seeds=6)
    assert everywhere == pytest.approx(1, abs=0.02)
    assert ring == pytest.approx(1, abs=0.03)
    assert brink == pytest.approx(1, abs=0.07)


def test_the_reference_s_average_falls_short_of_a_steep_edge_and_is_kept_for_comparison():
    *_, ring, brink = ratios(6, NoiseOptions(signal_rounds=0), emission=False, seeds=3)
    assert ring < 0.95
    assert brink < 0.8
    *_, ring, brink = ratios(6, NoiseOptions(signal_rounds=0, trend=True), emission=False, seeds=3)
    assert ring > 0.96
    assert brink > 0.9


@pytest.fixture(scope="module")
def galaxies():
    """Return velocities, noise-free lines, their centres, true noise, and strips with their own noise and rho."""
    rng = np.random.default_rng(11)
    channels, size = 24, 32
    v = DV * (np.arange(channels) - channels / 2)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    centre = np.tile(8 * np.tanh(x / 8), (IN_A_STRIP, 1))
    bright = np.tile(14 * np.exp(-0.5 * (x**2 + y**2) / 8**2), (IN_A_STRIP, 1))
    line = bright * np.exp(-0.5 * ((v[:, None, None] - centre) / 5) ** 2)
    kernel = np.array([0.25, 0.5, 0.25]) / np.sqrt(0.375)
    sigma = np.broadcast_to((1 + 0.2 * np.sin(2 * np.pi * np.arange(channels) / channels))[:, None, None], line.shape)
    strips = []
    for _ in range(REALISATIONS // IN_A_STRIP):
        white = beam_noise(rng, (channels + 2, *centre.shape), FWHM)
        data = line + sigma * sum(weight * white[i : i + channels] for i, weight in enumerate(kernel))
        found = measure(data.astype(np.float32), PPB)
        strips.append((data.astype(np.float32), found.model.rows(0, len(centre)), found.rho))
    return v, line, centre, sigma, strips


KINDS = {
    "mom0": moments.mom0,
    "mom1": moments.mom1,
    "mom2": moments.mom2,
    "ew": moments.ew,
    "tpeak": peaks.tpeak,
    "tpeak12p5": lambda spectra: peaks.tpeak(spectra, window_kms=12.5),
    "vpeak": peaks.vpeak,
    "vquad": peaks.vquad,
    "vquad7p6": lambda spectra: peaks.vquad(spectra, window_kms=7.6),
}


@pytest.mark.parametrize("noise", ["measured", "true"])
@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_the_scatter(galaxies, kind, noise):
    v, line, centre, sigma, strips = galaxies
    mask = line > sigma
    bright = (line / sigma).max(axis=0) > 5
    make = KINDS[kind]
    truth = centre if kind == "vpeak" else make(Spectra(line, v, mask, sigma))[0]
    pulls = []
    for data, measured, rho in strips:
        given = (measured, rho) if noise == "measured" else (sigma, (1.0, 2 / 3, 1 / 6))
        values, errors = make(Spectra(data, v, mask, *given))
        pulls.append((values[bright] - truth[bright]) / errors[bright])
    low, high = np.nanpercentile(pulls, [16, 84])
    assert np.isfinite(pulls).mean() > 0.99
    assert 0.9 < np.nanstd(pulls) < 1.1
    # A channel's velocity scatters evenly within it, and neighbouring channels are taken now and then: no Gaussian.
    assert (0.75 if kind in ("vpeak", "vquad") else 0.87) < (high - low) / 2 < 1.1


def test_measured_noise_and_correlation_of_the_galaxies(galaxies):
    _, line, _, sigma, strips = galaxies
    assert np.mean([noise / sigma for _, noise, _ in strips]) == pytest.approx(1, abs=0.02)
    assert np.mean([(noise / sigma)[line > sigma].mean() for _, noise, _ in strips]) == pytest.approx(1, abs=0.02)
    assert np.mean([rho[1] for *_, rho in strips]) == pytest.approx(2 / 3, abs=0.04)


def test_error_of_the_limit_of_mom0_is_the_scatter_of_a_line_of_that_width(galaxies):
    v, line, _, _, strips = galaxies
    width = 4
    pulls = []
    for data, noise, rho in strips:
        spectra = Spectra(data - line, v, np.zeros(data.shape, bool), noise, rho)
        values, errors = moments.mom0(spectra, line_width_kms=width * DV)
        assert (values == 0).all()
        pulls += [DV * (data - line)[start : start + width].sum(axis=0) / errors for start in range(0, 24, width)]
    assert 0.93 < np.std(pulls) < 1.07
