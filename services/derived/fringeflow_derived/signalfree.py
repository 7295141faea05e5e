"""Noise measured with the signal left out: noise, then a mask of what stands out, then noise again. Arrays only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fringeflow_derived import correlation
from fringeflow_derived.masks import StrictOptions, grow_planes, strict_blocks
from fringeflow_derived.noise import NoiseModel, NoiseOptions, beam_diameter_pixels, estimate
from fringeflow_derived.regions import Regions
from fringeflow_derived.sources import Array, ArrayMask, CubeSource, MaskStore, Shape, as_source, row_blocks

GROW_CHANNELS = 2
"""Channels on either side of what is detected that are left out too."""

LINE_SPAN = 0.6
"""No line fills more of the band than this, averaged over the lines of sight of a region: what does is left over from
continuum subtraction, and counts as noise. On fewer than `_SPAN_CHANNELS` channels that cannot be told."""

_SPAN_CHANNELS = 10
_BYTES_PER_VOXEL = 16


@dataclass(frozen=True)
class Measured:
    """The noise of a cube and the correlation of its channels."""

    model: NoiseModel
    rho: tuple[float, ...]


def measure(
    data: Array | CubeSource,
    pixels_per_beam: float,
    options: NoiseOptions | None = None,
    *,
    store: Callable[[Shape], MaskStore] = ArrayMask,
    rows: int | None = None,
) -> Measured:
    """Measure noise and channel correlation where there is no signal (derived specification, W13 and W16).

    The signal is what a strict mask finds, grown by half a beam and `GROW_CHANNELS` channels.

    Parameters
    ----------
    data
        (nchan, ny, nx) or (ny, nx), NaN where blank.
    pixels_per_beam
        Beam area over pixel area.
    options
        See `NoiseOptions`.
    store
        Makes room for a Boolean cube.
    rows
        Rows per block; the result does not depend on it.
    """
    options = options or NoiseOptions()
    cube = as_source(data)
    if not options.signal_rounds:
        model = estimate(cube, pixels_per_beam, options)
        return Measured(model, correlation.measure(cube, model, pixels_per_beam=pixels_per_beam))
    model = estimate(cube, pixels_per_beam, options, iterations=1)
    signal = _Signal(cube, pixels_per_beam, store, rows)
    for left in range(options.signal_rounds, 0, -1):
        found = signal.find(model)
        model = estimate(cube, pixels_per_beam, options, signal=found, iterations=None if left == 1 else 1)
    rho = correlation.measure(cube, model, signal=signal.mask, pixels_per_beam=pixels_per_beam)
    return Measured(model, rho)


class _Signal:
    """The mask of what stands out, made again with every better noise."""

    def __init__(
        self, data: CubeSource, pixels_per_beam: float, store: Callable[[Shape], MaskStore], rows: int | None
    ) -> None:
        self._data = data
        self._rows = rows
        self._grow = math.ceil(beam_diameter_pixels(pixels_per_beam) / 2)
        channels = min(2, data.shape[0])
        self._options = StrictOptions(hi_nchan=channels, lo_nchan=channels)
        self._found = store(data.shape)
        self.mask = store(data.shape)

    def find(self, model: NoiseModel) -> MaskStore:
        """Return the mask with noise `model`."""
        for start, block in strict_blocks(self._data, model, self._options, rows=self._rows):
            self._found.write_rows(start, block)
        if self._data.shape[0] >= _SPAN_CHANNELS:
            self._drop_continuum()
        for channel, plane in enumerate(grow_planes(self._found, self._grow, GROW_CHANNELS)):
            self.mask.write_plane(channel, np.asarray(plane))
        return self.mask

    def _drop_continuum(self) -> None:
        """Take out of the mask the regions that fill too much of the band."""
        blocks = list(row_blocks(self._data.shape, _BYTES_PER_VOXEL, self._rows))
        regions = Regions(lambda number: self._found.rows(*blocks[number]), len(blocks))
        span = regions.sizes() / np.maximum(regions.areas(), 1) / self._data.shape[0]
        keep = span <= LINE_SPAN
        keep[0] = False
        for number, (start, _) in enumerate(blocks):
            self._found.write_rows(start, keep[regions.labels(number)])
