"""Turns what staging did into figures that can be read later (staging specification, S34). Knows no CASA tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fringeflow_staging.metadata import Contents
from fringeflow_staging.scheme import Grid, Regrid
from fringeflow_staging.settings import Source
from fringeflow_staging.subtraction import Fit
from fringeflow_staging.tables import correlation_of_channels, flagged_fraction, weight_quantiles, what_is_left
from fringeflow_staging.windows import Range, channel_text


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
        "bin_factor": way.factor * way.before,
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
    contents: Contents,
    source: Source,
    windows: Sequence[dict[str, Any]],
    notes: Sequence[str],
    covered: Sequence[dict[str, Any]],
    weights: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Return what was used of one measurement set, and what each of its windows covers."""
    figures: dict[str, Any] = {
        "name": contents.path.name,
        "array_tag": source.array_tag,
        "field": contents.field or "all",
        "intent": contents.intent or "none told",
        "timebin": source.timebin,
        "column": contents.column,
        "frame": contents.frame,
        "rows": contents.rows,
        "baselines_m": [contents.shortest_m, contents.longest_m],
        "used": bool(windows),
        "windows": list(windows),
        "coverage": list(covered),
        "notes": list(notes),
    }
    return figures | ({"weights": list(weights)} if weights else {})


def of_output(vis: Path) -> dict[str, Any]:
    """Return what is left in a finished measurement set, the share of it that is flagged, and how weights spread."""
    return {
        "flagged_fraction": flagged_fraction(vis),
        "weight_percentiles": weight_quantiles(vis),
        "left": what_is_left(vis),
    }


def channel_correlation(vis: Path, line: Range | None) -> list[float]:
    """Return how channels of a finished line product correlate with those 1 and 2 further on (S13).

    Parameters
    ----------
    line
        First and last channel that may hold line; those before and after are used. None, or too few of them: none
        are measured, and the list is empty.
    """
    return [] if line is None else correlation_of_channels(vis, int(line[0]), int(line[1]))
