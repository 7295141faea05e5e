"""Stacked spectra against what they must be (derived specification, section 12)."""

from __future__ import annotations

import numpy as np
import pytest

from fringeflow_derived import stacking
from tests.derived.derived_support import beam_noise

V = 100 + 2.5 * np.arange(41)
SHAPE = (41, 16, 18)


def lines(field, v_kms=V, sigma=5.0):
    return np.exp(-0.5 * ((v_kms[:, None, None] - field) / sigma) ** 2)


@pytest.fixture
def field():
    y, x = np.mgrid[0:16, 0:18]
    return 150 + 1.3 * (x - 9.0) + 0.4 * y


@pytest.mark.parametrize("kernel", ["fourier", "linear", "sinc"])
@pytest.mark.parametrize("falling", [False, True])
def test_all_lines_fall_on_one(field, kernel, falling):
    v = V[::-1] if falling else V
    (found,) = stacking.stack(lines(field, v), v, field, np.ones(SHAPE[1:], bool), kernel=kernel)
    inside = np.abs(found.velocity_kms) < 20
    expected = np.exp(-0.5 * (found.velocity_kms / 5) ** 2)
    tolerance = {"fourier": 1e-4, "sinc": 1e-3, "linear": 0.04}[kernel]
    assert found.spectrum[inside] == pytest.approx(expected[inside], abs=tolerance)
    assert found.velocity_kms[20] == 0
    assert found.error is None


def test_labels_weights_and_background(field):
    cube = lines(field) * np.where(np.arange(18) < 9, 1.0, 3.0)
    labels = np.where(np.arange(18) < 9, 2, 5) * np.ones((16, 1), int)
    labels[0] = 0
    labels[1] = -1
    stacks = stacking.stack(cube, V, field, labels, background=(0, -1))
    assert [found.label for found in stacks] == [2, 5]
    assert [found.spectrum[20] for found in stacks] == pytest.approx([1, 3], abs=1e-3)
    assert [found.pixels[20] for found in stacks] == [14 * 9, 14 * 9]
    weights = np.where(np.arange(18) < 9, 3.0, 1.0) * np.ones((16, 1))
    weights[3, 3] = np.nan
    (found,) = stacking.stack(cube, V, field, np.ones(SHAPE[1:], int), weights=weights)
    total = 3 * (16 * 9 - 1) + 16 * 9
    assert found.spectrum[20] == pytest.approx((3 * (16 * 9 - 1) + 3 * 16 * 9) / total, abs=1e-3)


def test_a_blank_channel_costs_only_itself(field):
    """The reference loses the whole spectrum and keeps its weight."""
    cube = lines(field)
    cube[3, 4, 5] = np.nan
    cube[:, 7, 7] = np.nan
    field[9, 9] = np.nan
    (found,) = stacking.stack(cube, V, field, np.ones(SHAPE[1:], int), kernel="linear")
    assert found.pixels.max() == 16 * 18 - 2
    assert found.spectrum[20] == pytest.approx(1, abs=0.03)


def test_errors_are_true(field):
    rng = np.random.default_rng(5)
    scale = 0.5 + np.arange(18) / 18
    noise = scale * np.ones(SHAPE)
    labels = np.ones(SHAPE[1:], int)
    for correlated, fwhm in ((1.0, 0.0), (None, 3.0)):
        spectra = []
        for _ in range(60):
            white = rng.normal(size=SHAPE) if not fwhm else beam_noise(rng, SHAPE, fwhm)
            area = 1.0 if correlated else 2 * 1.1331 * fwhm**2
            (found,) = stacking.stack(
                white * noise, V, np.full(SHAPE[1:], 150.0), labels, noise=noise, correlated_pixels=area
            )
            spectra.append(found.spectrum[2:-2])
        assert np.std(spectra) == pytest.approx(np.mean(found.error[2:-2]), rel=0.15)


def test_more_correlation_than_pixels_is_all_the_same(field):
    noise = np.ones(SHAPE)
    (found,) = stacking.stack(lines(field), V, field, np.ones(SHAPE[1:], int), noise=noise, correlated_pixels=1e6)
    assert found.error[20] == pytest.approx(1.0)


def test_blocks_do_not_matter(field):
    rng = np.random.default_rng(6)
    cube = rng.normal(size=SHAPE).astype(np.float32)
    labels = rng.integers(0, 4, SHAPE[1:])
    for kernel in ("fourier", "linear", "sinc"):
        a, b = (
            stacking.stack(cube, V, field, labels, noise=np.abs(cube), kernel=kernel, rows=rows) for rows in (3, 16)
        )
        for one, other in zip(a, b, strict=True):
            assert one.spectrum.tobytes() == other.spectrum.tobytes()
            assert one.error.tobytes() == other.error.tobytes()


def test_images_of_another_size_and_negative_weights_are_refused(field):
    cube = lines(field)
    with pytest.raises(ValueError, match="weights"):
        stacking.stack(cube, V, field, np.ones(SHAPE[1:], int), weights=-np.ones(SHAPE[1:]))
    with pytest.raises(ValueError, match="labels"):
        stacking.stack(cube, V, field, np.ones((4, 4), int))
