"""All maps of one cube in one pass over its rows (derived specification, section 9), on bare arrays.

A map does not depend on which others are made with it, nor on how many rows are read at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from fringeflow_derived import moments
from fringeflow_derived.kinds import KINDS
from fringeflow_derived.moments import MapPair, Spectra
from fringeflow_derived.parallel import ordered
from fringeflow_derived.sources import Array, CubeSource, is_true, row_blocks

_BYTES_PER_PIXEL = 64
"""Of every map: it and its error in double precision, and what they are made of. In few channels that is most."""

_BYTES_PER_VOXEL = 20
"""Of cube, noise and masks as they are read: in long rows, as short ones take longer to ask for than to read."""

_VOXELS_AT_ONCE = 1 << 19
"""What is computed at once: few enough for the processor's cache, many enough for what a call costs not to count."""


@dataclass(frozen=True)
class Inputs:
    """What maps are made from.

    Parameters
    ----------
    cube, noise, masks
        Sources on one grid; no noise: no uncertainties. Masks by name.
    velocity_kms, channel_kms
        Channel centres and width.
    rho
        Correlation of the noise over channels.
    scale
        What cube and noise are multiplied by to be in K.
    """

    cube: CubeSource
    noise: CubeSource | None
    masks: Mapping[str, CubeSource]
    velocity_kms: Array
    channel_kms: float
    rho: tuple[float, ...] = (1.0,)
    scale: float = 1.0

    def rows(self, start: int, stop: int) -> tuple[Array, Array | None]:
        """Return some rows of cube and noise, in K."""
        noise = None if self.noise is None else self._in_kelvin(self.noise.rows(start, stop))
        return self._in_kelvin(self.cube.rows(start, stop)), noise

    def spectra(self, data: Array, mask: Array | None, noise: Array | None) -> Spectra:
        """Return spectra of some pixels, each (nchan, pixels)."""
        return Spectra(data, self.velocity_kms, mask, noise, self.rho, self.channel_kms)

    def _in_kelvin(self, values: Array) -> Array:
        return values if self.scale == 1.0 else (values * self.scale).astype(np.float32)


@dataclass(frozen=True)
class Wanted:
    """One map to make: its algorithm, the name of the mask (None: all of the cube) and the algorithm's arguments."""

    algorithm: str
    mask: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


def compute(inputs: Inputs, wanted: Sequence[Wanted], *, rows: int | None = None, cores: int = 1) -> list[MapPair]:
    """Return (map, error) for each of `wanted`, float64; see `blocks` for the parameters."""
    parts = [pairs for _, pairs in blocks(inputs, wanted, rows=rows, cores=cores)]
    values = [np.concatenate([pair[0] for pair in column]) for column in zip(*parts, strict=True)]
    if inputs.noise is None:
        return [(image, None) for image in values]
    errors = [
        np.concatenate([pair[1] for pair in column if pair[1] is not None]) for column in zip(*parts, strict=True)
    ]
    return list(zip(values, errors, strict=True))


def blocks(
    inputs: Inputs, wanted: Sequence[Wanted], *, rows: int | None = None, cores: int = 1
) -> Iterator[tuple[int, list[MapPair]]]:
    """Yield the first row and (map, error) for each of `wanted`, block by block, each row of all inputs read once.

    Parameters
    ----------
    inputs
        Cube, noise and masks.
    wanted
        The maps.
    rows
        Rows per block; the maps do not depend on it.
    cores
        Blocks worked on at once; the maps do not depend on it.
    """
    names = list(dict.fromkeys(item.mask for item in wanted))
    ranges = {name: None if name is None else channel_range(inputs.masks[name]) for name in names}

    def make(block: tuple[int, int]) -> tuple[int, list[MapPair]]:
        start, stop = block
        data, noise = inputs.rows(start, stop)
        true = {name: None if name is None else is_true(inputs.masks[name].rows(start, stop)) for name in names}
        pairs = [(np.full(data.shape[1:], np.nan), np.full(data.shape[1:], np.nan)) for _ in wanted]
        for piece in _pieces(data.shape):
            pixels = _Pixels(_spectra_of(data, piece), None if noise is None else _spectra_of(noise, piece))
            for name in names:
                mask = true[name]
                part = _Masked(pixels, None if mask is None else _spectra_of(mask, piece), inputs, ranges[name])
                for item, pair in zip(wanted, pairs, strict=True):
                    if item.mask == name:
                        for side, found in zip(pair, part.make(item.algorithm, item.arguments), strict=True):
                            side[piece] = found.reshape(side[piece].shape)
        return start, [(values, None if noise is None else errors) for values, errors in pairs]

    per_voxel = _BYTES_PER_VOXEL + math.ceil(_BYTES_PER_PIXEL * len(wanted) / inputs.cube.shape[0])
    return ordered(make, row_blocks(inputs.cube.shape, per_voxel, rows), cores)


