"""Grids on the sky, where the pixels of one lie in another, and the grid that holds several. No pixel values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from astropy import wcs
from astropy.coordinates import SkyCoord
from astropy.io import fits
from numpy.typing import NDArray

from fringeflow.errors import DataError

_CARDS = ("CTYPE", "CRVAL", "CDELT", "CUNIT", "CROTA")
_FRAME = ("RADESYS", "EQUINOX", "LONPOLE", "LATPOLE")
_ROWS_AT_ONCE = 256
_LATTICE = 1e-4
"""Grids whose pixels lie this close to each other, in pixels, are the same."""
_EDGE_POINTS = 65
_WIDEST_DEG = 30.0
MOST_PIXELS = 10_000
"""Of an axis of a mosaic, unless more is asked for."""


@dataclass(frozen=True)
class Sky:
    """A celestial grid: its cards, and its shape (y, x)."""

    header: fits.Header
    shape: tuple[int, int]

    @staticmethod
    def of(header: fits.Header, shape: tuple[int, ...]) -> Sky:
        """Return the grid of an image or cube whose first two axes are celestial."""
        own = fits.Header()
        for axis in (1, 2):
            for name in (*(f"{card}{axis}" for card in (*_CARDS, "CRPIX")), f"PC{axis}_1", f"PC{axis}_2"):
                if name in header:
                    own[name] = header[name]
        for card in header:
            if card in _FRAME or card.startswith(("PV1_", "PV2_", "CD1_", "CD2_")):
                own[card] = header[card]
        return Sky(own, (int(shape[-2]), int(shape[-1])))

    @cached_property
    def wcs(self) -> wcs.WCS:
        """The transformation."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wcs.FITSFixedWarning)
            return wcs.WCS(self.header)

    @property
    def pixel_arcsec(self) -> float:
        """Size of a pixel."""
        return float(np.sqrt(wcs.utils.proj_plane_pixel_area(self.wcs)) * 3600)

    @property
    def increments_arcsec(self) -> tuple[float, float]:
        """Of x (negative where east is left) and y."""
        return float(self.header["CDELT1"] * 3600), float(self.header["CDELT2"] * 3600)

    def offset_in(self, other: Sky) -> tuple[int, int] | None:
        """Return where (y, x) the first pixel lies in `other` if both are parts of one lattice, else None."""
        skip = {"CRPIX1", "CRPIX2", "LATPOLE"}
        cards = {card for card in (*self.header, *other.header) if card not in skip}
        if not all(_agree(_card(self.header, card), _card(other.header, card)) for card in cards):
            return None
        shifts = [other.header[f"CRPIX{axis}"] - self.header[f"CRPIX{axis}"] for axis in (2, 1)]
        whole = [round(shift) for shift in shifts]
        if any(abs(shift - near) > _LATTICE for shift, near in zip(shifts, whole, strict=True)):
            return None
        return whole[0], whole[1]

    def points(self) -> SkyCoord:
        """Return points along the outer edge of the outermost pixels; straight edges are curved on the sky (W-07)."""
        ny, nx = self.shape
        along = np.linspace(0, 1, _EDGE_POINTS)
        x = np.concatenate([along * nx, along * nx, 0 * along, 0 * along + nx]) - 0.5
        y = np.concatenate([0 * along, 0 * along + ny, along * ny, along * ny]) - 0.5
        return self.wcs.pixel_to_world(x, y)

    def wider(self, pixels: int) -> Sky:
        """Return the grid with a margin on all sides."""
        return self.part((-pixels, self.shape[0] + pixels), (-pixels, self.shape[1] + pixels))

    def part(self, y: tuple[int, int], x: tuple[int, int]) -> Sky:
        """Return the grid of some rows and columns."""
        header = self.header.copy()
        header["CRPIX1"], header["CRPIX2"] = header["CRPIX1"] - x[0], header["CRPIX2"] - y[0]
        return Sky(header, (y[1] - y[0], x[1] - x[0]))


def positions(grid: Sky, other: Sky) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (y, x): where in `other` the pixels of `grid` lie, NaN where its projection does not reach.

    Every pixel is transformed exactly (W-28).

    Returns
    -------
    tuple of ndarray
        Both of shape ``grid.shape``.
    """
    y, x = np.empty(grid.shape), np.empty(grid.shape)
    for start in range(0, grid.shape[0], _ROWS_AT_ONCE):
        rows, columns = np.mgrid[start : min(start + _ROWS_AT_ONCE, grid.shape[0]), 0 : grid.shape[1]]
        found = other.wcs.world_to_pixel(grid.wcs.pixel_to_world(columns, rows))
        x[start : start + len(rows)], y[start : start + len(rows)] = found
    return y, x


def reach(grid: Sky, other: Sky) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the rows and columns of `grid` within which `other` lies; empty ranges if nowhere.

    Its edge and its centre are looked at; a pixel is added all round for what lies between the points of the edge.
    """
    x, y = grid.wcs.world_to_pixel(other.points())
    if not np.isfinite(x).any():
        return (0, 0), (0, 0)
    limits = []
    for values, length in ((y, grid.shape[0]), (x, grid.shape[1])):
        first, last = math.floor(np.nanmin(values)) - 1, math.ceil(np.nanmax(values)) + 2
        low = min(max(first, 0), length)
        limits.append((low, max(min(last, length), low)))
    return limits[0], limits[1]


