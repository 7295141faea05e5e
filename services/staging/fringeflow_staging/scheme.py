"""The spectral setup that all inputs of one product share: one output grid first, then how each window reaches it.

Knows no CASA and no files. Frequencies are GHz, velocities km/s (LSRK, radio convention).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fringeflow.errors import DataError
from fringeflow_staging.windows import C_KMS, Range, Window

# Output channels are this much wider than the widest multiple of native ones, so that rounding never makes a regrid
# to less than the native width (staging specification, section 6.2).
MARGIN = 3e-4
# Beyond this share of (synthesised beam / primary beam) the width of a channel smears sources away from the centre.
SMEARING = 0.1
# Channels of sets that are joined agree to this share of their width (S12: far below 0.01).
SAME_CHANNEL = 1e-3
ROUNDING = 1e-9

Method = Literal["regrid_then_rebin", "rebin_then_regrid", "just_regrid", "just_rebin", "conserve"]
"""How native channels become those of the grid: CASA's interpolation after, before or without averaging, averaging
alone, or our own rebinning by overlap."""


@dataclass(frozen=True)
class Grid:
    """Output channels: `n_channels` of `width_kms`, the first (of lowest velocity) beginning at `edge_kms`."""

    restfreq_ghz: float
    edge_kms: float
    width_kms: float
    n_channels: int

    def centre_kms(self, channel: int) -> float:
        """Velocity of the centre of output channel number `channel`, counted from the lowest velocity."""
        return self.edge_kms + (channel + 0.5) * self.width_kms

    @property
    def covered_kms(self) -> Range:
        """Where the grid begins and ends."""
        return self.edge_kms, self.edge_kms + self.n_channels * self.width_kms


@dataclass(frozen=True)
class Regrid:
    """How one window of one input reaches the grid.

    `before` native channels are averaged, the result is brought to `n_channels` of `width_kms` from `start_kms`
    (`native`: these native channels, first and last, are taken as they are instead), then `factor` are averaged.
    """

    source: int
    window: int
    factor: int
    start_kms: float
    width_kms: float
    n_channels: int
    before: int = 1
    native: tuple[int, int] | None = None

    @property
    def first_output_kms(self) -> float:
        """Centre of the first channel after binning."""
        return self.start_kms + (self.factor - 1) / 2 * self.width_kms


@dataclass(frozen=True)
class Setup:
    """One grid and every window's way to it. `too_wide` are (source, window) whose native channels are wider."""

    grid: Grid
    regrids: tuple[Regrid, ...]
    too_wide: tuple[tuple[int, int], ...] = ()


def line_setup(
    inputs: Sequence[Sequence[Window]],
    *,
    restfreq_ghz: float,
    vsys_kms: float,
    vwidth_kms: float,
    channel_kms: float,
    mode: Literal["max", "exact"] = "max",
    method: Method = "regrid_then_rebin",
    one_grid: bool = True,
    cover: bool = False,
) -> Setup | None:
    """Return the setup of a line product, or None when no window is fine enough.

    Parameters
    ----------
    inputs
        Of each input the windows that cover the line.
    channel_kms
        In mode ``max`` the largest output width, as in the reference; in mode ``exact`` the output width, with channel
        edges at its integer multiples, so that all products of a survey share one grid (S14, S31).
    one_grid
        False lets the first channel of each bin factor begin where the reference's does (S12).
    method
        With ``just_regrid`` channels are as wide as asked for and symmetric about `vsys_kms` (S14), with
        ``just_rebin`` they are those of the windows, averaged.
    cover
        Whether mode ``max`` adds the channels that reach the upper end of the window (S32).

    Raises
    ------
    DataError
        The native channels of `just_rebin` are not LSRK, or differ among the inputs.

    Notes
    -----
    Bin factors, width and number of channels follow the staging specification, section 6.2. The reference puts the
    centre of the first *regridded* channel on the lower end of the window, so its grid depends on the bin factor. Here
    the coarsest regridded channel is put there and all others share its edge: with one bin factor among all inputs
    this is the reference's grid.
    """
    ways, too_wide = _bin_factors(inputs, channel_kms, restfreq_ghz)
    if not ways:
        return None
    span = vsys_kms - vwidth_kms / 2, vsys_kms + vwidth_kms / 2
    if method == "just_rebin":
        by_place = {(source, window.number): window for source, windows in enumerate(inputs) for window in windows}
        return _native_setup([(by_place[way[:2]], way) for way in ways], restfreq_ghz, span, too_wide)
    if mode == "exact":
        edge = math.floor(span[0] / channel_kms + ROUNDING) * channel_kms
        grid = Grid(restfreq_ghz, edge, channel_kms, _to_the_end(edge, span[1], channel_kms))
    elif method == "just_regrid":
        n_out = _to_the_end(*span, channel_kms)
        grid = Grid(restfreq_ghz, vsys_kms - n_out * channel_kms / 2, channel_kms, n_out)
    else:
        grid = _widest_grid(ways, restfreq_ghz, span, cover=cover)
    regrids = []
    for source, window, factor, _ in ways:
        before = factor if method == "rebin_then_regrid" else 1
        after = factor if method == "regrid_then_rebin" else 1
        fine = grid.width_kms / after
        on_grid = one_grid or mode == "exact" or method != "regrid_then_rebin"
        start = grid.edge_kms + fine / 2 if on_grid else span[0]
        regrids.append(Regrid(source, window, after, start, fine, grid.n_channels * after, before))
    return Setup(grid, tuple(regrids), too_wide)


