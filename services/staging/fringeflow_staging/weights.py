"""Measures weights on native, line-free channels: of each baseline in bins of time, before channels are mixed.

The weights that come with the data, or those of single integrations with few channels, are noisier; after interpolation
neighbouring channels are no longer independent (staging specification, S17).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow_staging.tables import open_table, spectrum_rows
from fringeflow_staging.windows import Mask

WEIGHT_SECONDS = 60.0
# With fewer independent samples than this a variance is known to no better than a third.
LEAST_SAMPLES = 10
# Channels with more than so many times the noise of most others do not tell the noise of those that are imaged.
NOISIEST = 2.0

Floats = NDArray[np.float64]


def measure(vis: Path, free: Mapping[int, Mask], *, seconds: float, order: int = 0) -> list[dict[str, Any]]:
    """Set the weights of a scratch measurement set to 1 / variance of its line-free channels.

    The variance is that of real and imaginary part, of one native channel, by baseline, polarisation and time bin.
    Where a bin has too few samples it has the median of its window; windows not in `free` keep their weights.

    Parameters
    ----------
    free
        The line-free channels of each window.
    seconds
        Length of a time bin.
    order
        Order of the polynomial that has been subtracted from these channels; 0 and 1 are alike, as a straight line
        through each spectrum is left out in any case.

    Returns
    -------
    list of dict
        `window`, how many `channels` were used, `bins` measured, and `bins_by_median`, which took the median.
    """
    figures = []
    with open_table(vis / "DATA_DESCRIPTION") as descriptions:
        window_of = descriptions.getcol("SPECTRAL_WINDOW_ID").tolist()
    with open_table(vis, writable=True) as main:
        for column in {"WEIGHT_SPECTRUM", "SIGMA_SPECTRUM"} & set(main.colnames()):
            main.removecols([column])
        for description, window in enumerate(window_of):
            if window in free:
                part = main.query(f"DATA_DESC_ID == {description}")
                if part.nrows():
                    figures.append({"window": window} | _measure(part, free[window], seconds, order))
                part.close()
    return figures


def _measure(part: Any, free: Mask, seconds: float, order: int) -> dict[str, int]:
    steady = free & _steady(part, free)
    squares, samples = _spread(part, steady, max(order, 1) + 1)
    times = part.getcol("TIME")
    bins = np.floor((times - times.min()) / seconds)
    keys = np.stack([*(part.getcol(name).astype(float) for name in ("ANTENNA1", "ANTENNA2")), bins])
    _, group = np.unique(keys, axis=1, return_inverse=True)
    group = group.reshape(-1)
    count = int(group.max()) + 1
    weight = np.empty_like(squares)
    measured = 0
    for pol in range(len(squares)):
        sums = np.bincount(group, squares[pol], count)
        numbers = np.bincount(group, samples[pol], count)
        known = (numbers >= LEAST_SAMPLES) & (sums > 0)
        of_bin = np.divide(2 * numbers, sums, out=np.zeros(count), where=known)
        of_bin[~known] = np.median(of_bin[known]) if known.any() else np.nan
        weight[pol] = of_bin[group]
        measured += int(known.sum())
    kept = np.isnan(weight)
    weight[kept] = part.getcol("WEIGHT")[kept]
    part.putcol("WEIGHT", weight)
    part.putcol("SIGMA", np.divide(1.0, np.sqrt(weight), out=np.zeros_like(weight), where=weight > 0))
    return {"channels": int(steady.sum()), "bins": measured, "bins_by_median": count * len(squares) - measured}


def _steady(part: Any, free: Mask) -> Mask:
    """Return the channels that are not much noisier than most of the line-free ones, as those at a band's edges are."""
    squares, numbers = np.zeros(len(free)), np.zeros(len(free))
    for data, usable in _blocks(part, free):
        squares += _squares(data, usable).sum(axis=(0, 2))
        numbers += usable.sum(axis=(0, 2))
    variances = np.divide(squares, numbers, out=np.full(len(free), np.inf), where=numbers > 0)
    found = variances[np.isfinite(variances)]
    return np.asarray(variances <= NOISIEST**2 * np.median(found)) if found.size else np.zeros_like(free)


def _spread(part: Any, chosen: Mask, fitted: int) -> tuple[Floats, Floats]:
    """Return [polarisation, row]: the sum of squares about a line through each spectrum, and independent samples."""
    squares, samples = [], []
    for data, usable in _blocks(part, chosen):
        squares.append(_squares(data, usable).sum(axis=1))
        samples.append(np.maximum(usable.sum(axis=1) - fitted, 0).astype(float))
    return np.concatenate(squares, axis=1), np.concatenate(samples, axis=1)


def _blocks(part: Any, chosen: Mask) -> Iterator[tuple[NDArray[np.complex128], Mask]]:
    """Yield visibilities [polarisation, channel, row] in blocks, and which are not flagged and in chosen channels."""
    rows = spectrum_rows(part)
    for start in range(0, part.nrows(), rows):
        count = min(rows, part.nrows() - start)
        usable = ~part.getcol("FLAG", start, count) & chosen[None, :, None]
        usable &= ~part.getcol("FLAG_ROW", start, count)
        yield part.getcol("DATA", start, count), usable


def _squares(data: NDArray[np.complex128], usable: Mask) -> Floats:
    """Return squares [polarisation, channel, row] about a straight line through the usable channels of each spectrum.

    A line, as the slope of continuum away from the middle of the field is no noise. Unusable channels have 0.
    """
    axis = np.linspace(-1.0, 1.0, data.shape[1])
    s0, s1, s2 = (np.einsum("pcr,c->pr", usable, axis**power) for power in range(3))
    data = np.where(usable, data, 0)
    d0, d1 = (np.einsum("pcr,c->pr", data, axis**power) for power in range(2))
    spread = s0 * s2 - s1**2
    fits = spread > 1e-9
    slope = np.divide(s0 * d1 - s1 * d0, spread, out=np.zeros_like(d0), where=fits)
    level = np.divide(d0 - slope * s1, s0, out=np.zeros_like(d0), where=s0 > 0)
    line = level[:, None, :] + slope[:, None, :] * axis[None, :, None]
    return np.where(usable, np.abs(data - line) ** 2, 0.0)
