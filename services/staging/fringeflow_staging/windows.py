"""Which channels of a spectral window a range of frequencies touches: plain arithmetic on windows already read.

Knows no CASA and no files. Frequencies are GHz, velocities km/s (LSRK, radio convention).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fringeflow.errors import DataError

C_KMS = 299792.458
# Channel edges computed from centres and from velocities agree to rounding only: a channel's width times this is not
# an overlap.
EDGE_TOLERANCE = 1e-6

Range = tuple[float, float]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Window:
    """One spectral window of one measurement set, as far as the selected rows use it.

    Parameters
    ----------
    number
        Its id in the measurement set.
    centres_ghz, widths_ghz
        Centre and (positive) width of every channel, in the frame stored.
    to_lsrk
        Smallest and largest factor over the track that turns stored into LSRK frequencies.
    rows
        Rows of the main table that the selection takes from it.
    name, frame
        What it is called, and the frame of the frequencies stored.
    """

    number: int
    centres_ghz: tuple[float, ...]
    widths_ghz: tuple[float, ...]
    to_lsrk: Range = (1.0, 1.0)
    rows: int = 1
    name: str = ""
    frame: str = ""

    @property
    def n_channels(self) -> int:
        """The number of channels."""
        return len(self.centres_ghz)

    @property
    def width_ghz(self) -> float:
        """Width of the first channel, which stands for all (derived from section 1.1 of the staging specification)."""
        return self.widths_ghz[0]

    def width_kms(self, restfreq_ghz: float) -> float:
        """Channel width as a velocity at the rest frequency."""
        return self.width_ghz / restfreq_ghz * C_KMS

    @property
    def reach_ghz(self) -> Range:
        """Lowest and highest channel centre, LSRK, reached at some time of the track."""
        return min(self.centres_ghz) * self.to_lsrk[0], max(self.centres_ghz) * self.to_lsrk[1]

    @property
    def always_ghz(self) -> Range:
        """Lowest and highest channel centre, LSRK, that is covered all through the track."""
        return min(self.centres_ghz) * self.to_lsrk[1], max(self.centres_ghz) * self.to_lsrk[0]

    def reach_kms(self, restfreq_ghz: float) -> Range:
        """LSRK velocities of a line that some channel reaches at some time."""
        low, high = self.reach_ghz
        return C_KMS * (1 - high / restfreq_ghz), C_KMS * (1 - low / restfreq_ghz)

    def edges_ghz(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper edge of every channel, LSRK, swept over the track."""
        centres, halves = np.array(self.centres_ghz), np.array(self.widths_ghz) / 2
        return (centres - halves) * self.to_lsrk[0], (centres + halves) * self.to_lsrk[1]


def line_range_ghz(restfreq_ghz: float, vsys_kms: float, vwidth_kms: float, padding_kms: float = 0.0) -> Range:
    """Return the frequencies of a line within ``vsys +- vwidth / 2``, widened by `padding_kms` on both sides."""
    half = vwidth_kms / 2 + padding_kms
    low, high = (restfreq_ghz * (1 - velocity / C_KMS) for velocity in (vsys_kms + half, vsys_kms - half))
    return low, high


def merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Return the union of `ranges` (each in either order), sorted, those that touch joined."""
    joined: list[Range] = []
    for low, high in sorted((min(pair), max(pair)) for pair in ranges):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)


def excluded_ranges(
    automatic: Sequence[Range], manual: Sequence[Range] | None = None, *, union: bool = True
) -> tuple[Range, ...]:
    """Return what is left out of a continuum fit: the lines' ranges and those given by hand.

    Parameters
    ----------
    union
        False keeps of the automatic ranges only what the reference keeps: the manual ranges replace all of them, each
        after comparison with the lowest automatic one (staging specification, section 5.4, S2).
    """
    lines = merged(automatic)
    if manual is None:
        return lines
    if union:
        return merged([*lines, *manual])
    kept: set[Range] = set()
    for low, high in manual:
        first = lines[0] if lines else (low, high)
        if first[0] <= low and high <= first[1]:
            kept.add(first)
        elif high < first[0] or low > first[1]:
            kept |= {first, (low, high)}
        else:
            kept.add((min(low, first[0]), max(high, first[1])))
    return tuple(sorted(kept))


def left_out(window: Window, wanted_ghz: Range, *, widest_ghz: float | None = None, full: bool = False) -> str:
    """Return why a window is not used for `wanted_ghz` (staging specification, section 5.2), or '' if it is.

    Parameters
    ----------
    widest_ghz
        Largest native channel width; equal passes.
    full
        Take only windows that hold all of `wanted_ghz` all through the track.
    """
    low, high = wanted_ghz
    reached, always = window.reach_ghz, window.always_ghz
    if not window.rows:
        return "no selected rows"
    if reached[1] < low:
        return f"ends {low - reached[1]:.6f} GHz below"
    if reached[0] > high:
        return f"begins {reached[0] - high:.6f} GHz above"
    if widest_ghz is not None and window.width_ghz > widest_ghz:
        return f"its channels are {window.width_ghz / widest_ghz:.3g} times as wide as they may be"
    if full and not (always[1] > high and always[0] < low):
        return "does not hold all of it all through the track"
    return ""


def covering(
    windows: Iterable[Window], wanted_ghz: Range, *, widest_ghz: float | None = None, full: bool = False
) -> tuple[Window, ...]:
    """Return the windows that are used for `wanted_ghz`; see `left_out`."""
    return tuple(window for window in windows if not left_out(window, wanted_ghz, widest_ghz=widest_ghz, full=full))


def touched(window: Window, ranges: Iterable[Range], *, any_overlap: bool = True) -> Mask:
    """Return the channels [n_channels] that lie in one of `ranges`, in part or (any_overlap False) entirely (S5)."""
    lower, upper = window.edges_ghz()
    slack = EDGE_TOLERANCE * np.array(window.widths_ghz)
    inside = np.zeros(window.n_channels, dtype=bool)
    for low, high in ranges:
        if any_overlap:
            inside |= (lower + slack < high) & (upper - slack > low)
        else:
            inside |= (lower + slack >= low) & (upper - slack <= high)
    return inside


def without_edges(chosen: Mask, edge_fraction: float) -> Mask:
    """Return `chosen` less the share `edge_fraction` of all channels at both ends (section 5.5)."""
    kept, n = chosen.copy(), len(chosen)
    if edge_fraction > 0:
        kept[: math.ceil(n * edge_fraction - 1e-9)] = False
        kept[math.floor(n * (1 - edge_fraction) + 1e-9) :] = False
    return kept


def channel_text(chosen: Mapping[int, Mask]) -> str:
    """Return CASA's selection of the chosen channels by window number, e.g. ``0:0~39,0:59~99``; none gives ''."""
    parts = []
    for number, mask in chosen.items():
        steps = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
        firsts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
        parts += [f"{number}:{first}~{end - 1}" for first, end in zip(firsts, ends, strict=True)]
    return ",".join(parts)


def checked_ranges(ranges: Sequence[Range]) -> tuple[Range, ...]:
    """Return `ranges`, each ascending, in the order given; refuse those that overlap (touching is allowed)."""
    ordered = tuple((min(pair), max(pair)) for pair in ranges)
    by_frequency = sorted(ordered)
    for (low, high), (next_low, next_high) in pairwise(by_frequency):
        if next_low < high:
            raise DataError(
                f"the continuum ranges {low}-{high} GHz and {next_low}-{next_high} GHz overlap",
                remedy="make the ranges of freq_ranges_ghz disjoint",
            )
    return ordered
