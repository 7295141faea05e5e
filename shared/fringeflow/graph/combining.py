"""The units that put images together: fields made ready, single-dish images aligned, feathers, linear mosaics. No I/O.

    postprocess/<part>/<config>/<product>/round        an imaged field, corrected, with a round beam, and its weight
    postprocess/<part>/<config>/<product>/singledish   the single dish on that grid
    postprocess/<mosaic>/<config>/<product>/mosaic     waits for all parts
    postprocess/<target>/<feather config>/<product>/feather   waits for both images

An image that was cleaned together with a single dish (see `joint`) has the feather config's name at every step.

Each makes files named after the states of the postprocess specification, 3.2; the unit without a step makes what is
delivered. A field that is no part and has no single-dish data needs none of this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field

from fringeflow import names
from fringeflow.errors import DataError
from fringeflow.frozen import Frozen
from fringeflow.graph.model import Graph, Need, Unit, UnitId
from fringeflow.graph.postprocess_recipes import recipe_of
from fringeflow.graph.taylor import TERM, all_have, beam_slope, has
from fringeflow.keys.model import Project

STAGE = "postprocess"
REVISION = 1
ROUND, SINGLEDISH, FEATHER, MOSAIC = "round", "singledish", "feather", "mosaic"
"""The steps."""

IMAGE, WEIGHT = "pbcorr_round", "weight"
"""Ends of the names of an image in Jy/beam and its weight, whichever step made them."""

_BASE_MB = 350
_BYTES_PER_PIXEL = 140
_KEPT_OF_PARTS = 0.2
"""Of each part its pixels' positions are kept; the rest is in memory for one part at a time."""
_UNKNOWN_PIXELS = 1500**2


class RoundRecipe(Frozen):
    """How a field is made ready."""

    kind: Literal["line", "continuum"]
    pblimit: float = Field(lt=1, description="least primary-beam response kept, unless imaging's record says otherwise")
    round_beam: Literal["smallest", "reference"] = "smallest"
    cut_coarse_edges: bool = False


class TermsRecipe(RoundRecipe):
    """The same of a continuum image and its first-order Taylor term."""

    beam_slope: float = Field(default=0.0, description="slope of the primary beam's response P, over ln P")


class MosaicRecipe(Frozen):
    """How parts are put together; `image` and `weight` are the ends of the names of theirs."""

    parts: tuple[str, ...]
    image: str = IMAGE
    weight: str | None = WEIGHT
    round_beam: Literal["smallest", "reference"] = "smallest"
    force_beam_arcsec: float | None = Field(default=None, gt=0, description="common beam")
    mosaic_least_response: float = Field(default=0.0, ge=0, lt=1, description="least root of the relative weight kept")
    linearmosaic_deltara: float | None = Field(default=None, gt=0, description="extent in arcsec, about `centre`")
    linearmosaic_deltadec: float | None = Field(default=None, gt=0)
    centre: tuple[str, str] | None = Field(default=None, description="right ascension and declination")


class FeatherRecipe(Frozen):
    """How a single dish's image is put in."""

    feather_factor: float = Field(default=1.0, gt=0, description="times the single dish's brightness")
    feather_dish_m: float | None = Field(default=None, gt=0, description="effective diameter of the dish")
    feather_low_pass: bool = Field(default=False, description="leave out what the dish's aperture cannot measure")
    feather_rounds: int = Field(
        default=5, ge=1, description="1 as CASA does; more take more of the scales from the dish"
    )
    feather_apodize: bool = Field(default=False, description="multiply both with the primary beam's response before")


class _Policy(Frozen):
    """What decides which units there are."""

    feather_before_mosaic: bool = False
    mosaic_missing_parts: Literal["refuse", "leave out"] = "refuse"
    mosaic_without: tuple[str, ...] = ()


