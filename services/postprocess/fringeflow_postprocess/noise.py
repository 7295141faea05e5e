"""Noise of planes with signal in them, and the weights that follow from it. No files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

_GAUSSIAN_MAD = 0.6744897501960817
"""Median of the absolute values of a Gaussian of unit width."""

_ROUNDS = 5
_SIGNAL_SIGMAS = 3.0
_GROWTH_PIXELS = 2
_LEAST_PIXELS = 30
_GROUP = 5
_BLOCK = 16
_ENOUGH = 1_000_000
"""Of more pixels than twice as many only so many are looked at: the noise is known to better than 0.5 % from them."""


def flat_noise(image: NDArray[np.float32], response: NDArray[np.float32]) -> float:
    """Return the noise where the primary beam's response is one, of a corrected plane (postprocess spec., W-19).

    The plane is multiplied by the response, so that its noise is the same everywhere. Left out is signal: pixels that
    are improbable among so many (Chauvenet's criterion about the median, PP-07), what surrounds those that are bright,
    and blocks of pixels whose mean stands out.

    Returns
    -------
    float
        Standard deviation, NaN where fewer than 30 pixels are left or all are alike.
    """
    flat = np.where(np.isfinite(response), image * response, np.float32(np.nan))
    kept = np.isfinite(flat)
    for _ in range(_ROUNDS):
        middle, sigma = _scatter(flat[kept])
        if not sigma > 0:
            return float("nan")
        kept &= np.abs(flat - middle) < np.sqrt(2) * sigma * special.erfcinv(1 / (2 * kept.sum()))
    # Single pixels above the limit are noise: signal is at least as wide as the beam.
    bright = ndimage.binary_opening(flat > middle + _SIGNAL_SIGMAS * sigma, np.ones((2, 2), bool))
    free = kept & ~ndimage.binary_dilation(bright, iterations=_GROWTH_PIXELS)
    free &= ~_outstanding_blocks(flat, free)
    return _scatter(flat[free])[1] if free.sum() >= _LEAST_PIXELS else sigma


def _scatter(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return the median and the width of a Gaussian with the same median deviation from it; NaN of too few values."""
    if values.size < _LEAST_PIXELS:
        return float("nan"), float("nan")
    some = values[:: values.size // _ENOUGH | 1]  # an odd step does not keep to the same columns
    middle = np.median(some)
    return float(middle), float(np.median(np.abs(some - middle)) / _GAUSSIAN_MAD)


def _outstanding_blocks(flat: NDArray[np.float32], free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of blocks whose mean differs from the others': signal too faint to be seen in single pixels."""
    found = np.zeros(flat.shape, dtype=bool)
    ny, nx = (length // _BLOCK for length in flat.shape)
    inside = slice(ny * _BLOCK), slice(nx * _BLOCK)
    blocks = (ny, _BLOCK, nx, _BLOCK)
    count = free[inside].reshape(blocks).sum(axis=(1, 3))
    total = np.where(free, flat, np.float32(0))[inside].reshape(blocks).sum(axis=(1, 3), dtype=np.float64)
    full = count > _BLOCK**2 / 2
    if full.sum() < _LEAST_PIXELS:
        return found
    means = total / np.maximum(count, 1)
    middle, sigma = _scatter(means[full].astype(np.float32))
    out = full & (np.abs(means - middle) > _SIGNAL_SIGMAS * sigma)
    found[inside] = np.repeat(np.repeat(out, _BLOCK, axis=0), _BLOCK, axis=1)
    return found


def in_groups(sigmas: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the noise of every channel as the median of it and its neighbours', five in all (W-19).

    Channels without noise of their own get that of the nearest that has it; NaN if none has.
    """
    found = np.asarray(sigmas, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(found))
    if not known.size:
        return found
    smooth = np.array([np.nanmedian(found[max(0, i - _GROUP // 2) : i + _GROUP // 2 + 1]) for i in known])
    nearest = np.abs(np.arange(len(found))[:, None] - known[None]).argmin(axis=1)
    return np.asarray(smooth[nearest], dtype=np.float64)


def weight(response: NDArray[np.float32], sigma: float, valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the weight of a corrected plane, response^2 / sigma^2, blank where it is not `valid` (6.5, W-18)."""
    return np.where(valid, np.square(response, dtype=np.float32) / np.float32(sigma**2), np.float32(np.nan))
