"""Recipes of post-processing: what the imaging recipes and the overrides say of the parameters of a unit. No I/O."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from fringeflow.errors import DataError
from fringeflow.frozen import Frozen
from fringeflow.keys.model import IMAGING_STAGES, Project
from fringeflow.keys.parameters import OVERRIDABLE, override_value

TCLEAN_PBLIMIT = 0.2
"""What CASA's tclean takes for `pblimit` where no recipe says otherwise."""

_REMEDY = "correct it in the overrides or the imaging recipe"


R = TypeVar("R", bound=Frozen)


def recipe_of(model: type[R], project: Project, which: tuple[str, str, str], **given: Any) -> R:
    """Return the recipe of a unit: `given`, and for each parameter of `model` its override, if there is one.

    Parameters
    ----------
    which
        Target, config and product.

    Raises
    ------
    DataError
        An override that is not a value its parameter can have.
    """
    target, config, product = which
    values: dict[str, Any] = dict(given)
    members = model.model_fields
    if "kind" in members:
        values["kind"] = project.product(product).kind
    if "pblimit" in members:
        values["pblimit"] = _pblimit(project, config, product)
    where = " ".join(which)
    for name, text in project.overrides_of(target, config, product).items():
        if name in members and name in OVERRIDABLE:
            try:
                values[name] = override_value(name, text)
            except ValueError as error:
                raise DataError(f"{where}: {name} = {text!r}: {error}", remedy=_REMEDY) from error
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{where}: {first['loc'][0]} = {first['input']!r}: {first['msg']}", remedy=_REMEDY) from error


def _pblimit(project: Project, config: str, product: str) -> float:
    stages = project.recipes.get(config, {}).get(product, {})
    limit = TCLEAN_PBLIMIT
    for stage in IMAGING_STAGES:  # the last that says something wins
        if stage in stages and "pblimit" in stages[stage].parameters:
            limit = stages[stage].parameters["pblimit"]
    return limit
