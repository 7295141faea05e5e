"""Noise measured with the signal left out: noise, then a mask of what stands out, then noise again. Arrays only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fringeflow_derived import correlation
from fringeflow_derived.masks import StrictOptions, grow_planes, strict_blocks
from fringeflow_derived.noise import NoiseModel, NoiseOptions, Samples, beam_diameter_pixels
from fringeflow_derived.regions import Regions
from fringeflow_derived.sources import Array, ArrayMask, CubeSource, MaskStore, Shape, as_source, row_blocks

GROW_CHANNELS = 2
"""Channels on either side of what is detected that are left out too."""

LOW_THRESH = 1.5
"""What is left out reaches down to this many times the noise around bright cores, and a beam further. With the 2 of
strict masks, fainter emission left in raises the noise on a source by 3 to 5 per cent; with less growth, the mask's
following of the noise lowers it by as much."""

LINE_SPAN = 0.6
"""No line fills more of the band than this, averaged over the voxels of a region: what does is left over from
continuum subtraction, and counts as noise. On fewer than `_SPAN_CHANNELS` channels that cannot be told."""

_SPAN_CHANNELS = 10
_FIRST_ITERATIONS = 2
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
    cores: int = 1,
) -> Measured:
    """Measure noise and channel correlation where there is no signal (derived specification, W13 and W16).

    The signal is what a strict mask with low level `LOW_THRESH` finds, grown by a beam and `GROW_CHANNELS`
    channels. `store` makes room for a Boolean cube; see `noise.Samples` for the other parameters.
    """
    cube = as_source(data)
    samples = Samples(cube, pixels_per_beam, options, rows=rows, cores=cores)
    rounds = samples.options.signal_rounds
    if not rounds:
        model = samples.estimate()
        return Measured(model, correlation.measure(cube, model, pixels_per_beam=pixels_per_beam))
    model = samples.estimate(iterations=_FIRST_ITERATIONS)
    signal = _Signal(cube, pixels_per_beam, store, rows, cores)
    for left in range(rounds, 0, -1):
        model = samples.estimate(signal.find(model), iterations=None if left == 1 else _FIRST_ITERATIONS)
    rho = correlation.measure(cube, model, signal=signal.mask, pixels_per_beam=pixels_per_beam)
    return Measured(model, rho)


class _Signal:
    """The mask of what stands out, made again with every better noise."""

    def __init__(
        self,
        data: CubeSource,
        pixels_per_beam: float,
        store: Callable[[Shape], MaskStore],
        rows: int | None,
        cores: int,
    ) -> None:
        self._data = data
        self._cores = cores
        self._rows = rows
        self._grow = math.ceil(beam_diameter_pixels(pixels_per_beam))
        channels = min(2, data.shape[0])
        self._options = StrictOptions(hi_nchan=channels, lo_nchan=channels, lo_thresh=LOW_THRESH)
        self._found = store(data.shape)
        self.mask = store(data.shape)

    def find(self, model: NoiseModel) -> MaskStore:
        """Return the mask with noise `model`."""
        for start, block in strict_blocks(self._data, model, self._options, rows=self._rows, cores=self._cores):
            self._found.write_rows(start, block)
        if self._data.shape[0] >= _SPAN_CHANNELS:
            self._drop_continuum()
        for channel, plane in enumerate(grow_planes(self._found, self._grow, GROW_CHANNELS)):
            self.mask.write_plane(channel, np.asarray(plane))
        return self.mask

    def _drop_continuum(self) -> None:
        """Take out of the mask the regions that fill too much of the band."""
        blocks = list(row_blocks(self._data.shape, _BYTES_PER_VOXEL, self._rows))
        regions = Regions(lambda number: self._found.rows(*blocks[number]), len(blocks), cores=self._cores)
        size, span = np.zeros((2, regions.count + 1))
        for number in range(len(blocks)):
            labels = regions.labels(number)
            channels = np.broadcast_to(np.count_nonzero(labels, axis=0), labels.shape)[labels > 0]
            labels = labels[labels > 0]
            size += np.bincount(labels, minlength=len(size))
            span += np.bincount(labels, channels, minlength=len(size))
        keep = span <= LINE_SPAN * self._data.shape[0] * size
        keep[0] = False
        for number, (start, _) in enumerate(blocks):
            self._found.write_rows(start, regions.kept(number, keep))
