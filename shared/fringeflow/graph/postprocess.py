"""The units of post-processing: one for everything that is delivered, with the parameters that matter. No I/O.

What is delivered is an imaged field, or what was put together of several images (see `combining`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fringeflow import names
from fringeflow.frozen import Frozen
from fringeflow.graph import combining
from fringeflow.graph.model import Graph, Need, Unit, UnitId
from fringeflow.graph.postprocess_recipes import recipe_of
from fringeflow.graph.taylor import ALPHA, ALPHA_ERROR, TERM, beam_slope, has
from fringeflow.keys.model import Project

REVISION = 1


class PostprocessRecipe(Frozen):
    """The parameters of one post-processed cube; those in overrides have the same names there."""

    kind: Literal["line", "continuum"]
    pblimit: float = Field(lt=1, description="least primary-beam response kept, unless imaging's record says otherwise")
    round_beam: Literal["smallest", "reference"] = Field(
        default="smallest", description="smallest enclosing round beam, or as the reference: two pixels in quadrature"
    )
    force_beam_arcsec: float | None = Field(default=None, gt=0, description="round beam to convolve to")
    cut_coarse_edges: bool = Field(default=False, description="leave out outermost channels with much larger beams")
    kelvin: Literal["channel", "constant"] = Field(default="channel", description="one factor per channel or per cube")
    min_pixels_per_beam: int = Field(default=3, ge=1, description="rebin as long as the beam keeps this many")
    rind_pixels: int = Field(default=1, ge=0, description="erosion of every plane's edge")


class SpectralIndexRecipe(PostprocessRecipe):
    """The same of a continuum image with a spectral index."""

    beam_slope: float = Field(default=0.0, description="slope of the primary beam's response P, over ln P")


class FinishRecipe(Frozen):
    """The parameters of what is delivered of an image that is corrected and has a round beam."""

    kind: Literal["line", "continuum"]
    kelvin: Literal["channel", "constant"] = Field(default="channel", description="one factor per channel or per cube")
    min_pixels_per_beam: int = Field(default=3, ge=1, description="rebin as long as the beam keeps this many")
    rind_pixels: int = Field(default=1, ge=0, description="erosion of every plane's edge")


def add_units(project: Project, target: str, graph: Graph) -> tuple[UnitId, ...]:
    """Add to `graph` the units of `target`; return those that deliver something.

    Its imaging must be in it, and for a mosaic the units of its parts.

    Raises
    ------
    DataError
        An override that is not a value its parameter can have.
    """
    imaged = [unit for unit in graph if unit.id.stage == "imaging" and unit.id.target == target and not unit.id.step]
    made = []
    for unit in imaged:
        if unit.id.config not in project.feather_configs:
            made.append(graph.add(_unit(project, unit)))
        made += [graph.add(_finish(project, graph[each])) for each in list(combining.add_field(project, unit, graph))]
    if target in project.targets and project.targets[target].mosaic_parts:
        ready = list(combining.add_mosaics(project, target, graph))
        made += [graph.add(_finish(project, graph[each])) for each in ready]
    return tuple(made)


def _unit(project: Project, imaged: Unit) -> Unit:
    which = (imaged.id.target, imaged.id.config, imaged.id.product)
    exts = ["pbcorr_trimmed_k", "trimmed_pb"]
    recipe = recipe_of(PostprocessRecipe, project, which)
    if has(imaged, "alpha"):
        exts.append(ALPHA)
        recipe = recipe_of(SpectralIndexRecipe, project, which, beam_slope=beam_slope(imaged))
    return Unit(
        id=imaged.id.of("postprocess"),
        revision=REVISION,
        recipe=recipe.model_dump(mode="json"),
        needs=(Need(unit=imaged.id),),
        outputs=tuple(names.cube(*which, ext) for ext in exts),
        fact="cube.postprocessed",
    )


def _finish(project: Project, ready: Unit) -> Unit:
    which = (ready.id.target, ready.id.config, ready.id.product)
    exts = ["pbcorr_trimmed_k", "trimmed_pb", *((ALPHA, ALPHA_ERROR) if has(ready, TERM) else ())]
    return Unit(
        id=ready.id.at(""),
        revision=REVISION,
        recipe=recipe_of(FinishRecipe, project, which).model_dump(mode="json"),
        needs=(Need(unit=ready.id),),
        outputs=tuple(names.cube(*which, ext) for ext in exts),
        fact="cube.postprocessed",
    )
