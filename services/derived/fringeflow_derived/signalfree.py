"""Noise measured with the signal left out: noise, then a mask of what stands out, then noise again. Arrays only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fringeflow_derived import correlation
from fringeflow_derived.masks import StrictOptions, StrictRegions, grow_planes, strict_regions
from fringeflow_derived.noise import NoiseModel, NoiseOptions, Samples, beam_diameter_pixels
from fringeflow_derived.sources import Array, ArrayMask, CubeSource, MaskStore, Shape, as_source

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
    for _ in range(rounds - 1):
        model = samples.estimate(signal.find(model), iterations=1, start=model)
    model = samples.estimate(signal.find(model))
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
        found = strict_regions(self._data, model, self._options, rows=self._rows, cores=self._cores)
        for start, block in found.masks(self._without_continuum(found)):
            self._found.write_rows(start, block)
        for channel, plane in enumerate(grow_planes(self._found, self._grow, GROW_CHANNELS, self._cores)):
            self.mask.write_plane(channel, np.asarray(plane))
        return self.mask

    def _without_continuum(self, found: StrictRegions) -> Array:
        """Return which regions to keep: not those that fill too much of the band."""
        channels = self._data.shape[0]
        if channels < _SPAN_CHANNELS:
            return found.keep
        return found.keep & (found.regions.spans(found.keep) <= LINE_SPAN * channels * found.regions.sizes())
