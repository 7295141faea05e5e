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


def first_line(error: Exception) -> str:
    """Return what an error says, without what follows on further lines."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
