"""Rebinning by overlap, as plain arithmetic (staging specification, S13)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fringeflow_staging.rebin import averaged, overlaps


def channels(n, width, start=0.0):
    low = start + np.arange(n) * width
    return low, low + width


@given(
    st.integers(8, 60),
    st.floats(0.3, 1.7),
    st.integers(3, 20),
    st.floats(1.0, 4.0),
    st.floats(-3.0, 3.0),
    st.booleans(),
)
def test_overlaps_are_the_lengths_shared(n, width, m, out_width, start, descending):
    low, high = channels(n, width)
    out_low, out_high = channels(m, out_width, start)
    if descending:
        low, high = low[::-1], high[::-1]
    shares = overlaps(low, high, out_low, out_high).toarray()
    expected = np.minimum(high[None], out_high[:, None]) - np.maximum(low[None], out_low[:, None])
    assert shares == pytest.approx(np.maximum(expected, 0), abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.floats(0.35, 1.0), st.floats(-0.99, 0.0))
def test_flux_and_its_place_are_kept(seed, width, start):
    """What lies well within the grid has the same sum, and the same mean within a share of a channel."""
    random = np.random.default_rng(seed)
    n = int(40 / width) + 3
    low, high = channels(n, width, start)
    flux = np.where((low > 5) & (high < 35), random.uniform(0, 1, n), 0)[:, None].astype(complex)
    shares = overlaps(low, high, *channels(40, 1.0))
    data, flags, _ = averaged(flux, np.zeros((n, 1), bool), np.ones((n, 1)), shares, 1.0)
    assert not flags.any()
    assert data.real.sum() == pytest.approx(flux.real.sum() * width)
    centres = np.arange(40) + 0.5
    mean = ((low + high) / 2 * flux[:, 0].real).sum() / flux.real.sum()
    assert (centres * data[:, 0].real).sum() / data.real.sum() == pytest.approx(mean, abs=0.1)


def test_weights_are_those_of_the_noise_whatever_channels_are_flagged():
    random = np.random.default_rng(3)
    low, high = channels(50, 0.63, -0.2)
    sigma = random.uniform(0.5, 2.0, 50)
    flags = random.uniform(size=50) < 0.15
    samples = 20_000
    noise = sigma[:, None] * (random.normal(size=(50, samples)) + 1j * random.normal(size=(50, samples)))
    shares = overlaps(low, high, *channels(25, 1.2))
    repeated = np.repeat(flags[:, None], samples, axis=1)
    weights = np.repeat(sigma[:, None] ** -2, samples, axis=1)
    data, flagged, out = averaged(noise, repeated, weights, shares, 1.2)
    good = ~flagged[:, 0]
    assert 15 < good.sum() < 25
    assert data[good].real.std(axis=1) == pytest.approx(out[good, 0] ** -0.5, rel=0.03)
    assert (out[~good] == 0).all()
    assert (data[~good] == 0).all()


def test_a_channel_less_than_half_covered_is_flagged():
    shares = overlaps(*channels(3, 1.0), *channels(4, 1.0, -0.45))
    data, flagged, _ = averaged(np.full((3, 1), 2.0 + 0j), np.zeros((3, 1), bool), np.ones((3, 1)), shares, 1.0)
    assert flagged[:, 0].tolist() == [False, False, False, True]
    assert data[:3, 0].tolist() == pytest.approx([2.0] * 3)
    assert not overlaps(*channels(3, 1.0), *channels(2, 1.0, 50.0)).nnz
