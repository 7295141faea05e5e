"""Measures of a PSF against shapes whose measures are known (imaging specification, section 20)."""

import numpy as np
import pytest

from fringeflow_imaging.psf import profile, shape_of

SIZE = 201
Y, X = np.mgrid[:SIZE, :SIZE] - SIZE // 2


def gaussian(beam):
    turn = np.radians(beam[2])
    along, across = Y * np.cos(turn) - X * np.sin(turn), Y * np.sin(turn) + X * np.cos(turn)
    return np.exp(-4 * np.log(2) * ((along / beam[0]) ** 2 + (across / beam[1]) ** 2))


def shape(psf, beam):
    return shape_of(profile(psf.astype(np.float32), beam, 1.0))


BEAMS = [(8.0, 8.0, 0.0), (12.0, 6.0, 35.0), (9.0, 7.0, -80.0)]


@pytest.mark.parametrize("beam", BEAMS)
def test_a_gaussian_is_one_whatever_its_shape(beam):
    found = shape(gaussian(beam), beam)
    assert found.kappa == pytest.approx(0.0, abs=5e-5)
    assert found.skirt_level == pytest.approx(0.0625, abs=5e-4)
    assert found.epsilon == pytest.approx(1.0, abs=5e-4)


@pytest.mark.parametrize("beam", BEAMS)
def test_kappa_tells_peaked_from_flat(beam):
    assert shape(gaussian(beam) ** 1.5, beam).kappa < -0.05
    assert shape(gaussian(beam) ** 0.5, beam).kappa > 0.05


def test_wings_raise_the_skirt_and_lower_epsilon():
    beam = (8.0, 8.0, 0.0)
    wings = 0.9 * gaussian(beam) + 0.1 * gaussian((30.0, 30.0, 0.0))
    found = shape(wings, beam)
    assert found.skirt_level > 0.07
    assert found.epsilon < 0.7


def test_a_trough_beyond_the_main_lobe_does_not_count():
    beam = (8.0, 8.0, 0.0)
    radius = np.hypot(X, Y)
    trough = gaussian(beam) - 0.1 * np.exp(-(((radius - 16.0) / 2.0) ** 2))
    assert shape(trough, beam).epsilon == pytest.approx(1.0, abs=0.05)


def test_the_skirt_is_none_where_the_profile_does_not_reach_it():
    beam = (80.0, 80.0, 0.0)
    assert shape(gaussian(beam)[80:121, 80:121], beam).skirt_level is None


def test_the_peak_need_not_be_in_the_middle():
    beam = (12.0, 6.0, 35.0)
    moved = np.roll(gaussian(beam), (9, -5), axis=(0, 1))
    assert shape(moved, beam).kappa == pytest.approx(0.0, abs=5e-5)


def test_an_empty_psf_has_no_profile():
    assert profile(np.zeros((20, 20), dtype=np.float32), (5.0, 5.0, 0.0), 1.0) is None
    assert profile(np.full((20, 20), np.nan, dtype=np.float32), (5.0, 5.0, 0.0), 1.0) is None
