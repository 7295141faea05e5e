"""A smooth image through values that were measured here and there. Arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy import sparse

from fringeflow_derived.beams import FWHM_PER_SIGMA
from fringeflow_derived.sources import Array

TREND_BOXES = 3.0
"""FWHM of the region that a trend is fitted to, in boxes."""

_POWERS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
_REACH_SIGMA = 8.0
_EXCESS = 1.0
_ROWS_AT_ONCE = 64


class Places:
    """Where values were measured in an image; what follows from that alone is worked out once.

    Parameters
    ----------
    ys, xs
        Pixels that are rows and columns of what was measured, ascending: it lies at their crossings.
    shape
        Of the image.
    box
        Side of the boxes that were measured, in pixels.
    """

    def __init__(self, ys: Array, xs: Array, shape: tuple[int, int], box: int) -> None:
        self._places = (ys, xs)
        self._shape = shape
        self._box = box

    def spread(self, scales: Array, onto: Array | None = None) -> Array:
        """Return positive values smoothed with a round Gaussian, a box wide, on every pixel.

        `scales` are (rows, columns), NaN where not measured: those have no weight. An image that is given as `onto` is
        multiplied with them and returned: images of large cubes are large, too, and so there is one at a time.
        """
        image = np.ones(self._shape) if onto is None else onto
        measured = np.isfinite(scales)
        if not measured.any():
            image[...] = np.nan
            return image
        typical = np.median(scales[measured])
        # Sparse products sum in a fixed order, unlike dense ones, which may depend on the number of threads.
        down, across = self._smoothing
        values, weights = down @ np.where(measured, scales, 0.0), down @ measured.astype(float)
        for start in range(0, len(image), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            total, weight = ((across @ part[rows].T).T for part in (values, weights))
            with np.errstate(invalid="ignore", divide="ignore"):
                image[rows] *= np.where(weight > 0, total / weight, typical)
        return image

    def trend(self, scales: Array, weights: Array, ridge: float) -> Array:
        """Return the local trend of positive values on every pixel: paraboloids fitted to their logarithms.

        The noise of an interferometer rises steeply towards the edge of the primary beam's response, as the exponential
        of a paraboloid for a Gaussian one. An average over measurements on one side only falls short of such a rise; a
        local fit (Cleveland and Devlin 1988, JASA 83, 596) does not.

        Parameters
        ----------
        scales
            As `spread` takes them.
        weights
            Of the values.
        ridge
            Holds slopes and curvatures near 0 where too little is measured to tell: the variance of what is fitted over
            that of slopes within the dispersion of the region.
        """
        measured = np.isfinite(scales) & (scales > 0)
        if not measured.any():
            return np.ones(self._shape)
        values, weights = np.log(np.where(measured, scales, 1.0)), np.where(measured, weights, 0.0)
        fitted = self._fit(values, weights, ridge)
        lowest, highest = values[measured].min() - _EXCESS, values[measured].max() + _EXCESS
        down, across = self._interpolations
        found = _both(down, np.clip(fitted, lowest, highest), across)
        return np.asarray(np.exp(found, out=found))

    def _fit(self, values: Array, weights: Array, ridge: float) -> Array:
        """Return the value at each node of the paraboloid that fits best around it."""
        parts, across = self._neighbourhoods
        found = []
        for down in parts:
            moments = {(a, b): both for a in range(5) for b, both in enumerate(_all(down[a], weights, across[: 5 - a]))}
            first = {a: down[a] @ (weights * values) for a in range(3)}
            right = np.stack([(across[b] @ first[a].T).T for a, b in _POWERS], axis=-1)
            left = np.stack([np.stack([moments[a + c, b + d] for a, b in _POWERS], -1) for c, d in _POWERS], -1)
            total = np.maximum(moments[0, 0], np.finfo(float).tiny)[..., np.newaxis]
            left = left / total[..., np.newaxis] + np.diag([1e-12] + [ridge] * 5)
            found.append(np.linalg.solve(left, (right / total)[..., np.newaxis])[..., 0, 0])
        return np.concatenate(found)

    @cached_property
    def _nodes(self) -> tuple[Array, Array]:
        down, across = (_nodes(size, max(1, self._box // 3)) for size in self._shape)
        return down, across

    @cached_property
    def _smoothing(self) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Weights (image, places) of a smoothing, along both axes."""
        down, across = (
            _gaussian(np.arange(size), places, self._box)
            for size, places in zip(self._shape, self._places, strict=True)
        )
        return down, across

    @cached_property
    def _interpolations(self) -> tuple[sparse.csr_array, sparse.csr_array]:
        down, across = (_interpolation(*both) for both in zip(self._shape, self._nodes, strict=True))
        return down, across

    @cached_property
    def _neighbourhoods(self) -> tuple[list[list[sparse.csr_array]], list[sparse.csr_array]]:
        """Weights (nodes, places) by power of the distance: of some rows at a time, and of all columns."""
        fwhm = TREND_BOXES * self._box
        (rows, columns), (ys, xs) = self._nodes, self._places
        parts = [
            [_gaussian(rows[start : start + _ROWS_AT_ONCE], ys, fwhm, power) for power in range(5)]
            for start in range(0, len(rows), _ROWS_AT_ONCE)
        ]
        return parts, [_gaussian(columns, xs, fwhm, power) for power in range(5)]


def _nodes(size: int, step: int) -> Array:
    """Return at least four places along an axis, the outermost on its ends."""
    return np.linspace(0, max(size - 1, 3), max(4, -(-size // step) + 1))


def _gaussian(to: Array, start: Array, fwhm: float, power: int = 0) -> sparse.csr_array:
    """Return Gaussian weights (to, start), times a power of the distance in its dispersion."""
    sigma = fwhm / FWHM_PER_SIGMA
    first = np.searchsorted(start, to - _REACH_SIGMA * sigma)
    last = np.searchsorted(start, to + _REACH_SIGMA * sigma)
    rows = np.repeat(np.arange(len(to)), last - first)
    ends = np.concatenate([[0], np.cumsum(last - first)])
    columns = np.arange(len(rows)) - np.repeat(ends[:-1] - first, last - first)
    distance = (start[columns] - to[rows]) / sigma
    return sparse.csr_array((np.exp(-0.5 * distance**2) * distance**power, columns, ends), shape=(len(to), len(start)))


def _interpolation(size: int, nodes: Array) -> sparse.csr_array:
    """Return weights (size, nodes) of cubic interpolation between the four nodes next to each pixel."""
    pixels = np.arange(size)
    first = np.clip(np.searchsorted(nodes, pixels) - 2, 0, len(nodes) - 4)
    columns = first[:, np.newaxis] + np.arange(4)
    at = nodes[columns]
    weights = np.ones((size, 4))
    for i in range(4):
        for j in range(4):
            if i != j:
                weights[:, i] *= (pixels - at[:, j]) / (at[:, i] - at[:, j])
    return sparse.csr_array((weights.ravel(), columns.ravel(), np.arange(0, 4 * size + 1, 4)), shape=(size, len(nodes)))


def _all(down: sparse.csr_array, values: Array, across: Sequence[sparse.csr_array]) -> list[Array]:
    first = (down @ values).T
    return [np.asarray((one @ first).T) for one in across]


def _both(down: sparse.csr_array, values: Array, across: sparse.csr_array) -> Array:
    return np.asarray((across @ (down @ values).T).T)
