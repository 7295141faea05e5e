"""Clean masks from files, in whatever layout and frame they are (weakness W16)."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from fringeflow.errors import DataError
from fringeflow.graph.imaging_recipes import recipe_of
from fringeflow_imaging import orders
from fringeflow_imaging.align import align_mask, sky_grid

CENTRE = "J2000 12h00m00.0s -30d00m00.0s"
GRID = sky_grid(CENTRE, 1.0, 20, 16)
VELOCITY = {"CTYPE": "VRAD", "CUNIT": "km/s", "CRVAL": 100.0, "CDELT": 10.0, "CRPIX": 1.0}
LONGITUDE = {"CTYPE": "RA---SIN", "CUNIT": "deg", "CRVAL": 180.0, "CDELT": -2 / 3600, "CRPIX": 7.0}
LATITUDE = {"CTYPE": "DEC--SIN", "CUNIT": "deg", "CRVAL": -30.0, "CDELT": 2 / 3600, "CRPIX": 6.0}
STOKES = {"CTYPE": "STOKES", "CUNIT": "", "CRVAL": 1.0, "CDELT": 1.0, "CRPIX": 1.0}


def written(path, data, axes, **cards):
    """A FITS file of axes in FITS order."""
    header = fits.Header({"RADESYS": "FK5", "EQUINOX": 2000.0} | cards)
    for number, axis in enumerate(axes, 1):
        for name, value in axis.items():
            header[f"{name}{number}"] = value
    fits.PrimaryHDU(np.asarray(data, dtype=np.float32), header).writeto(path)
    return path


@pytest.fixture(scope="module")
def lopsided():
    """A mask whose axes differ in length and content: (velocity, latitude, longitude)."""
    mask = np.zeros((3, 10, 12))
    mask[0, 2:5, 3], mask[1, 6, 2:9], mask[2, 8, 9] = 1, 1, 1
    return mask


CHANNELS = [101.0, 108.0, 121.0]


@pytest.fixture
def plain(lopsided, tmp_path):
    path = written(tmp_path / "plain.fits", lopsided, (LONGITUDE, LATITUDE, VELOCITY))
    aligned = align_mask(path, GRID, (16, 20), CHANNELS)
    assert aligned.any(axis=(1, 2)).all()
    return aligned


@pytest.mark.parametrize("order", [(2, 1, 0), (0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_w16_axes_may_come_in_any_order(lopsided, plain, tmp_path, order):
    names = (VELOCITY, LATITUDE, LONGITUDE)  # in numpy's order
    axes = [names[axis] for axis in reversed(order)]
    path = written(tmp_path / "m.fits", lopsided.transpose(order), axes)
    assert np.array_equal(align_mask(path, GRID, (16, 20), CHANNELS), plain)
    stokes = written(tmp_path / "s.fits", lopsided.transpose(order)[:, np.newaxis], (*axes[:2], STOKES, axes[2]))
    assert np.array_equal(align_mask(stokes, GRID, (16, 20), CHANNELS), plain)


@pytest.mark.parametrize(("unit", "per_degree"), [("rad", np.pi / 180), ("arcsec", 3600.0), ("arcmin", 60.0)])
def test_w16_angles_may_be_in_any_unit(lopsided, plain, tmp_path, unit, per_degree):
    sky = [
        axis | {"CUNIT": unit, "CRVAL": axis["CRVAL"] * per_degree, "CDELT": axis["CDELT"] * per_degree}
        for axis in (LONGITUDE, LATITUDE)
    ]
    path = written(tmp_path / "m.fits", lopsided, (*sky, VELOCITY))
    assert np.array_equal(align_mask(path, GRID, (16, 20), CHANNELS), plain)


@pytest.mark.parametrize(("unit", "per_kms"), [("m/s", 1e3), ("km/s", 1.0)])
def test_w16_optical_velocities_are_turned_into_radio_ones(lopsided, tmp_path, unit, per_kms):
    def optical(radio):
        return 299792.458 * (1 / (1 - radio / 299792.458) - 1)

    step = (optical(9010.0) - optical(9000.0)) * per_kms
    axis = {"CTYPE": "VOPT", "CUNIT": unit, "CRVAL": optical(9000.0) * per_kms, "CDELT": step, "CRPIX": 1.0}
    path = written(tmp_path / "m.fits", lopsided, (LONGITUDE, LATITUDE, axis))
    found = align_mask(path, GRID, (16, 20), [8990.0, 9000.0, 9010.0, 9020.0, 9279.0])
    assert found.any(axis=(1, 2)).tolist() == [False, True, True, True, False]


def test_w16_galactic_masks_lie_where_they_should(tmp_path, plain):
    from astropy.coordinates import SkyCoord

    centre = SkyCoord(180.0, -30.0, unit="deg", frame="fk5").galactic
    mask = np.zeros((41, 41))
    mask[20, 20] = 1
    axes = (
        {"CTYPE": "GLON-SIN", "CUNIT": "deg", "CRVAL": centre.l.deg, "CDELT": -1 / 3600, "CRPIX": 21.0},
        {"CTYPE": "GLAT-SIN", "CUNIT": "deg", "CRVAL": centre.b.deg, "CDELT": 1 / 3600, "CRPIX": 21.0},
    )
    found = align_mask(written(tmp_path / "m.fits", mask, axes), GRID, (16, 20), None)
    assert found[0, 8, 10]
    assert found.sum() <= 2


def test_w16_other_frames_and_layouts_are_refused(lopsided, tmp_path):
    frame = written(tmp_path / "b.fits", lopsided, (LONGITUDE, LATITUDE, VELOCITY), SPECSYS="BARYCENT")
    with pytest.raises(DataError, match="BARYCENT velocities"):
        align_mask(frame, GRID, (16, 20), CHANNELS)
    written(tmp_path / "l.fits", lopsided, (LONGITUDE, LATITUDE, VELOCITY), SPECSYS="LSRK")
    assert align_mask(tmp_path / "l.fits", GRID, (16, 20), CHANNELS).any()
    sky = written(tmp_path / "n.fits", lopsided, ({"CTYPE": "X"}, {"CTYPE": "Y"}, VELOCITY))
    with pytest.raises(DataError, match="no right ascension"):
        align_mask(sky, GRID, (16, 20), CHANNELS)


def test_w16_a_mask_may_be_grown_by_a_distance_on_the_sky(tmp_path, make_project):
    mask = np.zeros((16, 20))
    mask[8, 10] = 1
    axes = [axis | {"CDELT": np.sign(axis["CDELT"]) / 3600} for axis in (LONGITUDE, LATITUDE)]
    axes = [axis | {"CRPIX": place} for axis, place in zip(axes, (11.0, 9.0), strict=True)]
    path = written(tmp_path / "m.fits", mask, axes)
    assert align_mask(path, GRID, (16, 20), None).sum() == 1
    assert align_mask(path, GRID, (16, 20), None, grow_pixels=2.0).sum() == 13
    recipe = recipe_of(make_project(overrides={"cleanmask_grow_arcsec": 2}), "disc", "7m", "co")
    assert (recipe.multiscale.cleanmask_grow_arcsec, recipe.singlescale.cleanmask_grow_arcsec) == (2.0, None)


@pytest.mark.parametrize(
    ("parts", "overlap"),
    [
        ([{}, {}], None),
        ([{"clean_mask_given": 30, "clean_mask_used": 10}, {"clean_mask_given": 10, "clean_mask_used": 10}], 0.5),
        ([{"clean_mask_given": 30, "clean_mask_used": 0}], 0.0),
        ([{"clean_mask_given": 0, "clean_mask_used": 0}], 0.0),
    ],
)
def test_w16_the_overlap_of_the_whole_cube_is_that_of_its_blocks(parts, overlap):
    assert orders.mask_overlap(parts) == overlap
