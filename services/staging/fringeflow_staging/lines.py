"""Makes the visibilities of one line product: continuum away, line regridded to one grid, all inputs joined, weighted.

Knows measurement sets and explicit numbers only; velocities are LSRK, radio convention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fringeflow.errors import DataError, NothingSelectedError
from fringeflow_staging import combine, report, tasks
from fringeflow_staging.metadata import Contents, read_contents
from fringeflow_staging.scheme import Grid, Regrid, Setup, line_channels, line_setup
from fringeflow_staging.settings import LineSettings, Progress, Source
from fringeflow_staging.subtraction import Fit, plan_fit, subtract, subtract_across
from fringeflow_staging.windows import C_KMS, Window, covering, excluded_ranges, line_range_ghz

# Without a key the outer tenth of the window on either side is taken as free of the line (S16).
DEFAULT_EDGE_SHARE = 0.1


@dataclass
class _Input:
    """One source on its way.

    `plain` is the set with all data used, `without` the one that holds the windows `subtracted` less their continuum.
    """

    number: int
    source: Source
    contents: Contents
    windows: tuple[Window, ...]
    notes: list[str]
    plain: Path
    without: Path
    fits: dict[int, Fit] = field(default_factory=dict)
    subtracted: frozenset[int] = frozenset()
    parts: list[Path] = field(default_factory=list)
    ways: list[dict[str, Any]] = field(default_factory=list)


def stage_line(
    sources: Sequence[Source], settings: LineSettings, output: Path, scratch: Path, progress: Progress
) -> dict[str, Any]:
    """Write the measurement set of a line product and return the staging report (S34).

    A source that does not hold the line is left out and said so; the rest goes on.

    Raises
    ------
    DataError
        No source has channels fine enough that cover the line, or a selection leaves nothing; the message tells
        what each one covers.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    inputs = [_look_at(number, source, settings) for number, source in enumerate(sources)]
    setup = _setup(inputs, settings)
    for item in inputs:
        ways = [way for way in setup.regrids if way.source == item.number]
        if ways:
            progress(f"continuum subtraction of {item.contents.path.stem}", 0.8 * item.number / len(inputs))
            _subtract(item, settings, scratch)
            progress(f"regridding {item.contents.path.stem}", 0.8 * (item.number + 0.4) / len(inputs))
            _regrid(item, ways, setup.grid, scratch)
            tasks.remove(*({item.plain, item.without} - {item.contents.path}))
    parts = [part for item in inputs for part in item.parts]
    if not parts:
        raise NothingSelectedError(
            "all data that cover the line are flagged: " + ", ".join(item.contents.path.name for item in inputs),
            remedy="check the flags of the measurement sets",
        )
    progress("joining", 0.85)
    combine.join(parts, output)
    progress("measuring weights", 0.9)
    weights = _reweigh(output, setup, settings)
    return {
        "kind": "line",
        "grid": report.of_grid(setup.grid, (settings.vsys_kms, settings.vwidth_kms)),
        "inputs": [
            report.of_input(item.contents, item.source.array_tag, item.source.timebin, item.ways, item.notes)
            for item in inputs
        ],
        "weights": weights,
        **report.of_output(output),
    }


def _look_at(number: int, source: Source, settings: LineSettings) -> _Input:
    """Read the metadata and choose the windows that cover the line finely enough (section 5.2)."""
    contents = read_contents(source.path, field=source.field, intent=source.intent)
    wanted = line_range_ghz(settings.restfreq_ghz, settings.vsys_kms, settings.vwidth_kms)
    windows = covering(
        contents.science_windows(),
        wanted,
        widest_ghz=settings.channel_kms / C_KMS * settings.restfreq_ghz,
        full=settings.full_coverage,
    )
    item = _Input(number, source, contents, windows, list(contents.notes), contents.path, contents.path)
    if not windows:
        item.notes.append(f"{contents.path.name} does not hold the line: {contents.coverage(settings.restfreq_ghz)}")
    return item


def _setup(inputs: Sequence[_Input], settings: LineSettings) -> Setup:
    setup = line_setup(
        [item.windows for item in inputs],
        restfreq_ghz=settings.restfreq_ghz,
        vsys_kms=settings.vsys_kms,
        vwidth_kms=settings.vwidth_kms,
        channel_kms=settings.channel_kms,
        mode=settings.grid_mode,
        one_grid=settings.corrections.one_grid,
        cover=settings.corrections.cover,
    )
    if setup is None:
        raise DataError(
            _no_window(inputs, settings),
            remedy="check the target's vsys and vwidth, the product's line_tag and channel_kms, and the ms key",
        )
    return setup


