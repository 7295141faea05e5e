"""Masks made on the way: of signal, grown, and following the residual (weaknesses W12, W24)."""

from __future__ import annotations

import numpy as np
import pytest

from fringeflow_imaging.automask import AutoMask, Thresholds
from fringeflow_imaging.mask import grown, signal_mask
from fringeflow_imaging.stopping import Stopping
from tests.imaging.planes import SIZE, cleaned, make_psf, noise_plane, seen


@pytest.fixture(scope="module")
def psf():
    return make_psf()


def test_w12_seeds_may_have_to_stand_in_several_channels():
    cube = np.zeros((6, 8, 8))
    cube[1, 2, 2] = cube[3, 6, 6] = cube[4, 6, 6] = 5.0

    def found(channels):
        options = {"high_snr": 4.0, "low_snr": 2.0, "absolute": False, "roll": False, "seed_channels": channels}
        return np.array(list(signal_mask(lambda channel: cube[channel], cube.shape, **options)))

    assert found(1).sum() == 3
    two = found(2)
    assert not two[:, 2, 2].any()
    assert two[:, 6, 6].tolist() == [False, False, False, True, True, False]
    assert not found(3).any()
    assert not found(7).any()


def test_w12_a_mask_may_be_grown_on_the_sky():
    plane = np.zeros((21, 21), dtype=bool)
    plane[10, 10] = True
    y, x = np.mgrid[:21, :21] - 10
    assert np.array_equal(grown(plane, 4.3), np.hypot(x, y) <= 4.3)
    assert np.array_equal(grown(plane, 0.0), plane)
    assert not grown(np.zeros_like(plane), 5.0).any()


def test_w24_the_mask_follows_the_residual_and_a_new_peak_in_it_is_no_divergence(psf):
    sky = np.zeros((SIZE, SIZE))
    sky[48, 20], sky[48, 76] = 400.0, 60.0
    dirty = noise_plane(psf, 3) + seen(sky, psf)
    # 4 x 0.1 of 400 is above the fainter source, which is masked only when the brighter one is nearly gone
    follows = AutoMask(np.ones((SIZE, SIZE), dtype=bool), Thresholds(sidelobethreshold=4.0), 0.1, (5.8, 5.8, 0.0), 1.0)
    first = AutoMask(np.ones((SIZE, SIZE), dtype=bool), Thresholds(sidelobethreshold=4.0), 0.1, (5.8, 5.8, 0.0), 1.0)
    alone = first.follow(dirty, 1.0)
    assert alone[48, 20]
    assert not alone[48, 76]
    outcome = cleaned(dirty, psf, Stopping(snr=4.0), automasks=[follows])
    assert outcome.reasons == ("threshold",)
    assert outcome.model[0, 45:52, 17:24].sum() == pytest.approx(400.0, rel=0.02)
    assert outcome.model[0, 45:52, 73:80].sum() == pytest.approx(60.0, rel=0.1)
    assert not outcome.model[0][~outcome.masks[0]].any()
    assert outcome.masks[0].mean() < 0.2


def test_w24_without_anything_to_mask_nothing_is_cleaned(psf):
    follows = AutoMask(np.ones((SIZE, SIZE), dtype=bool), Thresholds(), 0.1, (5.8, 5.8, 0.0), 1.0)
    dirty = noise_plane(psf, 3)
    outcome = cleaned(dirty, psf, Stopping(snr=1.0), automasks=[follows])
    assert outcome.reasons == ("empty mask",)
    assert not outcome.model.any()
    assert np.array_equal(outcome.residual[0], dirty)
