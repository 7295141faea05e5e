"""Flat masks (derived specification, section 13; test 8 of section 17)."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from fringeflow.errors import DataError
from fringeflow_derived import flat
from tests.derived.derived_support import header, write

V = 100 + 2.5 * np.arange(21)


@pytest.mark.parametrize("window", [5.0, 10.0, 20.0, 26.0])
@pytest.mark.parametrize("centre", [125.0, 126.2, 101.0])
def test_the_slab_has_the_channels_within_half_the_window(window, centre):
    found = flat.slab(V, np.full((2, 3), centre), window)
    assert (found.sum(axis=0) == np.count_nonzero(np.abs(V - centre) <= window / 2)).all()
    assert (found[:, 0, 0] == (np.abs(V - centre) <= window / 2)).all()


def test_no_velocity_no_slab_and_a_window_per_pixel():
    """W14: velocity fields and windows may be images."""
    field = np.array([[110.0, np.nan], [130.0, 120.0]])
    window = np.array([[5.0, 5.0], [15.0, np.nan]])
    found = flat.slab(V, field, window)
    assert found.sum(axis=0).tolist() == [[3, 0], [7, 0]]
    for start, stop in ((0, 1), (1, 2), (0, 2)):
        assert (flat.Flat(V, field, window).rows(start, stop) == found[:, start:stop]).all()


def test_united_with_a_mask_plane_by_plane_and_row_by_row():
    rng = np.random.default_rng(0)
    mask = rng.uniform(size=(21, 6, 7)) > 0.8
    field = rng.uniform(95, 155, (6, 7))
    field[0] = np.nan
    from fringeflow_derived.sources import ArrayCube

    found = flat.Flat(V, field, 12.0, ArrayCube(mask))
    expected = flat.slab(V, field, 12.0) | mask
    assert (np.stack([found.plane(k) for k in range(21)]) == expected).all()
    assert (found.rows(2, 5) == expected[:, 2:5]).all()


@pytest.fixture
def files(tmp_path):
    mask = np.zeros((21, 12, 14), np.uint8)
    mask[0:2, 3:5, 3:6] = 1
    write(tmp_path / "mask.fits", mask, header(unit=" "))
    field = np.full((12, 14), 125.0)
    field[:, 10:] = np.nan
    write(tmp_path / "field.fits", field, header(unit="km s-1", axis=""))
    return tmp_path


def test_a_flat_mask_as_a_file(files):
    facts = flat.flat_mask(
        files / "mask.fits", files / "field.fits", files / "out.fits", window_kms=20.0, mask=files / "mask.fits"
    )
    found = fits.getdata(files / "out.fits")
    assert found.dtype == np.uint8
    assert (found[:, 0, 0] == (np.abs(V - 125) <= 10)).all()
    assert not found[:, :, 10:].any()
    assert found[0:2, 3:5, 3:6].all()
    assert facts == {"voxels": 12 * 10 * 9 + 12, "pixels": 120, "window_kms": 20.0}
    cards = fits.getheader(files / "out.fits")
    assert (cards["BTYPE"], cards["DATAMIN"], cards["DATAMAX"]) == ("Mask", 0, 1)


def test_without_a_signal_mask(files):
    """W14: the reference fails."""
    facts = flat.flat_mask(files / "mask.fits", files / "field.fits", files / "out.fits", window_kms=20.0)
    assert facts["voxels"] == 12 * 10 * 9


@pytest.mark.parametrize(("unit", "scale"), [("m s-1", 1e3), ("km/s", 1.0), ("", 1e3)])
def test_the_unit_of_the_velocity_field(files, unit, scale):
    """Without one it is that of the cube's axis, here m/s."""
    field = fits.getdata(files / "field.fits") * scale
    cards = header(unit=unit, axis="")
    write(files / "field.fits", field, cards)
    facts = flat.flat_mask(files / "mask.fits", files / "field.fits", files / "out.fits", window_kms=20.0)
    assert facts["voxels"] == 12 * 10 * 9


def test_a_field_on_another_grid_is_interpolated(files):
    x = np.mgrid[0:30, 0:40][1]
    ramp = 125 + 2.0 * (x * 0.5 - 9.5)
    write(files / "field.fits", ramp, header(unit="km s-1", axis="", cell_arcsec=0.5, crpix=(20.0, 20.0)))
    with flat.FitsCube(files / "mask.fits") as grid:
        found = flat.read_field(files / "field.fits", grid)
    inside = np.isfinite(found)
    # pixel 19 (0-based) of both grids is the reference pixel
    columns = np.mgrid[0:12, 0:14][1]
    expected = 125 + 2.0 * ((19 + 2 * (columns - 19)) * 0.5 - 9.5)
    assert inside[11, 13]
    assert found[inside] == pytest.approx(expected[inside], abs=1e-3)


def test_a_window_from_an_image(files):
    window = np.full((12, 14), 20.0)
    window[0] = 5.0
    write(files / "window.fits", window, header(unit="km s-1", axis=""))
    facts = flat.flat_mask(
        files / "mask.fits", files / "field.fits", files / "out.fits", window_kms=files / "window.fits"
    )
    assert facts["voxels"] == 11 * 10 * 9 + 10 * 3


def test_what_is_no_velocity_field_is_refused(files):
    write(files / "field.fits", np.ones((12, 14)), header(unit="K", axis=""))
    with pytest.raises(DataError, match="BUNIT is 'k'"):
        flat.flat_mask(files / "mask.fits", files / "field.fits", files / "out.fits", window_kms=20.0)
    with pytest.raises(DataError, match="not a cube of 21 channels"):
        flat.flat_mask(files / "mask.fits", files / "mask.fits", files / "out.fits", window_kms=20.0)
