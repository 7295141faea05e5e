"""Signal masks: bright cores grown into their faint surroundings (strict), and unions over resolutions (broad).

Arrays only: cubes are sources of planes and rows (`sources`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fringeflow_derived.parallel import ordered
from fringeflow_derived.regions import KEPT_BYTES, Regions
from fringeflow_derived.sources import Array, CubeSource, as_source, is_true, row_blocks

_BYTES_PER_VOXEL = 24


@dataclass(frozen=True)
class StrictOptions:
    """How a strict mask is made (derived specification, section 7).

    `min_pix` (voxels), `min_area` (pixels) and `min_beams` (voxels in beams, in place of `min_pix`) remove small
    regions, of the core or, with ``prune='final'``, of the grown-into mask. `coverage_thresh` bounds the core;
    `low_coverage_thresh`, if given, the faint surroundings as well. `invert` looks for negative signal.
    """

    hi_thresh: float = 4.0
    hi_nchan: int = 2
    lo_thresh: float | None = 2.0
    lo_nchan: int = 2
    min_pix: int | None = None
    min_area: int | None = None
    min_beams: float | None = None
    grow_xy: int = 0
    grow_v: int = 0
    coverage_thresh: float = 0.95
    low_coverage_thresh: float | None = None
    prune: Literal["core", "final"] = "core"
    connectivity: int = 1
    invert: bool = False


def strict_mask(
    data: Array,
    noise: Array | CubeSource,
    options: StrictOptions | None = None,
    *,
    coverage: Array | None = None,
    pixels_per_beam: float = 1.0,
) -> Array:
    """Return the strict mask of a cube in memory, grown as the options say; see `strict_blocks` for the parameters."""
    options = options or StrictOptions()
    blocks = strict_blocks(data, noise, options, coverage=coverage, pixels_per_beam=pixels_per_beam)
    mask = np.concatenate([block for _, block in blocks], axis=1)
    return np.stack(list(grow_planes(mask, options.grow_xy, options.grow_v)))


def strict_blocks(
    data: Array | CubeSource,
    noise: Array | CubeSource,
    options: StrictOptions,
    *,
    coverage: Array | CubeSource | None = None,
    pixels_per_beam: float = 1.0,
    rows: int | None = None,
    cores: int = 1,
) -> Iterator[tuple[int, Array]]:
    """Yield (first row, block) of the two-level mask, before growth (derived specification, sections 7.1 to 7.6).

    Parameters
    ----------
    data, noise
        (nchan, ny, nx) in the same unit; NaN is never signal.
    options
        See `StrictOptions`.
    coverage
        Share of each beam that rests on data, 0 to 1; None where all does.
    pixels_per_beam
        For `min_beams`.
    rows
        Rows per block; the mask does not depend on it.
    cores
        How many blocks to look at at once; the mask does not depend on it.
    """
    found = strict_regions(
        data, noise, options, coverage=coverage, pixels_per_beam=pixels_per_beam, rows=rows, cores=cores
    )
    yield from found.masks(found.keep)


@dataclass(frozen=True)
class StrictRegions:
    """The regions of a two-level mask before growth, and which of them belong to it (index 0 stands for none)."""

    blocks: list[tuple[int, int]]
    regions: Regions
    keep: Array
    cores: int

    def masks(self, keep: Array) -> Iterator[tuple[int, Array]]:
        """Yield (first row, block) of the mask of the regions for which `keep` is true."""
        masks = ordered(lambda number: self.regions.kept(number, keep), range(len(self.blocks)), self.cores)
        for (start, _), mask in zip(self.blocks, masks, strict=True):
            yield start, mask


def strict_regions(
    data: Array | CubeSource,
    noise: Array | CubeSource,
    options: StrictOptions,
    *,
    coverage: Array | CubeSource | None = None,
    pixels_per_beam: float = 1.0,
    rows: int | None = None,
    cores: int = 1,
) -> StrictRegions:
    """Return the regions that `strict_blocks` yields."""
    cube = as_source(data)
    blocks = list(row_blocks(cube.shape, _BYTES_PER_VOXEL * cores, rows))
    levels = _Levels(cube, as_source(noise), None if coverage is None else as_source(coverage), options, blocks)
    pruned = _prunes(options)
    core = levels.core
    if pruned and options.prune == "core":
        core = _Kept(Regions(core, len(blocks), options.connectivity, cores), options, pixels_per_beam)
    if options.lo_thresh is None:
        low = Regions(core, len(blocks), options.connectivity, cores)
        keep = np.arange(low.count + 1) > 0
    else:
        low = Regions(levels.low, len(blocks), options.connectivity, cores)
        keep = low.touched(core)
    if pruned and options.prune == "final":
        keep &= _large(low, options, pixels_per_beam)
    return StrictRegions(blocks, low, keep, cores)


def runs(mask: Array, length: int) -> Array:
    """Return `mask` without runs along the first axis shorter than `length` (derived specification, section 7.2)."""
    if length <= 1:
        return mask
    size = len(mask) - length + 1
    kept = np.zeros_like(mask)
    if size < 1:
        return kept
    starts = mask[:size].copy()
    for shift in range(1, length):
        starts &= mask[shift : shift + size]
    for shift in range(length):
        kept[shift : shift + size] |= starts
    return kept


def grow_planes(mask: Array | CubeSource, grow_xy: int = 0, grow_v: int = 0, cores: int = 1) -> Iterator[Array]:
    """Yield the planes of `mask` grown by a diamond of radius `grow_xy` pixels, then `grow_v` channels on each side.

    Each plane is read once, `cores` of them at once (derived specification, section 7.7).
    """
    source = as_source(mask)
    channels = source.shape[0]
    window: deque[Array] = deque(maxlen=2 * grow_v + 1)
    planes = ordered(lambda channel: _dilated(source.plane(channel).astype(bool), grow_xy), range(channels), cores)
    for channel in range(channels + grow_v):
        if channel < channels:
            window.append(next(planes))
        elif len(window) > channels + 2 * grow_v - channel:
            window.popleft()
        if channel >= grow_v:
            yield np.logical_or.reduce(list(window)) if grow_v else window[0]


def _dilated(plane: Array, radius: int) -> Array:
    """Return `plane` grown by a diamond."""
    if not radius or not plane.any():
        return plane
    # Most of a plane is empty: only what the growth can reach is looked at.
    rows, columns = (np.flatnonzero(plane.any(axis=axis)) for axis in (1, 0))
    reached = tuple(slice(max(0, true[0] - radius), true[-1] + radius + 1) for true in (rows, columns))
    part = plane[reached]
    for _ in range(radius):
        grown = part.copy()
        grown[1:] |= part[:-1]
        grown[:-1] |= part[1:]
        grown[:, 1:] |= part[:, :-1]
        grown[:, :-1] |= part[:, 1:]
        part = grown
    whole = np.zeros_like(plane)
    whole[reached] = part
    return whole


def union_planes(masks: Sequence[CubeSource], fraction_of_scales: float | None = None) -> UnionMask:
    """Return masks on one grid combined (derived specification, section 8.4).

    Parameters
    ----------
    masks
        Distinct masks of one shape.
    fraction_of_scales
        None: true where any is (`anyscale`). Else true where more than this fraction of them is (`somescales`).
    """
    return UnionMask(masks, 0.0 if fraction_of_scales is None else fraction_of_scales * len(masks))


class UnionMask:
    """Masks of one shape, combined while they are read: true where more than `threshold` of them are."""

    def __init__(self, masks: Sequence[CubeSource], threshold: float) -> None:
        self._masks = masks
        self._threshold = threshold
        self.shape = masks[0].shape

    def plane(self, channel: int) -> Array:
        """Return the combination in one channel."""
        return self._combine([mask.plane(channel) for mask in self._masks])

    def rows(self, start: int, stop: int) -> Array:
        """Return the combination in some rows."""
        return self._combine([mask.rows(start, stop) for mask in self._masks])

    def _combine(self, parts: list[Array]) -> Array:
        count = np.zeros(parts[0].shape, np.int16)
        for part in parts:
            count += is_true(part)
        return count > self._threshold


class _Levels:
    """The thresholded cube in blocks: `core` and `low` return block number n."""

    def __init__(
        self,
        data: CubeSource,
        noise: CubeSource,
        coverage: CubeSource | None,
        options: StrictOptions,
        blocks: list[tuple[int, int]],
    ) -> None:
        self._data, self._noise, self._coverage = data, noise, coverage
        self._options = options
        self._blocks = blocks
        self._bright: dict[int, Array] = {}
        self._room = KEPT_BYTES

    def core(self, number: int) -> Array:
        """Return where the signal is bright enough in enough consecutive channels."""
        voxels = self._bright.get(number)
        if voxels is None:
            return self._compute(number)[0]
        start, stop = self._blocks[number]
        core = np.zeros((self._data.shape[0], stop - start, self._data.shape[2]), bool)
        core.ravel()[voxels] = True
        return core

    def low(self, number: int) -> Array:
        """Return where it is at least faint; where it is bright enough, which is asked for next, is kept."""
        core, low = self._compute(number)
        voxels = np.flatnonzero(core).astype(np.int32)
        self._room -= voxels.nbytes
        if self._room > 0:
            self._bright[number] = voxels
        return low

    def _compute(self, number: int) -> tuple[Array, Array]:
        options = self._options
        start, stop = self._blocks[number]
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = self._data.rows(start, stop) / self._noise.rows(start, stop)
        if options.invert:
            ratio = -ratio
        core = runs(ratio >= options.hi_thresh, options.hi_nchan)
        low = core if options.lo_thresh is None else runs(ratio >= options.lo_thresh, options.lo_nchan)
        if self._coverage is not None:
            coverage = self._coverage.rows(start, stop)
            core = core & (coverage > options.coverage_thresh)
            if options.low_coverage_thresh is not None:
                low = low & (coverage > options.low_coverage_thresh)
        return core, low


class _Kept:
    """The blocks of a mask without its small regions."""

    def __init__(self, regions: Regions, options: StrictOptions, pixels_per_beam: float) -> None:
        self._regions = regions
        self._keep = _large(regions, options, pixels_per_beam)

    def __call__(self, number: int) -> Array:
        return self._regions.kept(number, self._keep)


def _prunes(options: StrictOptions) -> bool:
    return not (options.min_pix is options.min_area is options.min_beams is None)


def _large(regions: Regions, options: StrictOptions, pixels_per_beam: float) -> Array:
    """Return which regions are large enough; index 0 is false."""
    keep = np.arange(regions.count + 1) > 0
    voxels = options.min_pix if options.min_beams is None else options.min_beams * pixels_per_beam
    if voxels is not None:
        keep &= regions.sizes() >= voxels
    if options.min_area is not None:
        keep &= regions.areas() >= options.min_area
    return keep
