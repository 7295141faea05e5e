"""Builds a target's graph, stage by stage, and says which of its units a selection asks for. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Set

from fringeflow.frozen import Frozen
from fringeflow.graph import derived, derived_maps, imaging, postprocess, staging
from fringeflow.graph.imaging_recipes import Recipes
from fringeflow.graph.model import Graph, Lookup, UnitId
from fringeflow.graph.stages import CASA_STAGES, STAGES
from fringeflow.keys.model import Project

__all__ = ["CASA_STAGES", "STAGES", "Build", "Selection", "build", "wanted"]


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

    The graph of a linear mosaic also holds the units of its parts, up to post-processing: they are the same as in the
    graphs of the parts.

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
        """Return all units of `target`, and those of the parts of a mosaic up to post-processing."""
        if project is not self._project:
            self._project, self._recipes = project, _Recipes(project)
        return _build(project, target, Graph(leaves, lookup), self._recipes)


class _Recipes:
    """The recipes of one project, by stage, where many units have much in common."""

    def __init__(self, project: Project) -> None:
        self.staging = staging.Recipes(project)
        self.imaging = Recipes(project)
        self.maps = derived_maps.kinds_of(project)


def _build(project: Project, target: str, graph: Graph, recipes: _Recipes) -> Graph:
    for source in (*project.targets[target].mosaic_parts, target):  # a mosaic needs units of its parts
        staging.add_units(project, source, graph, recipes.staging)
        imaging.add_units(project, source, graph, recipes.imaging)
        postprocess.add_units(project, source, graph)
    for note in derived.add_units(project, target, graph, recipes.maps):
        graph.note(note)
    return graph


def wanted(graph: Graph, selection: Selection) -> Set[UnitId]:
    """Return the units that `selection` includes and everything they need.

    A selection never changes what a unit is, only whether it is made: what lies outside it and is needed is made too.
    """
    if selection == _EVERYTHING:
        return graph.ids.keys()
    found = {unit.id for unit in graph if selection.includes(unit.id)}
    for unit in reversed(list(graph)):  # needs come before what needs them
        if unit.id in found:
            found |= {need.unit for need in unit.needs}
    return found
