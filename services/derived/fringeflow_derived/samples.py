"""The samples of one cube that its noise is measured with, and how many of them are of which size. Arrays only."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fringeflow_derived.codes import LEVELS, Codes
from fringeflow_derived.parallel import ordered
from fringeflow_derived.robust import FloatLevels
from fringeflow_derived.sources import Array, CubeSource, row_blocks

_ALL_LEVELS = FloatLevels(octaves=100)
_BYTES_PER_VOXEL = 32
_KEPT_BYTES = 128_000_000


class CodedSamples:
    """Every so many pixels of a cube, divided by a model of its noise and counted by size as often as needed.

    Parameters
    ----------
    data
        (nchan, ny, nx), NaN where blank.
    stride
        Of the samples, in pixels both ways.
    rows
        Rows per block; no count depends on it.
    cores
        Blocks looked at at once; no count depends on it.
    """

    def __init__(self, data: CubeSource, stride: int, rows: int | None, cores: int) -> None:
        self._data = data
        self._stride = stride
        self._cores = cores
        self._blocks = self._whole_strides(rows)
        self._signal: CubeSource | None = None
        self._kept: dict[int, Array] = {}
        self._chosen: dict[int, Array] = {}
        self.footprint: Array = np.zeros(data.shape[1:], bool)
        """Pixels with data in any channel."""
        self.typical = self._survey()
        """Scale of all samples; NaN if none is negative."""
        self.codes = Codes(self.typical)
        self._keep_codes()

    def leave_out(self, signal: CubeSource | None) -> None:
        """Count no samples where `signal` (Boolean, as the data in shape) is true from now on."""
        self._signal = signal
        self._chosen = {}

    def by_pixel(self, image: Array, spectrum: Array) -> Iterator[tuple[int, Array]]:
        """Yield each sampled row, and how many of the quotients of each of its pixels are of which of `LEVELS`."""
        width = len(range(0, self._data.shape[2], self._stride))
        offsets = LEVELS.count * np.arange(width)[:, np.newaxis]

        def count(number: int) -> list[Array]:
            levels = self._levels(number, image, spectrum)
            levels += offsets
            counts = [np.bincount(row.ravel(), minlength=LEVELS.count * width) for row in levels]
            return [found.reshape(width, -1).astype(np.int32) for found in counts]

        parts = ordered(count, range(len(self._blocks)), self._cores)
        for (start, _), block in zip(self._blocks, parts, strict=True):
            for i, counts in enumerate(block):
                yield start + i * self._stride, counts

    def by_channel(self, image: Array, spectrum: Array) -> Array:
        """Return how many of the quotients of each channel are of which of `LEVELS`."""
        channels = self._data.shape[0]
        offsets = LEVELS.count * np.arange(channels)

        def count(number: int) -> Array:
            levels = self._levels(number, image, spectrum)
            levels += offsets
            return np.bincount(levels.ravel(), minlength=LEVELS.count * channels)

        total = np.zeros(LEVELS.count * channels, np.int64)
        for counts in ordered(count, range(len(self._blocks)), self._cores):
            total += counts
        return total.reshape(channels, -1)

    def _whole_strides(self, rows: int | None) -> list[tuple[int, int]]:
        """Return blocks of rows that start where samples do."""
        shape = self._data.shape
        counts = 12 * LEVELS.count / (shape[0] * self._stride**2)
        _, stop = next(row_blocks(shape, math.ceil(_BYTES_PER_VOXEL + counts), rows))
        return list(row_blocks(shape, 1, max(1, stop // self._stride) * self._stride))

    def _survey(self) -> float:
        """Find the footprint and return the typical scale; keep the samples of a cube small enough."""
        small = math.prod(self._data.shape) // self._stride**2 * 4 <= _KEPT_BYTES
        counts = np.zeros(_ALL_LEVELS.count, np.int64)

        def look(block: tuple[int, int]) -> tuple[Array, Array, Array]:
            values = self._data.rows(*block)
            samples = np.array(self._thinned(values), np.float32)
            found = np.bincount(_ALL_LEVELS.of(samples).ravel(), minlength=_ALL_LEVELS.count)
            return np.asarray(np.isfinite(values).any(axis=0)), samples, found

        for number, (finite, samples, found) in enumerate(ordered(look, self._blocks, self._cores)):
            self.footprint[slice(*self._blocks[number])] = finite
            counts += found
            if small:
                self._kept[number] = samples
        return float(_ALL_LEVELS.scales(counts[np.newaxis])[0][0])

    def _keep_codes(self) -> None:
        """Keep codes in place of samples."""
        for number, codes in enumerate(ordered(self._coded, list(self._kept.values()), self._cores)):
            self._kept[number] = codes

    def _coded(self, samples: Array) -> Array:
        """Return the codes of samples (nchan, rows, columns) as (rows, columns, nchan): that is counted fastest."""
        return np.ascontiguousarray(self.codes.of(samples).transpose(1, 2, 0))

    def _thinned(self, block: Array) -> Array:
        return block[:, :: self._stride, :: self._stride]

    def _choose(self, number: int) -> Array:
        """Return the codes of the samples of a block, (rows, columns, nchan); once found they are kept, if any are."""
        found = self._chosen.get(number)
        if found is None:
            block = self._blocks[number]
            found = self._kept[number] if self._kept else self._coded(self._thinned(self._data.rows(*block)))
            if self._signal is not None:
                left_out = self._thinned(self._signal.rows(*block)).astype(bool)
                found = np.where(left_out.transpose(1, 2, 0), self.codes.left_out, found)
            if self._kept:
                self._chosen[number] = found
        return found

    def _levels(self, number: int, image: Array, spectrum: Array) -> Array:
        """Return the levels of the samples of a block, divided by image and spectrum."""
        start, stop = self._blocks[number]
        pixels, channels = self.codes.shifts(image[start : stop : self._stride, :: self._stride], spectrum)
        codes = self._choose(number) - pixels[..., np.newaxis]
        codes -= channels
        levels = np.empty(codes.shape, np.intp)
        return self.codes.classes.take(codes, out=levels, mode="clip")  # no code is beyond; checking takes far longer
