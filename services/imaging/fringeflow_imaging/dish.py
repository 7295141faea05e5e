"""A single dish's cube on the grid of a block of channels, for the joint clean. Knows FITS and sky coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from fringeflow.errors import CorruptInputError, DataError
from fringeflow.fitsplanes import Planes
from fringeflow_imaging.align import velocities_kms as channel_velocities_kms
from fringeflow_imaging.beam import Beam

Cube = NDArray[np.float32]

_LIGHT_M_S = 299792458.0
_BOLTZMANN = 1.380649e-23
_JANSKY = 1e-26
_FWHM_TO_SR = math.pi / (4.0 * math.log(2.0)) * math.radians(1.0 / 3600.0) ** 2
_COVERED = 0.999


@dataclass(frozen=True)
class Dish:
    """What a single dish saw: (channels, ny, nx) in Jy per own beam, NaN where it did not look; and its beam."""

    cube: Cube
    beam: Beam


def on_grid(
    path: Path, grid: WCS, shape: tuple[int, int], velocities_kms: Sequence[float], width_kms: float, rest_hz: float
) -> Dish:
    """Return the single dish's cube on the grid of an interferometer's.

    Pixels are interpolated by cubic splines, which a beam of several pixels allows; channels are averaged by how much
    of the wanted channel they cover.

    Parameters
    ----------
    path
        FITS, in K, mK, Jy/beam, mJy/beam or Jy/pixel, any degenerate axes, LSRK.
    grid, shape
        Celestial grid and (ny, nx).
    velocities_kms, width_kms
        Centres (radio, LSRK) and width of the wanted channels.
    rest_hz
        Rest frequency: kelvin become Jy/beam at the frequency of each channel.

    Raises
    ------
    CorruptInputError
        There is no beam.
    DataError
        No cube, another unit, or nothing in common with the grid.
    """
    with Planes(path) as image:
        header = image.header
        if not image.is_cube:
            raise DataError(f"{path} is no cube", remedy="correct the single dish key")
        if not header.get("BMAJ", 0) > 0:
            raise CorruptInputError(f"{path} says nothing of its beam", remedy="set BMAJ, BMIN and BPA")
        beam = (header["BMAJ"] * 3600, header.get("BMIN", header["BMAJ"]) * 3600, float(header.get("BPA", 0.0)))
        wcs = WCS(header)
        have = channel_velocities_kms(path, wcs, len(image))
        step = abs(have[1] - have[0]) if len(have) > 1 else width_kms
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        x, y = wcs.celestial.world_to_pixel(grid.pixel_to_world(columns, rows))
        cube = np.full((len(velocities_kms), *shape), np.nan, dtype=np.float32)
        for target, velocity in enumerate(velocities_kms):
            weights = _overlap(have, step, velocity, width_kms)
            if weights.sum() < _COVERED * width_kms:
                continue
            used = np.flatnonzero(weights)
            plane = sum(weights[index] * image.plane(int(index)).astype(np.float64) for index in used) / weights.sum()
            frequency = rest_hz * (1.0 - velocity * 1e3 / _LIGHT_M_S)
            factor = _jansky_per_beam(path, str(header.get("BUNIT", "")), beam, wcs, frequency)
            cube[target] = _sampled(np.asarray(plane), np.array([y, x])) * factor
    if not np.isfinite(cube).any():
        raise DataError(f"{path} covers nothing of the image", remedy="correct the single dish key")
    return Dish(cube, beam)


def _overlap(have: NDArray[np.float64], step: float, centre: float, width: float) -> NDArray[np.float64]:
    """Return how many km/s of the wanted channel each of the dish's covers; a sliver is nothing, blank as it may be."""
    low = np.maximum(centre - width / 2, have - step / 2)
    covered = np.minimum(centre + width / 2, have + step / 2) - low
    return np.where(covered > (1 - _COVERED) * width, covered, 0.0)


def _sampled(plane: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    good = np.isfinite(plane)
    known = map_coordinates(good.astype(np.float64), places, order=1, cval=0.0) > _COVERED
    return np.where(known, map_coordinates(np.where(good, plane, 0.0), places, order=3, mode="nearest"), np.nan)


def _jansky_per_beam(path: Path, unit: str, beam: Beam, wcs: WCS, frequency_hz: float) -> float:
    """Return what a value is multiplied with (brightness temperature of the Rayleigh-Jeans law)."""
    plain = "".join(character for character in unit.strip().lower() if character not in " ()")
    milli = 1e-3 if plain.startswith("m") else 1.0
    plain = plain.removeprefix("m")
    if plain in ("jy/beam", "jybeam-1", "jy.beam-1"):
        return milli
    beam_sr = beam[0] * beam[1] * _FWHM_TO_SR
    if plain in ("jy/pixel", "jypixel-1", "jy/pix", "jypix-1"):
        return milli * beam_sr / float(np.radians(wcs.celestial.proj_plane_pixel_area().to_value("deg2") ** 0.5) ** 2)
    if plain in ("k", "ktmb", "kelvin"):
        return milli * 2.0 * _BOLTZMANN * (frequency_hz / _LIGHT_M_S) ** 2 / _JANSKY * beam_sr
    raise DataError(f"{path} is in {unit or 'no unit'}", remedy="convert it to K, Jy/beam or Jy/pixel")