def _subtract(item: _Input, settings: LineSettings, scratch: Path) -> None:
    """Subtract the continuum of one source, as far as its windows have line-free channels."""
    contents, corrections = item.contents, settings.corrections
    fitted = contents.science_windows() if settings.combinespw else item.windows
    fits = _plan_fits(fitted, settings)
    item.fits = {fit.window: fit for fit in fits}
    selection: dict[str, Any] = {"column": contents.column, "field": contents.field, "intent": contents.intent}
    if settings.combinespw or not tasks.is_zero(item.source.timebin):
        item.plain = scratch / f"{item.number}.taken"
        numbers = [window.number for window in fitted]
        tasks.take(contents.path, item.plain, windows=numbers, timebin=item.source.timebin, **selection)
        selection = {"column": "data"}
    possible = [fit for fit in fits if fit.is_possible or not corrections.skip_unfittable]
    if settings.combinespw:
        item.without = item.plain
        if possible:
            subtract_across(item.plain, fits, contents.windows)
            item.subtracted = frozenset(window.number for window in item.windows)
    elif possible:
        item.without = scratch / f"{item.number}.contsub"
        subtract(item.plain, item.without, possible, **selection)
        item.subtracted = frozenset(fit.window for fit in possible)
    for window in item.windows:
        if window.number not in item.subtracted:
            item.notes.append(
                f"window {window.number} of {contents.path.name} has {item.fits[window.number].n_channels} line-free "
                "channels: its continuum is not subtracted"
            )


def _plan_fits(windows: Sequence[Window], settings: LineSettings) -> list[Fit]:
    corrections = settings.corrections
    excluded = excluded_ranges(settings.excluded_ghz, settings.manual_ghz, union=corrections.union_exclusions)
    return [
        plan_fit(
            window,
            excluded,
            order=settings.fitorder,
            edge_fraction=settings.edge_fraction,
            any_overlap=corrections.any_overlap,
        )
        for window in windows
    ]


def _regrid(item: _Input, ways: Sequence[Regrid], grid: Grid, scratch: Path) -> None:
    """Bring the windows of one source to the grid; what is entirely flagged is left out."""
    contents = item.contents
    native = {window.number: window.width_kms(grid.restfreq_ghz) for window in item.windows}
    for way in ways:
        ready = way.window in item.subtracted
        vis = item.without if ready else item.plain
        selection: dict[str, Any] = {"column": "data"}
        if vis == contents.path:
            selection = {"column": contents.column, "field": contents.field, "intent": contents.intent}
        part = scratch / f"{item.number}_{way.window}.ms"
        flagged = combine.regrid(vis, part, way, grid, **selection)
        if flagged == 1.0:
            item.notes.append(f"window {way.window} of {contents.path.name} is entirely flagged")
            continue
        item.parts.append(part)
        fit = item.fits[way.window]
        item.ways.append(report.of_window(way, native[way.window], flagged, fit, subtracted=ready))


def _reweigh(output: Path, setup: Setup, settings: LineSettings) -> dict[str, Any]:
    """Measure the weights on the line-free ends of the window, or keep the propagated ones where there are none."""
    edge = (
        settings.statwt_edge_kms if settings.statwt_edge_kms is not None else DEFAULT_EDGE_SHARE * settings.vwidth_kms
    )
    grid = setup.grid
    line = line_channels(grid.n_channels, grid.width_kms, edge, symmetric=settings.corrections.symmetric_edges)
    if line is None:
        return {"method": "propagated", "reason": f"no line is left between two edges of {edge:g} km/s"}
    combine.reweigh(output, (int(line[0]), int(line[1])))
    return {"method": "scatter", "edge_kms": edge, "line_channels": [int(line[0]), int(line[1])]}


def _no_window(inputs: Sequence[_Input], settings: LineSettings) -> str:
    low, high = (settings.vsys_kms + sign * settings.vwidth_kms / 2 for sign in (-1, 1))
    holds = [f"{item.contents.path.name}: {item.contents.coverage(settings.restfreq_ghz)}" for item in inputs]
    return (
        f"no spectral window covers {'all of ' if settings.full_coverage else ''}{low:.1f} to {high:.1f} km/s (LSRK) "
        f"of {settings.restfreq_ghz:.6f} GHz in channels of {settings.channel_kms:g} km/s or less; {'; '.join(holds)}"
    )
