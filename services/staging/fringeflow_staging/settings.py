"""What staging is told: the measurement sets and the numbers that say what is wanted of them.

Frequencies are GHz and velocities km/s, LSRK, radio convention. Knows no keys and no files' insides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fringeflow_staging.fields import Area
from fringeflow_staging.metadata import TARGET_INTENT
from fringeflow_staging.scheme import Method
from fringeflow_staging.weights import WEIGHT_SECONDS
from fringeflow_staging.windows import Range

Weights = Literal["scatter", "native", "propagated"]
"""How weights are found: on the scatter of each integration, on native channels in bins of time, or as delivered."""

Progress = Callable[[str, float | None], None]
"""Told which step is running and the fraction done, if known."""


@dataclass(frozen=True)
class Source:
    """One measurement set: where it lies, what of it to use, how long to average, and which array it is of."""

    path: Path
    field: str = "all"
    timebin: str = "0s"
    array_tag: str = ""
    intent: str = TARGET_INTENT
    area: Area | None = None


@dataclass(frozen=True)
class Corrections:
    """Where the staging specification (section 15.1) wants to do better than the reference, each by itself.

    `lsrk` S1, `union_exclusions` S2, `any_overlap` S5, `skip_unfittable` S6, `one_grid` S12, `cover` S32,
    `symmetric_edges` S15, `limit_smearing` S18.
    """

    lsrk: bool = True
    union_exclusions: bool = True
    any_overlap: bool = True
    skip_unfittable: bool = True
    one_grid: bool = True
    cover: bool = False
    symmetric_edges: bool = True
    limit_smearing: bool = True


@dataclass(frozen=True)
class LineSettings:
    """What is wanted of a line product.

    `vsys_kms`, `vwidth_kms`: the window to extract. `excluded_ghz`: LSRK ranges of lines that the continuum fit leaves
    out; `manual_ghz`: such ranges given by hand (LSRK). `statwt_edge_kms`: how much at either end of the window is
    free of the line, for the weights. `combinespw`: fit one continuum through all windows. `contsub`: what becomes of
    windows without line-free channels: they keep their continuum (prefer) or are left out (require); none: all keep it.
    `weight_seconds`: the time bin of weights measured on native channels.
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
    method: Method = "regrid_then_rebin"
    weights: Weights = "scatter"
    weight_seconds: float = WEIGHT_SECONDS
    contsub: Literal["prefer", "require", "none"] = "prefer"
    corrections: Corrections = field(default_factory=Corrections)


@dataclass(frozen=True)
class ContinuumSettings:
    """What is wanted of a continuum product.

    `ranges_ghz`: frequencies to use; None or none: all that the windows hold. `channel_ghz`: largest output channel;
    None: the largest that does not smear. `excluded_ghz`: ranges of lines, which are flagged. `weights`: measured on
    the line-free channels, or as delivered (S19); `weight_seconds`: the time bin of native ones.
    """

    ranges_ghz: tuple[Range, ...] | None
    channel_ghz: float | None
    excluded_ghz: tuple[Range, ...] = ()
    full_coverage: bool = False
    weights: Weights = "propagated"
    weight_seconds: float = WEIGHT_SECONDS
    corrections: Corrections = field(default_factory=Corrections)
