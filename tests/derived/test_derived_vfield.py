"""Combined velocity fields (derived specification, sections 11 and 14)."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from fringeflow.errors import DataError
from fringeflow_derived import vfield
from fringeflow_derived.vfield import Layer
from tests.derived.derived_support import header, write

NAN = np.nan


def test_the_first_map_that_has_a_velocity_counts():
    a, b, c = (np.array([row]) for row in ([1.0, NAN, NAN, NAN], [2.0, 0.0, NAN, NAN], [3.0, 3.0, 3.0, NAN]))
    found, source = vfield.combine([a, b, c])
    assert found.tolist()[0] == pytest.approx([1, 0, 3, NAN], nan_ok=True)
    assert source.tolist() == [[1, 2, 3, 0]]


def test_a_velocity_of_zero_is_a_velocity():
    """W5 and section 11: the reference takes 0 for empty."""
    found, source = vfield.combine([np.zeros((1, 2)), np.full((1, 2), 7.0)])
    assert (found == 0).all()
    assert (source == 1).all()


def test_alignment_takes_off_the_median_difference():
    first = np.array([[100.0, 110.0, 120.0, NAN]])
    other = np.array([[105.0, 115.0, 300.0, 135.0]])
    found, _ = vfield.combine([first, other], [False, True])
    assert found[0, 3] == pytest.approx(130)
    alone, _ = vfield.combine([first * NAN, other], [False, True])
    assert alone == pytest.approx(other)


@pytest.fixture
def files(tmp_path):
    low = header(axis="", unit="m s-1", cell_arcsec=2.0, beam=(15.0, 15.0, 0.0))
    high = np.full((20, 20), NAN)
    high[5:9, 5:9] = 100.0
    write(tmp_path / "high.fits", high, header(axis="", unit="km s-1"))
    write(tmp_path / "low.fits", np.full((40, 40), 90e3), low)
    error = np.full((40, 40), 20e3)
    error[:, 15:] = 1e3
    write(tmp_path / "error.fits", error, low)
    return tmp_path


def test_files_with_where_each_pixel_is_from(files):
    layers = [Layer(files / "high.fits"), Layer(files / "low.fits", label="7m")]
    facts = vfield.write(layers, files / "out.fits", files / "source.fits")
    found, source = fits.getdata(files / "out.fits"), fits.getdata(files / "source.fits")
    assert found.shape == source.shape == (20, 20)
    assert (found == np.where(source == 1, 100, 90)).all()
    assert facts == {"pixels": 400, "layers": {"high": 16, "7m": 384}}
    cards = fits.getheader(files / "source.fits")
    assert (cards["LAYER1"], cards["LAYER2"]) == ("high", "7m")
    assert cards["BITPIX"] == 8
    assert fits.getheader(files / "out.fits")["BUNIT"] == "km s-1"
    assert fits.getheader(files / "out.fits")["BMAJ"] == pytest.approx(5 / 3600)


def test_velocities_with_large_errors_are_left_out(files):
    layers = [Layer(files / "high.fits"), Layer(files / "low.fits", files / "error.fits", max_error_kms=10.0)]
    facts = vfield.write(layers, files / "out.fits", files / "source.fits")
    assert 16 < facts["pixels"] < 400


def test_no_layer_is_an_error(files):
    with pytest.raises(DataError, match="0 maps"):
        vfield.write([], files / "out.fits", files / "source.fits")
