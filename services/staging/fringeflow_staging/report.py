"""Turns what staging did into figures that can be read later (staging specification, S34). Knows no CASA tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fringeflow_staging.metadata import Contents
from fringeflow_staging.scheme import Grid, Regrid
from fringeflow_staging.subtraction import Fit
from fringeflow_staging.tables import flagged_fraction, weight_quantiles
from fringeflow_staging.windows import channel_text


def of_grid(grid: Grid, wanted: tuple[float, float] | None = None) -> dict[str, Any]:
    """Return a grid in figures, and how it covers the window ``(vsys, vwidth)`` that was wanted (S32)."""
    low, high = grid.covered_kms
    figures: dict[str, Any] = {
        "restfreq_ghz": grid.restfreq_ghz,
        "first_kms": grid.centre_kms(0),
        "width_kms": grid.width_kms,
        "n_channels": grid.n_channels,
        "covered_kms": [low, high],
    }
    if wanted is not None:
        figures["asked_kms"] = [wanted[0] - wanted[1] / 2, wanted[0] + wanted[1] / 2]
    return figures


def of_window(
    way: Regrid, native_kms: float, flagged: float, fit: Fit | None = None, *, subtracted: bool = False
) -> dict[str, Any]:
    """Return what was done with one window."""
    figures: dict[str, Any] = {
        "window": way.window,
        "native_kms": native_kms,
        "bin_factor": way.factor,
        "regridded_kms": way.width_kms,
        "flagged_fraction": flagged,
    }
    if fit is not None:
        figures |= {
            "continuum_subtracted": subtracted,
            "fit_order": fit.order,
            "line_free_channels": fit.n_channels,
            "line_free": channel_text({fit.window: fit.chosen}),
        }
    return figures


def of_input(
    contents: Contents, array_tag: str, timebin: str, windows: Sequence[dict[str, Any]], notes: Sequence[str]
) -> dict[str, Any]:
    """Return what was used of one measurement set."""
    return {
        "name": contents.path.name,
        "array_tag": array_tag,
        "field": contents.field or "all",
        "intent": contents.intent or "none told",
        "timebin": timebin,
        "column": contents.column,
        "frame": contents.frame,
        "rows": contents.rows,
        "baselines_m": [contents.shortest_m, contents.longest_m],
        "used": bool(windows),
        "windows": list(windows),
        "notes": list(notes),
    }


def of_output(vis: Path) -> dict[str, Any]:
    """Return the share of flagged samples and the spread of the weights of a finished measurement set."""
    return {"flagged_fraction": flagged_fraction(vis), "weight_percentiles": weight_quantiles(vis)}
