"""Connected regions of a Boolean cube that is seen one block of rows at a time.

Blocks are labelled on their own; where a region crosses from one block into the next its labels are joined, so the
regions do not depend on where the blocks end. Of each block only its true voxels are kept. Arrays only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from fringeflow_derived.parallel import ordered
from fringeflow_derived.sources import Array

Block = Callable[[int], Array]
"""Number of a block -> its part of the Boolean cube, (nchan, rows, nx)."""

KEPT_BYTES = 200_000_000
"""Memory that true voxels kept for another pass may take; what is beyond is computed again."""

_SPARSE = 0.03
"""Up to this share of true voxels it is faster to look at each of them than at all."""


@dataclass(frozen=True)
class Labelled:
    """The true voxels of a block (flat indices, ascending) and the label of each, from 0 to `count` - 1."""

    shape: tuple[int, ...]
    voxels: Array
    labels: Array
    count: int

    @property
    def pixels(self) -> Array:
        """Flat index of the pixel of each voxel."""
        return self.voxels % math.prod(self.shape[1:])

    def row(self, number: int) -> Array:
        """Return one row of the block, (nchan, nx), with labels from 1; 0 where there is none."""
        channels, rows, width = self.shape
        found = np.zeros((channels, width), np.int64)
        here = self.voxels // width % rows == number % rows
        voxels = self.voxels[here]
        found[voxels // (rows * width), voxels % width] = self.labels[here] + 1
        return found

    def put(self, values: Array) -> Array:
        """Return the block with `values[label]` at its true voxels, 0 elsewhere."""
        block = np.zeros(self.shape, values.dtype)
        block.ravel()[self.voxels] = values[self.labels]
        return block


class Regions:
    """The connected regions of a Boolean cube.

    Parameters
    ----------
    block
        Hands out a block, the same each time it is asked.
    blocks
        How many there are; each borders on the next.
    connectivity
        1: faces connect; 2: edges too; 3: corners too.
    cores
        Blocks looked at at once.
    """

    def __init__(self, block: Block, blocks: int, connectivity: int = 1, cores: int = 1) -> None:
        self._block = block
        self._cores = cores
        self._structure = ndimage.generate_binary_structure(3, connectivity)
        self._kept: dict[int, Labelled] = {}
        self._first = [0]
        pairs: list[Array] = []
        border: Array | None = None
        room = KEPT_BYTES
        for number, found in enumerate(ordered(self._label, range(blocks), cores)):
            if border is not None:
                pairs.append(self._joints(border, found.row(0), number))
            border = found.row(-1)
            self._first.append(self._first[-1] + found.count)
            room -= found.voxels.nbytes + found.labels.nbytes
            if room > 0:
                self._kept[number] = found
        self._region = self._join(pairs)
        self.count = int(self._region.max(initial=-1)) + 1

    def labels(self, number: int) -> Array:
        """Return block `number` with the region of each voxel, from 1; 0 where there is none."""
        return self._labelled(number).put(self._regions_of(number) + 1)

    def kept(self, number: int, keep: Array) -> Array:
        """Return block `number` with only the regions for which `keep` is true; `keep[0]` stands for no region."""
        return self._labelled(number).put(keep[1:][self._regions_of(number)])

    def sizes(self) -> Array:
        """Return the number of voxels of each region; index 0 stands for none."""
        return self._added(lambda *_: None)

    def areas(self) -> Array:
        """Return the number of pixels (lines of sight) of each region; index 0 stands for none."""

        def counted(number: int) -> tuple[Array, Array]:
            found = self._labelled(number)
            regions = self._regions_of(number)[found.labels]
            return np.unique(_once_a_pixel(regions, found.pixels), return_counts=True)

        total = np.zeros(self.count + 1, np.int64)
        for regions, counts in ordered(counted, range(len(self._first) - 1), self._cores):
            total[regions + 1] += counts
        return total

    def spans(self, keep: Array) -> Array:
        """Return the sum over the voxels of each region of how many voxels its pixel has; index 0 stands for none.

        Only voxels of regions for which `keep` is true are counted at a pixel.
        """

        def channels(number: int, found: Labelled) -> Array:
            kept = keep[1:][self._regions_of(number)][found.labels]
            counts: Array = np.bincount(found.pixels, kept)[found.pixels]
            return counts

        return self._added(channels)

    def touched(self, block: Block) -> Array:
        """Return which regions hold a true voxel of another Boolean cube in the same blocks; index 0 is false."""

        def hits(number: int) -> Array:
            found = self._labelled(number)
            inside = block(number).ravel()[found.voxels]
            regions: Array = self._regions_of(number)[np.unique(found.labels[inside])]
            return regions

        touched = np.zeros(self.count + 1, bool)
        for regions in ordered(hits, range(len(self._first) - 1), self._cores):
            touched[regions + 1] = True
        return touched

    def _added(self, weights: Callable[[int, Labelled], Array | None]) -> Array:
        """Return the sum over each region of whole numbers given for each voxel of a block; None: 1 each."""

        def added(number: int) -> Array:
            found = self._labelled(number)
            return np.bincount(found.labels, weights(number, found), minlength=found.count)

        total = np.zeros(self.count + 1, np.int64)
        for number, sums in enumerate(ordered(added, range(len(self._first) - 1), self._cores)):
            np.add.at(total, self._regions_of(number) + 1, sums.astype(np.int64))
        return total

    def _regions_of(self, number: int) -> Array:
        """Return the region, from 0, of each label of a block."""
        found: Array = self._region[self._first[number] : self._first[number + 1]]
        return found

    def _labelled(self, number: int) -> Labelled:
        return self._kept.get(number) or self._label(number)

    def _label(self, number: int) -> Labelled:
        block = np.ascontiguousarray(self._block(number))
        voxels = np.flatnonzero(block)
        if len(voxels) > _SPARSE * block.size:
            dense, count = ndimage.label(block, self._structure)
            return Labelled(block.shape, voxels.astype(np.int32), dense.ravel()[voxels] - 1, count)
        pairs = list(self._neighbours(block, voxels))
        labels = _components(pairs, len(voxels)).astype(np.int32)
        return Labelled(block.shape, voxels.astype(np.int32), labels, int(labels.max(initial=-1)) + 1)

    def _neighbours(self, block: Array, voxels: Array) -> Iterator[Array]:
        """Yield for each direction the pairs of numbers of true voxels that are neighbours in it."""
        true, place = block.ravel(), np.unravel_index(voxels, block.shape)
        numbers = np.empty(block.size, np.int32)
        numbers[voxels] = np.arange(len(voxels), dtype=np.int32)
        for offset in product((-1, 0, 1), repeat=3):
            if offset > (0, 0, 0) and self._structure[tuple(step + 1 for step in offset)]:
                inside = np.ones(len(voxels), bool)
                for at, step, size in zip(place, offset, block.shape, strict=True):
                    if step:
                        inside &= at < size - 1 if step > 0 else at > 0
                other = voxels + (offset[0] * block.shape[1] + offset[1]) * block.shape[2] + offset[2]
                first = np.flatnonzero(inside)
                first = first[true[other[first]]]
                yield np.stack([first, numbers[other[first]]])

    def _joints(self, border: Array, labels: Array, number: int) -> Array:
        """Return pairs of labels that meet: those of the last row of the block before `number`, and of its first."""
        offsets = [(dk, dx) for dk, dx in product((-1, 0, 1), repeat=2) if self._structure[dk + 1, 2, dx + 1]]
        found = []
        for dk, dx in offsets:
            a, b = border[_overlap(dk, dx)], labels[_overlap(-dk, -dx)]
            both = (a > 0) & (b > 0)
            found.append(np.stack([a[both] - 1 + self._first[number - 1], b[both] - 1 + self._first[number]]))
        return np.unique(np.concatenate(found, axis=1), axis=1)

    def _join(self, pairs: list[Array]) -> Array:
        """Return the region of every label of every block."""
        return _components(pairs, self._first[-1])


def _components(pairs: list[Array], nodes: int) -> Array:
    """Return the number, from 0, of the connected component of each node."""
    if not nodes or not pairs:
        return np.arange(nodes)
    a, b = np.concatenate(pairs, axis=1)
    links = sparse.coo_array((np.ones(len(a), bool), (a, b)), shape=(nodes, nodes))
    component: Array = csgraph.connected_components(links, directed=False)[1]
    return component


def _overlap(dk: int, dx: int) -> tuple[slice, slice]:
    """Return the part of a (channel, x) row that has a neighbour at offset (dk, dx)."""
    return slice(max(0, -dk), -dk if dk > 0 else None), slice(max(0, -dx), -dx if dx > 0 else None)


def _once_a_pixel(regions: Array, pixels: Array) -> Array:
    """Return `regions` without those that come again at the same pixel; no pixel lies in two blocks."""
    width = int(pixels.max(initial=0)) + 1
    return np.unique(regions.astype(np.int64) * width + pixels) // width
