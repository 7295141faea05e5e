"""Reading FITS images and cubes plane by plane, with their beam, pixel, velocities and cutouts.

Nothing here knows file names or figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS

from fringeflow.errors import CorruptInputError
from fringeflow_derived import spectral

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Header = Any


@dataclass(frozen=True)
class Beam:
    """An elliptical Gaussian beam: full widths at half maximum, position angle from north through east."""

    major_arcsec: float
    minor_arcsec: float
    pa_deg: float

    @property
    def area_arcsec2(self) -> float:
        """Integral of the beam of unit peak."""
        return math.pi / (4 * math.log(2)) * self.major_arcsec * self.minor_arcsec


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels, ends excluded."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rectangle as array indices."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


@dataclass(frozen=True)
class Plane:
    """A two-dimensional image and its header."""

    data: Array
    header: Header

    def cut(self, window: Window) -> Array:
        """Return the pixels inside `window`."""
        return self.data[window.slices]


class Cube:
    """An open cube (velocity, y, x), read one plane at a time."""

    def __init__(self, hdu: Any, path: Path) -> None:
        self._hdu = hdu
        self.header: Header = hdu.header
        if self.header["NAXIS"] < 3:
            raise CorruptInputError(f"{path} is not a cube: it has {self.header['NAXIS']} axes")
        self.shape: tuple[int, int, int] = (self.header["NAXIS3"], self.header["NAXIS2"], self.header["NAXIS1"])
        self.path = path

    def plane(self, channel: int, window: Window | None = None) -> Array:
        """Return one channel, or the part of it inside `window`."""
        y, x = window.slices if window else (slice(None), slice(None))
        degenerate = (0,) * (self.header["NAXIS"] - 3)
        return np.asarray(self._hdu.section[(*degenerate, channel, y, x)], dtype=np.float64)

    def planes(self, window: Window | None = None) -> Iterator[Array]:
        """Yield every channel in order."""
        return (self.plane(channel, window) for channel in range(self.shape[0]))


@contextmanager
def open_cube(path: Path, like: Cube | None = None) -> Iterator[Cube]:
    """Open a cube for reading by planes.

    Raises
    ------
    CorruptInputError
        If the file is no cube, or its shape is not that of `like`.
    """
    try:
        hdus = fits.open(path, memmap=True)
    except OSError as error:
        raise CorruptInputError(f"{path} cannot be read as FITS: {error}") from error
    with hdus:
        cube = Cube(hdus[0], path)
        if like is not None and cube.shape != like.shape:
            raise CorruptInputError(f"{path} has shape {cube.shape}, {like.path.name} has {like.shape}")
        yield cube


def read_plane(path: Path) -> Plane:
    """Read a two-dimensional image; degenerate axes are dropped.

    Raises
    ------
    CorruptInputError
        If the file is not FITS, or not a single image.
    """
    try:
        with fits.open(path) as hdus:
            data = np.asarray(hdus[0].data, dtype=np.float64)
            header = hdus[0].header.copy()
    except (OSError, TypeError) as error:
        raise CorruptInputError(f"{path} cannot be read as a FITS image: {error}") from error
    squeezed = data.reshape([size for size in data.shape if size > 1] or [1, 1])
    if squeezed.ndim != 2:
        raise CorruptInputError(f"{path} is not a single image: its shape is {data.shape}")
    return Plane(squeezed, header)


def sky(header: Header) -> WCS:
    """Return the celestial part of the header's world coordinates."""
    return WCS(header, fix=False).celestial


def pixel_arcsec(header: Header) -> float:
    """Return the side in arcsec of the square that has the pixel's area."""
    return math.sqrt(abs(float(header["CDELT1"]) * float(header["CDELT2"]))) * 3600


def beam_of(header: Header) -> Beam | None:
    """Return the beam of the header's cards, or None."""
    if "BMAJ" not in header:
        return None
    return Beam(float(header["BMAJ"]) * 3600, float(header["BMIN"]) * 3600, float(header.get("BPA", 0.0)))


def velocities_kms(header: Header) -> Array:
    """Return the velocity of each channel, in the convention of the axis."""
    return spectral.velocities_kms(header, header["NAXIS3"])


def channel_kms(header: Header) -> float:
    """Return the channel width."""
    return spectral.channel_width_kms(header, header["NAXIS3"])


def window_around(where: Mask, *, margin: float = 0.5, least: int = 24) -> Window:
    """Return a square around the True pixels, grown by `margin` of their extent, shifted to stay inside the image.

    With no True pixel the whole image is returned.
    """
    height, width = where.shape
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    if rows.size == 0:
        return Window(0, height, 0, width)
    extent = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
    side = max(round(extent * (1 + margin)), least)
    spans = []
    for found, size in ((rows, height), (columns, width)):
        length = min(side, size)
        start = round((found[0] + found[-1] + 1 - length) / 2)
        start = min(max(start, 0), size - length)
        spans += [start, start + length]
    return Window(*spans)
