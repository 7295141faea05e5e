"""Turns a unit of staging into calls of the science, the only place here that knows units and recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fringeflow.errors import DataError
from fringeflow.graph.staging import ContinuumRecipe, LineRecipe, StagingInput, read_recipe
from fringeflow.jobs import casa
from fringeflow.jobs.order import Job, Order
from fringeflow_staging import coverage
from fringeflow_staging.continuum import stage_continuum
from fringeflow_staging.fields import BEAMS, Area
from fringeflow_staging.lines import stage_line
from fringeflow_staging.metadata import Contents
from fringeflow_staging.settings import ContinuumSettings, Corrections, LineSettings, Source
from fringeflow_staging.tasks import remove
from fringeflow_staging.weights import WEIGHT_SECONDS
from fringeflow_staging.windows import Range, line_range_ghz


def make(job: Job) -> None:
    """Make the visibilities of every order of `job`."""
    casa.log_to(job.scratch / "casa.log")
    for number, order in enumerate(job.orders):
        _make_one(job, order, number)


def _make_one(job: Job, order: Order, number: int) -> None:
    recipe = read_recipe(order.unit.recipe)
    (name,) = order.unit.outputs
    place = job.scratch / f"staging{number}"
    place.mkdir(parents=True, exist_ok=True)
    output = place / name
    remove(output)
    sources = [_source(order.leaves[item.leaf], recipe, item) for item in recipe.inputs]
    if isinstance(recipe, LineRecipe):
        facts = stage_line(sources, _line_settings(recipe), output, place / "scratch", job.progress)
    else:
        facts = stage_continuum(sources, _continuum_settings(recipe), output, place / "scratch", job.progress)
    _check_groups(recipe, facts)
    job.finish(order, {name: output}, facts)


def cover(units: Sequence[tuple[Mapping[str, Any], Mapping[str, str]]]) -> list[dict[str, Any]]:
    """Return how measurement sets cover what staging units ask of them, from their metadata alone.

    Parameters
    ----------
    units
        Of each its recipe, and where its inputs lie: name of the dropped input -> path; others are not there yet.

    Returns
    -------
    list of dict
        `asked`, in words; `inputs`, each with `name`, `array_tag`, `notes` and `windows` (see `coverage`); `channels`,
        the output channels of a line as far as these inputs decide them, else None; `lacking`, groups of arrays of
        which none covers anything.
    """
    look = cache(_look_gently)  # products share measurement sets
    return [_cover(read_recipe(recipe), places, look) for recipe, places in units]


def _look_gently(source: Source, corrections: Corrections) -> Contents:
    if source.path.is_file():
        return Contents.empty(source.path, "it is packed: what it covers is seen when it is unpacked")
    try:
        return coverage.look_at(source, corrections)
    except DataError as error:
        return Contents.empty(source.path, error.message)


def _cover(
    recipe: LineRecipe | ContinuumRecipe,
    places: Mapping[str, str],
    look: Callable[[Source, Corrections], Contents],
) -> dict[str, Any]:
    settings = _line_settings(recipe) if isinstance(recipe, LineRecipe) else _continuum_settings(recipe)
    inputs: list[dict[str, Any]] = []
    seen: list[Contents] = []
    for item in recipe.inputs:
        if item.leaf in places:
            held = look(_source(Path(places[item.leaf]), recipe, item), settings.corrections)
            seen.append(held)
        else:
            held = Contents.empty(Path(item.leaf), "it is not there")
        windows = coverage.of(held, settings)
        inputs.append({"name": item.leaf, "array_tag": item.array_tag, "notes": list(held.notes), "windows": windows})
    used = {row["array_tag"] for row in inputs if any(window["used"] for window in row["windows"])}
    return {
        "asked": coverage.said(settings),
        "inputs": inputs,
        "channels": coverage.channels(seen, settings) if isinstance(settings, LineSettings) else None,
        "lacking": [list(group) for group in recipe.array_groups if not used & set(group)],
    }


def _source(path: Path, recipe: LineRecipe | ContinuumRecipe, item: StagingInput) -> Source:
    area = None if recipe.area is None else Area(recipe.area, BEAMS if recipe.area_beams is None else recipe.area_beams)
    return Source(path, item.field, item.timebin, item.array_tag, recipe.intent or item.intent, area)


def _line_settings(recipe: LineRecipe) -> LineSettings:
    return LineSettings(
        restfreq_ghz=recipe.restfreq_ghz,
        vsys_kms=recipe.vsys_kms,
        vwidth_kms=recipe.vwidth_kms,
        channel_kms=recipe.channel_kms,
        excluded_ghz=_excluded(recipe),
        manual_ghz=recipe.exclude_freq_ranges_ghz,
        edge_fraction=recipe.flag_edge_fraction,
        fitorder=recipe.fitorder,
        combinespw=recipe.combinespw,
        statwt_edge_kms=recipe.statwt_edge_kms,
        full_coverage=recipe.full_coverage,
        grid_mode=recipe.grid or "max",
        method=recipe.method or "regrid_then_rebin",
        weights=recipe.weights or "scatter",
        weight_seconds=recipe.weight_seconds or WEIGHT_SECONDS,
        contsub=recipe.contsub or "prefer",
        corrections=replace(_corrections(recipe), cover=bool(recipe.cover_window)),
    )


def _continuum_settings(recipe: ContinuumRecipe) -> ContinuumSettings:
    return ContinuumSettings(
        ranges_ghz=recipe.freq_ranges_ghz,
        channel_ghz=recipe.channel_ghz,
        excluded_ghz=_excluded(recipe),
        full_coverage=recipe.full_coverage,
        weights="native" if recipe.reweigh == "native" else "scatter" if recipe.reweigh else "propagated",
        weight_seconds=recipe.weight_seconds or WEIGHT_SECONDS,
        corrections=_corrections(recipe),
    )


def _corrections(recipe: LineRecipe | ContinuumRecipe) -> Corrections:
    off = set(recipe.corrections_off)
    return Corrections(
        lsrk="S1" not in off,
        union_exclusions="S2" not in off,
        any_overlap="S5" not in off,
        skip_unfittable="S6" not in off,
        one_grid="S12" not in off,
        symmetric_edges="S15" not in off,
        limit_smearing="S18" not in off,
    )


def _excluded(recipe: LineRecipe | ContinuumRecipe) -> tuple[Range, ...]:
    return tuple(
        line_range_ghz(line.restfreq_ghz, recipe.exclude_vsys_kms, recipe.exclude_vwidth_kms, line.padding_kms)
        for line in recipe.exclude_lines
    )


def _check_groups(recipe: LineRecipe | ContinuumRecipe, facts: Mapping[str, Any]) -> None:
    """Refuse a product of combined arrays to which one of them contributes nothing (staging specification, S11)."""
    used = {item["array_tag"] for item in facts["inputs"] if item["used"]}
    for group in recipe.array_groups:
        if not used & set(group):
            said = "; ".join(note for item in facts["inputs"] for note in item["notes"])
            raise DataError(
                f"no data of array {' or '.join(group)} could be used: {said}",
                remedy="leave the array out of the config, or make it optional with 'requires'",
            )
