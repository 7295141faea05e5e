"""Cubes that are read a plane or a few rows at a time, whatever holds them: an array, a scratch file or a FITS file.

Knows no units, no world coordinates and no FITS.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, int, int]

BLOCK_BYTES = 64_000_000
"""Memory that one block of rows of all arrays in use together should take."""


class CubeSource(Protocol):
    """A cube (channel, y, x) that hands out parts of itself."""

    @property
    def shape(self) -> Shape:
        """Channels, rows, columns."""
        ...

    def plane(self, channel: int) -> Array:
        """Return the image (ny, nx) of one channel."""
        ...

    def rows(self, start: int, stop: int) -> Array:
        """Return rows `start` to `stop` (exclusive) of all channels: (nchan, stop - start, nx)."""
        ...


class MaskStore(CubeSource, Protocol):
    """A Boolean cube that can be filled."""

    def write_rows(self, start: int, block: Array) -> None:
        """Put `block` (nchan, rows, nx) at row `start`."""
        ...

    def write_plane(self, channel: int, plane: Array) -> None:
        """Put the image of one channel."""
        ...


class ArrayCube:
    """An array in memory; an image (ny, nx) is taken as a cube of one channel."""

    def __init__(self, data: Array) -> None:
        self.data: Array = data[np.newaxis] if data.ndim == 2 else data
        if self.data.ndim != 3:
            raise ValueError(f"a cube has 3 dimensions, not {data.ndim}")

    @property
    def shape(self) -> Shape:
        """Channels, rows, columns."""
        channels, height, width = self.data.shape
        return channels, height, width

    def plane(self, channel: int) -> Array:
        """Return the image of one channel."""
        found: Array = self.data[channel]
        return found

    def rows(self, start: int, stop: int) -> Array:
        """Return some rows of all channels."""
        found: Array = self.data[:, start:stop]
        return found


class ArrayMask(ArrayCube):
    """A Boolean cube in memory, to be filled by rows or planes."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(np.zeros(shape, bool))

    def write_rows(self, start: int, block: Array) -> None:
        """Put `block` (nchan, rows, nx) at row `start`."""
        self.data[:, start : start + block.shape[1]] = block

    def write_plane(self, channel: int, plane: Array) -> None:
        """Put the image of one channel."""
        self.data[channel] = plane


class RawCube:
    """A cube in a headerless file, of which parts can be read without reading the rest.

    Parameters
    ----------
    path
        The file.
    shape
        Channels, rows, columns.
    dtype
        Of the file; what is handed out is in the machine's own byte order.
    offset
        Byte at which the first value lies.
    step
        How many planes of the file from one channel to the next.
    """

    _MODE: ClassVar[str] = "rb"

    def __init__(self, path: Path, shape: Shape, dtype: DTypeLike, offset: int = 0, step: int = 1) -> None:
        self.path = path
        self.shape = shape
        self._dtype = np.dtype(dtype)
        self._offset = offset
        self._step = step
        self._file = path.open(self._MODE, buffering=0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def plane(self, channel: int) -> Array:
        """Return the image of one channel."""
        image: Array = self._read(channel, channel + 1, 0, self.shape[1])[0]
        return image

    def rows(self, start: int, stop: int) -> Array:
        """Return some rows of all channels."""
        return self._read(0, self.shape[0], start, stop)

    def _read(self, first: int, last: int, start: int, stop: int) -> Array:
        """Return rows `start` to `stop` of channels `first` to `last`; may be called from several threads at once."""
        values = np.empty((last - first, stop - start, self.shape[2]), self._dtype)
        for channel, rows in enumerate(values, start=first):
            view = memoryview(rows.data).cast("B")
            place, done = self._place(channel, start), 0
            while done < len(view):
                count = os.preadv(self._file.fileno(), [view[done:]], place + done)
                if not count:
                    raise EOFError(f"{self.path} ends before its data do")
                done += count
        if not self._dtype.isnative:
            values.byteswap(inplace=True)
        return values.view(self._dtype.newbyteorder("="))

    def _place(self, channel: int, row: int) -> int:
        _, height, width = self.shape
        return self._offset + (channel * self._step * height + row) * width * self._dtype.itemsize


class ScratchCube(RawCube):
    """A cube in a file of its own, 0 until it is filled by rows or planes, so that nothing need fit into memory."""

    _MODE = "r+b"

    def __init__(self, path: Path, shape: Shape, dtype: DTypeLike) -> None:
        path.write_bytes(b"")
        super().__init__(path, shape, dtype)
        self._file.truncate(self._place(shape[0], 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self.path.unlink()

    def write_rows(self, start: int, block: Array) -> None:
        """Put `block` (nchan, rows, nx) at row `start`."""
        for channel, rows in enumerate(block):
            self.write_part(channel, start, rows)

    def write_part(self, channel: int, start: int, rows: Array) -> None:
        """Put some rows (rows, nx) of one channel at row `start`."""
        self._write(rows, self._place(channel, start))

    def write_plane(self, channel: int, plane: Array) -> None:
        """Put the image of one channel."""
        self._write(plane, self._place(channel, 0))

    def _write(self, values: Array, place: int) -> None:
        view = memoryview(np.ascontiguousarray(values, dtype=self._dtype).data).cast("B")
        done = 0
        while done < len(view):
            done += os.pwrite(self._file.fileno(), view[done:], place + done)


class ScratchMask(ScratchCube):
    """A Boolean cube in a file of its own."""

    def __init__(self, path: Path, shape: Shape) -> None:
        super().__init__(path, shape, np.bool_)


def as_source(data: Array | CubeSource) -> CubeSource:
    """Return `data` as something that hands out planes and rows."""
    return ArrayCube(data) if isinstance(data, np.ndarray) else data


def is_true(values: Array) -> Array:
    """Return which values of a mask are true, whatever type it is stored in."""
    return values != 0 if values.dtype.kind in "bui" else values > 0.5


def row_blocks(shape: Shape, bytes_per_voxel: int, rows: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of blocks of whole rows, as many as `BLOCK_BYTES` allows or `rows` says."""
    channels, height, width = shape
    step = rows or max(1, BLOCK_BYTES // max(1, channels * width * bytes_per_voxel))
    for start in range(0, height, step):
        yield start, min(start + step, height)
