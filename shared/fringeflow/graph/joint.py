"""Which cubes are cleaned together with a single dish's, and how. No I/O.

Such a cube has the name of the feather config from the start (postprocess specification, W-27): its imaging units stand
beside those of the interferometric config, of the same visibilities, and what is made of it takes the place of that
config's image in the feather. Only cubes are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from fringeflow.frozen import Frozen
from fringeflow.graph.model import UnitId
from fringeflow.graph.postprocess_recipes import recipe_of
from fringeflow.keys.model import Project


class JointRecipe(Frozen):
    """How visibilities and a single dish's cube are cleaned together."""

    joint_deconvolution: Literal["none", "residuals", "sdintimaging"] = Field(
        default="none",
        description="none: feathered after the clean; residuals: our clean of both residuals; or CASA's sdintimaging",
    )
    joint_dish_weight: float = Field(default=1.0, gt=0, description="of the dish against the interferometer")


@dataclass(frozen=True)
class JointImage:
    """An image to be made of visibilities and a single dish: its unit, `recipe` as JSON, the single dish's leaf."""

    unit: UnitId
    recipe: dict[str, Any]
    leaf: str

    @property
    def by_task(self) -> bool:
        """Whether CASA's own task makes it."""
        return bool(self.recipe["joint_deconvolution"] == "sdintimaging")


def images(project: Project, staged: UnitId) -> Iterator[JointImage]:
    """Yield the joint images that are asked for of the visibilities `staged`.

    The single dish is the target's own or, for a part of a mosaic without one, the mosaic's.
    """
    target = project.targets[staged.target]
    parent = project.targets.get(target.mosaic_parent or "")
    dish = target.singledish.get(staged.product) or (parent.singledish.get(staged.product) if parent else None)
    if not dish or staged.product not in project.line_products:
        return
    for config in project.interf_configs[staged.config].feather_configs:
        recipe = recipe_of(JointRecipe, project, (staged.target, config, staged.product))
        if recipe.joint_deconvolution != "none":
            content = {**recipe.model_dump(mode="json"), "visibilities": staged.config}
            yield JointImage(staged.of("imaging")._replace(config=config), content, f"singledish/{dish}")
