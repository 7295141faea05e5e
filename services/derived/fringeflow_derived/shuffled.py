"""Shuffled cubes, their noise and their masks as FITS files, made by blocks of rows.

Knows FITS files; the moving is in `shuffle`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fringeflow.errors import DataError
from fringeflow.fitsio import write_cube
from fringeflow_derived import headers
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.flat import read_field
from fringeflow_derived.headers import Stamp, no_stamp
from fringeflow_derived.products import read_rho, write_rho
from fringeflow_derived.regrid import onto_grid
from fringeflow_derived.shuffle import (
    KERNELS,
    ShuffleOptions,
    correlation_after,
    noise_factor,
    offsets,
    shift,
    shift_nearest,
)
from fringeflow_derived.sources import Array, CubeSource, ScratchCube, row_blocks

_BYTES_PER_VOXEL = 96
_Move = Callable[[Array, Array], Array]


def write(
    cube: Path,
    field: Path,
    out: Path,
    scratch: Path,
    *,
    noise: tuple[Path, Path] | None = None,
    masks: Mapping[Path, Path] | None = None,
    options: ShuffleOptions | None = None,
    stamp: Stamp = no_stamp,
    rows: int | None = None,
) -> dict[str, Any]:
    """Write a cube with all spectra moved so that a velocity field lies at velocity 0, in channel n//2.

    Parameters
    ----------
    cube
        FITS cube.
    field
        Image of velocities, on any grid.
    out
        File to write.
    scratch
        Folder for a cube in the making.
    noise
        The cube's noise, and the file for it after the move.
    masks
        Mask -> the file for it after the move; on any grid.
    options
        See `ShuffleOptions`.
    stamp
        Adds provenance to the headers.
    rows
        Rows per block; the result does not depend on it.

    Returns
    -------
    dict
        ``pixels``: how many spectra were moved; ``kernel``; ``rho``: the correlation of channels after the move.

    Raises
    ------
    DataError
        There is no such kernel, or the velocity field is not one.
    """
    options = options or ShuffleOptions()
    if options.kernel not in KERNELS:
        raise DataError(f"no kernel is called {options.kernel!r}", remedy=f"shuffle_kw: take {', '.join(KERNELS)}")
    with ExitStack() as stack:
        source = stack.enter_context(FitsCube(cube))
        channels = offsets(source.velocity_kms, read_field(field, source))
        used = asdict(options) | {"field": field.name}
        job = _Shuffle(source, channels, used, stamp, scratch, rows)
        rho: tuple[float, ...] = (1.0,)
        if noise is not None:
            sigma = stack.enter_context(FitsCube(noise[0]))
            before = read_rho(sigma)
            rho = correlation_after(before, options.kernel)
            factor = noise_factor(channels, before, options.kernel)
            job.write(sigma, noise[1], shift_nearest, factor=factor, rho=rho)
        job.write(source, out, lambda block, move: shift(block, move, options.kernel), unit=source.unit)
        for mask, file in (masks or {}).items():
            signal = stack.enter_context(FitsCube(mask))
            job.write_mask(onto_grid(signal, source), file)
    return {"pixels": int(np.isfinite(channels).sum()), "kernel": options.kernel, "rho": list(rho)}


class _Shuffle:
    """Cubes on one grid and how far their spectra are to be moved."""

    def __init__(
        self, grid: FitsCube, channels: Array, used: dict[str, Any], stamp: Stamp, scratch: Path, rows: int | None
    ) -> None:
        self._grid = grid
        self._channels = channels
        self._used = used
        self._stamp = stamp
        self._scratch = scratch
        self._rows = rows

    def write(
        self,
        cube: FitsCube,
        out: Path,
        move: _Move,
        *,
        unit: str | None = None,
        factor: Array | None = None,
        rho: tuple[float, ...] | None = None,
    ) -> None:
        """Move a cube and write it."""
        header = headers.of_shuffled(cube)
        header["BUNIT"] = unit or cube.unit
        if rho is not None:
            write_rho(header, rho)
        self._stamp(header, self._used)
        self._moved(cube, out, header, move, factor, "float32")

    def write_mask(self, mask: CubeSource, out: Path) -> None:
        """Move a mask and write it."""
        header = headers.of_shuffled(self._grid)
        header["BTYPE"], header["BUNIT"] = "Mask", " "
        self._stamp(header, self._used)
        self._moved(mask, out, header, lambda block, by: shift_nearest(block > 0.5, by), None, "uint8")

    def _moved(self, cube: CubeSource, out: Path, header: Any, move: _Move, factor: Array | None, dtype: Any) -> None:
        with ScratchCube(self._scratch / f".{out.name}.raw", cube.shape, np.float32) as moved:
            for start, stop in row_blocks(cube.shape, _BYTES_PER_VOXEL, self._rows):
                block = move(cube.rows(start, stop), self._channels[start:stop])
                moved.write_rows(start, block if factor is None else block * factor[start:stop])
            planes = (moved.plane(channel) for channel in range(cube.shape[0]))
            write_cube(out, header, planes, cube.shape, dtype=dtype)
