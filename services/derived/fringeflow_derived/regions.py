"""Connected regions of a Boolean cube that is seen one block of rows at a time.

Blocks are labelled on their own; where a region crosses from one block into the next its labels are joined, so the
regions do not depend on where the blocks end. Arrays only.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from fringeflow_derived.sources import Array

Block = Callable[[int], Array]
"""Number of a block -> its part of the Boolean cube, (nchan, rows, nx)."""


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
    """

    def __init__(self, block: Block, blocks: int, connectivity: int = 1) -> None:
        self._block = block
        self._structure = ndimage.generate_binary_structure(3, connectivity)
        self._kept: tuple[int, Array, int] | None = None
        self._first = [0]
        pairs: list[Array] = []
        border: Array | None = None
        for number in range(blocks):
            labels, count = self._local(number)
            if border is not None:
                pairs.append(self._joints(border, labels[:, 0], number))
            border = labels[:, -1].copy()
            self._first.append(self._first[-1] + count)
        self._region = self._join(pairs)
        self.count = int(self._region.max(initial=-1)) + 1

    def labels(self, number: int) -> Array:
        """Return block `number` with the region of each voxel, from 1; 0 where there is none."""
        local, count = self._local(number)
        start = self._first[number]
        table = np.concatenate([[0], self._region[start : start + count] + 1])
        labelled: Array = table[local]
        return labelled

    def sizes(self) -> Array:
        """Return the number of voxels of each region; index 0 stands for none."""
        return self._total(lambda labels: labels.ravel())

    def areas(self) -> Array:
        """Return the number of pixels (lines of sight) of each region; index 0 stands for none."""
        return self._total(_pixels)

    def touched(self, block: Block) -> Array:
        """Return which regions hold a true voxel of another Boolean cube in the same blocks; index 0 is false."""
        found = np.zeros(self.count + 1, bool)
        for number in range(len(self._first) - 1):
            found[self.labels(number)[block(number)]] = True
        found[0] = False
        return found

    def _total(self, members: Callable[[Array], Array]) -> Array:
        total = np.zeros(self.count + 1, np.int64)
        for number in range(len(self._first) - 1):
            total += np.bincount(members(self.labels(number)), minlength=self.count + 1)
        return total

    def _local(self, number: int) -> tuple[Array, int]:
        if self._kept is None or self._kept[0] != number:
            self._kept = (number, *ndimage.label(self._block(number), self._structure))
        return self._kept[1:]

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
        total = self._first[-1]
        if not pairs:
            return np.arange(total)
        a, b = np.concatenate(pairs, axis=1)
        links = sparse.coo_array((np.ones(len(a), bool), (a, b)), shape=(total, total))
        region: Array = csgraph.connected_components(links, directed=False)[1]
        return region


def _overlap(dk: int, dx: int) -> tuple[slice, slice]:
    """Return the part of a (channel, x) row that has a neighbour at offset (dk, dx)."""
    return slice(max(0, -dk), -dk if dk > 0 else None), slice(max(0, -dx), -dx if dx > 0 else None)


def _pixels(labels: Array) -> Array:
    """Return the label of every distinct (label, pixel)."""
    channel, y, x = np.nonzero(labels)
    found = labels[channel, y, x].astype(np.int64)
    pixels = labels.shape[1] * labels.shape[2]
    return np.asarray(np.unique(found * pixels + y * labels.shape[2] + x) // pixels)
