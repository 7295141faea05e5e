"""Rebins visibilities to a grid of LSRK channels by overlap: what is in the native channels is in the new ones.

Unlike interpolation between points it loses no sensitivity where channels get wider and cannot ring; the weights of the
new channels follow from those of the native ones (staging specification, S13).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from fringeflow.errors import CorruptInputError, NothingSelectedError
from fringeflow_staging import combine, tasks
from fringeflow_staging.frames import LsrkFactors
from fringeflow_staging.metadata import FREQUENCY_FRAMES
from fringeflow_staging.scheme import Grid, Regrid
from fringeflow_staging.tables import open_table, spectrum_rows

# A channel of which less is covered by data is flagged.
LEAST_COVERED = 0.5

Floats = NDArray[np.float64]


def rebin(vis: Path, output: Path, way: Regrid, grid: Grid, *, column: str, field: str = "", intent: str = "") -> float:
    """Write one window of `vis`, rebinned to `grid`, to `output`; return the share of flagged samples.

    The native channels are placed in LSRK at the time and for the field of every row. Weights are given per channel;
    native channels count as independent. When all is flagged no output is left.
    """
    try:
        # What CASA makes here gives the tables their form; data, flags and weights are written anew.
        tasks.run(
            "mstransform",
            vis,
            outputvis=str(output),
            spw=str(way.window),
            field=field,
            intent=intent,
            datacolumn=column,
            keepflags=False,
            usewtspectrum=True,
            regridms=True,
            mode="velocity",
            interpolation="nearest",
            outframe="lsrk",
            veltype="radio",
            restfreq=f"{grid.restfreq_ghz:.12f}GHz",
            start=f"{way.start_kms:.8f}km/s",
            width=f"{way.width_kms:.8f}km/s",
            nchan=way.n_channels,
        )
    except NothingSelectedError:
        return 1.0
    tasks.drop_pointing(output)
    combine.settle(output, way, grid)
    with open_table(output / "SPECTRAL_WINDOW") as windows:
        made_hz, width_hz = windows.getcell("CHAN_FREQ", 0), abs(float(windows.getcell("CHAN_WIDTH", 0)[0]))
    source = _Source(vis, way.window, {"data": "DATA", "corrected": "CORRECTED_DATA"}[column])
    with open_table(vis) as main, open_table(output, writable=True) as made:
        own = main.selectrows(source.rows_of(main).tolist())
        rows = _same_rows(own, made, output.name)
        at_once = spectrum_rows(own)
        for start in range(0, made.nrows(), at_once):
            block = own.selectrows(rows[start : start + at_once].tolist())
            _write(made, start, source.rebinned(block, made_hz, width_hz))
            block.close()
        own.close()
    return combine.remaining(output)


def overlaps(low: Floats, high: Floats, out_low: Floats, out_high: Floats) -> csr_matrix:
    """Return how much of channels from `low` to `high` [n] lies in those from `out_low` to `out_high`, as [m, n].

    In units of frequency. Output channels must not overlap each other; neither need be in order.
    """
    order = np.argsort(out_low)
    first = np.searchsorted(out_high[order], low, side="right")
    last = np.searchsorted(out_low[order], high, side="left") - 1
    number = np.arange(len(low))
    rows, columns, values = [], [], []
    for step in range(max(int((last - first).max()) + 1, 0)):
        here = number[first + step <= last]
        into = order[first[here] + step]
        shared = np.minimum(high[here], out_high[into]) - np.maximum(low[here], out_low[into])
        real = shared > 0
        rows.append(into[real])
        columns.append(here[real])
        values.append(shared[real])
    shape = len(out_low), len(low)
    if not rows:
        return csr_matrix(shape)
    return csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)


def averaged(
    data: NDArray[np.complex128], flags: NDArray[np.bool_], weights: Floats, shares: csr_matrix, width: float
) -> tuple[NDArray[np.complex128], NDArray[np.bool_], Floats]:
    """Return data, flags and weights in new channels, each the mean over what covers it.

    Parameters
    ----------
    data, flags, weights
        [channel, sample]; weights are 1 / variance of independent channels.
    shares
        See `overlaps`.
    width
        Of a new channel, in the unit of `shares`.
    """
    good = ~flags & (weights > 0)
    covered = shares @ good.astype(float)
    sums = shares @ np.where(good, data, 0)
    variances = shares.power(2) @ np.divide(1.0, weights, out=np.zeros_like(weights), where=good)
    flagged = covered < LEAST_COVERED * width
    known = ~flagged
    return (
        np.divide(sums, covered, out=np.zeros_like(sums), where=known),
        flagged,
        np.divide(covered**2, variances, out=np.zeros_like(variances), where=known),
    )


class _Source:
    """The window that is read: its channels, and where they lie in LSRK at each time."""

    def __init__(self, vis: Path, window: int, column: str) -> None:
        self._column = column
        with open_table(vis / "SPECTRAL_WINDOW") as windows:
            self._centres = windows.getcell("CHAN_FREQ", window)
            self._halves = np.abs(windows.getcell("CHAN_WIDTH", window)) / 2
            self._frame = FREQUENCY_FRAMES[int(windows.getcell("MEAS_FREQ_REF", window)) % 64]
        with open_table(vis / "DATA_DESCRIPTION") as descriptions:
            self._descriptions = np.flatnonzero(descriptions.getcol("SPECTRAL_WINDOW_ID") == window)
        self._factors = LsrkFactors(vis, {})

    def rows_of(self, main: Any) -> NDArray[np.int64]:
        """Return the rows of the window."""
        return np.flatnonzero(np.isin(main.getcol("DATA_DESC_ID"), self._descriptions))

    def rebinned(self, block: Any, made_hz: Floats, width_hz: float) -> tuple[Any, Any, Any]:
        """Return data, flags and weights [polarisation, channel, row] of a few rows in the channels `made_hz`."""
        data = block.getcol(self._column)
        flags = block.getcol("FLAG") | block.getcol("FLAG_ROW")
        weights = self._weights(block, data.shape)
        n_pol, _, n_rows = data.shape
        out = tuple(
            np.zeros((n_pol, len(made_hz), n_rows), dtype=kind) for kind in (data.dtype, np.bool_, weights.dtype)
        )
        for rows, factor in self._by_factor(block):
            shares = overlaps(
                (self._centres - self._halves) * factor,
                (self._centres + self._halves) * factor,
                made_hz - width_hz / 2,
                made_hz + width_hz / 2,
            )
            taken = averaged(_samples(data, rows), _samples(flags, rows), _samples(weights, rows), shares, width_hz)
            for whole, part in zip(out, taken, strict=True):
                whole[:, :, rows] = part.reshape(len(made_hz), n_pol, len(rows)).swapaxes(0, 1)
        return out[0], out[1], out[2]

    def _by_factor(self, block: Any) -> Iterator[tuple[NDArray[np.int64], float]]:
        """Yield rows whose frequencies the same factor brings to LSRK, and that factor."""
        fields, times = block.getcol("FIELD_ID"), block.getcol("TIME")
        factors = np.empty(len(times))
        for field in np.unique(fields):
            rows = np.flatnonzero(fields == field)
            moments, at = np.unique(times[rows], return_inverse=True)
            factors[rows] = self._factors.at(self._frame, int(field), moments)[at.reshape(-1)]
        for factor in np.unique(factors):
            yield np.flatnonzero(factors == factor), float(factor)

    def _weights(self, block: Any, shape: tuple[int, ...]) -> Floats:
        if "WEIGHT_SPECTRUM" in block.colnames() and block.iscelldefined("WEIGHT_SPECTRUM", 0):
            return np.asarray(block.getcol("WEIGHT_SPECTRUM"), dtype=float)
        return np.broadcast_to(block.getcol("WEIGHT")[:, None, :], shape).astype(float)


def _samples(values: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return [channel, sample] of the rows of values [polarisation, channel, row]."""
    return values[:, :, rows].swapaxes(0, 1).reshape(values.shape[1], -1)


