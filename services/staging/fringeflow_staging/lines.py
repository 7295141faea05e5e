"""Makes the visibilities of one line product: continuum away, line regridded to one grid, all inputs joined, weighted.

Knows measurement sets and explicit numbers only; velocities are LSRK, radio convention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fringeflow.errors import DataError, NothingSelectedError
from fringeflow_staging import combine, coverage, report, tasks, weights
from fringeflow_staging.metadata import Contents
from fringeflow_staging.rebin import rebin
from fringeflow_staging.scheme import Grid, Regrid, Setup, line_channels
from fringeflow_staging.settings import LineSettings, Progress, Source
from fringeflow_staging.subtraction import Fit, plan_fit, subtract, subtract_across
from fringeflow_staging.windows import Range, Window, excluded_ranges

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
    weights: list[dict[str, Any]] = field(default_factory=list)


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
            if settings.weights == "native":
                _measure_weights(item, settings)
            _regrid(item, ways, setup.grid, settings, scratch)
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
    line = line_channels(
        setup.grid.n_channels,
        setup.grid.width_kms,
        _edge_kms(settings),
        symmetric=settings.corrections.symmetric_edges,
    )
    found = _reweigh(output, line, settings)
    return {
        "kind": "line",
        "method": settings.method,
        "grid": report.of_grid(setup.grid, (settings.vsys_kms, settings.vwidth_kms)),
        "inputs": [
            report.of_input(
                item.contents,
                item.source,
                item.ways,
                item.notes,
                coverage.of_line(item.contents, settings),
                item.weights,
            )
            for item in inputs
        ],
        "weights": found,
        "channel_correlation": report.channel_correlation(output, line),
        **report.of_output(output),
    }


def _look_at(number: int, source: Source, settings: LineSettings) -> _Input:
    """Read the metadata, choose the windows that cover the line and the channels through which they are fitted."""
    contents = coverage.look_at(source, settings.corrections)
    windows = coverage.used_for_line(contents, settings)
    item = _Input(number, source, contents, windows, list(contents.notes), contents.path, contents.path)
    if not windows and contents.windows:
        item.notes.append(f"{contents.path.name} does not hold the line: {contents.coverage(settings.restfreq_ghz)}")
    fitted = contents.science_windows() if settings.combinespw else windows
    item.fits = {fit.window: fit for fit in _plan_fits(fitted, settings)}
    if settings.contsub == "require":
        _leave_out_unfittable(item, settings)
    return item


def _leave_out_unfittable(item: _Input, settings: LineSettings) -> None:
    """Take only windows whose continuum can be subtracted."""
    together = settings.combinespw and any(fit.is_possible for fit in item.fits.values())
    for window in item.windows:
        if not together and not item.fits[window.number].is_possible:
            item.notes.append(
                f"window {window.number} of {item.contents.path.name} has {item.fits[window.number].n_channels} "
                "line-free channels: it is left out, as its continuum cannot be subtracted"
            )
            item.windows = tuple(other for other in item.windows if other is not window)


def _setup(inputs: Sequence[_Input], settings: LineSettings) -> Setup:
    setup = coverage.setup_of([item.windows for item in inputs], settings)
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
    fits = [item.fits[window.number] for window in fitted]
    selection: dict[str, Any] = {"column": contents.column, "field": contents.field, "intent": contents.intent}
    if settings.combinespw or settings.weights == "native" or not tasks.is_zero(item.source.timebin):
        item.plain = scratch / f"{item.number}.taken"
        numbers = [window.number for window in fitted]
        tasks.take(contents.path, item.plain, windows=numbers, timebin=item.source.timebin, **selection)
        selection = {"column": "data"}
    if settings.contsub == "none":
        item.notes.append(f"the continuum of {contents.path.name} is not subtracted, as asked for")
        return
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


def _measure_weights(item: _Input, settings: LineSettings) -> None:
    """Measure weights on the native channels of the scratch sets that the windows are read from (S17)."""
    for vis in dict.fromkeys((item.plain, item.without)):
        here = [number for number in item.fits if (item.without if number in item.subtracted else item.plain) == vis]
        free = {number: item.fits[number].chosen for number in here if item.fits[number].is_possible}
        order = settings.fitorder if vis != item.plain else 0
        item.weights += weights.measure(vis, free, seconds=settings.weight_seconds, order=order)
        item.notes += [
            f"window {number} of {item.contents.path.name} has no line-free channels: its weights are as delivered"
            for number in here
            if number not in free
        ]


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


def _regrid(item: _Input, ways: Sequence[Regrid], grid: Grid, settings: LineSettings, scratch: Path) -> None:
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
        bring = rebin if settings.method == "conserve" else combine.regrid
        flagged = bring(vis, part, way, grid, **selection)
        if flagged == 1.0:
            item.notes.append(f"window {way.window} of {contents.path.name} is entirely flagged")
            continue
        item.parts.append(part)
        fit = item.fits[way.window]
        item.ways.append(report.of_window(way, native[way.window], flagged, fit, subtracted=ready))


def _edge_kms(settings: LineSettings) -> float:
    """Return how much of the window at either end is free of the line."""
    return DEFAULT_EDGE_SHARE * settings.vwidth_kms if settings.statwt_edge_kms is None else settings.statwt_edge_kms


def _reweigh(output: Path, line: Range | None, settings: LineSettings) -> dict[str, Any]:
    """Measure the weights on the line-free ends of the window, or keep the propagated ones where there are none."""
    if settings.weights != "scatter":
        return {"method": settings.weights}
    edge = _edge_kms(settings)
    if line is None:
        return {"method": "propagated", "reason": f"no line is left between two edges of {edge:g} km/s"}
    combine.reweigh(output, (int(line[0]), int(line[1])))
    return {"method": "scatter", "edge_kms": edge, "line_channels": [int(line[0]), int(line[1])]}


def _no_window(inputs: Sequence[_Input], settings: LineSettings) -> str:
    holds = [
        f"{item.contents.path.name}: {item.contents.coverage(settings.restfreq_ghz) or item.contents.lacks()}"
        for item in inputs
    ]
    return f"no spectral window covers {coverage.said(settings)}; {'; '.join(holds)}"
