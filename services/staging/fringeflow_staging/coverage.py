"""Says which window of a measurement set covers which part of a line or range, and why others are left out.

Plain figures from metadata: for the report before anything is made, and for the record of what was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fringeflow.errors import DataError, NothingSelectedError
from fringeflow_staging.metadata import NOT_SCIENCE, Contents, read_contents
from fringeflow_staging.scheme import Setup, line_setup
from fringeflow_staging.settings import ContinuumSettings, Corrections, LineSettings, Source
from fringeflow_staging.windows import C_KMS, Range, Window, checked_ranges, covering, left_out, line_range_ghz


def look_at(source: Source, corrections: Corrections) -> Contents:
    """Return what is selected of a measurement set; of one in which nothing is, why (S7)."""
    try:
        return read_contents(
            source.path, field=source.field, intent=source.intent, area=source.area, lsrk=corrections.lsrk
        )
    except NothingSelectedError as error:
        return Contents.empty(source.path, f"{error.message} ({error.remedy})" if error.remedy else error.message)


def asked(settings: LineSettings) -> tuple[Range, float]:
    """Return the LSRK frequencies of the window of a line that is wanted, and the widest native channel, in GHz."""
    wanted = line_range_ghz(settings.restfreq_ghz, settings.vsys_kms, settings.vwidth_kms)
    return wanted, settings.channel_kms / C_KMS * settings.restfreq_ghz


def used_for_line(contents: Contents, settings: LineSettings) -> tuple[Window, ...]:
    """Return the windows that cover a line finely enough (section 5.2)."""
    wanted, widest = asked(settings)
    return covering(contents.science_windows(), wanted, widest_ghz=widest, full=settings.full_coverage)


def setup_of(inputs: Sequence[Sequence[Window]], settings: LineSettings) -> Setup | None:
    """Return the spectral setup that these windows of each input have in common, or None when there are none."""
    return line_setup(
        inputs,
        restfreq_ghz=settings.restfreq_ghz,
        vsys_kms=settings.vsys_kms,
        vwidth_kms=settings.vwidth_kms,
        channel_kms=settings.channel_kms,
        mode=settings.grid_mode,
        method=settings.method,
        one_grid=settings.corrections.one_grid,
        cover=settings.corrections.cover,
    )


def of_line(contents: Contents, settings: LineSettings) -> list[dict[str, Any]]:
    """Return of each window with selected rows how it covers a line.

    Returns
    -------
    list of dict
        `window`, `name`, `rows`; `frame` and `stored_ghz`, the frequencies as they are stored; `lsrk_ghz` and `kms`,
        what some channel reaches at some time of the track, LSRK; `channel_kms`, the width of a channel; `share` of
        the wanted window that is covered all through the track; `used`, and `left_out`, why not.
    """
    wanted, widest = asked(settings)
    rest = settings.restfreq_ghz
    return [
        _of_window(window, wanted, left_out(window, wanted, widest_ghz=widest, full=settings.full_coverage))
        | {"kms": list(window.reach_kms(rest)), "channel_kms": window.width_kms(rest)}
        for window in _with_rows(contents)
    ]


def of_continuum(contents: Contents, settings: ContinuumSettings) -> list[dict[str, Any]]:
    """Return of each window with selected rows how it covers the ranges of a continuum product; see `of_line`.

    There is one row for each window and range (`range_ghz`), or one for each window if no ranges are given.
    """
    rows = []
    for window in _with_rows(contents):
        ranges: Sequence[Range | None] = checked_ranges(settings.ranges_ghz or ()) or (None,)
        for wanted in ranges:
            span = window.reach_ghz if wanted is None else wanted
            why = "" if wanted is None else left_out(window, wanted, full=settings.full_coverage)
            row = _of_window(window, span, why) | {"channel_ghz": window.width_ghz}
            rows.append(row if wanted is None else row | {"range_ghz": list(wanted)})
    return rows


def of(contents: Contents, settings: LineSettings | ContinuumSettings) -> list[dict[str, Any]]:
    """Return of each window with selected rows how it covers what is asked for; see `of_line`, `of_continuum`."""
    return of_line(contents, settings) if isinstance(settings, LineSettings) else of_continuum(contents, settings)


def _with_rows(contents: Contents) -> list[Window]:
    return [window for window in contents.windows if window.rows]


def _of_window(window: Window, wanted: Range, why_not: str) -> dict[str, Any]:
    if any(word in window.name for word in NOT_SCIENCE):
        why_not = "no spectra of the sky, by its name"
    low, high = window.always_ghz
    half = window.width_ghz / 2
    shared = min(high + half, wanted[1]) - max(low - half, wanted[0])
    found: dict[str, Any] = {
        "window": window.number,
        "name": window.name,
        "rows": window.rows,
        "frame": window.frame,
        "stored_ghz": [min(window.centres_ghz), max(window.centres_ghz)],
        "lsrk_ghz": list(window.reach_ghz),
        "share": min(max(shared / (wanted[1] - wanted[0]), 0.0), 1.0) if wanted[1] > wanted[0] else 1.0,
        "used": not why_not,
    }
    return found | ({"left_out": why_not} if why_not else {})


def said(settings: LineSettings | ContinuumSettings) -> str:
    """Return in words what is asked of the data."""
    full = "all of " if settings.full_coverage else ""
    if isinstance(settings, LineSettings):
        low, high = (settings.vsys_kms + sign * settings.vwidth_kms / 2 for sign in (-1, 1))
        return (
            f"{full}{low:.1f} to {high:.1f} km/s (LSRK) of {settings.restfreq_ghz:.6f} GHz "
            f"in channels of {settings.channel_kms:g} km/s{'' if settings.grid_mode == 'exact' else ' or less'}"
        )
    ranges = ", ".join(f"{low:g} to {high:g} GHz" for low, high in settings.ranges_ghz or ())
    return f"{full}{ranges or 'all that the windows hold'} (LSRK), without lines"


def channels(contents: Sequence[Contents], settings: LineSettings) -> dict[str, Any] | None:
    """Return the channels of the product that these inputs give, or None when no window is used."""
    try:
        setup = setup_of([used_for_line(held, settings) for held in contents], settings)
    except DataError as error:
        return {"refused": error.message}
    if setup is None:
        return None
    grid = setup.grid
    low, high = grid.covered_kms
    return {
        "width_kms": grid.width_kms,
        "n_channels": grid.n_channels,
        "covered_kms": [low, high],
        "not_covered_kms": max(settings.vsys_kms + settings.vwidth_kms / 2 - high, 0.0),
    }
