"""FITS cubes and images as sources of planes and rows, with what their headers say in the units used here.

Knows FITS and world coordinates; knows nothing of noise, masks or maps.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from astropy.io import fits

from fringeflow.errors import CorruptInputError, DataError
from fringeflow.fitsio import Planes
from fringeflow_derived.beams import Beam, kelvin_per_jansky
from fringeflow_derived.sources import Array, RawCube, Shape

SPEED_OF_LIGHT_KMS = 299792.458
_DISK_TYPES = {-32: ">f4", -64: ">f8", 8: "u1", 16: ">i2", 32: ">i4"}
_KMS_PER_UNIT = {"m/s": 1e-3, "m s-1": 1e-3, "km/s": 1.0, "km s-1": 1.0, "": 1e-3}
_HERTZ_PER_UNIT = {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9, "": 1.0}
_GRID_CARDS = ("CRVAL", "CDELT", "CRPIX")


class FitsCube:
    """A FITS cube, or an image as a cube of one channel, opened for reading; use as a context manager.

    Parameters
    ----------
    path
        An uncompressed FITS file whose first image is the cube.

    Raises
    ------
    MissingInputError, CorruptInputError, DataError
        It is not there, not FITS, shorter than its header says, or has more than one Stokes plane.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with Planes(path) as planes:
            self.header: fits.Header = planes.header
            self.is_cube = planes.is_cube
            self.shape: Shape = planes.shape
            image = next(hdu for hdu in planes.hdus if hdu.is_image and hdu.header["NAXIS"] >= 2)
            offset, bitpix = int(image.fileinfo()["datLoc"]), int(image.header["BITPIX"])
            self.beams = _beams(planes.hdus, self.shape[0])
        if path.stat().st_size < offset + math.prod(self.shape) * abs(bitpix) // 8:
            raise CorruptInputError(
                f"{path} is shorter than its header says, or compressed", remedy="make or unpack it again"
            )
        self._raw = RawCube(path, self.shape, _DISK_TYPES[bitpix], offset)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()

    def plane(self, channel: int) -> Array:
        """Return the image of one channel."""
        return self._raw.plane(channel)

    def rows(self, start: int, stop: int) -> Array:
        """Return some rows of all channels."""
        return self._raw.rows(start, stop)

    def card(self, name: str) -> float:
        """Return a number from the header.

        Raises
        ------
        DataError
            It is not there.
        """
        if name not in self.header:
            raise DataError(f"{self.path}: the header has no {name}", remedy=f"add the card {name} and try again")
        return float(self.header[name])

    @property
    def unit(self) -> str:
        """BUNIT; must be there."""
        unit = str(self.header.get("BUNIT", "")).strip()
        if not unit:
            raise DataError(f"{self.path}: the header has no BUNIT", remedy="add the card BUNIT, e.g. 'K'")
        return unit

    @cached_property
    def beam(self) -> Beam:
        """The beam of all channels; of a cube with a beam table, the one with the largest major axis."""
        if self.beams:
            return max(self.beams, key=lambda beam: beam.major_arcsec)
        return Beam(
            self.card("BMAJ") * 3600,
            float(self.header.get("BMIN", self.card("BMAJ"))) * 3600,
            float(self.header.get("BPA", 0.0)),
        )

    @cached_property
    def cell_arcsec(self) -> float:
        """Side of the square pixel that has the pixel's area."""
        if "CD1_1" in self.header:
            entries = [float(self.header.get(name, 0.0)) for name in ("CD1_1", "CD2_2", "CD1_2", "CD2_1")]
            return 3600 * math.sqrt(abs(entries[0] * entries[1] - entries[2] * entries[3]))
        return 3600 * math.sqrt(abs(self.card("CDELT1") * self.card("CDELT2")))

    @property
    def pixels_per_beam(self) -> float:
        """Beam area over pixel area."""
        return self.beam.pixels(self.cell_arcsec)

    @property
    def east_is_left(self) -> bool:
        """Whether right ascension grows to the left."""
        return float(self.header.get("CDELT1", self.header.get("CD1_1", -1.0))) < 0

    @cached_property
    def velocity_kms(self) -> Array:
        """Velocities of the channel centres in the radio convention."""
        return _velocities(self, self.spectral_axis)

    @cached_property
    def channel_kms(self) -> float:
        """Channel width: the median distance of neighbours, or that of a fictitious neighbour of a single channel."""
        around = np.append(self.spectral_axis, self.spectral_axis[-1] + self.card("CDELT3"))
        return float(np.median(np.abs(np.diff(_velocities(self, around)[: max(2, self.shape[0])]))))

    @cached_property
    def spectral_axis(self) -> Array:
        """Channel centres in the unit of the axis."""
        step = float(self.header["CD3_3"]) if "CD3_3" in self.header else self.card("CDELT3")
        return self.card("CRVAL3") + (np.arange(self.shape[0]) + 1 - self.card("CRPIX3")) * step

    def to_kelvin(self) -> float:
        """Return what values are multiplied by to be in K.

        Raises
        ------
        DataError
            The unit is neither K nor Jy/beam.
        """
        unit = self.unit.replace(" ", "").lower()
        if unit == "k":
            return 1.0
        if unit in ("jy/beam", "jybeam-1", "beam-1jy"):
            frequency = self.card("RESTFRQ") / 1e9
            return float(self.header.get("JYTOK", kelvin_per_jansky(frequency, self.beam)))
        raise DataError(f"{self.path}: BUNIT is {self.unit!r}", remedy="give the cube in K or Jy/beam")


