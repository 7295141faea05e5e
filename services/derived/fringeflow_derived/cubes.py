"""FITS cubes and images as sources of planes and rows, with what their headers say in the units used here.

Knows FITS and world coordinates; knows nothing of noise, masks or maps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from fringeflow.errors import DataError
from fringeflow.fitscards import Cards
from fringeflow.fitsplanes import Planes
from fringeflow_derived import formats, spectral
from fringeflow_derived.beams import Beam, kelvin_per_jansky
from fringeflow_derived.sources import Array, RawCube, Shape

if TYPE_CHECKING:
    from astropy.io import fits

_DISK_TYPES = {-32: ">f4", -64: ">f8", 8: "u1", 16: ">i2", 32: ">i4"}
_KELVIN = {"k": 1.0, "kelvin": 1.0, "mk": 1e-3}
_JANSKY = {"jy": 1.0, "mjy": 1e-3, "ujy": 1e-6}
_PER_BEAM = re.compile(r"([a-z]+)/beam|([a-z]+)[. ]beam-1|beam-1[. ]([a-z]+)")
_GRID_CARDS = ("CRVAL", "CDELT", "CRPIX")
_TURNING_CARDS = (
    *(f"{kind}{i}_{j}" for kind in ("PC", "CD") for i in (1, 2) for j in (1, 2)),
    *("CROTA1", "CROTA2", "LONPOLE", "LATPOLE", "RADESYS", "EQUINOX", "PV2_1", "PV2_2"),
)


class FitsCube:
    """A FITS cube, or an image as a cube of one channel, opened for reading; use as a context manager.

    Parameters
    ----------
    path
        A FITS file whose first image is the cube, or a CASA image. One that is compressed, and a CASA image, are first
        copied to a plain file in the folder for temporary files, which goes when the cube is closed.

    Raises
    ------
    MissingInputError, CorruptInputError, DataError
        It is not there, not FITS, shorter than its header says, or has more than one Stokes plane.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._life = ExitStack()
        with ExitStack() as life:
            planes = None if path.is_dir() else life.enter_context(Planes(path))
            if planes is None or not planes.is_plain:
                folder = Path(life.enter_context(TemporaryDirectory(prefix="fringeflow-cube-")))
                planes = life.enter_context(Planes(formats.to_plain(path, folder)))
            self._raw = life.enter_context(closing(self._of(planes)))
            self._life = life.pop_all()

    def _of(self, planes: Planes) -> RawCube:
        self.header: Cards = planes.cards
        self.is_cube = planes.is_cube
        self.shape: Shape = planes.shape
        self._scale = _Scale.of(planes.stored)
        self.beams = _beams(planes.hdus, self.shape[0]) if planes.has_more else ()
        return RawCube(planes.path, self.shape, _DISK_TYPES[planes.bits], planes.offset)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._life.close()

    def plane(self, channel: int) -> Array:
        """Return the image of one channel."""
        return self._scale(self._raw.plane(channel))

    def rows(self, start: int, stop: int) -> Array:
        """Return some rows of all channels."""
        return self._scale(self._raw.rows(start, stop))

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

    @cached_property
    def cells_arcsec(self) -> tuple[float, float]:
        """Width and height of a pixel."""
        if "CD1_1" in self.header:
            entries = {name: float(self.header.get(name, 0.0)) for name in ("CD1_1", "CD2_1", "CD1_2", "CD2_2")}
            return (
                3600 * math.hypot(entries["CD1_1"], entries["CD2_1"]),
                3600 * math.hypot(entries["CD1_2"], entries["CD2_2"]),
            )
        return 3600 * abs(self.card("CDELT1")), 3600 * abs(self.card("CDELT2"))

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
        """Velocities of the channel centres, in the convention that `spectral.convention` tells."""
        return spectral.velocities_kms(self.header, self.shape[0], str(self.path))

    @cached_property
    def channel_kms(self) -> float:
        """Channel width: the median distance of neighbours, or that of a fictitious neighbour of a single channel."""
        return spectral.channel_width_kms(self.header, self.shape[0], str(self.path))

    def to_kelvin(self) -> float:
        """Return what values are multiplied by to be in K.

        Raises
        ------
        DataError
            The unit is neither K nor Jy/beam, or the latter without a rest frequency.
        """
        unit = self.unit.lower()
        if unit in _KELVIN:
            return _KELVIN[unit]
        found = _PER_BEAM.fullmatch(unit)
        flux = found and _JANSKY.get(next(part for part in found.groups() if part))
        if not flux:
            raise DataError(f"{self.path}: BUNIT is {self.unit!r}", remedy="give the cube in K or Jy/beam")
        if "JYTOK" in self.header:
            return flux * float(self.header["JYTOK"])
        return flux * kelvin_per_jansky(spectral.rest_hz(self.header, str(self.path)) / 1e9, self.beam)


