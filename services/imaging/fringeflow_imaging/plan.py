"""What a measurement set says about the images to be made of it. Reads metadata only; CASA inside the functions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fringeflow.errors import DataError, MissingInputError
from fringeflow_imaging.sizes import ARCSEC_PER_RADIAN

_LSRK = 1  # casacore's code of the frame
_SAME_GRID = 1e-6  # of a channel


@dataclass(frozen=True)
class Visibilities:
    """Metadata of a measurement set.

    `offsets_arcsec` is the extent of the pointings on the sky; `channels`, `first_hz` and `width_hz` describe the
    channel grid of a line.
    """

    baseline_m: float
    dish_m: float
    frequency_hz: float
    offsets_arcsec: tuple[float, float]
    channels: int
    first_hz: float
    width_hz: float
    rows: int


def describe(ms: Path, *, line: bool) -> Visibilities:
    """Read the metadata of `ms`.

    Parameters
    ----------
    line
        Whether it is to be imaged as a cube: then all its spectral windows must share one LSRK channel grid.

    Raises
    ------
    MissingInputError, DataError
        No such measurement set, an empty one, or one whose channels are no common grid.
    """
    if not ms.is_dir():
        raise MissingInputError(f"{ms} is not there")
    with opened_table(ms) as main:
        rows = int(main.nrows())
        if not rows:
            raise DataError(f"{ms} holds no visibilities", remedy="check what staging selected")
        fields = np.unique(main.getcol("FIELD_ID"))
        pairs = np.unique(np.stack([main.getcol("ANTENNA1"), main.getcol("ANTENNA2")]), axis=1)
    with opened_table(ms / "ANTENNA") as antennas:
        positions, dishes = antennas.getcol("POSITION").T, antennas.getcol("DISH_DIAMETER")
    with opened_table(ms / "FIELD") as table:
        directions = np.array([table.getcell("PHASE_DIR", int(i)).reshape(2, -1)[:, 0] for i in fields])
    with opened_table(ms / "SPECTRAL_WINDOW") as windows:
        frequencies = [np.asarray(windows.getcell("CHAN_FREQ", i)) for i in range(windows.nrows())]
        widths = [np.asarray(windows.getcell("CHAN_WIDTH", i)) for i in range(windows.nrows())]
        frames = [int(code) for code in windows.getcol("MEAS_FREQ_REF")]
    if line:
        _check_grid(ms, frequencies, frames)
    return Visibilities(
        baseline_m=_baseline(ms, positions, pairs),
        dish_m=float(dishes[dishes > 0].min()) if (dishes > 0).any() else _no_dish(ms),
        frequency_hz=float(np.mean([f.mean() for f in frequencies])),
        offsets_arcsec=_extent(directions),
        channels=len(frequencies[0]),
        first_hz=float(frequencies[0][0]),
        width_hz=float(np.mean(np.diff(frequencies[0]))) if len(frequencies[0]) > 1 else float(widths[0][0]),
        rows=rows,
    )


def _check_grid(ms: Path, frequencies: list[Any], frames: list[int]) -> None:
    first = frequencies[0]
    step = abs(first[1] - first[0]) if len(first) > 1 else 1.0
    for other in frequencies[1:]:
        if len(other) != len(first) or np.abs(other - first).max() > _SAME_GRID * step:
            raise DataError(f"the spectral windows of {ms} have different channels", remedy="stage it again")
    if any(frame != _LSRK for frame in frames):
        raise DataError(f"the channels of {ms} are not in the LSRK frame", remedy="stage it again")


def _baseline(ms: Path, positions: Any, pairs: Any) -> float:
    if not (pairs[0] != pairs[1]).any():
        raise DataError(f"{ms} has fewer than two antennas", remedy="check what staging selected")
    return baseline_percentile_m(positions, pairs)


def baseline_percentile_m(positions_m: Any, pairs: Any) -> float:
    """Return the 95th percentile of the lengths of the baselines that were observed.

    Antennas of different arrays in one measurement set may be far apart without ever having been correlated.

    Parameters
    ----------
    positions_m
        (antennas, 3).
    pairs
        (2, baselines): numbers of the antennas of each baseline; autocorrelations do not count.
    """
    first, second = pairs[:, pairs[0] != pairs[1]]
    return float(np.percentile(np.linalg.norm(positions_m[first] - positions_m[second], axis=1), 95))


def _extent(directions: Any) -> tuple[float, float]:
    ra, dec = directions[:, 0], directions[:, 1]
    turn = (ra - ra[0] + np.pi) % (2 * np.pi) - np.pi
    east = turn * np.cos(dec.mean())
    return float(np.ptp(east) * ARCSEC_PER_RADIAN), float(np.ptp(dec) * ARCSEC_PER_RADIAN)


def _no_dish(ms: Path) -> float:
    raise DataError(f"{ms} does not say how large its dishes are")


@contextmanager
def opened_table(path: Path) -> Iterator[Any]:
    """Yield CASA's table tool with `path` open."""
    from casatools import table

    tool = table()
    tool.open(str(path))
    try:
        yield tool
    finally:
        tool.close()