def same_grid(first: FitsCube, second: FitsCube) -> bool:
    """Return whether two cubes have the same shape and world coordinates (derived specification, W22)."""
    if first.shape != second.shape:
        return False
    axes = (1, 2, 3) if first.is_cube and second.is_cube else (1, 2)
    for axis in axes:
        step = abs(float(first.header.get(f"CDELT{axis}", 1.0))) or 1.0
        if str(first.header.get(f"CTYPE{axis}", "")) != str(second.header.get(f"CTYPE{axis}", "")):
            return False
        for card in _GRID_CARDS:
            scale = 1.0 if card == "CRPIX" else step
            a, b = (float(cube.header.get(f"{card}{axis}", 0.0)) for cube in (first, second))
            # A thousandth of a pixel over the whole image is no difference.
            if abs(a - b) > 1e-3 * scale / (max(first.shape) if card == "CDELT" else 1):
                return False
    return True


def _velocities(cube: FitsCube, axis: Array) -> Array:
    kind = str(cube.header.get("CTYPE3", "")).split("-")[0].strip().upper()
    unit = str(cube.header.get("CUNIT3", "")).strip()
    if kind in ("VRAD", "VELO", "VOPT", "FELO") and unit in _KMS_PER_UNIT:
        return np.asarray(axis * _KMS_PER_UNIT[unit])
    if kind == "FREQ" and unit.lower() in _HERTZ_PER_UNIT:
        frequencies = axis * _HERTZ_PER_UNIT[unit.lower()]
        return np.asarray(SPEED_OF_LIGHT_KMS * (1 - frequencies / cube.card("RESTFRQ")))
    raise DataError(
        f"{cube.path}: CTYPE3 is {kind or 'missing'} in {unit or 'no unit'}",
        remedy="give the spectral axis as velocity (m/s, km/s) or frequency (Hz) with RESTFRQ",
    )


def _beams(hdus: fits.HDUList, channels: int) -> tuple[Beam, ...]:
    """Return one beam per channel from CASA's beam table, or nothing if there is no table."""
    table = next((hdu for hdu in hdus if hdu.name == "BEAMS" and isinstance(hdu, fits.BinTableHDU)), None)
    if table is None or len(table.data) != channels:
        return ()
    scale = 3600.0 if str(table.columns["BMAJ"].unit or "arcsec").startswith("deg") else 1.0
    return tuple(Beam(float(row["BMAJ"]) * scale, float(row["BMIN"]) * scale, float(row["BPA"])) for row in table.data)
