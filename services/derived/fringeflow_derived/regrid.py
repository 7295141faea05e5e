"""Masks and images brought to the grid of another cube: masks to the nearest voxel, images bilinearly."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from fringeflow_derived.cubes import FitsCube, same_grid, same_sky
from fringeflow_derived.sources import Array, CubeSource, Shape

_PIXELS_AT_ONCE = 1_000_000
_SNAP = 1e-3
"""Positions this close to the centre of a pixel, in pixels, are on it: world coordinates are no better."""


def onto_grid(mask: FitsCube, grid: FitsCube) -> CubeSource:
    """Return `mask` on the grid of `grid`: itself if the grids agree, else looked up (derived specification, W22)."""
    return mask if same_grid(mask, grid) else NearestMask(mask, grid)


def image_onto(image: FitsCube, grid: FitsCube) -> Array:
    """Return an image on the sky of another, interpolated bilinearly.

    A pixel is blank where any of the up to four it lies between is blank or beyond the image.

    Returns
    -------
    Array
        (ny, nx) of `grid`, float32.
    """
    values = image.plane(0)
    if same_sky(image, grid):
        return np.asarray(values, np.float32)
    _, height, width = grid.shape
    found = np.empty((height, width), np.float32)
    for start, row, column in _positions(image, grid):
        found[start : start + len(row)] = _bilinear(values, row, column)
    return found


class NearestMask:
    """A mask on another grid; what lies outside it is false."""

    def __init__(self, mask: FitsCube, grid: FitsCube) -> None:
        self._mask = mask
        self.shape: Shape = grid.shape
        self._y, self._x = _pixels(mask, grid)
        self._inside = (self._y >= 0) & (self._y < mask.shape[1]) & (self._x >= 0) & (self._x < mask.shape[2])
        self._channels = _channels(mask, grid)

    def plane(self, channel: int) -> Array:
        """Return the image of one channel of the new grid."""
        return self._look_up(channel, 0, self.shape[1])

    def rows(self, start: int, stop: int) -> Array:
        """Return some rows of all channels of the new grid."""
        return np.stack([self._look_up(channel, start, stop) for channel in range(self.shape[0])])

    def _look_up(self, channel: int, start: int, stop: int) -> Array:
        found = np.zeros((stop - start, self.shape[2]), bool)
        inside, other = self._inside[start:stop], self._channels[channel]
        if other >= 0 and inside.any():
            y, x = self._y[start:stop][inside], self._x[start:stop][inside]
            found[inside] = self._mask.plane(other)[y, x] > 0.5
        return found


def _bilinear(values: Array, row: Array, column: Array) -> Array:
    """Return `values` at fractional pixel positions."""
    height, width = values.shape
    y, x = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
    dy, dx = row - y, column - x
    total = np.zeros(row.shape)
    for step_y, weight_y in ((0, 1 - dy), (1, dy)):
        for step_x, weight_x in ((0, 1 - dx), (1, dx)):
            weight = weight_y * weight_x
            inside = (y + step_y >= 0) & (y + step_y < height) & (x + step_x >= 0) & (x + step_x < width)
            value = values[np.where(inside, y + step_y, 0), np.where(inside, x + step_x, 0)]
            total += np.where(weight > 0, weight * np.where(inside, value, np.nan), 0.0)
    return total


def _positions(other: FitsCube, grid: FitsCube) -> Iterator[tuple[int, Array, Array]]:
    """Yield (first row, row, column): where in `other` the pixels of some rows of `grid` lie; far out if nowhere."""
    from astropy import wcs  # takes a quarter of a second, and cubes of one target are nearly always on one grid

    _, height, width = grid.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wcs.FITSFixedWarning)
        ours, theirs = wcs.WCS(grid.header.header()).celestial, wcs.WCS(other.header.header()).celestial
    step = max(1, _PIXELS_AT_ONCE // width)
    for start in range(0, height, step):
        y, x = np.mgrid[start : min(start + step, height), 0:width]
        column, row = theirs.world_to_pixel(ours.pixel_to_world(x, y))
        yield start, _snapped(row), _snapped(column)


def _snapped(pixel: Array) -> Array:
    limit = np.iinfo(np.int32).max / 2
    known = np.where(np.abs(pixel) < limit, pixel, -10.0)
    whole = np.rint(known)
    return np.where(np.abs(known - whole) < _SNAP, whole, known)


def _pixels(mask: FitsCube, grid: FitsCube) -> tuple[Array, Array]:
    """Return row and column in `mask` of every pixel of `grid`, int32; -10 where the sky is out of reach."""
    y, x = np.empty(grid.shape[1:], np.int32), np.empty(grid.shape[1:], np.int32)
    for start, row, column in _positions(mask, grid):
        y[start : start + len(row)], x[start : start + len(row)] = np.rint(row), np.rint(column)
    return y, x


def _channels(mask: FitsCube, grid: FitsCube) -> Array:
    """Return the channel of `mask` nearest to each channel of `grid`; -1 where there is none within half a channel.

    An image counts in every channel.
    """
    if not mask.is_cube:
        return np.zeros(grid.shape[0], np.intp)
    velocities, wanted = mask.velocity_kms, grid.velocity_kms
    nearest = np.argmin(np.abs(velocities[np.newaxis] - wanted[:, np.newaxis]), axis=1)
    # A hair more than half a channel: rounding must not open a gap between two grids that touch.
    reach = 0.5 * mask.channel_kms * (1 + 1e-6)
    return np.where(np.abs(velocities[nearest] - wanted) <= reach, nearest, -1)
