"""Filters of low spatial frequencies are those of the whole transform."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import fft

from fringeflow_postprocess.beam import Beam
from fringeflow_postprocess.convolve import gaussian
from fringeflow_postprocess.lowpass import LowPass

SIDES = st.integers(3, 90)


@given(ny=SIDES, nx=SIDES, minor=st.floats(5.0, 40.0), ratio=st.floats(1.0, 2.0), angle=st.floats(-90, 90))
def test_a_smoothed_plane_is_that_of_the_whole_transform(
    ny: int, nx: int, minor: float, ratio: float, angle: float
) -> None:
    dish, step = Beam(minor * ratio, minor, angle), (-1.0, 1.5)
    plane = np.random.default_rng(ny * 100 + nx).normal(size=(ny, nx))
    seen = LowPass(plane.shape, dish, step)
    mine = seen.filtered(plane, seen.gaussian(dish))
    padded = tuple(3 * length + 250 for length in plane.shape)
    whole = fft.irfft2(fft.rfft2(plane, padded) * gaussian(padded, dish, step), padded)[:ny, :nx]
    # Of what is left out, and of the dish's beam beyond the padding, which has fallen to 2e-5.
    assert np.abs(mine - whole).max() < 1e-4 * np.abs(plane).max()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_only_the_lowest_columns_are_kept_and_precision_is_the_planes(kind: type) -> None:
    plane = np.random.default_rng(1).normal(size=(600, 500)).astype(kind)
    dish = Beam(28.0, 28.0)
    seen = LowPass(plane.shape, dish, (-0.5, 0.5))
    spectrum = seen.spectrum(plane)
    assert spectrum.shape[1] < 0.11 * (spectrum.shape[0] // 2)
    assert spectrum.dtype == np.result_type(kind, np.complex64)
    whole = fft.rfft2(plane, (spectrum.shape[0], 750))
    np.testing.assert_allclose(spectrum, whole[:, : spectrum.shape[1]], atol=1e-5 * np.abs(whole).max())
    kept = np.abs(gaussian((spectrum.shape[0], 750), dish, (-0.5, 0.5))[:, spectrum.shape[1] :]).max()
    assert kept <= 1e-10
    assert seen.filtered(plane, seen.gaussian(dish).astype(kind)).dtype == kind
