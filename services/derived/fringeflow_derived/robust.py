"""The robust scale of samples of noise that may hold positive signal, from counts of how many have which size.

Counts add up, whatever the order, so scales of overlapping groups of samples cost little more than looking at each
sample once, and do not depend on how the work is divided. Arrays only.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from fringeflow_derived.sources import Array

SIGMA_PER_MAD = 1.482602218505602
"""Standard deviation of a Gaussian over its median absolute deviation."""

_MANTISSA_BITS = 3
_SHIFT = 23 - _MANTISSA_BITS
_NOT_FINITE = 0xFF << _MANTISSA_BITS
_SIGN = 0x100 << _MANTISSA_BITS


class Levels:
    """Classes of size and sign: positive samples of each size, negative ones, and one class for what does not count.

    Parameters
    ----------
    edges
        Ascending; what is smaller or larger counts with the smallest or the largest.
    """

    def __init__(self, edges: Array) -> None:
        self._half = len(edges) - 1
        self.count = 2 * self._half + 1
        """Number of classes."""
        self._edges = np.concatenate([[0.0], edges[1:]])

    def scales(self, counts: Array) -> tuple[Array, Array]:
        """Return the "negative-first" scale of groups of samples (derived specification, section 6.2).

        A first scale comes from the negative samples alone, which no emission reaches; with it, positive samples
        beyond the level at which half a false positive is expected are left out, and the scale of the rest is
        returned. Within a class samples are taken as evenly spread.

        Parameters
        ----------
        counts
            (n, `count`): how many samples of each group are in each class.

        Returns
        -------
        scale
            (n,) float64; NaN where a group has no negative sample.
        count
            (n,) number of finite samples.
        """
        positive = np.cumsum(counts[:, : self._half], axis=1, dtype=np.float64)
        negative = np.cumsum(counts[:, self._half : -1], axis=1, dtype=np.float64)
        number = positive[:, -1] + negative[:, -1]
        first = SIGMA_PER_MAD * self._quantile(negative, 0.5 * negative[:, -1])
        cut = ndtri(1 - 0.5 / np.maximum(number, 2)) * np.where(negative[:, -1] > 0, first, 0.0)
        kept = self._below(positive, cut)
        both = negative + np.minimum(positive, kept[:, np.newaxis])
        scale = SIGMA_PER_MAD * self._quantile(both, 0.5 * both[:, -1])
        return np.where(negative[:, -1] > 0, scale, np.nan), number.astype(int)

    def _quantile(self, cumulative: Array, rank: Array) -> Array:
        """Return the size that `rank` of the samples of each row fall below."""
        level = np.argmax(cumulative >= rank[:, np.newaxis], axis=1)
        rows = np.arange(len(cumulative))
        before = np.where(level > 0, cumulative[rows, level - 1], 0.0)
        inside = cumulative[rows, level] - before
        share = (rank - before) / np.maximum(inside, 1e-300)
        found: Array = self._edges[level] + share * (self._edges[level + 1] - self._edges[level])
        return found

    def _below(self, cumulative: Array, size: Array) -> Array:
        """Return how many samples of each row are smaller than `size`."""
        level = np.clip(np.searchsorted(self._edges, size, side="right") - 1, 0, self._half - 1)
        rows = np.arange(len(cumulative))
        before = np.where(level > 0, cumulative[rows, level - 1], 0.0)
        share = (size - self._edges[level]) / (self._edges[level + 1] - self._edges[level])
        return np.asarray(before + np.minimum(share, 1.0) * (cumulative[rows, level] - before))


class FloatLevels(Levels):
    """Classes 8 to the octave that need no arithmetic: a float's exponent and the first bits of its mantissa.

    Parameters
    ----------
    octaves
        Sizes from ``2**-octaves`` to ``2**octaves`` are told apart.
    """

    def __init__(self, octaves: int) -> None:
        self._lowest = (127 - octaves) << _MANTISSA_BITS
        half = 2 * octaves << _MANTISSA_BITS
        edges = np.arange(self._lowest, self._lowest + half + 1, dtype=np.int32) << _SHIFT
        super().__init__(edges.view(np.float32).astype(np.float64))
        self._classes = self._of_every_code()

    def of(self, values: Array) -> Array:
        """Return the class of each value (float32), int32."""
        codes = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32) >> _SHIFT
        return self._classes.take(codes)

    def _of_every_code(self) -> Array:
        """Return the class of each code: sign, exponent and first bits of the mantissa of a float."""
        codes = np.arange(2 * _SIGN, dtype=np.int32)
        size = codes % _SIGN
        found: Array = np.clip(size - self._lowest, 0, self._half - 1)
        found[codes > _SIGN] += self._half  # what is -0 is not negative
        found[size >= _NOT_FINITE] = self.count - 1
        return found
