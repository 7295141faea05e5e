"""Which parameter of tclean and of the clean loop acts in which stage, and the overrides of a cube. No I/O."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from fringeflow.errors import DataError
from fringeflow.frozen import Frozen
from fringeflow.keys.model import ImagingStage, Project
from fringeflow.keys.parameters import TCLEAN

# What a recipe may say of the grid is decided by staging and the plan, and files are named by names.py.
NOT_RECIPE = ("vis", "imagename", "startmodel", "outlierfile", "parallel", "interactive", "mask")
# tclean parameters that are the clean loop's, not the gridder's; the recipe of each stage has its own.
CLEAN = ("smallscalebias", "gain", "cyclefactor", "minpsffraction", "maxpsffraction")
LOOP = (
    "cycleniter", "max_components", "max_cycles", "convergence_fracflux", "stop_at_negative", "scale_rounding",
    "scale_threshold", "convergence_totalflux", "convergence_fluxperniter", "convergence_noise_z_threshold",
)  # fmt: skip
# tclean parameters of masks that follow the residual.
AUTOMASK = (
    "sidelobethreshold", "noisethreshold", "lownoisethreshold", "negativethreshold", "smoothfactor", "minbeamfrac",
    "cutthreshold", "growiterations", "dogrowprune", "minpercentchange",
)  # fmt: skip
# tclean parameters of stopping, masking and output, all of which the pipeline itself decides.
DECIDED = (
    *CLEAN, *AUTOMASK, "cycleniter", "niter", "nsigma", "threshold", "nmajor", "scales", "deconvolver", "restoration",
    "restoringbeam", "pbcor", "calcres", "calcpsf", "restart", "fullsummary", "savemodel", "usemask", "pbmask",
    "verbose", "fastnoise", "cell", "imsize", "phasecenter", "restfreq", "largestscale", "fusedthreshold",
    "selectdata", "nchan", "start", "width", "chanchunks",
)  # fmt: skip


def acts(name: str, stage: ImagingStage) -> bool:
    """Return whether a line of a recipe acts in a stage: visibilities are gridded once, for all stages."""
    if stage == "dirty":
        return name in TCLEAN and name not in (*DECIDED, *NOT_RECIPE)
    return name in CLEAN or (stage == "multiscale" and name in (*AUTOMASK, "usemask"))


def _concerns(name: str, stage: ImagingStage) -> bool:
    """Return whether an override can differ in one stage."""
    own = (*LOOP, f"{stage}_threshold_value", f"{stage}_threshold_margin")
    masking = ("clean_scales_arcsec", "cleanmask_grow_arcsec") if stage == "multiscale" else ()
    return acts(name, stage) or (stage != "dirty" and name in (*own, *masking))


class Overrides:
    """The overrides of one cube, and of one of its stages, read as Python literals where they are.

    Raises
    ------
    DataError
        An override for a stage that has nothing to do with it.
    """

    def __init__(self, project: Project, which: tuple[str, str, str], stage: ImagingStage | None = None) -> None:
        self._given = project.overrides_of(*which)
        if stage is None:
            return
        cube = "_".join(which)
        own = project.overrides.get(f"{cube}_{stage}", {})
        for name in own:
            if not _concerns(name, stage):
                raise DataError(
                    f"override of {name} for {cube}_{stage}: the {stage} stage has no such parameter",
                    remedy=f"write it for {cube}, or for another stage",
                )
        self._given = {**self._given, **own}

    def value(self, name: str) -> Any:
        """Return the override of `name`, or None."""
        text = self._given.get(name)
        return None if text is None else _literal(text)

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def of(self, model: type[Frozen]) -> dict[str, Any]:
        """Return the overrides of what `model` holds."""
        return {name: value for name in model.model_fields if (value := self.value(name)) is not None}


def overridden(pick: Overrides, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return tclean's parameters as a recipe has them, with what is overridden of them."""
    return {**parameters} | {
        name: value
        for name in pick
        if name in TCLEAN and name not in ("cell", "imsize", *NOT_RECIPE) and (value := pick.value(name)) is not None
    }


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
