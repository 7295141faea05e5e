"""Makes the visibilities of one continuum product: lines flagged, channels averaged as far as smearing allows, joined.

Knows measurement sets and explicit numbers only; frequencies are GHz, LSRK.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fringeflow.errors import DataError, NothingSelectedError
from fringeflow_staging import combine, coverage, report, tasks, weights
from fringeflow_staging.metadata import Contents
from fringeflow_staging.scheme import Regrid, Setup, continuum_setup, smearing_limit_ghz
from fringeflow_staging.settings import ContinuumSettings, Progress, Source
from fringeflow_staging.windows import (
    Mask,
    Range,
    Window,
    channel_text,
    checked_ranges,
    covering,
    merged,
    touched,
)


@dataclass
class _Input:
    source: Source
    contents: Contents
    windows: tuple[Window, ...]
    notes: list[str]
    vis: Path
    parts: list[tuple[int, Path]] = field(default_factory=list)
    ways: list[dict[str, Any]] = field(default_factory=list)
    weights: list[dict[str, Any]] = field(default_factory=list)


def stage_continuum(
    sources: Sequence[Source], settings: ContinuumSettings, output: Path, scratch: Path, progress: Progress
) -> dict[str, Any]:
    """Write the measurement set of a continuum product and return the staging report (S34).

    Raises
    ------
    DataError
        Ranges overlap, a channel width is given without ranges, or no source has data in any range outside the lines.
    """
    if settings.channel_ghz is not None and not settings.ranges_ghz:
        raise DataError("channel_ghz is set without freq_ranges_ghz", remedy="give the product freq_ranges_ghz")
    ranges = checked_ranges(settings.ranges_ghz or ())
    scratch.mkdir(parents=True, exist_ok=True)
    inputs = [_look_at(number, source, ranges, settings, scratch) for number, source in enumerate(sources)]
    limit = min(_smearing_limit(item.contents, settings) for item in inputs)
    channel = limit if settings.channel_ghz is None else settings.channel_ghz
    setups = [_setup(inputs, wanted, channel, settings) for wanted in ranges]
    for number, item in enumerate(inputs):
        if not item.windows:
            continue
        progress(f"flagging lines of {item.contents.path.stem}", 0.8 * number / len(inputs))
        if _take_without_lines(item, settings):
            progress(f"averaging {item.contents.path.stem}", 0.8 * (number + 0.4) / len(inputs))
            if ranges:
                _regrid(number, item, ranges, setups)
            else:
                _average(item, channel)
        tasks.remove(item.vis)
    parts = [part for item in inputs for _, part in sorted(item.parts)]
    if not parts:
        raise NothingSelectedError(_nothing(inputs, ranges), remedy="check freq_ranges_ghz and the flags of the data")
    progress("joining", 0.85)
    combine.join(parts, output)
    return {
        "kind": "continuum",
        "grids": [
            report.of_grid(setup.grid) | {"range_ghz": list(wanted)}
            for wanted, setup in zip(ranges, setups, strict=True)
            if setup is not None
        ],
        "channel_ghz": channel if math.isfinite(channel) else None,
        "smearing_limit_ghz": limit if math.isfinite(limit) else None,
        "inputs": [
            report.of_input(
                item.contents,
                item.source,
                item.ways,
                item.notes,
                coverage.of_continuum(item.contents, settings),
                item.weights,
            )
            for item in inputs
        ],
        "weights": {"method": settings.weights},
        **report.of_output(output),
    }


def _look_at(
    number: int, source: Source, ranges: Sequence[Range], settings: ContinuumSettings, scratch: Path
) -> _Input:
    contents = coverage.look_at(source, settings.corrections)
    science = contents.science_windows()
    windows = science
    if ranges:
        used = [set(covering(science, wanted, full=settings.full_coverage)) for wanted in ranges]
        windows = tuple(window for window in science if any(window in found for found in used))
    notes = list(contents.notes)
    if not windows and contents.windows:
        notes.append(f"{contents.path.name} has no window in the continuum ranges")
    vis = scratch / f"{number}_{contents.path.stem}.taken"
    return _Input(source, contents, windows, notes, vis)


def _smearing_limit(contents: Contents, settings: ContinuumSettings) -> float:
    windows = contents.science_windows()
    if not windows or not settings.corrections.limit_smearing:
        return math.inf
    lowest = min(window.reach_ghz[0] for window in windows)
    return smearing_limit_ghz(lowest, contents.dish_m, contents.longest_m)


def _setup(inputs: Sequence[_Input], wanted: Range, channel_ghz: float, settings: ContinuumSettings) -> Setup | None:
    found = [covering(item.windows, wanted, full=settings.full_coverage) for item in inputs]
    setup = continuum_setup(found, wanted, channel_ghz=channel_ghz)
    wide = setup.too_wide if setup else [(n, w.number) for n, windows in enumerate(found) for w in windows]
    for number, window in wide:
        inputs[number].notes.append(
            f"window {window} of {inputs[number].contents.path.name} has channels wider than {channel_ghz:g} GHz: "
            f"left out of {wanted[0]:g}-{wanted[1]:g} GHz"
        )
    return setup


def _take_without_lines(item: _Input, settings: ContinuumSettings) -> bool:
    """Copy the windows once, and flag the lines in the copy; return whether anything is left."""
    contents = item.contents
    lines: dict[int, Mask] = {
        window.number: touched(window, merged(settings.excluded_ghz), any_overlap=settings.corrections.any_overlap)
        for window in item.windows
    }
    if all(mask.all() for mask in lines.values()):
        item.notes.append(f"all channels of {contents.path.name} hold lines")
        return False
    try:
        tasks.take(
            contents.path,
            item.vis,
            windows=[window.number for window in item.windows],
            column=contents.column,
            field=contents.field,
            intent=contents.intent,
            timebin=item.source.timebin,
        )
    except NothingSelectedError:
        item.notes.append(f"{contents.path.name} is entirely flagged")
        return False
    chosen = channel_text(lines)
    if chosen:
        tasks.run("flagdata", item.vis, mode="manual", spw=chosen, flagbackup=False)
    if settings.weights == "scatter":
        combine.reweigh(item.vis)
    elif settings.weights == "native":
        free = {number: ~mask for number, mask in lines.items()}
        item.weights = weights.measure(item.vis, free, seconds=settings.weight_seconds)
    return True


def _regrid(number: int, item: _Input, ranges: Sequence[Range], setups: Sequence[Setup | None]) -> None:
    """Bring every window of one input to the channels of every range that it covers."""
    for index, (_, setup) in enumerate(zip(ranges, setups, strict=True)):
        for way in setup.regrids if setup else ():
            if way.source != number or setup is None:
                continue
            part = item.vis.with_suffix(f".range{index}_{way.window}.ms")
            flagged = combine.regrid(item.vis, part, way, setup.grid, column="data")
            native = next(w for w in item.windows if w.number == way.window).width_kms(setup.grid.restfreq_ghz)
            _keep(item, index, part, report.of_window(way, native, flagged))


def _average(item: _Input, channel_ghz: float) -> None:
    """Average the channels of every window where they are, without regridding (section 7.2)."""
    for window in item.windows:
        factor = math.floor(min(max(channel_ghz / window.width_ghz, 1), window.n_channels))
        part = item.vis.with_suffix(f".all_{window.number}.ms")
        try:
            tasks.run(
                "mstransform",
                item.vis,
                outputvis=str(part),
                spw=str(window.number),
                datacolumn="data",
                keepflags=False,
                chanaverage=factor > 1,
                chanbin=factor,
            )
        except NothingSelectedError:
            continue
        middle = float(np.mean(window.centres_ghz))
        native = window.width_kms(middle)
        way = Regrid(0, window.number, factor, 0.0, native, window.n_channels)
        _keep(item, window.number, part, report.of_window(way, native, combine.remaining(part)))


def _keep(item: _Input, order: int, part: Path, figures: dict[str, Any]) -> None:
    """Take `part` along unless all of it is flagged."""
    if figures["flagged_fraction"] < 1.0:
        item.parts.append((order, part))
        item.ways.append(figures)


def _nothing(inputs: Sequence[_Input], ranges: Sequence[Range]) -> str:
    asked = ", ".join(f"{low:g}-{high:g} GHz" for low, high in ranges) or "any window"
    holds = []
    for item in inputs:
        reach = [window.reach_ghz for window in item.contents.science_windows()]
        spans = ", ".join(f"{low:.6f}-{high:.6f} GHz" for low, high in reach) or "nothing"
        holds.append(f"{item.contents.path.name} holds {spans}" + "".join(f" ({note})" for note in item.notes))
    return f"no continuum is left in {asked}: {'; '.join(holds)}"
