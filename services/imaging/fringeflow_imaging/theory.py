"""The noise that pointings, beams and weights predict, place by place, after correction for the primary beam.

Arrays and numbers only (imaging specification, section 19, with W25); `pointings_of` reads a measurement set's tables.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from fringeflow.errors import DataError, MissingInputError
from fringeflow_imaging.plan import opened_table

Floats = NDArray[np.float64]

_FWHM_AT_300_GHZ = {12.0: 19.0, 7.0: 33.0}  # arcsec, of ALMA's dishes
_TO_SIGMA = 1.0 / math.sqrt(8.0 * math.log(2.0))
_HEADER_LINES = 2  # of an observing tool's table
_PIXELS_PER_BEAM, _PADDING_BEAMS = 10.0, 2.0
_BOLTZMANN_JY_M2 = 1380.649  # k in Jy m2 / K
_ROWS = 100_000


@dataclass(frozen=True)
class Pointings:
    """Where was looked, how long (in any unit), and the noise of a unit of it in the centre of the beam.

    With exposures of 1 and noises in Jy/beam the map is in Jy/beam; with noises of 1 it is relative.
    """

    ra_deg: Floats
    dec_deg: Floats
    exposure: Floats
    noise: Floats

    @staticmethod
    def of(
        ra_deg: Sequence[float] | Floats,
        dec_deg: Sequence[float] | Floats,
        exposure: Sequence[float] | float = 1.0,
        noise: Sequence[float] | float = 1.0,
    ) -> Pointings:
        """Return pointings of which exposure and noise may be one for all.

        Raises
        ------
        DataError
            No pointing, or an exposure or noise that is not positive.
        """
        ra, dec = np.atleast_1d(np.asarray(ra_deg, float)), np.atleast_1d(np.asarray(dec_deg, float))
        times, noises = (np.broadcast_to(np.asarray(one, float), ra.shape) for one in (exposure, noise))
        if not ra.size or ra.shape != dec.shape or not ((times > 0) & (noises > 0)).all():
            raise DataError("pointings need right ascensions, declinations, and exposures and noises above zero")
        return Pointings(ra, dec, times, noises)


def fwhm_arcsec(dish_m: float, frequency_ghz: float) -> float:
    """Return the width of the primary beam: 19 arcsec at 300 GHz for 12 m, 33 for 7 m, as 1/D for other dishes."""
    return _FWHM_AT_300_GHZ.get(dish_m, 12.0 * _FWHM_AT_300_GHZ[12.0] / dish_m) * 300.0 / frequency_ghz


def radiometer_jy(
    tsys_k: float,
    dish_m: float,
    antennas: int,
    seconds: float,
    bandwidth_hz: float,
    *,
    efficiency: float = 0.7,
    polarisations: int = 2,
) -> float:
    """Return the noise of an image of one pointing with natural weights.

    ``2 k T / (efficiency A sqrt(n (n - 1) polarisations bandwidth time))`` (Thompson, Moran & Swenson 2017, 6.2).
    """
    area = math.pi * dish_m**2 / 4.0
    samples = antennas * (antennas - 1) * polarisations * bandwidth_hz * seconds
    return 2.0 * _BOLTZMANN_JY_M2 * tsys_k / (efficiency * area * math.sqrt(samples))


def sky_box(
    pointings: Pointings, fwhm: float, *, pixel_arcsec: float | None = None, square: bool = False
) -> tuple[WCS, tuple[int, int]]:
    """Return a grid about all pointings, two beams (FWHM, arcsec) wider on every side, and its (ny, nx).

    SIN projection, ICRS, an odd number of pixels with the reference in the middle one, north up.
    """
    pixel = pixel_arcsec or fwhm / _PIXELS_PER_BEAM
    centre = _middle(pointings)
    west, north = _offsets(pointings, centre)
    wcs = WCS(naxis=2)
    middle = [float((side.max() + side.min()) / 2) for side in (west, north)]
    lengths = [2 * math.ceil((float(np.ptp(side)) / 2 + _PADDING_BEAMS * fwhm) / pixel) + 1 for side in (west, north)]
    lengths = [max(lengths)] * 2 if square else lengths
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.crval = list(centre)
    wcs.wcs.cdelt = [-pixel / 3600.0, pixel / 3600.0]
    wcs.wcs.crpix = [length // 2 + 1 - shift / pixel for length, shift in zip(lengths, middle, strict=True)]
    wcs.wcs.radesys = "ICRS"
    return wcs, (lengths[1], lengths[0])


def noise_map(
    pointings: Pointings, fwhm: float, grid: WCS, shape: tuple[int, int], *, support_factor: float = 1.0
) -> Floats:
    """Return the noise, (ny, nx), in the unit of the pointings' noise; NaN where nothing was observed.

    ``(sum of exposure / noise**2 * beam**2) ** -1/2``, where beam is a Gaussian of width `fwhm` (arcsec), cut at
    `support_factor` widths.
    """
    centre = float(grid.wcs.crval[0]), float(grid.wcs.crval[1])
    west, north = _offsets(pointings, centre)
    columns = (np.arange(shape[1]) + 1 - grid.wcs.crpix[0]) * -grid.wcs.cdelt[0] * 3600.0
    rows = (np.arange(shape[0]) + 1 - grid.wcs.crpix[1]) * grid.wcs.cdelt[1] * 3600.0
    weight = pointings.exposure / pointings.noise**2
    total = np.zeros(shape)
    for x, y, one in zip(west, north, weight, strict=True):
        squared = (columns[np.newaxis, :] - x) ** 2 + (rows[:, np.newaxis] - y) ** 2
        beam_squared = np.exp(-squared / (fwhm * _TO_SIGMA) ** 2)
        total += np.where(squared <= (support_factor * fwhm) ** 2, one * beam_squared, 0.0)
    return np.sqrt(1.0 / np.where(total > 0, total, np.nan))


def normalised(noise: Floats) -> Floats:
    """Return a map over its largest finite value."""
    return noise / float(np.nanmax(noise))


def read_tables(paths: Sequence[Path]) -> Pointings:
    """Return the pointings of an observing tool's tables: CSV, RA and Dec in degrees first, data from the third line.

    Raises
    ------
    MissingInputError, DataError
        A file that is not there; a line that does not begin with two numbers.
    """
    places: list[tuple[float, float]] = []
    for path in paths:
        if not path.is_file():
            raise MissingInputError(f"{path} is not there")
        with path.open(newline="") as file:
            for number, row in enumerate(csv.reader(file), 1):
                if number > _HEADER_LINES and any(cell.strip() for cell in row):
                    places.append(_place(path, number, row))
    return Pointings.of([ra for ra, _ in places], [dec for _, dec in places])


def pointings_of(ms: Path, channel: int | None = None) -> Pointings:
    """Return the fields of a measurement set with the noise (Jy/beam) of natural weights, of a channel or of all.

    The weights are taken for what they should be, one over the square of the noise of a visibility (Jy).
    """
    sums: dict[int, float] = {}
    with opened_table(ms) as main:
        for start in range(0, int(main.nrows()), _ROWS):
            fields, flags, weight = (main.getcol(name, start, _ROWS) for name in ("FIELD_ID", "FLAG", "WEIGHT"))
            kept = ~flags[:, slice(None) if channel is None else slice(channel, channel + 1), :]
            of_row = (kept.sum(axis=1) * weight).sum(axis=0)
            for field in np.unique(fields):
                sums[int(field)] = sums.get(int(field), 0.0) + float(of_row[fields == field].sum())
    known = [field for field, total in sorted(sums.items()) if total > 0]
    with opened_table(ms / "FIELD") as table:
        places = np.degrees([table.getcell("PHASE_DIR", field).reshape(2, -1)[:, 0] for field in known])
    if not known:
        raise DataError(f"all visibilities of {ms} are flagged or without weight", remedy="check what was staged")
    return Pointings.of(places[:, 0], places[:, 1], noise=[sums[field] ** -0.5 for field in known])


def _middle(pointings: Pointings) -> tuple[float, float]:
    """Return the direction in the middle, wherever right ascension wraps."""
    ra, dec = np.radians(pointings.ra_deg), np.radians(pointings.dec_deg)
    x, y, z = (float(np.mean(one)) for one in (np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)))
    return math.degrees(math.atan2(y, x)) % 360.0, math.degrees(math.atan2(z, math.hypot(x, y)))


def _offsets(pointings: Pointings, centre: tuple[float, float]) -> tuple[Floats, Floats]:
    """Return the offsets from `centre` to the west and to the north in the SIN projection, arcsec."""
    ra, dec = np.radians(pointings.ra_deg), np.radians(pointings.dec_deg)
    ra0, dec0 = (math.radians(one) for one in centre)
    east = np.cos(dec) * np.sin(ra - ra0)
    north = np.sin(dec) * math.cos(dec0) - np.cos(dec) * math.sin(dec0) * np.cos(ra - ra0)
    arcsec = 3600.0 * 180.0 / math.pi
    return -east * arcsec, north * arcsec


def _place(path: Path, number: int, row: Sequence[str]) -> tuple[float, float]:
    try:
        return float(row[0]), float(row[1])
    except (IndexError, ValueError) as error:
        raise DataError(
            f"{path}, line {number}: {','.join(row)!r} does not begin with right ascension and declination",
            remedy="give both in decimal degrees, from the third line on",
        ) from error