def add_field(project: Project, imaged: Unit, graph: Graph) -> Iterator[UnitId]:
    """Add what follows from an imaged field if it is a part of a mosaic or has single-dish data; yield its feathers."""
    target, product = project.targets[imaged.id.target], imaged.id.product
    dish = target.singledish.get(product)
    feathers = _feather_configs(project, graph, imaged.id, (imaged.id.target,)) if dish else ()
    if not feathers and not target.mosaic_parent:
        return
    which = (imaged.id.target, imaged.id.config, product)
    made = UnitId(STAGE, *which, ROUND)
    plan = graph.facts(imaged.id.at("plan")) if imaged.id.at("plan") in graph else None
    size = plan.get("imsize") if plan else None
    memory = _memory_mb(int(size[0]) * int(size[1]) if size else _UNKNOWN_PIXELS)
    if target.mosaic_parent and has(imaged, "tt1"):
        recipe = recipe_of(TermsRecipe, project, which, beam_slope=beam_slope(imaged)).model_dump(mode="json")
        graph.add(_unit(made, recipe, (imaged.id,), (IMAGE, WEIGHT, TERM), memory_mb=memory))
    else:
        recipe = recipe_of(RoundRecipe, project, which).model_dump(mode="json")
        graph.add(_unit(made, recipe, (imaged.id,), (IMAGE, WEIGHT), memory_mb=memory))
    if dish and feathers:
        aligned = made.at(SINGLEDISH)
        leaves = (f"singledish/{dish}",)
        graph.add(_unit(aligned, {}, (made,), (SINGLEDISH,), leaves=leaves, memory_mb=memory))
        yield from _add_feathers(project, graph, feathers, made, aligned, memory)


def add_mosaics(project: Project, target: str, graph: Graph) -> Iterator[UnitId]:
    """Add the linear mosaics of `target` for every config and product that its parts are imaged in; yield them.

    A mosaic is made of all parts, or of those that are there if the overrides allow that (W-25); what is left out is
    noted.
    """
    for config in (*sorted(project.interf_configs), *sorted(project.feather_configs)):
        for product in project.products:
            which = (target, config, product)
            joint = config in project.feather_configs
            if joint and not _all_joint(project, graph, which):
                continue
            policy = recipe_of(_Policy, project, which)
            if joint and policy.feather_before_mosaic:
                continue
            parts = _parts(project, graph, which, ROUND, policy)
            if not parts:
                continue
            if UnitId("imaging", *which) in graph:
                graph.note(f"{' '.join(which)}: it has measurement sets of its own, so its parts are not put together")
                continue
            each = [graph[part].memory_mb for part in parts]
            memory = max(each) + int(_KEPT_OF_PARTS * (sum(each) - _BASE_MB * len(each)))
            mosaic, exts = UnitId(STAGE, *which, MOSAIC), [IMAGE, WEIGHT]
            if all_have((graph[part] for part in parts), TERM):
                exts.append(TERM)
            graph.add(_unit(mosaic, _mosaic_recipe(project, which, parts), parts, exts, memory_mb=memory))
            if not joint:
                yield mosaic
            yield from _with_single_dish(project, graph, mosaic, parts, policy)


def _with_single_dish(
    project: Project, graph: Graph, mosaic: UnitId, parts: Sequence[UnitId], policy: _Policy
) -> Iterator[UnitId]:
    """Add the mosaic with single-dish data: of feathered parts, or of the mosaic feathered."""
    target, product = mosaic.target, mosaic.product
    feathers = _feather_configs(project, graph, mosaic, [part.target for part in parts])
    own = project.targets[target].singledish.get(product)
    memory = graph[mosaic].memory_mb
    if policy.feather_before_mosaic:
        for config in project.interf_configs[mosaic.config].feather_configs:
            which = (target, config, product)
            feathered = _parts(project, graph, which, FEATHER, policy)
            if feathered:
                made, recipe = UnitId(STAGE, *which, MOSAIC), _mosaic_recipe(project, which, feathered)
                graph.add(_unit(made, recipe, feathered, (IMAGE, WEIGHT), memory_mb=memory))
                yield made
        return
    dishes = [dish for part in parts if (dish := part.at(SINGLEDISH)) in graph]
    if not feathers or not (own or dishes):
        return
    aligned = mosaic.at(SINGLEDISH)
    if own:
        graph.add(_unit(aligned, {}, (mosaic,), (SINGLEDISH,), leaves=(f"singledish/{own}",), memory_mb=memory))
    else:
        sources = MosaicRecipe(parts=tuple(part.target for part in dishes), image=SINGLEDISH, weight=None)
        recipe = sources.model_dump(mode="json")
        graph.add(_unit(aligned, recipe, (mosaic, *dishes), (SINGLEDISH,), memory_mb=memory))
    yield from _add_feathers(project, graph, feathers, mosaic, aligned, memory)


