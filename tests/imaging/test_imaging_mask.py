"""The signal mask against a plain three-dimensional labelling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from fringeflow_imaging.mask import signal_mask


def masked(cube, **options):
    given_options = {"high_snr": 4.0, "low_snr": 2.0, "absolute": False} | options
    return np.array(list(signal_mask(lambda channel: cube[channel], cube.shape, **given_options)))


def plainly(cube, high, low, *, absolute, roll):
    """The definition, with the whole cube in memory."""
    cube = np.abs(cube) if absolute else cube
    candidates = cube > low
    if roll:
        rolled = candidates.copy()
        rolled[1:] |= candidates[:-1]
        rolled[:-1] |= candidates[1:]
        candidates = rolled
    labels, _ = ndimage.label(candidates)
    wanted = np.unique(labels[cube > high])
    return np.isin(labels, wanted[wanted > 0])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.booleans(), st.floats(0.5, 2.5))
def test_streaming_gives_what_the_whole_cube_would(seed, absolute, roll, low):
    cube = np.random.default_rng(seed).normal(size=(7, 15, 13))
    got = masked(cube, high_snr=2.6, low_snr=low, absolute=absolute, roll=roll)
    assert np.array_equal(got, plainly(cube, 2.6, low, absolute=absolute, roll=roll))


def test_a_bridge_through_other_channels_connects():
    cube = np.zeros((4, 9, 9))
    cube[0, 2, 2] = 5.0  # a seed
    cube[:, 2, 2] = np.maximum(cube[:, 2, 2], 3.0)
    cube[3, 2, 2:7] = 3.0
    cube[:, 6, 6] = 3.0
    got = masked(cube, roll=False)
    assert got[3, 2, 6]
    assert got[0, 2, 2]
    assert not got[:, 6, 6].any()  # no seed, and touching by a corner does not count


def test_first_and_last_channel_are_no_neighbours():
    cube = np.zeros((5, 6, 6))
    cube[0, 3, 3] = 10.0
    got = masked(cube)
    assert got[:2, 3, 3].all()
    assert not got[2:].any()


def test_negative_features_count_only_when_asked():
    cube = np.zeros((3, 6, 6))
    cube[1, 2, 2] = -9.0
    assert not masked(cube).any()
    assert masked(cube, absolute=True)[1, 2, 2]


def test_blank_pixels_are_outside():
    cube = np.full((2, 5, 5), np.nan)
    assert not masked(cube).any()


def test_small_and_short_groups_are_dropped():
    cube = np.zeros((6, 20, 20))
    cube[2, 2, 2] = 8.0
    cube[1:5, 10:14, 10:14] = 8.0
    assert masked(cube)[:, 2, 2].any()
    assert not masked(cube, min_pixels=4)[:, 2, 2].any()
    assert not masked(cube, min_channels=4)[:, 2, 2].any()
    assert masked(cube, min_pixels=4, min_channels=4)[2, 12, 12]


def test_seeds_alone_when_the_low_level_is_above_the_high_one():
    cube = np.zeros((3, 6, 6))
    cube[1, 2, 2], cube[1, 2, 3] = 5.0, 3.0
    got = masked(cube, low_snr=6.0, roll=False)
    assert got.sum() == 1
    assert got[1, 2, 2]


def test_planes_come_in_channel_order():
    cube = np.zeros((3, 4, 4))
    cube[2, 0, 0] = 9.0
    counts = [
        int(plane.sum())
        for plane in signal_mask(lambda c: cube[c], cube.shape, high_snr=4, low_snr=2, absolute=False, roll=False)
    ]
    assert counts == [0, 0, 1]
    with pytest.raises(IndexError):
        list(signal_mask(lambda c: cube[c], (4, 4, 4), high_snr=4, low_snr=2, absolute=False))
