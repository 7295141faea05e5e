"""A mask looked up on another cube's grid, nearest voxel, while it is read (derived specification, section 8.3)."""

from __future__ import annotations

import warnings

import numpy as np
from astropy import wcs

from fringeflow_derived.cubes import FitsCube, same_grid
from fringeflow_derived.sources import Array, CubeSource, Shape


def onto_grid(mask: FitsCube, grid: FitsCube) -> CubeSource:
    """Return `mask` on the grid of `grid`: itself if the grids agree, else looked up (derived specification, W22)."""
    return mask if same_grid(mask, grid) else NearestMask(mask, grid)


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


def _pixels(mask: FitsCube, grid: FitsCube) -> tuple[Array, Array]:
    """Return row and column in `mask` of every pixel of `grid`, int32; -1 where the sky is out of reach."""
    _, height, width = grid.shape
    y, x = np.mgrid[0:height, 0:width]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wcs.FITSFixedWarning)
        ours, theirs = wcs.WCS(grid.header).celestial, wcs.WCS(mask.header).celestial
    sky = ours.pixel_to_world(x, y)
    column, row = theirs.world_to_pixel(sky)
    return _rounded(row), _rounded(column)


def _rounded(pixel: Array) -> Array:
    limit = np.iinfo(np.int32).max / 2
    return np.rint(np.where(np.abs(pixel) < limit, pixel, -1.0)).astype(np.int32)


def _channels(mask: FitsCube, grid: FitsCube) -> Array:
    """Return the channel of `mask` nearest to each channel of `grid`; -1 where there is none within half a channel."""
    velocities, wanted = mask.velocity_kms, grid.velocity_kms
    nearest = np.argmin(np.abs(velocities[np.newaxis] - wanted[:, np.newaxis]), axis=1)
    # A hair more than half a channel: rounding must not open a gap between two grids that touch.
    reach = 0.5 * mask.channel_kms * (1 + 1e-6)
    return np.where(np.abs(velocities[nearest] - wanted) <= reach, nearest, -1)
