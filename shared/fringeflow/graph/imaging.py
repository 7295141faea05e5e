"""The units of imaging: plan, channel blocks, mask and gather of a cube, or plan and clean of an image. No I/O.

A block exists only once the plan has been made: before, the cube itself stands in the graph as open, with the work key
it will also have afterwards, since all that follows from the plan adds nothing to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fringeflow import names
from fringeflow.graph.imaging_recipes import Recipes
from fringeflow.graph.model import Graph, Need, Unit, UnitId
from fringeflow.keys.model import Project

REVISION = 2
"""One for all steps: a cube's work key does not see those of its blocks."""

_OF_PLAN = ("kind", "phasecenter", "restfreq_ghz", "tclean", "sizing", "splitting")


def add_units(project: Project, target: str, graph: Graph, recipes: Recipes | None = None) -> tuple[UnitId, ...]:
    """Add to `graph` the imaging of everything of `target` that is staged in it; return the ids of the images.

    Raises
    ------
    DataError
        A recipe or an override that cannot be.
    """
    staged = [unit.id for unit in graph if unit.id.stage == "staging" and unit.id.target == target and not unit.id.step]
    known = recipes or Recipes(project)
    return tuple(_add(project, known, graph, unit) for unit in staged if unit.config in project.interf_configs)


def _add(project: Project, recipes: Recipes, graph: Graph, staged: UnitId) -> UnitId:
    which = (staged.target, staged.config, staged.product)
    content = recipes.of(*which)
    image = staged.of("imaging")
    masks = project.targets[staged.target].cleanmask
    leaf = masks.get(staged.product, masks.get("all"))
    leaves = (f"cleanmask/{leaf}",) if leaf else ()
    plan = graph.add(
        Unit(
            id=image.at("plan"),
            revision=REVISION,
            recipe={name: content[name] for name in _OF_PLAN},
            needs=(Need(unit=staged),),
            memory_mb=600,
        )
    )
    facts = graph.facts(plan)
    whole = Unit(
        id=image,
        revision=REVISION,
        recipe=content,
        leaves=leaves,
        outputs=outputs(content, *which),
        fact="cube.imaged",
    )
    needs: tuple[Need, ...] = (Need(unit=plan, fetch=False),)
    if content["kind"] == "continuum":
        memory = int(facts["memory_mb"]) if facts else 1000
        return graph.add(replace(whole, needs=(*needs, Need(unit=staged)), memory_mb=memory))
    if facts is None:
        return graph.add(replace(whole, needs=needs, open=True))
    made = _add_blocks(graph, image, staged, content, leaves, facts)
    return graph.add(replace(whole, needs=(*needs, *(Need(unit=unit, keyed=False) for unit in made))))


def _add_blocks(
    graph: Graph,
    image: UnitId,
    staged: UnitId,
    content: Mapping[str, Any],
    leaves: tuple[str, ...],
    facts: Mapping[str, Any],
) -> list[UnitId]:
    plan, memory = image.at("plan"), int(facts["memory_mb"])
    blocks = [(int(first), int(last)) for first, last in facts["blocks"]]

    def part(stage: str) -> dict[str, Any]:
        return {name: content[name] for name in ("tclean", "restfreq_ghz", "phasecenter", stage)}

    deep = [
        graph.add(
            Unit(
                id=image.at(f"multiscale.{first}-{last}"),
                recipe=part("multiscale") | {"block": (first, last)},
                needs=(Need(unit=plan, fetch=False), Need(unit=staged)),
                leaves=leaves,
                outputs=(block_name(image, "multiscale", first, last),),
                revision=REVISION,
                memory_mb=memory,
            )
        )
        for first, last in blocks
    ]
    mask = graph.add(
        Unit(
            id=image.at("mask"),
            recipe={"mask": content["mask"]},
            needs=(Need(unit=plan, fetch=False), *(Need(unit=unit) for unit in deep)),
            outputs=(signal_mask_name(image),),
            revision=REVISION,
            memory_mb=memory,
        )
    )
    final = [
        graph.add(
            Unit(
                id=image.at(f"singlescale.{first}-{last}"),
                recipe=part("singlescale") | {"block": (first, last)},
                needs=(Need(unit=plan, fetch=False), Need(unit=staged), Need(unit=source), Need(unit=mask)),
                outputs=(block_name(image, "singlescale", first, last),),
                revision=REVISION,
                memory_mb=memory,
            )
        )
        for (first, last), source in zip(blocks, deep, strict=True)
    ]
    return [*deep, mask, *final]


def block_name(image: UnitId, stage: str, first: int, last: int) -> str:
    """Return the name of the folder of CASA images that a clean stage makes of one block."""
    return names.cube(image.target, image.config, image.product, f"{stage}_chan{first}_{last}", ".images")


def signal_mask_name(image: UnitId) -> str:
    """Return the name of the signal mask of the whole cube, between the clean stages."""
    return names.cube(image.target, image.config, image.product, "signal", ".npy")


def outputs(recipe: Mapping[str, Any], target: str, config: str, product: str) -> tuple[str, ...]:
    """Return the names of the FITS files of one image (imaging specification, section 12)."""
    weighted = recipe["tclean"].get("gridder", "standard") in ("mosaic", "awproject", "awp2", "awphpg")
    if recipe["kind"] == "line":
        exts = ["", "residual", "model", "mask", "pb", "psf", *(["weight"] if weighted else [])]
    else:
        terms = int(recipe["tclean"].get("nterms", 2))
        tails = ["", *(f"tt{i}" for i in range(1, terms))]
        exts = [f"{ext}_{tail}".strip("_") for ext in ("", "residual", "model") for tail in tails]
        exts += ["mask", "pb", "psf", *(["weight"] if weighted else [])]
        exts += ["alpha", "alpha_error"] if terms > 1 else []
    stem = names.cube(target, config, product, suffix="")
    return tuple([names.tidy(f"{stem}_{ext}.fits") for ext in exts])