def around(
    parts: Sequence[Sky],
    *,
    centre: SkyCoord | None = None,
    extent_arcsec: tuple[float, float] | None = None,
    most_pixels: int = MOST_PIXELS,
) -> Sky:
    """Return a grid that holds all `parts`, wherever on the sky they lie (W-07).

    It has the smallest of their pixels (W-30). Parts of one lattice keep it, so that nothing is interpolated; else the
    grid is a projection, of the kind of the first part, about the middle of all.

    Parameters
    ----------
    parts
        At least one.
    centre, extent_arcsec
        Middle and extent (x, y) wanted instead of those of the parts.
    most_pixels
        Largest length of an axis.

    Raises
    ------
    DataError
        The parts are tens of degrees apart, or the grid would be too large.
    """
    offsets = [part.offset_in(parts[0]) for part in parts]
    lattice = [offset for offset in offsets if offset is not None]
    if len(lattice) == len(parts) and centre is None and extent_arcsec is None:
        first = [min(offset[axis] for offset in lattice) for axis in (0, 1)]
        last = [
            max(offset[axis] + part.shape[axis] for offset, part in zip(lattice, parts, strict=True)) for axis in (0, 1)
        ]
        result = parts[0].part((first[0], last[0]), (first[1], last[1]))
    else:
        middle = _middle(parts) if centre is None else centre
        result = _centred(parts, middle, extent_arcsec)
        if centre is None and extent_arcsec is None:  # about the middle of what is there, not of its points
            x, y = (result.shape[1] - 1) / 2, (result.shape[0] - 1) / 2
            result = _centred(parts, result.wcs.pixel_to_world(x, y), None)
    if max(result.shape) > most_pixels:
        raise DataError(
            f"a mosaic of {result.shape[1]} x {result.shape[0]} pixels is too large",
            remedy="limit it with linearmosaic_deltara and linearmosaic_deltadec in the overrides",
        )
    return result


def _middle(parts: Sequence[Sky]) -> SkyCoord:
    """Return the direction of the mean of unit vectors to points of all edges."""
    points = [part.points() for part in parts]
    frame = points[0].frame.replicate_without_data()
    vectors = np.concatenate([point.transform_to(frame).cartesian.xyz.value.T for point in points])
    x, y, z = vectors[np.isfinite(vectors).all(axis=1)].mean(axis=0)
    middle = SkyCoord(
        math.degrees(math.atan2(y, x)) % 360, math.degrees(math.atan2(z, math.hypot(x, y))), unit="deg", frame=frame
    )
    if any(point.separation(middle).deg.max() > _WIDEST_DEG for point in points):
        raise DataError("the parts of the mosaic are tens of degrees apart", remedy="correct the linear mosaic key")
    return middle


def _centred(parts: Sequence[Sky], centre: SkyCoord, extent_arcsec: tuple[float, float] | None) -> Sky:
    finest = min(parts, key=lambda part: part.pixel_arcsec)
    size = finest.pixel_arcsec / 3600
    header = fits.Header()
    kind = str(parts[0].header["CTYPE1"])[-3:]
    frame = parts[0].wcs.pixel_to_world(0, 0).frame.replicate_without_data()
    own = centre.transform_to(frame)
    for axis, name, value, step in (
        (1, "RA---", own.spherical.lon.deg, -size),
        (2, "DEC--", own.spherical.lat.deg, size),
    ):
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = f"{name}{kind}", float(value), step
        header[f"CRPIX{axis}"], header[f"CUNIT{axis}"] = 1.0, "deg"
    for card in ("RADESYS", "EQUINOX"):
        if card in parts[0].header:
            header[card] = parts[0].header[card]
    header["LONPOLE"] = 180.0
    sky = Sky(header, (1, 1))
    if extent_arcsec is None:
        pixels = [sky.wcs.world_to_pixel(part.points()) for part in parts]
        x, y = (np.concatenate([pixel[axis] for pixel in pixels]) for axis in (0, 1))
        columns, rows = ((math.floor(v.min() + 1e-6), math.ceil(v.max() - 1e-6) + 1) for v in (x, y))
    else:
        columns, rows = (
            (-half, half + 1) for half in (math.ceil(length / 3600 / size / 2 - 1e-6) for length in extent_arcsec)
        )
    return sky.part(rows, columns)


_DEFAULTS = {"PC1_1": 1.0, "PC2_2": 1.0, "PC1_2": 0.0, "PC2_1": 0.0, "CROTA1": 0.0, "CROTA2": 0.0, "LONPOLE": 180.0}
_DEFAULTS |= {"PV2_1": 0.0, "PV2_2": 0.0}


def _card(header: fits.Header, name: str) -> object:
    return header.get(name, _DEFAULTS.get(name))


def _agree(ours: object, theirs: object) -> bool:
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return math.isclose(ours, theirs, rel_tol=1e-10, abs_tol=1e-11)
    return ours == theirs or (isinstance(ours, str) and isinstance(theirs, str) and ours.strip() == theirs.strip())
