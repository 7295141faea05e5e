"""The spectral setup that all inputs of one product share: one output grid first, then how each window reaches it.

Knows no CASA and no files. Frequencies are GHz, velocities km/s (LSRK, radio convention).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fringeflow_staging.windows import C_KMS, Range, Window

# Output channels are this much wider than the widest multiple of native ones, so that rounding never makes a regrid
# to less than the native width (staging specification, section 6.2).
MARGIN = 3e-4
# Beyond this share of (synthesised beam / primary beam) the width of a channel smears sources away from the centre.
SMEARING = 0.1
ROUNDING = 1e-9


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
    """How one window of one input reaches the grid: `n_channels` from `start_kms`, then binned by `factor`."""

    source: int
    window: int
    factor: int
    start_kms: float
    width_kms: float
    n_channels: int

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
    cover
        Whether mode ``max`` adds the channels that reach the upper end of the window (S32).

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
    vlow, vhigh = vsys_kms - vwidth_kms / 2, vsys_kms + vwidth_kms / 2
    if mode == "exact":
        width = channel_kms
        edge = math.floor(vlow / width + ROUNDING) * width
        n_out = math.ceil((vhigh - edge) / width - ROUNDING)
    else:
        binned = [native * factor for _, _, factor, native in ways]
        width = max(binned) * (1 + MARGIN)
        edge = vlow - width / min(factor for _, _, factor, _ in ways) / 2
        n_out = min(math.floor(vwidth_kms / each) for each in binned)
        if cover:
            n_out = math.ceil((vhigh - edge) / width - ROUNDING)
    grid = Grid(restfreq_ghz, edge, width, max(n_out, 1))
    regrids = []
    for source, window, factor, _ in ways:
        fine = width / factor
        start = edge + fine / 2 if one_grid or mode == "exact" else vlow
        regrids.append(Regrid(source, window, factor, start, fine, grid.n_channels * factor))
    return Setup(grid, tuple(regrids), too_wide)


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
