"""Stacked spectra: the mean of all spectra of a region after each has been moved to velocity 0.

>>> from fringeflow_derived import stacking
>>> stacks = stacking.stack(cube, velocity_kms, field_kms, labels, noise=noise, weights=intensity)

Works on arrays and other sources of rows (`sources`), a block of rows at a time (derived specification, section 12).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from fringeflow_derived.shuffle import Kernel, noise_factor, offsets, shift, shift_nearest
from fringeflow_derived.sources import Array, CubeSource, as_source, row_blocks

BACKGROUND = (0,)
_BYTES_PER_VOXEL = 120


@dataclass(frozen=True)
class Stack:
    """The stacked spectrum of one region.

    `velocity_kms` is that of the cube's axis less that of channel n//2. `spectrum` and `error` (None without noise)
    are (nchan,) in the cube's unit, NaN in channels that no spectrum of the region reaches; `pixels` (nchan,) is how
    many do.
    """

    label: int
    velocity_kms: Array
    spectrum: Array
    error: Array | None
    pixels: Array


def stack(
    data: Array | CubeSource,
    velocity_kms: Array,
    field_kms: Array,
    labels: Array,
    *,
    noise: Array | CubeSource | None = None,
    weights: Array | None = None,
    background: Collection[int] = BACKGROUND,
    rho: tuple[float, ...] = (1.0,),
    correlated_pixels: float = 1.0,
    kernel: Kernel = "fourier",
    rows: int | None = None,
) -> list[Stack]:
    """Return the stacked spectrum of every region, by ascending label.

    In each channel it is the weighted mean of the spectra that have data there, so that a blank channel costs only
    itself and its weight.

    Parameters
    ----------
    data
        (nchan, ny, nx), NaN where blank.
    velocity_kms
        (nchan,) of the channel centres.
    field_kms
        (ny, nx) velocities that become 0, NaN where unknown: such spectra are left out.
    labels
        (ny, nx): the region of each pixel as a whole number, or a Boolean image of one region.
    noise
        Like `data`. None: no errors.
    weights
        (ny, nx), none below 0; blank counts as 0. None: equal weights.
    background
        Labels that are no regions.
    rho
        Correlation of the noise over channels (`correlation.measure`), for kernels that mix them.
    correlated_pixels
        Over how many pixels the noise is the same: the sum of its spatial autocorrelation. It is a beam's area in
        pixels for naturally weighted images, two beams' for white noise that has been smoothed with the beam.
    kernel
        How spectra are moved (`shuffle.ShuffleOptions`).
    rows
        Rows per block; the spectra do not depend on it.

    Raises
    ------
    ValueError
        A weight is below 0, or an image has not the cube's shape.
    """
    cube = as_source(data)
    sigma = None if noise is None else as_source(noise)
    weight = _weights(weights, cube.shape[1:])
    if field_kms.shape != cube.shape[1:] or labels.shape != cube.shape[1:]:
        raise ValueError(f"velocities {field_kms.shape} and labels {labels.shape} for a cube of shape {cube.shape}")
    channels = offsets(velocity_kms, field_kms)
    numbers = labels.astype(np.int64)
    found = [int(label) for label in np.unique(numbers) if label not in background]
    sums = {label: _Sums(cube.shape[0]) for label in found}
    factor = noise_factor(channels, rho, kernel)
    # One row after the other: sums must not depend on how many rows a block has.
    for start, stop in row_blocks(cube.shape, _BYTES_PER_VOXEL, rows):
        moved = shift(cube.rows(start, stop), channels[start:stop], kernel).astype(np.float64)
        scaled = None
        if sigma is not None:
            scaled = shift_nearest(sigma.rows(start, stop), channels[start:stop]) * factor[start:stop]
        for row in range(stop - start):
            for label, chosen in _members(numbers[start + row], found):
                spread = None if scaled is None else scaled[:, row, chosen]
                sums[label].add(moved[:, row, chosen], weight[start + row, chosen], spread)
    axis = np.asarray(velocity_kms, np.float64) - velocity_kms[len(velocity_kms) // 2]
    return [sums[label].stack(label, axis, correlated_pixels, with_error=sigma is not None) for label in found]


class _Sums:
    """Running sums over the spectra of one region."""

    def __init__(self, count: int) -> None:
        self._total, self._weight = np.zeros(count), np.zeros(count)
        self._variance, self._coherent = np.zeros(count), np.zeros(count)
        self._pixels = np.zeros(count, np.int64)

    def add(self, spectra: Array, weight: Array, noise: Array | None) -> None:
        """Add spectra (nchan, pixels) with their weights (pixels,)."""
        valid = np.isfinite(spectra) & (weight > 0)
        share = np.where(valid, weight, 0.0)
        self._total += (share * np.where(valid, spectra, 0.0)).sum(axis=1)
        self._weight += share.sum(axis=1)
        self._pixels += valid.sum(axis=1)
        if noise is not None:
            scaled = share * np.where(np.isfinite(noise), noise, 0.0)
            self._variance += (scaled**2).sum(axis=1)
            self._coherent += scaled.sum(axis=1)

    def stack(self, label: int, axis: Array, correlated_pixels: float, *, with_error: bool) -> Stack:
        """Return the means."""
        with np.errstate(invalid="ignore", divide="ignore"):
            spectrum = self._total / self._weight
            # However correlated, noise is no worse than if it were the same everywhere.
            spread = np.minimum(np.sqrt(self._variance * max(1.0, correlated_pixels)), self._coherent)
            error = spread / self._weight if with_error else None
        return Stack(label, axis, spectrum, error, self._pixels)


def _weights(weights: Array | None, shape: tuple[int, ...]) -> Array:
    if weights is None:
        return np.ones(shape)
    if weights.shape != shape or (weights < 0).any():
        raise ValueError("weights are one image of the cube's size, and none is below 0")
    return np.where(np.isfinite(weights), weights, 0.0).astype(np.float64)


def _members(row: Array, labels: list[int]) -> Iterator[tuple[int, Array]]:
    """Yield the labels in one row of pixels, and where they are."""
    present = set(np.unique(row).tolist())
    yield from ((label, row == label) for label in labels if label in present)
