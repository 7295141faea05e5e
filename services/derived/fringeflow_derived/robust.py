"""The robust scale of samples of noise that may hold positive signal, many samples at once. Arrays only."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from fringeflow_derived.sources import Array

SIGMA_PER_MAD = 1.482602218505602
"""Standard deviation of a Gaussian over its median absolute deviation."""


def robust_scale(samples: Array) -> tuple[Array, Array]:
    """Return the "negative-first" scale of each row of samples (derived specification, section 6.2).

    A first scale comes from the negative samples alone, which no emission reaches; with it, positive samples beyond
    the level at which half a false positive is expected are left out, and the scale of the rest is returned.

    Parameters
    ----------
    samples
        (n, m); values that are not finite do not count.

    Returns
    -------
    scale
        (n,) float64; NaN where a row has no negative sample.
    count
        (n,) number of finite samples.
    """
    if not samples.size:
        return np.full(len(samples), np.nan), np.zeros(len(samples), int)
    ordered = np.sort(np.where(np.isfinite(samples), samples, np.float32(np.nan)), axis=1)  # NaN come last
    count = np.count_nonzero(~np.isnan(ordered), axis=1)
    negative = np.count_nonzero(ordered < 0, axis=1)
    rows = np.arange(len(ordered))
    lower, upper = (negative - 1) // 2, negative // 2
    first = -0.5 * (ordered[rows, lower].astype(np.float64) + ordered[rows, upper])
    first = np.where(negative > 0, SIGMA_PER_MAD * first, np.nan)
    cut = ndtri(1 - 0.5 / np.maximum(count, 2)) * first
    kept = np.count_nonzero(ordered < cut[:, np.newaxis], axis=1)
    middle = _smallest_magnitudes(ordered, negative, kept, np.stack([(kept - 1) // 2, kept // 2]))
    return np.where(kept > 0, SIGMA_PER_MAD * 0.5 * middle.sum(axis=0), np.nan), count


def _smallest_magnitudes(ordered: Array, negative: Array, kept: Array, rank: Array) -> Array:
    """Return the magnitudes of ranks `rank` (ranks, n) among the first `kept` values of each of n ordered rows.

    The magnitudes of the negative values (backwards) and of the others are two ordered lists: a binary search for how
    many of the smallest come from the first list spares sorting again.
    """
    flat, width = ordered.ravel(), ordered.shape[1]
    first = np.arange(len(ordered)) * width

    def value(column: Array) -> Array:
        found: Array = flat[first + np.minimum(np.maximum(column, 0), width - 1)]
        return found

    low = np.maximum(0, rank + 1 - (kept - negative))
    high = np.minimum(negative, rank + 1)
    while np.any(searching := low < high):
        middle = (low + high) // 2
        below = -value(negative - 1 - middle) < value(negative + rank - middle)
        low = np.where(searching & below, middle + 1, low)
        high = np.where(searching & ~below, middle, high)
    from_negative = -value(negative - low).astype(np.float64)
    from_positive = value(negative + rank - low).astype(np.float64)
    found: Array = np.fmax(np.where(low > 0, from_negative, 0.0), np.where(rank - low >= 0, from_positive, 0.0))
    return found
