"""Planes brought from one grid to another: the sky by cubic splines, weights linearly, channels as means. No files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fringeflow_postprocess import sky
from fringeflow_postprocess.channels import Mixture
from fringeflow_postprocess.sky import Sky

Plane = NDArray[np.float32]

_SNAP = 1e-3
"""Positions this close to the centre of a pixel, in pixels, are on it."""

_WHOLE = 1 - 1e-6

_RIM = 8
"""Pixels about a plane, and into its blank areas, to which it is continued: a spline reaches no farther."""

_Places = tuple[NDArray[np.integer], NDArray[np.integer]]


class _Footprint:
    """Where a plane is `valid`, and where the target is `covered` by that."""

    def __init__(self, valid: NDArray[np.bool_], covered: NDArray[np.bool_]) -> None:
        self.valid, self.covered = valid, covered

    @cached_property
    def _places(self) -> tuple[_Places, _Places, _Places]:
        return _mirrored(np.pad(self.valid, _RIM))

    def continued(self, plane: Plane) -> Plane:
        """Return `plane` with a rim, continued into blank pixels so that a spline does not ring at edges.

        A blank pixel mirrors the valid ones beyond the nearest edge, with the other sign about the value there: level
        and slope go on.
        """
        nearest, blank, mirrored = self._places
        padded = np.pad(plane, _RIM, constant_values=np.nan)
        filled: Plane = padded[nearest]
        edge, mirror = filled[blank], padded[mirrored]
        filled[blank] = np.where(np.isfinite(mirror), 2 * edge - mirror, edge)
        return filled


class Regrid:
    """The way from one grid to another, worked out once for all planes.

    A pixel is valid if all pixels it lies between are. Where both grids are parts of one lattice values are copied.

    Parameters
    ----------
    source, target
        The grids; results have the shape of the target.
    """

    def __init__(self, source: Sky, target: Sky) -> None:
        self._shape, self._source = target.shape, source.shape
        self._offset = source.offset_in(target)
        self._y = self._x = np.empty((0, 0))
        self._box: tuple[slice, slice] = (slice(0), slice(0))
        if self._offset is None:
            rows, columns = sky.reach(target, source)
            self._box = (slice(*rows), slice(*columns))
            if rows[0] < rows[1] and columns[0] < columns[1]:
                self._y, self._x = map(_snapped, sky.positions(target.part(rows, columns), source))
        self._known: list[_Footprint] = []

    def image(self, plane: Plane) -> Plane:
        """Return an image on the target grid, interpolated by cubic splines; NaN is blank."""
        return self._brought(plane, self._sampled_cubic)

    def weight(self, plane: Plane) -> Plane:
        """Return weights on the target grid, interpolated linearly so that none becomes negative (W-18)."""
        return self._brought(plane, lambda plane, at: self._sampled(np.where(at.valid, plane, np.float32(0))))

    def _brought(self, plane: Plane, sampled: Callable[[Plane, _Footprint], Plane]) -> Plane:
        """Return a plane on the target grid, with the values that `sampled` makes of it and of where it is valid."""
        if self._offset is not None:
            return self._shifted(plane)
        valid = np.isfinite(plane)
        if not valid.any() or not self._y.size:
            return np.full(self._shape, np.nan, np.float32)
        footprint = self._footprint(valid)
        return self._placed(np.where(footprint.covered, sampled(plane, footprint), np.float32(np.nan)))

    def _footprint(self, valid: NDArray[np.bool_]) -> _Footprint:
        """Return what follows from where a plane is valid; of two that take turns, image and weight, it is known."""
        for known in self._known:
            if np.array_equal(known.valid, valid):
                return known
        found = _Footprint(valid, self._sampled(valid) >= _WHOLE)
        self._known = [found, *self._known[:1]]
        return found

    def _sampled_cubic(self, plane: Plane, footprint: _Footprint) -> Plane:
        filled = footprint.continued(plane)
        coefficients = ndimage.spline_filter(filled, order=3, output=np.float64)
        result = np.empty(self._y.shape, np.float32)
        ndimage.map_coordinates(coefficients, [self._y + _RIM, self._x + _RIM], output=result, prefilter=False)
        return result

    def _sampled(self, values: NDArray[np.bool_] | Plane) -> Plane:
        """Return bilinearly interpolated values, zero beyond the edges."""
        result = np.empty(self._y.shape, np.float32)
        source = values.astype(np.float32)
        ndimage.map_coordinates(source, [self._y, self._x], output=result, order=1, mode="constant", cval=0.0)
        return result

    def _placed(self, part: Plane) -> Plane:
        result = np.full(self._shape, np.nan, np.float32)
        result[self._box] = part
        return result

    def _shifted(self, plane: Plane) -> Plane:
        result = np.full(self._shape, np.nan, np.float32)
        ours, theirs = [], []
        for start, length, room in zip(self._offset or (), plane.shape, self._shape, strict=True):
            first, last = max(start, 0), min(start + length, room)
            ours.append(slice(first, max(last, first)))
            theirs.append(slice(first - start, max(last, first) - start))
        result[tuple(ours)] = plane[tuple(theirs)]
        return result


def _mirrored(valid: NDArray[np.bool_]) -> tuple[_Places, _Places, _Places]:
    """Return for all pixels the nearest valid one, the blank ones near valid ones, and those as far beyond the edge."""
    nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    y, x = np.nonzero(~valid & ndimage.binary_dilation(valid, np.ones((3, 3), bool), iterations=_RIM))
    beyond = [
        np.clip(2 * edge[y, x] - here, 0, length - 1)
        for edge, here, length in zip(nearest, (y, x), valid.shape, strict=True)
    ]
    return (nearest[0], nearest[1]), (y, x), (beyond[0], beyond[1])


def mixed(planes: Sequence[Plane], mixture: Mixture, shape: tuple[int, int]) -> Plane:
    """Return the mean of `planes` with the shares of `mixture`; blank where any is, or if there are none."""
    if not planes:
        return np.full(shape, np.nan, np.float32)
    if len(planes) == 1:
        return planes[0]
    total = np.zeros(shape)
    for plane, (_, share) in zip(planes, mixture, strict=True):
        total += share * plane
    return total.astype(np.float32)


def _snapped(pixel: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.where(np.isfinite(pixel), pixel, -10.0)
    whole = np.rint(known)
    return np.where(np.abs(known - whole) < _SNAP, whole, known)
