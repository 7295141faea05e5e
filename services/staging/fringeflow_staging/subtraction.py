"""Takes the continuum away in the uv plane: a polynomial through the line-free channels of every integration.

Knows channels, not lines: which are line-free is told by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow.errors import DataError
from fringeflow_staging import tasks
from fringeflow_staging.tables import open_table
from fringeflow_staging.windows import Mask, Range, Window, channel_text, touched, without_edges

# A fit of order n wants more channels than it has coefficients (S6).
SPARE_CHANNELS = 3
BLOCK_ROWS = 20_000


@dataclass(frozen=True)
class Fit:
    """The channels through which the continuum of one window is fitted."""

    window: int
    chosen: Mask
    order: int

    @property
    def n_channels(self) -> int:
        """How many channels are fitted."""
        return int(self.chosen.sum())

    @property
    def is_possible(self) -> bool:
        """Whether these are enough for the order."""
        return self.n_channels >= self.order + SPARE_CHANNELS


def plan_fit(
    window: Window,
    excluded: Sequence[Range],
    *,
    order: int,
    edge_fraction: float = 0.0,
    any_overlap: bool = True,
) -> Fit:
    """Return the fit through all channels outside `excluded` and away from the window's edges (section 5.4)."""
    free = ~touched(window, excluded, any_overlap=any_overlap)
    return Fit(window.number, without_edges(free, edge_fraction), order)


def subtract(vis: Path, output: Path, fits: Sequence[Fit], *, column: str, field: str = "", intent: str = "") -> None:
    """Write the windows of `fits`, each less its own continuum, to `output`; windows keep their ids.

    Only windows whose fit is possible may be asked for: CASA fits all channels of a window that it is told nothing
    about, and would take a line that fills it for continuum (S6).
    """
    tasks.run(
        "uvcontsub",
        vis,
        outputvis=str(output),
        field=field,
        intent=intent,
        spw=",".join(str(fit.window) for fit in fits),
        datacolumn=column,
        fitspec=channel_text({fit.window: fit.chosen for fit in fits}),
        fitorder=fits[0].order,
        fitmethod="gsl",
    )
    tasks.drop_pointing(output)


def subtract_across(vis: Path, fits: Sequence[Fit], windows: Sequence[Window]) -> None:
    """Subtract in place one polynomial through the line-free channels of all windows together (S3).

    CASA's present task fits each window alone; this is the fit of key ``combinespw``. The polynomial in frequency is
    found by weighted least squares for every integration, baseline, field and polarisation.

    Parameters
    ----------
    vis
        A scratch measurement set with a DATA column.
    fits
        The channels of all windows that take part, of one order; a window may have none.
    windows
        The spectral windows of `vis`.
    """
    order = fits[0].order
    axes = _scaled_frequencies(windows)
    chosen: Mapping[int, Mask] = {fit.window: fit.chosen for fit in fits}
    with open_table(vis / "DATA_DESCRIPTION") as descriptions:
        window_of = descriptions.getcol("SPECTRAL_WINDOW_ID")
    with open_table(vis, writable=True) as main:
        descriptions_of = main.getcol("DATA_DESC_ID")
        for rows in _simultaneous_rows(main):
            numbers = window_of[descriptions_of[rows]]
            _solve_and_write(
                [
                    _Part(main, rows[numbers == number], axes[number], chosen[number], order)
                    for number in np.unique(numbers).tolist()
                ],
                order,
            )


class _Part:
    """The rows of one window in one block: their moments, and the way to write them back."""

    def __init__(self, main: Any, rows: NDArray[np.int64], axis: NDArray[np.float64], chosen: Mask, order: int) -> None:
        self._table = main.selectrows(rows.tolist())
        self._axis = axis
        self.data = self._table.getcol("DATA")
        usable = ~self._table.getcol("FLAG") & chosen[None, :, None]
        weight = usable * self._table.getcol("WEIGHT")[:, None, :].astype(float)
        powers = axis[:, None] ** np.arange(2 * order + 1)
        self.moments = np.einsum("pcr,ck->rpk", weight, powers)
        self.products = np.einsum("pcr,ck->rpk", np.where(usable, self.data, 0) * weight, powers[:, : order + 1])
        names = ("TIME", "ANTENNA1", "ANTENNA2", "FIELD_ID")
        self.keys = np.stack([self._table.getcol(name).astype(float) for name in names], axis=1)

    def write(self, coefficients: NDArray[np.complex128]) -> None:
        """Subtract polynomials [row, polarisation, power] and write the data back."""
        powers = self._axis[:, None] ** np.arange(coefficients.shape[2])
        self._table.putcol("DATA", self.data - np.einsum("rpk,ck->pcr", coefficients, powers))
        self._table.close()


def _solve_and_write(parts: Sequence[_Part], order: int) -> None:
    _, group = np.unique(np.concatenate([part.keys for part in parts]), axis=0, return_inverse=True)
    group = group.reshape(-1)
    n_groups, n_pol = int(group.max()) + 1, parts[0].moments.shape[1]
    if any(part.moments.shape[1] != n_pol for part in parts):
        raise DataError("windows with different polarisations cannot be fitted together", remedy="unset combinespw")
    moments = np.zeros((n_groups, n_pol, 2 * order + 1))
    products = np.zeros((n_groups, n_pol, order + 1), dtype=complex)
    np.add.at(moments, group, np.concatenate([part.moments for part in parts]))
    np.add.at(products, group, np.concatenate([part.products for part in parts]))
    index = np.arange(order + 1)
    matrix = moments[..., index[:, None] + index[None, :]]
    # The pseudo-inverse gives baselines without a usable channel no continuum instead of a failure.
    solved = np.einsum("gpij,gpj->gpi", np.linalg.pinv(matrix, rcond=1e-10, hermitian=True), products)
    start = 0
    for part in parts:
        stop = start + len(part.keys)
        part.write(solved[group[start:stop]])
        start = stop


def _scaled_frequencies(windows: Sequence[Window]) -> dict[int, NDArray[np.float64]]:
    """Return each window's channel frequencies on one axis from -1 to 1."""
    every = np.concatenate([window.centres_ghz for window in windows])
    middle, half = (every.max() + every.min()) / 2, max((every.max() - every.min()) / 2, 1e-12)
    return {window.number: (np.array(window.centres_ghz) - middle) / half for window in windows}


def _simultaneous_rows(main: Any) -> Iterator[NDArray[np.int64]]:
    """Yield row numbers in blocks that never part the rows of one time."""
    times = main.getcol("TIME")
    ordered = np.argsort(times, kind="stable")
    borders = np.flatnonzero(np.diff(times[ordered]) > 0) + 1
    start = 0
    for stop in [*borders.tolist(), len(ordered)]:
        if stop - start >= BLOCK_ROWS or stop == len(ordered):
            yield np.sort(ordered[start:stop])
            start = stop