@dataclass(frozen=True)
class _Scale:
    """Turns stored numbers into values: BSCALE, BZERO, and the BLANK of integers."""

    factor: float
    zero: float
    blank: int | None

    @classmethod
    def of(cls, header: Cards) -> _Scale:
        blank = header.get("BLANK") if int(header["BITPIX"]) > 0 else None
        return cls(float(header.get("BSCALE", 1.0)), float(header.get("BZERO", 0.0)), blank)

    def __call__(self, stored: Array) -> Array:
        if self.factor == 1.0 and self.zero == 0.0 and self.blank is None:
            return stored
        values = np.empty(stored.shape, np.float32)
        for into, part in zip(values, stored, strict=True):  # one at a time, for their sizes in double precision
            into[...] = part * self.factor + self.zero
            if self.blank is not None:
                into[part == self.blank] = np.nan
        return values


@contextmanager
def open_cube(where: str | Path, *, scratch: Path | None = None) -> Iterator[FitsCube]:
    """Open a cube for reading, wherever it lies: ``with open_cube("s3://bucket/cube.fits") as cube: ...``.

    Parameters
    ----------
    where
        A path or a URL (see `formats.local`) of a FITS file, compressed or not, or of a CASA image.
    scratch
        Folder for what must be fetched.
    """
    with formats.local(where, scratch=scratch) as path, FitsCube(path) as cube:
        yield cube


def same_grid(first: FitsCube, second: FitsCube) -> bool:
    """Return whether two cubes have the same shape and world coordinates (derived specification, W22)."""
    axes = (1, 2, 3) if first.is_cube and second.is_cube else (1, 2)
    return first.shape == second.shape and _same_axes(first, second, axes)


def same_sky(first: FitsCube, second: FitsCube) -> bool:
    """Return whether the pixels of two cubes or images lie at the same places of the sky."""
    turned = [[str(cube.header.get(name)) for name in _TURNING_CARDS] for cube in (first, second)]
    return first.shape[1:] == second.shape[1:] and turned[0] == turned[1] and _same_axes(first, second, (1, 2))


def _same_axes(first: FitsCube, second: FitsCube, axes: tuple[int, ...]) -> bool:
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


def _beams(hdus: fits.HDUList, channels: int) -> tuple[Beam, ...]:
    """Return one beam per channel from CASA's beam table, or nothing if there is no table.

    A blank channel has a beam of no width there, which the largest of the others stands in for.
    """
    from astropy.io import fits

    table = next((hdu for hdu in hdus if hdu.name == "BEAMS" and isinstance(hdu, fits.BinTableHDU)), None)
    if table is None or len(table.data) != channels:
        return ()
    scale = 3600.0 if str(table.columns["BMAJ"].unit or "arcsec").startswith("deg") else 1.0
    found = [Beam(float(row["BMAJ"]) * scale, float(row["BMIN"]) * scale, float(row["BPA"])) for row in table.data]
    largest = max((beam for beam in found if beam.minor_arcsec > 0), key=lambda beam: beam.major_arcsec, default=None)
    return () if largest is None else tuple(beam if beam.minor_arcsec > 0 else largest for beam in found)
