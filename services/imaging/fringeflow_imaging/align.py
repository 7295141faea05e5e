"""Brings a clean mask, whatever its grid, onto the grid of the image: nearest pixel on the sky, nearest in velocity.

Axes may come in any order and in any unit of angle, velocity or frequency that FITS knows.

Masks are read plane by plane. Knows FITS and sky coordinates, no CASA.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, WCSSUB_LATITUDE, WCSSUB_LONGITUDE
from numpy.typing import NDArray

from fringeflow.errors import CorruptInputError, DataError
from fringeflow_imaging.mask import grown

_LIGHT_KMS = 299792.458


def sky_grid(phasecenter: str, cell_arcsec: float, nx: int, ny: int, projection: str = "SIN") -> WCS:
    """Return the celestial grid of an image that tclean makes with these parameters.

    Parameters
    ----------
    phasecenter
        As tclean takes it: ``J2000 15h22m00.0s +05d04m00.0s``.
    """
    _, ra, dec = phasecenter.split()
    centre = SkyCoord(ra, dec, frame="fk5", unit=(u.hourangle, u.deg))
    grid = WCS(naxis=2)
    grid.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
    grid.wcs.crval = [centre.ra.deg, centre.dec.deg]
    grid.wcs.cdelt = [-cell_arcsec / 3600.0, cell_arcsec / 3600.0]
    grid.wcs.crpix = [nx // 2 + 1, ny // 2 + 1]
    grid.wcs.radesys, grid.wcs.equinox = "FK5", 2000.0
    return grid


def align_mask(
    mask: Path,
    grid: WCS,
    shape: tuple[int, int],
    velocities_kms: Sequence[float] | None,
    *,
    grow_pixels: float = 0.0,
) -> NDArray[np.bool_]:
    """Return `mask` on the grid of the image (imaging specification, section 10, W16).

    Parameters
    ----------
    mask
        FITS; positive pixels are in the mask. A Stokes axis is dropped, an image serves all channels.
    grid, shape
        Celestial grid of the image and its (ny, nx).
    velocities_kms
        Radio velocity of each channel (LSRK); None for a continuum image, which gets the maximum over the mask's
        channels.
    grow_pixels
        How far, in pixels of the image, the mask is grown on the sky.

    Returns
    -------
    ndarray
        (channels, ny, nx), or (1, ny, nx) for a continuum image.

    Raises
    ------
    CorruptInputError, DataError
        No FITS image; one whose axes are not sky, optionally velocity or frequency, optionally Stokes; or one whose
        velocities are not LSRK.
    """
    try:
        with fits.open(mask, memmap=True) as hdus:
            hdu = next(h for h in hdus if h.header.get("NAXIS", 0) >= 2)
            planes, wcs = _planes(mask, hdu)
            sky = wcs.sub([WCSSUB_LONGITUDE, WCSSUB_LATITUDE])
            rows, columns, inside = _sky_indices(sky, grid, shape)
            count = 1 if velocities_kms is None else len(velocities_kms)
            aligned = np.zeros((count, *shape), dtype=bool)
            for target, source in _channels(mask, wcs, len(planes), velocities_kms):
                found = np.nan_to_num(np.asarray(planes[source], dtype=np.float32))[rows, columns] > 0
                aligned[target] |= found & inside
            return np.array([grown(plane, grow_pixels) for plane in aligned]) if grow_pixels else aligned
    except (OSError, StopIteration) as error:
        raise CorruptInputError(f"{mask} is not a FITS image") from error


def _planes(path: Path, hdu: fits.PrimaryHDU) -> tuple[NDArray[np.floating], WCS]:
    """Return the mask as (channels, latitude, longitude), one channel for an image, and its coordinates."""
    wcs = WCS(hdu.header)
    if not wcs.has_celestial:
        raise DataError(f"{path} has no right ascension and declination", remedy="give a mask with sky coordinates")
    wanted = [axis for axis in (wcs.wcs.spec, wcs.wcs.lat, wcs.wcs.lng) if axis >= 0]
    lengths = [int(hdu.header.get(f"NAXIS{axis + 1}", 1)) for axis in range(wcs.naxis)]
    for axis, length in enumerate(lengths):
        if axis not in wanted and length > 1 and wcs.wcs.ctype[axis] != "STOKES":
            raise DataError(f"{path} has axes other than sky, velocity or frequency, and Stokes")
    axes = list(reversed(range(hdu.data.ndim)))  # numpy's first axis is FITS' last
    data = hdu.data[tuple(slice(None) if axis in wanted else 0 for axis in axes)]
    kept = [axis for axis in axes if axis in wanted]
    data = data.transpose([kept.index(axis) for axis in wanted if axis in kept])
    return (data if data.ndim == 3 else data[np.newaxis]), wcs


def _sky_indices(
    mask: WCS, grid: WCS, shape: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    ny, nx = mask.array_shape
    y, x = np.mgrid[: shape[0], : shape[1]]
    with np.errstate(invalid="ignore"):
        px, py = mask.world_to_pixel(grid.pixel_to_world(x, y))
    good = np.isfinite(px) & np.isfinite(py)
    column, row = (np.rint(np.where(good, p, -1)).astype(np.intp) for p in (px, py))
    inside = good & (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    return np.where(inside, row, 0), np.where(inside, column, 0), inside


def _channels(path: Path, wcs: WCS, planes: int, wanted_kms: Sequence[float] | None) -> list[tuple[int, int]]:
    """Return (channel of the image, channel of the mask) wherever both have one."""
    if wanted_kms is None:
        return [(0, source) for source in range(planes)]
    if wcs.wcs.spec < 0:
        return [(target, 0) for target in range(len(wanted_kms))]
    have = velocities_kms(path, wcs, planes)
    half = abs(have[1] - have[0]) / 2 if planes > 1 else abs(wcs.wcs.cdelt[wcs.wcs.spec]) / 2
    pairs = []
    for target, velocity in enumerate(wanted_kms):
        source = int(np.argmin(np.abs(have - velocity)))
        if abs(have[source] - velocity) <= half * (1 + 1e-6):
            pairs.append((target, source))
    return pairs


def velocities_kms(path: Path, wcs: WCS, planes: int) -> NDArray[np.float64]:
    """Return the radio velocities of the channels of a cube."""
    axis = wcs.wcs.spec
    kind = wcs.wcs.ctype[axis][:4]
    if wcs.wcs.specsys.strip().upper() not in ("", "LSRK"):
        raise DataError(f"{path} has {wcs.wcs.specsys.strip()} velocities", remedy="give one with LSRK velocities")
    value = wcs.wcs.crval[axis] + (np.arange(planes) + 1 - wcs.wcs.crpix[axis]) * wcs.wcs.cdelt[axis]
    if kind in ("VRAD", "VELO"):
        return np.asarray(value * u.Unit(wcs.wcs.cunit[axis]).to(u.km / u.s))
    if kind == "VOPT":
        return np.asarray(_LIGHT_KMS * (1 - 1 / (1 + value * u.Unit(wcs.wcs.cunit[axis]).to(u.km / u.s) / _LIGHT_KMS)))
    if kind == "FREQ" and wcs.wcs.restfrq > 0:
        return np.asarray(_LIGHT_KMS * (1 - value * u.Unit(wcs.wcs.cunit[axis]).to(u.Hz) / wcs.wcs.restfrq))
    raise DataError(
        f"the spectral axis of {path} is {wcs.wcs.ctype[axis]!r}", remedy="give a mask in radio velocity or frequency"
    )