def _add_feathers(
    project: Project, graph: Graph, configs: Sequence[str], image: UnitId, dish: UnitId, memory_mb: int
) -> Iterator[UnitId]:
    for config in configs:
        which = (image.target, config, image.product)
        feathered = UnitId(STAGE, *which, FEATHER)
        recipe = recipe_of(FeatherRecipe, project, which).model_dump(mode="json")
        graph.add(_unit(feathered, recipe, (image, dish), (IMAGE, WEIGHT), memory_mb=memory_mb))
        yield feathered


def _feather_configs(project: Project, graph: Graph, image: UnitId, sources: Sequence[str]) -> tuple[str, ...]:
    """Return the feathers that `image`, made of the targets `sources`, goes into.

    A joint image goes into its own; another into those for which not all its sources have joint images.
    """
    if image.config in project.feather_configs:
        return (image.config,)
    if image.config not in project.interf_configs:
        return ()
    return tuple(
        config
        for config in project.interf_configs[image.config].feather_configs
        if not all(UnitId("imaging", source, config, image.product) in graph for source in sources)
    )


def _all_joint(project: Project, graph: Graph, which: tuple[str, str, str]) -> bool:
    """Return whether the parts of a mosaic that are imaged have joint images of a feather config, all of them."""
    target, config, product = which
    alone = project.feather_configs[config].interf_config
    imaged = [part for part in project.targets[target].mosaic_parts if UnitId("imaging", part, alone, product) in graph]
    return bool(imaged) and all(UnitId("imaging", part, config, product) in graph for part in imaged)


def _parts(
    project: Project, graph: Graph, which: tuple[str, str, str], step: str, policy: _Policy
) -> tuple[UnitId, ...]:
    """Return the units of the parts of a mosaic; none if one is missing and that is not allowed."""
    target, config, product = which
    asked = [part for part in project.targets[target].mosaic_parts if part not in policy.mosaic_without]
    units = {part: UnitId(STAGE, part, config, product, step) for part in asked}
    missing = [part for part, unit in units.items() if unit not in graph]
    found = tuple(unit for unit in units.values() if unit in graph)
    if found and missing:
        refused = policy.mosaic_missing_parts == "refuse"
        what = (
            "is not made (mosaic_missing_parts = 'leave out' in the overrides allows it)" if refused else "lacks them"
        )
        graph.note(f"{target} {config} {product}: no data of {', '.join(missing)}, so the mosaic {what}")
        return () if refused else found
    return found


def _mosaic_recipe(project: Project, which: tuple[str, str, str], parts: Sequence[UnitId]) -> dict[str, Any]:
    target = project.targets[which[0]]
    recipe = recipe_of(
        MosaicRecipe, project, which, parts=tuple(part.target for part in parts), centre=(target.ra, target.dec)
    )
    wanted = (recipe.linearmosaic_deltara, recipe.linearmosaic_deltadec)
    if wanted == (None, None):
        return recipe.model_copy(update={"centre": None}).model_dump(mode="json")
    if None in wanted:
        raise DataError(f"{' '.join(which)}: only one extent of the mosaic", remedy="give both in the overrides")
    return recipe.model_dump(mode="json")


def _unit(
    unit: UnitId,
    recipe: dict[str, Any],
    needs: Sequence[UnitId],
    exts: Sequence[str],
    *,
    leaves: tuple[str, ...] = (),
    memory_mb: int,
) -> Unit:
    return Unit(
        id=unit,
        revision=REVISION,
        recipe=recipe,
        needs=tuple(Need(need) for need in needs),
        leaves=leaves,
        outputs=tuple(names.cube(unit.target, unit.config, unit.product, ext) for ext in exts),
        memory_mb=memory_mb,
    )


def _memory_mb(pixels: int) -> int:
    return _BASE_MB + int(pixels * _BYTES_PER_PIXEL / 1e6)
