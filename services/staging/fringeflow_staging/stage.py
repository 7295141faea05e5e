"""Turns a unit of staging into calls of the science, the only place here that knows units and recipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fringeflow.errors import DataError
from fringeflow.graph.staging import ContinuumRecipe, LineRecipe, StagingInput, read_recipe
from fringeflow.jobs import casa
from fringeflow.jobs.order import Job, Order
from fringeflow_staging.continuum import stage_continuum
from fringeflow_staging.lines import stage_line
from fringeflow_staging.settings import ContinuumSettings, Corrections, LineSettings, Source
from fringeflow_staging.tasks import remove
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
    sources = [_source(order, item) for item in recipe.inputs]
    if isinstance(recipe, LineRecipe):
        facts = stage_line(sources, _line_settings(recipe), output, place / "scratch", job.progress)
    else:
        facts = stage_continuum(sources, _continuum_settings(recipe), output, place / "scratch", job.progress)
    _check_groups(recipe, facts)
    job.finish(order, {name: output}, facts)


def _source(order: Order, item: StagingInput) -> Source:
    return Source(order.leaves[item.leaf], item.field, item.timebin, item.array_tag, item.intent)


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
        corrections=_corrections(recipe),
    )


def _continuum_settings(recipe: ContinuumRecipe) -> ContinuumSettings:
    return ContinuumSettings(
        ranges_ghz=recipe.freq_ranges_ghz,
        channel_ghz=recipe.channel_ghz,
        excluded_ghz=_excluded(recipe),
        full_coverage=recipe.full_coverage,
        reweigh=recipe.reweigh,
        corrections=_corrections(recipe),
    )


def _corrections(recipe: LineRecipe | ContinuumRecipe) -> Corrections:
    off = set(recipe.corrections_off)
    return Corrections(
        union_exclusions="S2" not in off,
        any_overlap="S5" not in off,
        skip_unfittable="S6" not in off,
        one_grid="S12" not in off,
        symmetric_edges="S15" not in off,
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
