"""What staging is told: the measurement sets and the numbers that say what is wanted of them.

Frequencies are GHz and velocities km/s, LSRK, radio convention. Knows no keys and no files' insides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fringeflow_staging.metadata import TARGET_INTENT
from fringeflow_staging.windows import Range

Progress = Callable[[str, float | None], None]
"""Told which step is running and the fraction done, if known."""


@dataclass(frozen=True)
class Source:
    """One measurement set: where it lies, which field of it, how long to average, and which array it is of."""

    path: Path
    field: str = "all"
    timebin: str = "0s"
    array_tag: str = ""
    intent: str = TARGET_INTENT


@dataclass(frozen=True)
class Corrections:
    """Where the staging specification (section 15.1) wants to do better than the reference, each by itself.

    `union_exclusions` S2, `any_overlap` S5, `skip_unfittable` S6, `one_grid` S12, `cover` S32, `symmetric_edges` S15.
    """

    union_exclusions: bool = True
    any_overlap: bool = True
    skip_unfittable: bool = True
    one_grid: bool = True
    cover: bool = False
    symmetric_edges: bool = True


@dataclass(frozen=True)
class LineSettings:
    """What is wanted of a line product.

    `vsys_kms`, `vwidth_kms`: the window to extract. `excluded_ghz`: LSRK ranges of lines that the continuum fit leaves
    out; `manual_ghz`: such ranges given by hand (LSRK). `statwt_edge_kms`: how much at either end of the window is
    free of the line, for the weights. `combinespw`: fit one continuum through all windows.
    """

    restfreq_ghz: float
    vsys_kms: float
    vwidth_kms: float
    channel_kms: float
    excluded_ghz: tuple[Range, ...]
    manual_ghz: tuple[Range, ...] | None = None
    edge_fraction: float = 0.0
    fitorder: int = 0
    combinespw: bool = False
    statwt_edge_kms: float | None = None
    full_coverage: bool = False
    grid_mode: Literal["max", "exact"] = "max"
    corrections: Corrections = field(default_factory=Corrections)


@dataclass(frozen=True)
class ContinuumSettings:
    """What is wanted of a continuum product.

    `ranges_ghz`: frequencies to use; None or none: all that the windows hold. `channel_ghz`: largest output channel;
    None: the largest that does not smear. `excluded_ghz`: ranges of lines, which are flagged. `reweigh`: measure the
    weights on the scatter over the line-free native channels (S19).
    """

    ranges_ghz: tuple[Range, ...] | None
    channel_ghz: float | None
    excluded_ghz: tuple[Range, ...] = ()
    full_coverage: bool = False
    reweigh: bool = False
    corrections: Corrections = field(default_factory=Corrections)
