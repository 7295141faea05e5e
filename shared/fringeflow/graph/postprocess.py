"""The units of post-processing: one per imaged cube or continuum image, with the parameters that matter. No I/O."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError

from fringeflow import names
from fringeflow.errors import DataError
from fringeflow.graph.model import Graph, Need, Unit, UnitId
from fringeflow.keys.model import IMAGING_STAGES, Frozen, Project
from fringeflow.keys.parameters import override_value

REVISION = 1

TCLEAN_PBLIMIT = 0.2
"""What CASA's tclean takes for `pblimit` where no recipe says otherwise."""

_OVERRIDABLE = ("pblimit", "round_beam", "force_beam_arcsec", "kelvin")


class PostprocessRecipe(Frozen):
    """The parameters of one post-processed cube; those in overrides have the same names there."""

    kind: Literal["line", "continuum"]
    pblimit: float = Field(lt=1, description="least primary-beam response kept, unless imaging's record says otherwise")
    round_beam: Literal["smallest", "reference"] = Field(
        default="smallest", description="smallest enclosing round beam, or as the reference: two pixels in quadrature"
    )
    force_beam_arcsec: float | None = Field(default=None, gt=0, description="round beam to convolve to")
    kelvin: Literal["channel", "constant"] = Field(default="channel", description="one factor per channel or per cube")
    min_pixels_per_beam: int = Field(default=3, ge=1, description="rebin as long as the beam keeps this many")
    rind_pixels: int = Field(default=1, ge=0, description="erosion of every plane's edge")


def add_units(project: Project, target: str, graph: Graph) -> tuple[UnitId, ...]:
    """Add to `graph` a unit for everything of `target` that is imaged in it; return their ids.

    Raises
    ------
    DataError
        An override that is not a value its parameter can have.
    """
    imaged = [unit for unit in graph if unit.id.stage == "imaging" and unit.id.target == target and not unit.id.step]
    return tuple(graph.add(_unit(project, unit)) for unit in imaged)


def _unit(project: Project, imaged: Unit) -> Unit:
    which = (imaged.id.target, imaged.id.config, imaged.id.product)
    exts = ["pbcorr_trimmed_k", "trimmed_pb"]
    if names.cube(*which, "alpha") in imaged.outputs:
        exts.append("trimmed_alpha")
    return Unit(
        id=imaged.id.of("postprocess"),
        revision=REVISION,
        recipe=_recipe(project, *which).model_dump(mode="json"),
        needs=(Need(unit=imaged.id),),
        outputs=tuple(names.cube(*which, ext) for ext in exts),
        fact="cube.postprocessed",
    )


def _recipe(project: Project, target: str, config: str, product: str) -> PostprocessRecipe:
    stages = project.recipes.get(config, {}).get(product, {})
    given: dict[str, Any] = {"kind": project.product(product).kind, "pblimit": TCLEAN_PBLIMIT}
    for stage in IMAGING_STAGES:  # the last that says something wins
        if stage in stages and "pblimit" in stages[stage].parameters:
            given["pblimit"] = stages[stage].parameters["pblimit"]
    where, remedy = f"{target} {config} {product}", "correct it in the overrides or the imaging recipe"
    for name in _OVERRIDABLE:
        text = project.override(name, target, config, product)
        if text is not None:
            try:
                given[name] = override_value(name, text)
            except ValueError as error:
                raise DataError(f"{where}: {name} = {text!r}: {error}", remedy=remedy) from error
    try:
        return PostprocessRecipe.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{where}: {first['loc'][0]} = {first['input']!r}: {first['msg']}", remedy=remedy) from error
