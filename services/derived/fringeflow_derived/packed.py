"""Boolean cubes in memory, eight voxels to the byte. Arrays only."""

from __future__ import annotations

import math

import numpy as np

from fringeflow_derived.sources import Array, Shape

MOST_VOXELS = 500_000_000
"""Larger masks lie on disk."""


class PackedMask:
    """A Boolean cube, false until it is filled by rows or planes.

    Rows of different blocks, and planes, may be read and written from several threads at once.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        channels, height, width = shape
        self._bits = np.zeros((channels, height, math.ceil(width / 8)), np.uint8)

    def plane(self, channel: int) -> Array:
        """Return the image of one channel."""
        return self._unpacked(self._bits[channel])

    def rows(self, start: int, stop: int) -> Array:
        """Return some rows of all channels."""
        return self._unpacked(self._bits[:, start:stop])

    def write_rows(self, start: int, block: Array) -> None:
        """Put `block` (nchan, rows, nx) at row `start`."""
        self._bits[:, start : start + block.shape[1]] = np.packbits(block, axis=-1)

    def write_plane(self, channel: int, plane: Array) -> None:
        """Put the image of one channel."""
        self._bits[channel] = np.packbits(plane, axis=-1)

    def _unpacked(self, bits: Array) -> Array:
        return np.unpackbits(bits, axis=-1, count=self.shape[2]).view(bool)
