"""What must hold of masks and maps whatever the cube: shifts, flips, scales, growth and padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fringeflow_derived import masks, moments, peaks
from fringeflow_derived.collapse import Inputs, Wanted, compute
from fringeflow_derived.masks import StrictOptions
from fringeflow_derived.noise import NoiseOptions
from fringeflow_derived.signalfree import measure
from fringeflow_derived.sources import ArrayCube

SHAPE = (14, 9, 10)
DV_KMS = 5.0
RHO = (1.0, 0.4, 0.1)
ALGORITHMS = {
    "mom0": moments.mom0,
    "mom1": moments.mom1,
    "mom2": moments.mom2,
    "ew": moments.ew,
    "tpeak": peaks.tpeak,
    "vpeak": peaks.vpeak,
    "vquad": peaks.vquad,
}
VELOCITIES = ("mom1", "vpeak", "vquad")


@st.composite
def scenes(draw):
    """A cube with a few lines on noise, its noise and the velocities: (data, noise, velocity_kms)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    peak, width = draw(st.floats(2.0, 50.0)), draw(st.floats(0.8, 3.0))
    centre = rng.uniform(4, 9, SHAPE[1:])
    channel = np.arange(SHAPE[0])[:, None, None]
    bright = peak * (rng.random(SHAPE[1:]) < 0.5)
    data = bright * np.exp(-0.5 * ((channel - centre) / width) ** 2) + rng.normal(size=SHAPE)
    data[:, rng.random(SHAPE[1:]) < 0.1] = np.nan
    data[rng.random(SHAPE) < 0.02] = np.nan
    return data, np.full(SHAPE, 1.0), 1000 + DV_KMS * np.arange(SHAPE[0])


def strict(data, noise):
    return masks.strict_mask(data, noise, StrictOptions(lo_nchan=1))


def every_map(data, noise, velocity_kms, mask=None):
    """All maps with their errors: name -> (map, error)."""
    chosen = strict(data, noise) if mask is None else mask
    spectra = moments.Spectra(data, velocity_kms, chosen, noise, RHO)
    return {name: make(spectra, **({"masked": True} if name == "tpeak" else {})) for name, make in ALGORITHMS.items()}


def assert_maps(found, expected, change=lambda name, which, values: values, rtol=1e-9):
    for name, pair in expected.items():
        for which, values in zip(("map", "error"), pair, strict=True):
            actual = found[name][("map", "error").index(which)]
            np.testing.assert_allclose(
                actual, change(name, which, values), rtol=rtol, atol=1e-7, err_msg=f"{name} {which}"
            )


@settings(max_examples=15)
@given(scenes(), st.integers(0, 3), st.integers(0, 3))
def test_a_cube_moved_on_the_sky_has_its_maps_moved(scene, down, right):
    data, noise, velocity = scene
    border = ((0, 0), (down, 3 - down), (right, 3 - right))
    moved = np.pad(data, border, constant_values=np.nan)
    found = every_map(moved, np.pad(noise, border, constant_values=np.nan), velocity)
    inside = np.s_[down : down + SHAPE[1], right : right + SHAPE[2]]
    assert_maps({name: (pair[0][inside], pair[1][inside]) for name, pair in found.items()}, every_map(*scene), rtol=0)
    for values, _ in found.values():
        outside = values.copy()
        outside[inside] = np.nan
        assert np.isnan(outside).all()


@settings(max_examples=15)
@given(scenes(), st.integers(1, 6))
def test_a_cube_moved_in_velocity_has_its_velocities_moved(scene, channels):
    data, noise, velocity = scene
    border = ((channels, 6 - channels), (0, 0), (0, 0))
    moved = np.pad(data, border, constant_values=np.nan)
    longer = velocity[0] + DV_KMS * np.arange(SHAPE[0] + 6)

    def shifted(name, which, values):
        return values + DV_KMS * channels if name in VELOCITIES and which == "map" else values

    padded = np.pad(noise, border, mode="edge")
    mask = strict(data, noise)
    np.testing.assert_array_equal(strict(moved, padded), np.pad(mask, border))
    # A parabola at the end of the band has a neighbour less than one within it.
    mask[[0, -1]] = False
    expected = every_map(data, noise, velocity, mask)
    assert_maps(every_map(moved, padded, longer, np.pad(mask, border)), expected, shifted, rtol=1e-7)


@settings(max_examples=15)
@given(scenes())
def test_the_order_of_the_channels_does_not_matter(scene):
    data, noise, velocity = scene
    found = every_map(data[::-1], noise[::-1], velocity[::-1])
    assert_maps(found, every_map(*scene))
    np.testing.assert_array_equal(strict(data[::-1], noise)[::-1], strict(data, noise))


