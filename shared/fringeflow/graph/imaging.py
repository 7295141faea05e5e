"""The units of imaging: plan, channel blocks, mask and gather of a cube, or plan and clean of an image. No I/O.

Where a clean mask is to be found first (`prior_taper_arcsec`), blocks at low resolution and their mask come before.

A block exists only once the plan has been made: before, the cube itself stands in the graph as open, with the work key
it will also have afterwards, since all that follows from the plan adds nothing to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fringeflow import names
from fringeflow.graph import joint
from fringeflow.graph.imaging_recipes import Recipes
from fringeflow.graph.joint import JointImage
from fringeflow.graph.model import Graph, Need, Unit, UnitId
from fringeflow.keys.model import Project

REVISION = 2
"""One for all steps: a cube's work key does not see those of its blocks."""

_OF_PLAN = ("kind", "phasecenter", "restfreq_ghz", "tclean", "sizing", "splitting", "joint")


def add_units(project: Project, target: str, graph: Graph, recipes: Recipes | None = None) -> tuple[UnitId, ...]:
    """Add to `graph` the imaging of all of `target` that is staged in it and has recipes; return the ids of the images.

    Raises
    ------
    DataError
        A recipe or an override that cannot be.
    """
    staged = [unit.id for unit in graph if unit.id.stage == "staging" and unit.id.target == target and not unit.id.step]
    known = recipes or Recipes(project)
    made = []
    for unit in staged:
        if unit.config in project.interf_configs and project.recipes.get(unit.config, {}).get(unit.product):
            made.append(_add(project, known, graph, unit))
            made += [_add(project, known, graph, unit, wanted) for wanted in joint.images(project, unit)]
    return tuple(made)


def _add(
    project: Project, recipes: Recipes, graph: Graph, staged: UnitId, together: JointImage | None = None
) -> UnitId:
    """Add the imaging of `staged`, alone or `together` with a single dish."""
    content = recipes.of(staged.target, staged.config, staged.product)
    image = staged.of("imaging")
    dish: tuple[str, ...] = ()
    if together:
        image, dish = together.unit, (together.leaf,)
        content = {**content, "joint": together.recipe}
    which = (image.target, image.config, image.product)
    masks = project.targets[staged.target].cleanmask
    leaf = masks.get(staged.product, masks.get("all"))
    leaves = (f"cleanmask/{leaf}",) if leaf else ()
    plan = graph.add(
        Unit(
            id=image.at("plan"),
            revision=REVISION,
            recipe={name: content[name] for name in _OF_PLAN if name in content},
            needs=(Need(unit=staged),),
            memory_mb=600,
        )
    )
    facts = graph.facts(plan)
    whole = Unit(
        id=image,
        revision=REVISION,
        recipe=content,
        leaves=(*leaves, *dish),
        outputs=outputs(content, *which),
        fact="cube.imaged",
    )
    needs: tuple[Need, ...] = (Need(unit=plan, fetch=False),)
    if content["kind"] == "continuum":
        memory = int(facts["memory_mb"]) if facts else 1000
        return graph.add(replace(whole, needs=(*needs, Need(unit=staged)), memory_mb=memory))
    if together and together.by_task:
        memory = int(facts["memory_mb"]) * len(facts["blocks"]) if facts else 2000
        alone = Need(unit=staged.of("imaging"))
        return graph.add(replace(whole, needs=(*needs, Need(unit=staged), alone), memory_mb=memory))
    if facts is None:
        return graph.add(replace(whole, needs=needs, open=True))
    made = _Blocks(graph, image, staged, content, facts).add(leaves, dish)
    return graph.add(replace(whole, needs=(*needs, *(Need(unit=unit, keyed=False) for unit in made))))


class _Blocks:
    """The channel blocks of one cube, and what is made of all of them, on their way into a graph."""

    def __init__(
        self, graph: Graph, image: UnitId, staged: UnitId, content: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> None:
        self._graph, self._image, self._staged, self._content = graph, image, staged, content
        self._blocks = [(int(first), int(last)) for first, last in facts["blocks"]]
        self._memory_mb = int(facts["memory_mb"])

    def add(self, leaves: tuple[str, ...], dish: tuple[str, ...]) -> list[UnitId]:
        """Add everything; `leaves` and `dish` are the clean mask and the single dish, if there are."""
        image = self._image
        first_look: list[UnitId] = []
        prior: tuple[Need, ...] = ()
        if "prior" in self._content and not leaves:
            first_look = self._look("lowres", ("multiscale", "prior"), (), (), ("prior", prior_mask_name(image)))
            prior = (Need(unit=first_look[-1]),)
        masked = ("mask", signal_mask_name(image))
        *deep, mask = self._look("multiscale", ("multiscale",), prior, (*leaves, *dish), masked)
        final = self._add_each(
            "singlescale", ("singlescale",), [(Need(unit=one), Need(unit=mask)) for one in deep], dish
        )
        return [*first_look, *deep, mask, *final]

    def _look(
        self,
        step: str,
        parts: tuple[str, ...],
        prior: tuple[Need, ...],
        leaves: tuple[str, ...],
        masked: tuple[str, str],
    ) -> list[UnitId]:
        """Add blocks, cleaned within what `prior` found, and last the mask of what all show: its step and file."""
        made = self._add_each(step, parts, [prior] * len(self._blocks), leaves)
        mask, output = masked
        recipe = {mask: self._content[mask]}
        return [*made, self._add(mask, recipe, [Need(unit=unit) for unit in made], output)]

    def _add_each(
        self, step: str, parts: tuple[str, ...], needs: Sequence[tuple[Need, ...]], leaves: tuple[str, ...]
    ) -> list[UnitId]:
        """Add one step of every block, with these parts of the recipe; `needs` are those of each."""
        wanted = ("tclean", "restfreq_ghz", "phasecenter", "joint", *parts)
        recipe = {name: self._content[name] for name in wanted if name in self._content}
        return [
            self._add(
                f"{step}.{first}-{last}",
                recipe | {"block": (first, last)},
                (Need(unit=self._staged), *own),
                block_name(self._image, step, first, last),
                leaves,
            )
            for (first, last), own in zip(self._blocks, needs, strict=True)
        ]

    def _add(
        self, step: str, recipe: Mapping[str, Any], needs: Iterable[Need], output: str, leaves: tuple[str, ...] = ()
    ) -> UnitId:
        return self._graph.add(
            Unit(
                id=self._image.at(step),
                revision=REVISION,
                recipe=recipe,
                needs=(Need(unit=self._image.at("plan"), fetch=False), *needs),
                leaves=leaves,
                outputs=(output,),
                memory_mb=self._memory_mb,
            )
        )


def block_name(image: UnitId, stage: str, first: int, last: int) -> str:
    """Return the name of the folder of CASA images that a clean stage makes of one block."""
    return names.cube(image.target, image.config, image.product, f"{stage}_chan{first}_{last}", ".images")


def signal_mask_name(image: UnitId) -> str:
    """Return the name of the signal mask of the whole cube, between the clean stages."""
    return names.cube(image.target, image.config, image.product, "signal", ".npy")


def prior_mask_name(image: UnitId) -> str:
    """Return the name of the clean mask of the whole cube that was found at low resolution."""
    return names.cube(image.target, image.config, image.product, "prior", ".npy")


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