def _widest_grid(
    ways: Sequence[tuple[int, int, int, float]], restfreq_ghz: float, span_kms: Range, *, cover: bool
) -> Grid:
    """Return the grid of the widest multiple of native channels that is not wider than asked for."""
    binned = [native * factor for _, _, factor, native in ways]
    width = max(binned) * (1 + MARGIN)
    edge = span_kms[0] - width / min(factor for _, _, factor, _ in ways) / 2
    n_out = min(math.floor((span_kms[1] - span_kms[0]) / each) for each in binned)
    return Grid(restfreq_ghz, edge, width, _to_the_end(edge, span_kms[1], width) if cover else max(n_out, 1))


def _to_the_end(edge_kms: float, end_kms: float, width_kms: float) -> int:
    return max(math.ceil((end_kms - edge_kms) / width_kms - ROUNDING), 1)


def _native_setup(
    found: Sequence[tuple[Window, tuple[int, int, int, float]]],
    restfreq_ghz: float,
    span_kms: Range,
    too_wide: tuple[tuple[int, int], ...],
) -> Setup:
    """Return the grid that the native channels of all windows make by themselves, averaged."""
    grids, regrids = [], []
    for window, (source, number, factor, native) in found:
        if window.to_lsrk != (1.0, 1.0):
            raise DataError(
                f"window {number} has {window.frame} channels, which averaging alone does not bring to LSRK",
                remedy="choose another staging_method",
            )
        centres = C_KMS * (1 - np.array(window.centres_ghz) / restfreq_ghz)
        order = np.argsort(centres)
        first = int(np.searchsorted(centres[order] + native / 2, span_kms[0] + ROUNDING))
        edge = float(centres[order[first]]) - native / 2
        n_out = min(_to_the_end(edge, span_kms[1], native * factor), (window.n_channels - first) // factor)
        ends = order[first], order[first + max(n_out, 1) * factor - 1]
        grids.append(Grid(restfreq_ghz, edge, native * factor, max(n_out, 1)))
        channels = int(min(ends)), int(max(ends))
        regrids.append(Regrid(source, number, 1, grids[-1].centre_kms(0), native * factor, n_out, factor, channels))
    for grid in grids[1:]:
        if grid.n_channels != grids[0].n_channels or not math.isclose(
            grid.edge_kms, grids[0].edge_kms, abs_tol=SAME_CHANNEL * grid.width_kms
        ):
            raise DataError(
                "the inputs have different channels, which averaging alone does not bring together",
                remedy="choose another staging_method",
            )
    return Setup(grids[0], tuple(regrids), too_wide)


def continuum_setup(
    inputs: Sequence[Sequence[Window]], wanted_ghz: Range, *, channel_ghz: float | None = None
) -> Setup | None:
    """Return the setup of one continuum range, or None when no window is fine enough (section 7.3).

    The range is cut into the fewest equal channels no wider than `channel_ghz` (None: one channel). Velocities count
    from the middle of the range.
    """
    middle = (wanted_ghz[0] + wanted_ghz[1]) / 2
    span = (wanted_ghz[1] - wanted_ghz[0]) / middle * C_KMS
    n_out = 1 if channel_ghz is None else max(math.ceil(span / (channel_ghz / middle * C_KMS) - ROUNDING), 1)
    ways, too_wide = _bin_factors(inputs, span / n_out, middle)
    if not ways:
        return None
    grid = Grid(middle, -span / 2, span / n_out, n_out)
    regrids = tuple(
        Regrid(source, window, factor, -span / 2 + grid.width_kms / factor / 2, grid.width_kms / factor, n_out * factor)
        for source, window, factor, _ in ways
    )
    return Setup(grid, regrids, too_wide)


def smearing_limit_ghz(frequency_ghz: float, dish_m: float, longest_baseline_m: float) -> float:
    """Return the widest channel that does not smear sources within the primary beam (S18).

    The synthesised beam is taken as wavelength over longest baseline, the primary beam as wavelength over diameter.
    """
    return SMEARING * frequency_ghz * dish_m / max(longest_baseline_m, dish_m)


def line_channels(n_channels: int, width_kms: float, edge_kms: float, *, symmetric: bool = True) -> Range | None:
    """Return first and last channel that the weights must not be measured on, or None when the edges leave no line.

    `edge_kms` at both ends is free of the line (section 6.6). `symmetric` False gives the reference's channels, one
    too few at the low end and one too many at the other (S15).
    """
    edge = math.ceil(edge_kms / width_kms - ROUNDING)
    if 2 * edge > n_channels:
        return None
    if symmetric:
        return None if 2 * edge == n_channels else (edge, n_channels - edge - 1)
    low, high = max(edge - 1, 0), min(n_channels - edge - 2, n_channels - 1)
    return None if low == high else (low, high)


def _bin_factors(
    inputs: Sequence[Sequence[Window]], widest_kms: float, restfreq_ghz: float
) -> tuple[list[tuple[int, int, int, float]], tuple[tuple[int, int], ...]]:
    """Return (source, window, factor, native width) of all windows fine enough, and those that are not."""
    ways, too_wide = [], []
    for source, windows in enumerate(inputs):
        for window in windows:
            native = window.width_kms(restfreq_ghz)
            if native > widest_kms:
                too_wide.append((source, window.number))
            else:
                ways.append((source, window.number, math.floor(widest_kms / native), native))
    return ways, tuple(too_wide)
