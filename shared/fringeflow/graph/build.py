"""Builds a target's graph, stage by stage, and says which of its units a selection asks for. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fringeflow.graph import derived, imaging, postprocess, staging
from fringeflow.graph.imaging_recipes import Recipes
from fringeflow.graph.model import Graph, Lookup, UnitId
from fringeflow.keys.model import Frozen, Project

STAGES: tuple[str, ...] = ("staging", "imaging", "postprocess", "derived")
CASA_STAGES: tuple[str, ...] = ("staging", "imaging")
"""Stages whose jobs use CASA."""


class Selection(Frozen):
    """The part of a project that is asked for; an empty tuple means all."""

    targets: tuple[str, ...] = ()
    configs: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    until: str = STAGES[-1]

    def includes(self, unit: UnitId) -> bool:
        """Return whether `unit` itself is asked for."""
        return (
            (not self.targets or unit.target in self.targets)
            and (not self.configs or unit.config in self.configs)
            and (not self.products or unit.product in self.products)
            and STAGES.index(unit.stage) <= STAGES.index(self.until)
        )


_EVERYTHING = Selection()


def build(project: Project, target: str, leaves: Mapping[str, str], lookup: Lookup) -> Graph:
    """Return all units of `target`; those that follow from results not made yet are left out until they are.

    Parameters
    ----------
    leaves
        Digest of every dropped input that is there, by name.
    lookup
        Finds the facts of a made unit.
    """
    return Build()(project, target, leaves, lookup)


class Build:
    """Builds the graphs of one target after another as `build` does; what they have in common is worked out once."""

    def __init__(self) -> None:
        self._project: Project | None = None

    def __call__(self, project: Project, target: str, leaves: Mapping[str, str], lookup: Lookup) -> Graph:
        """Return all units of `target`."""
        if project is not self._project:
            self._project, self._recipes = project, Recipes(project)
        return _build(project, target, Graph(leaves, lookup), self._recipes)


def _build(project: Project, target: str, graph: Graph, recipes: Recipes) -> Graph:
    staging.add_units(project, target, graph)
    imaging.add_units(project, target, graph, recipes)
    postprocess.add_units(project, target, graph)
    for note in (*derived.add_units(project, target, graph), *_not_made(project, target)):
        graph.note(note)
    return graph


def _not_made(project: Project, target: str) -> Iterator[str]:
    """Yield what the keys ask for of `target` that this version does not make."""
    wanted = project.targets[target]
    if wanted.mosaic_parts:
        yield f"{target}: the linear mosaic of {', '.join(wanted.mosaic_parts)} is not made; its parts are"
    for config in project.configs_with_data(target):
        for feathered in project.interf_configs[config].feather_configs:
            if wanted.singledish:
                yield f"{target} {feathered}: feathering with single-dish data is not made; {config} is"


def wanted(graph: Graph, selection: Selection) -> set[UnitId]:
    """Return the units that `selection` includes and everything they need.

    A selection never changes what a unit is, only whether it is made: what lies outside it and is needed is made too.
    """
    if selection == _EVERYTHING:
        return set(graph.ids)
    found = {unit.id for unit in graph if selection.includes(unit.id)}
    for unit in reversed(list(graph)):  # needs come before what needs them
        if unit.id in found:
            found |= {need.unit for need in unit.needs}
    return found
