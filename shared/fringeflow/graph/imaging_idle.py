"""What recipe files say and nothing acts on: lines that are right, may be meant, and have no effect here. No I/O.

A line that says what happens anyway, or what a saved call of tclean always holds, is not worth a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fringeflow.graph.imaging_overrides import acts
from fringeflow.keys.model import IMAGING_STAGES, ImagingStage, Project
from fringeflow.keys.problems import Problem

_SIZES = ("cell", "imsize")
_OF_STAGING = ("interpolation", "outframe", "veltype")
_NOTHING: tuple[object, ...] = ("", [], [""])
# The values that say nothing: tclean's default, or what is done anyway.
_MEANINGLESS: Mapping[str, tuple[object, ...]] = {
    "niter": (0, 1), "nsigma": (0,), "nmajor": (-1,), "largestscale": (-1,), "fusedthreshold": (0,), "nchan": (-1,),
    "threshold": ("", 0, "0Jy", "0.0Jy", "0mJy", "0.0mJy", "0.0mJy/beam"), "pbmask": (0,), "cycleniter": (-1,),
    "deconvolver": ("hogbom", "multiscale", "mtmfs"), "restoringbeam": (*_NOTHING, "common"), "savemodel": ("none",),
    "restoration": (True,), "pbcor": (False,), "calcres": (True,), "calcpsf": (True,), "restart": (True,),
    "fastnoise": (True,), "fullsummary": (True, False), "verbose": (True, False), "selectdata": (True,),
    "parallel": (False,), "interactive": (False,), "interpolation": ("nearest", "linear"), "outframe": ("", "LSRK"),
    "veltype": ("radio",),
}  # fmt: skip
_REMEDIES: Mapping[str, str] = {
    "cell": "override cell or, to take it from recipes, dynamic_sizing with False",
    "imsize": "override imsize or deltara and deltadec or, to take it from recipes, dynamic_sizing with False",
    "cycleniter": "write it in the override key",
    "niter": "override max_components",
    "nmajor": "override max_cycles",
    "threshold": "override multiscale_threshold_value and singlescale_threshold_value",
    "nsigma": "override multiscale_threshold_value and singlescale_threshold_value",
    "scales": "write clean_scales_arcsec in the config key, or override it",
    "pbmask": "set pblimit, or name a mask in the cleanmask_key",
    "phasecenter": "write it in the target key",
    "restfreq": "write it in the line_key",
    **dict.fromkeys(_OF_STAGING, "remove it: cubes have the channels of staging"),
}


class _Line(NamedTuple):
    file: Path
    number: int
    name: str


def idle_lines(project: Project) -> list[Problem]:
    """Return a note for every line of a recipe file that may be meant and has no effect, in their order."""
    sized = any(given.get("dynamic_sizing") == "False" for given in project.overrides.values())
    acting: set[_Line] = set()
    idle: dict[_Line, str] = {}
    for config, products in project.recipes.items():
        for product, stages in products.items():
            for stage in IMAGING_STAGES:
                for line, value in _lines(project, (config, product, stage)):
                    where = _acting(line.name, line_product=product in project.line_products, sized=sized)
                    if stage in where:
                        acting.add(line)
                    elif _is_meant(line.name, value, [stages[one].parameters for one in where if one in stages]):
                        idle[line] = _remedy(line.name, where)
    return [
        Problem(
            severity="note", file=line.file, line=line.number, text=f"{line.name} has no effect here", remedy=idle[line]
        )
        for line in sorted(idle.keys() - acting)
    ]


def _lines(project: Project, which: tuple[str, str, ImagingStage]) -> Iterator[tuple[_Line, Any]]:
    config, product, stage = which
    recipe = project.recipes[config][product].get(stage)
    for name, value in (recipe.parameters if recipe else {}).items():
        for place in project.sources.get(f"recipes.{config}.{product}.{stage}.{name}", ()):
            file, _, number = place.rpartition(":")
            yield _Line(Path(file), int(number), name), value


def _acting(name: str, *, line_product: bool, sized: bool) -> list[ImagingStage]:
    """Return the stages in whose recipe a parameter acts."""
    if name in _SIZES:
        return ["dirty"] if sized else []
    if line_product and name in _OF_STAGING:
        return []
    return [stage for stage in IMAGING_STAGES if acts(name, stage)]


def _is_meant(name: str, value: object, there: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether something else would happen if the line had an effect; `there` are the recipes that have one."""
    if value in _MEANINGLESS.get(name, _NOTHING):
        return False
    return not any(name in parameters and parameters[name] == value for parameters in there)


def _remedy(name: str, where: Sequence[ImagingStage]) -> str:
    if where:
        return f"write it in the recipe of all stages, or of {' or '.join(where)}"
    return _REMEDIES.get(name, "remove it: the pipeline decides it")
