"""Clean masks on other grids."""

import numpy as np
import pytest
from astropy.io import fits

from fringeflow.errors import CorruptInputError, DataError
from fringeflow_imaging.align import align_mask, sky_grid

CENTRE = "J2000 12h00m00.0s -30d00m00.0s"
GRID = sky_grid(CENTRE, 1.0, 20, 16)


def write(path, data, cell=2.0, axis=None, size=(12, 12)):
    header = sky_grid(CENTRE, cell, size[1], size[0]).to_header()
    for name, value in (axis or {}).items():
        header[name] = value
    fits.PrimaryHDU(data.astype(np.float32), header).writeto(path)
    return path


VELOCITY = {"CTYPE3": "VRAD", "CUNIT3": "km/s", "CRVAL3": 100.0, "CDELT3": 10.0, "CRPIX3": 1.0}


def test_pixels_are_the_nearest_on_the_sky(tmp_path):
    mask = np.zeros((12, 12))
    mask[6, 6] = 1  # the centre, and half a coarse pixel about it
    got = align_mask(write(tmp_path / "m.fits", mask), GRID, (16, 20), [0.0, 1.0])
    assert got.shape == (2, 16, 20)
    assert np.array_equal(got[0], got[1])
    rows, columns = np.nonzero(got[0])
    assert set(rows) <= {7, 8, 9}
    assert set(columns) <= {9, 10, 11}
    assert got[0, 8, 10]


def test_channels_are_the_nearest_in_velocity_and_none_beyond_the_ends(tmp_path):
    mask = np.zeros((3, 12, 12))
    mask[1] = 1  # 110 km/s
    got = align_mask(
        write(tmp_path / "m.fits", mask, axis=VELOCITY), GRID, (16, 20), [80.0, 104.0, 106.0, 114.0, 150.0]
    )
    assert got.any(axis=(1, 2)).tolist() == [False, False, True, True, False]


def test_frequencies_and_stokes_are_understood(tmp_path):
    rest = 1.42e9
    hz_per_kms = rest / 299792.458
    axis = {
        "CTYPE3": "STOKES", "CRVAL3": 1.0, "CDELT3": 1.0, "CRPIX3": 1.0,
        "CTYPE4": "FREQ", "CUNIT4": "Hz", "CRVAL4": rest - 100.0 * hz_per_kms, "CDELT4": -10.0 * hz_per_kms,
        "CRPIX4": 1.0, "RESTFRQ": rest,
    }  # fmt: skip
    mask = np.zeros((3, 1, 12, 12))
    mask[2] = 1  # 120 km/s
    got = align_mask(write(tmp_path / "m.fits", mask, axis=axis), GRID, (16, 20), [100.0, 119.0])
    assert got.any(axis=(1, 2)).tolist() == [False, True]


def test_a_continuum_image_gets_the_maximum_over_channels(tmp_path):
    mask = np.zeros((2, 12, 12))
    mask[0, 6, 6], mask[1, 4, 6] = 1, 1
    got = align_mask(write(tmp_path / "m.fits", mask, axis=VELOCITY), GRID, (16, 20), None)
    assert got.shape == (1, 16, 20)
    assert got[0, 8, 10]
    assert got[0, 4, 10]


def test_beyond_the_mask_nothing_is_cleaned(tmp_path):
    got = align_mask(write(tmp_path / "m.fits", np.ones((4, 4)), size=(4, 4)), GRID, (16, 20), [0.0])
    assert 0 < got.sum() < got.size
    assert not got[0, :, 0].any()


def test_unreadable_masks_are_refused(tmp_path):
    (tmp_path / "text.fits").write_text("no image")
    with pytest.raises(CorruptInputError, match=r"text\.fits"):
        align_mask(tmp_path / "text.fits", GRID, (16, 20), [0.0])
    odd = write(tmp_path / "odd.fits", np.ones((2, 12, 12)), axis={"CTYPE3": "FARADAY"})
    with pytest.raises(DataError, match="axes"):
        align_mask(odd, GRID, (16, 20), [0.0])
