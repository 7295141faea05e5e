"""Opens casacore tables, and reads the columns of measurement sets that grow with the data, in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow.errors import CorruptInputError

BLOCK_ROWS = 500_000
# Rows of arrays with a channel axis are larger.
SPECTRUM_ROWS = 50_000
# Of visibilities as many are held at a time, with all that is computed of them some 300 MB.
BLOCK_SAMPLES = 4_000_000
# What is measured on a sample of the rows: blocks of so many, so many times
SAMPLE_ROWS, SAMPLES = 1_000, 20


@contextmanager
def open_table(path: Path, *, writable: bool = False) -> Iterator[Any]:
    """Open a casacore table for a while; a table that cannot be read is a `CorruptInputError`."""
    from casatools import table

    tool = table()
    try:
        tool.open(str(path), nomodify=not writable)
    except RuntimeError as error:
        raise CorruptInputError(
            f"{path}: not a readable table: {first_line(error)}", remedy="deliver the measurement set again"
        ) from error
    try:
        yield tool
    except RuntimeError as error:
        raise CorruptInputError(
            f"{path}: the table cannot be read: {first_line(error)}", remedy="deliver the measurement set again"
        ) from error
    finally:
        tool.close()


def flagged_fraction(path: Path) -> float:
    """Return the share of flagged samples of a measurement set."""
    flagged = total = 0
    with open_table(path) as main:
        for start in range(0, main.nrows(), SPECTRUM_ROWS):
            for shape_rows in _by_shape(main, start, min(SPECTRUM_ROWS, main.nrows() - start)):
                flagged += int(np.count_nonzero(shape_rows))
                total += shape_rows.size
    return flagged / total if total else 1.0


def _by_shape(main: Any, start: int, count: int) -> Iterator[NDArray[np.bool_]]:
    """Yield the flags of a block of rows, one array for each window in it, as windows differ in shape."""
    descriptions = main.getcol("DATA_DESC_ID", start, count)
    if np.all(descriptions == descriptions[0]):
        yield main.getcol("FLAG", start, count)
        return
    for description in np.unique(descriptions):
        rows = (np.flatnonzero(descriptions == description) + start).tolist()
        part = main.selectrows(rows)
        yield part.getcol("FLAG")
        part.close()


def weight_quantiles(path: Path) -> dict[str, float]:
    """Return the 16th, 50th and 84th percentile of the positive weights of rows that are not flagged."""
    weights = []
    with open_table(path) as main:
        for start in range(0, main.nrows(), BLOCK_ROWS):
            count = min(BLOCK_ROWS, main.nrows() - start)
            block = main.getcol("WEIGHT", start, count)[:, ~main.getcol("FLAG_ROW", start, count)]
            weights.append(block[block > 0])
    pooled = np.concatenate(weights) if weights else np.empty(0)
    if not pooled.size:
        return {}
    low, middle, high = np.percentile(pooled, [16, 50, 84])
    return {"p16": float(low), "p50": float(middle), "p84": float(high)}


def spectrum_rows(table: Any) -> int:
    """Return of how many rows of a window the visibilities may be held at a time."""
    return max(BLOCK_SAMPLES // max(int(table.getcell("FLAG", 0).size), 1), 1)


def what_is_left(path: Path) -> dict[str, Any]:
    """Return how much of a measurement set is not flagged: rows, antennas, seconds on source, baselines."""
    antennas: set[int] = set()
    seconds: dict[tuple[float, int], float] = {}
    rows, shortest, longest = 0, np.inf, 0.0
    with open_table(path) as main:
        for start in range(0, main.nrows(), BLOCK_ROWS):
            count = min(BLOCK_ROWS, main.nrows() - start)
            use = ~main.getcol("FLAG_ROW", start, count)
            columns = ("ANTENNA1", "ANTENNA2", "TIME", "FIELD_ID", "INTERVAL")
            first, second, time, field, interval = (main.getcol(name, start, count)[use] for name in columns)
            rows += len(first)
            antennas |= {*np.unique(first).tolist(), *np.unique(second).tolist()}
            moments, at = np.unique(np.stack([time, field]), axis=1, return_index=True)
            seconds |= {(float(t), int(f)): float(interval[n]) for (t, f), n in zip(moments.T, at, strict=True)}
            lengths = np.hypot(*main.getcol("UVW", start, count)[:2, use])
            lengths = lengths[lengths > 0]
            if lengths.size:
                shortest, longest = min(shortest, float(lengths.min())), max(longest, float(lengths.max()))
    return {
        "rows": rows,
        "antennas": len(antennas),
        "seconds": float(sum(seconds.values())),
        "baselines_m": [shortest if longest else 0.0, longest],
    }


def correlation_of_channels(path: Path, low: int, high: int) -> list[float]:
    """Return the correlation of the noise of channels with that of the next and the next but one.

    Measured on the channels before `low` and after `high` of blocks of rows all over the measurement set, which
    hold noise about zero; the list is empty if there are fewer than three of them at both ends.
    """
    products = np.zeros(3)
    numbers = np.zeros(3)
    with open_table(path) as main:
        for start in range(0, main.nrows(), max(SAMPLE_ROWS, -(-main.nrows() // SAMPLES))):
            count = min(SAMPLE_ROWS, main.nrows() - start)
            if len(np.unique(main.getcol("DATA_DESC_ID", start, count))) > 1:
                continue  # only in the reference's mode do windows stay apart
            data, good = main.getcol("DATA", start, count), ~main.getcol("FLAG", start, count)
            for part, use in ((data[:, :low], good[:, :low]), (data[:, high + 1 :], good[:, high + 1 :])):
                for lag in range(3 if part.shape[1] > 2 else 0):
                    both = use[:, lag:] & use[:, : part.shape[1] - lag]
                    shifted = part[:, lag:] * np.conj(part[:, : part.shape[1] - lag])
                    products[lag] += float(shifted.real[both].sum())
                    numbers[lag] += int(both.sum())
    if not numbers.all() or products[0] <= 0:
        return []
    means = products / numbers
    return [float(means[1] / means[0]), float(means[2] / means[0])]


def first_line(error: Exception) -> str:
    """Return what an error says, without what follows on further lines."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