def channel_range(mask: CubeSource) -> tuple[int, int] | None:
    """Return the first and the last channel with a true voxel, None if there is none (derived, section 9.4)."""
    found = [channel for channel in range(mask.shape[0]) if is_true(mask.plane(channel)).any()]
    return (found[0], found[-1]) if found else None


def _pieces(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of parts of a block (nchan, ny, nx)."""
    channels, height, width = shape
    across = min(width, max(1, _VOXELS_AT_ONCE // channels))
    down = max(1, _VOXELS_AT_ONCE // (channels * across))
    for top, left in product(range(0, height, down), range(0, width, across)):
        yield np.s_[top : top + down, left : left + across]


def _spectra_of(block: Array, piece: tuple[slice, slice]) -> Array:
    """Return part of a block as (nchan, pixels)."""
    return block[:, *piece].reshape(len(block), -1)


class _Pixels:
    """Some pixels of the cube and its noise, (nchan, pixels), and what all masks share."""

    def __init__(self, data: Array, noise: Array | None) -> None:
        self.data = data
        self.noise = noise

    @cached_property
    def footprint(self) -> Array:
        """Pixels with data."""
        return np.asarray(np.isfinite(self.data).any(axis=0))

    @cached_property
    def median_noise(self) -> Array | None:
        """Median noise over channels."""
        return None if self.noise is None else moments.median_channel(self.noise)


class _Masked:
    """Some pixels under one mask: only those that it reaches are computed, unless an algorithm looks at all."""

    def __init__(self, pixels: _Pixels, mask: Array | None, inputs: Inputs, channels: tuple[int, int] | None) -> None:
        self._pixels = pixels
        self._mask = mask
        self._inputs = inputs
        self._channels = channels
        self._blank = mask is not None and channels is None
        self._reached = np.ones(pixels.data.shape[1], bool) if mask is None else np.asarray(mask.any(axis=0))

    def make(self, algorithm: str, options: Mapping[str, Any]) -> tuple[Array, Array]:
        """Return the map of these pixels and its errors."""
        values, errors = np.full((2, self._pixels.data.shape[1]), np.nan)
        kind = KINDS[algorithm].make
        if algorithm == "tpeak" and not options.get("masked"):
            footprint = self._pixels.footprint
            if not self._blank and footprint.any():
                _put(footprint, kind(self._all, channels=self._channels, **options), values, errors)
            return values, errors
        if self._reached.any():
            _put(self._reached, kind(self._few, **options), values, errors)
        if algorithm == "mom0" and options.get("include_limits", True):
            empty = self._pixels.footprint & ~self._reached
            values[empty] = 0.0
            if self._pixels.median_noise is not None:
                errors[empty] = moments.limit_error(
                    self._pixels.median_noise[empty],
                    self._inputs.channel_kms,
                    self._inputs.rho,
                    options.get("line_width_kms", moments.LINE_WIDTH_KMS),
                )
        return values, errors

    @cached_property
    def _all(self) -> Spectra:
        """Spectra of all pixels with data, unmasked; few of them have blanks."""
        return self._some(self._pixels.footprint, None)

    @cached_property
    def _few(self) -> Spectra:
        """Spectra of the pixels that the mask reaches."""
        return self._some(self._reached, self._mask)

    def _some(self, where: Array, mask: Array | None) -> Spectra:
        data, noise = self._pixels.data, self._pixels.noise
        if not where.all():
            data = data.compress(where, axis=1)
            mask, noise = (None if part is None else part.compress(where, axis=1) for part in (mask, noise))
        return self._inputs.spectra(data, mask, noise)


def _put(where: Any, pair: MapPair, values: Array, errors: Array) -> None:
    values[where] = pair[0]
    if pair[1] is not None:
        errors[where] = pair[1]