@settings(max_examples=15)
@given(scenes(), st.sampled_from([1e-6, 1e-3, 0.1, 7.0, 1e4]))
def test_a_brighter_cube_has_brighter_maps_and_the_same_velocities(scene, factor):
    data, noise, velocity = scene
    mask = strict(data, noise)
    found, expected = every_map(factor * data, factor * noise, velocity, mask), every_map(*scene, mask)
    for name, pair in expected.items():
        grows = factor if name in ("mom0", "tpeak") else 1.0
        for actual, values in zip(found[name], pair, strict=True):
            np.testing.assert_allclose(actual, grows * values, rtol=1e-7, atol=1e-9 * grows, err_msg=name)


@settings(max_examples=20)
@given(scenes(), st.integers(0, 3), st.integers(0, 3))
def test_a_grown_mask_contains_the_mask_and_growth_adds_up(scene, grow_xy, grow_v):
    mask = strict(*scene[:2])
    grown = np.stack(list(masks.grow_planes(mask, grow_xy, grow_v)))
    assert np.all(grown[mask])
    again = np.stack(list(masks.grow_planes(grown, 1, 1)))
    at_once = np.stack(list(masks.grow_planes(mask, grow_xy + 1, grow_v + 1)))
    np.testing.assert_array_equal(again, at_once)


@settings(max_examples=20)
@given(scenes(), st.floats(1.0, 3.0), st.floats(3.0, 6.0))
def test_the_strict_mask_lies_within_the_broad_one_and_within_laxer_ones(scene, low, high):
    data, noise, _ = scene
    one = masks.strict_mask(data, noise, StrictOptions(hi_thresh=high, lo_thresh=low))
    other = masks.strict_mask(0.5 * (data + np.roll(data, 1, axis=2)), 0.7 * noise)
    broad = masks.union_planes([ArrayCube(one), ArrayCube(other)]).rows(0, SHAPE[1])
    assert np.all(broad[one])
    assert np.all(broad[other])
    laxer = masks.strict_mask(data, noise, StrictOptions(hi_thresh=high - 0.5, lo_thresh=low - 0.5))
    assert np.all(laxer[one])
    assert not one[~np.isfinite(data)].any()


@settings(max_examples=10)
@given(scenes(), st.integers(1, 5))
def test_blanks_around_a_cube_change_nothing(scene, width):
    data, noise, velocity = scene
    border = ((1, 2), (width, 1), (2, width))
    padded, wide = np.pad(data, border, constant_values=np.nan), np.pad(noise, border, constant_values=np.nan)
    longer = velocity[0] + DV_KMS * (np.arange(SHAPE[0] + 3) - 1)
    inside = np.s_[1:-2, width:-1, 2:-width]
    np.testing.assert_array_equal(strict(padded, wide)[inside], strict(data, noise))
    wanted = [Wanted(name, "mask") for name in ("mom0", "mom1", "tpeak")]

    def computed(cube, sigma, axis):
        mask = {"mask": ArrayCube(strict(cube, sigma))}
        sources = ArrayCube(cube), ArrayCube(sigma)
        return compute(Inputs(*sources, mask, axis, channel_kms=DV_KMS, rho=RHO), wanted)

    for found, expected in zip(computed(padded, wide, longer), computed(data, noise, velocity), strict=True):
        for actual, values in zip(found, expected, strict=True):
            np.testing.assert_allclose(actual[inside[1:]], values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("change", ["flip", "scale", "pad", "move"])
def test_the_noise_follows_the_cube(change):
    """Noise of a flipped cube is flipped, of a scaled one scaled; blanks around it and a shift leave it as it is."""
    rng = np.random.default_rng(3)
    data = rng.normal(size=(24, 40, 42)) * (1 + 0.02 * np.arange(24))[:, None, None]
    options = NoiseOptions()

    def cube_of(values):
        model = measure(values.astype(np.float32), 4.0, options).model
        return model.image[np.newaxis] * model.spectrum[:, np.newaxis, np.newaxis]

    noise = cube_of(data)
    if change == "flip":
        np.testing.assert_allclose(cube_of(data[::-1])[::-1], noise, rtol=1e-3)
    elif change == "scale":
        np.testing.assert_allclose(cube_of(8 * data), 8 * noise, rtol=1e-3)
    elif change == "pad":
        padded = cube_of(np.pad(data, ((0, 0), (6, 3), (2, 5)), constant_values=np.nan))
        assert np.isnan(padded[:, :6]).all()
        np.testing.assert_allclose(padded[:, 6:-3, 2:-5], noise, rtol=0.12)
    else:
        moved = cube_of(np.roll(data, 5, axis=2))
        np.testing.assert_allclose(np.median(moved[:, 5:-5, 10:-5]), np.median(noise[:, 5:-5, 5:-10]), rtol=0.01)