def _same_rows(own: Any, made: Any, name: str) -> NDArray[np.int64]:
    """Return for each row that CASA wrote the row that it was made from: of the same time and baseline."""
    names = ("TIME", "ANTENNA1", "ANTENNA2")
    mine, theirs = (np.stack([table.getcol(column).astype(float) for column in names]) for table in (own, made))
    _, keys = np.unique(np.concatenate([mine, theirs], axis=1), axis=1, return_inverse=True)
    first, second = np.split(keys.reshape(-1), [mine.shape[1]])
    order = np.argsort(first, kind="stable")
    at = np.minimum(np.searchsorted(first[order], second), len(first) - 1)
    if len(np.unique(second)) < len(second) or (first[order[at]] != second).any():
        raise CorruptInputError(
            f"{name}: several rows have the same time and baseline", remedy="choose another staging_method"
        )
    return np.asarray(order[at])


def _write(made: Any, start: int, rebinned: tuple[Any, Any, Any]) -> None:
    data, flags, weights = rebinned
    count = data.shape[2]
    usable = np.maximum((weights > 0).sum(axis=1), 1)
    per_row = weights.sum(axis=1) / usable
    column = "DATA" if "DATA" in made.colnames() else "CORRECTED_DATA"
    made.putcol(column, data, start, count)
    made.putcol("FLAG", flags, start, count)
    made.putcol("FLAG_ROW", flags.all(axis=(0, 1)), start, count)
    for name, values in (("WEIGHT", per_row), ("WEIGHT_SPECTRUM", weights)):
        made.putcol(name, values, start, count)
        sigma = np.divide(1.0, np.sqrt(values), out=np.zeros_like(values), where=values > 0)
        made.putcol(name.replace("WEIGHT", "SIGMA"), sigma, start, count)
