"""The units of maps, each after what it is made of: cubes, masks, or other maps of this or another cube. No I/O.

The order follows from what a map needs; the round of the moment key is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fringeflow import names
from fringeflow.graph.derived_cubes import Cube, Resolution, needs_of
from fringeflow.graph.model import Graph, Need, Unit, UnitId
from fringeflow.keys.model import Moment, Project

OF_CUBES: tuple[str, ...] = ("mom0", "mom0flat", "mom1", "mom2", "ew", "tpeak", "vpeak", "vquad")
"""Algorithms whose maps are made of a cube, its noise and a mask."""

HYBRID = "mom1wprior"
"""The algorithm whose map is made of other maps."""

PRIOR = "vfield_prior"
"""Its argument that may be absent."""

HYBRID_NEEDS: tuple[str, ...] = ("strict_mom1", "broad_mom1", "broad_mom0")
"""Its arguments that may not."""

_SAME_AS = {"mom0flat": "mom0"}


@dataclass(frozen=True, slots=True)
class Wish:
    """One map that the keys ask for, and the names of its file and its error's."""

    cube: Cube
    resolution: Resolution
    moment: Moment
    outputs: tuple[str, ...]

    @property
    def mask(self) -> str | None:
        """Name of its mask, None for all of the cube."""
        mask = self.moment.mask
        return None if mask is None or mask.lower() == "none" else mask

    def mask_unit(self) -> UnitId | None:
        """Return what makes its mask; there is one broad mask for all resolutions."""
        if self.mask is None:
            return None
        return self.cube.unit("broadmask") if self.mask == "broadmask" else self.cube.unit(self.mask, self.resolution)


class Maps:
    """The maps of all cubes of a target; those that can be made are added to `graph` whenever `add` is called."""

    def __init__(self, project: Project, graph: Graph, cubes: list[Cube]) -> None:
        self._graph = graph
        self._made: dict[str, UnitId] = {}
        self._waiting = [wish for cube in cubes for wish in _wishes(project, cube)]
        self._asked_for = {name for wish in self._waiting for name in wish.outputs}
        self._needs: dict[tuple[str, str], tuple[Need, ...]] = {}
        self._recipes: dict[str, dict[str, Any]] = {}
        self._hybrids: dict[UnitId, dict[Resolution, UnitId]] = {}
        self._without_prior: dict[str, list[str]] = {}
        self._notes = [note for cube in cubes for note in _left_out(project, cube)]

    def add(self) -> None:
        """Add to the graph every map of which all it is made of is there."""
        before = -1
        while before != len(self._waiting):
            before = len(self._waiting)
            waiting, self._waiting = self._waiting, []
            for wish in waiting:
                unit = self._unit(wish)
                if isinstance(unit, Unit):
                    self._enter(wish, unit)
                else:
                    self._waiting.append(wish)

    def hybrids(self, cube: Cube) -> Iterator[tuple[UnitId, str]]:
        """Yield unit and file of the hybrid velocity fields of a cube, in the order of its resolutions."""
        found = self._hybrids.get(cube.source, {})
        for resolution in cube.resolutions:
            if resolution in found:
                yield found[resolution], self._graph[found[resolution]].outputs[0]

    def notes(self) -> Iterator[str]:
        """Yield what is left out, and why."""
        yield from self._notes
        for name, candidates in self._without_prior.items():
            yield f"{name}: no {PRIOR}, as none of {', '.join(candidates)} is made: velocities are not tested"
        for wish in self._waiting:
            if wish.resolution.tag:  # said once per cube, for the native resolution
                continue
            yield f"{' '.join(wish.cube.which)}: {wish.moment.name} left out: {self._unit(wish)}"

    def _enter(self, wish: Wish, unit: Unit) -> None:
        self._graph.add(unit)
        for name in unit.outputs:
            self._made[name] = unit.id
        if wish.moment.algorithm == HYBRID:
            self._hybrids.setdefault(wish.cube.source, {}).setdefault(wish.resolution, unit.id)

    def _unit(self, wish: Wish) -> Unit | str:
        """Return the unit of a map, or what it lacks."""
        return self._hybrid(wish) if wish.moment.algorithm == HYBRID else self._of_cube(wish)

    def _of_cube(self, wish: Wish) -> Unit | str:
        cube, resolution, moment = wish.cube, wish.resolution, wish.moment
        group = str(cube.unit("maps", resolution))  # all of one resolution are made in one job, reading the cube once
        needs = self._needs.get((group, moment.mask or ""))
        if needs is None:
            mask = wish.mask_unit()
            if mask is not None and mask not in self._graph:
                return f"there is no {wish.mask}"
            units = (cube.unit("cube", resolution), cube.unit("noise", resolution), *([mask] if mask else []))
            needs = self._needs[group, moment.mask or ""] = needs_of(units)
        recipe = self._recipes.get(moment.name)
        if recipe is None:
            algorithm = _SAME_AS.get(moment.algorithm, moment.algorithm)
            recipe = {"algorithm": algorithm, "mask": wish.mask, "options": dict(moment.kwargs)}
            self._recipes[moment.name] = recipe
        return cube.make_of(cube.unit(moment.name, resolution), recipe, needs, wish.outputs, group=group)

    def _hybrid(self, wish: Wish) -> Unit | str:
        cube, moment = wish.cube, wish.moment
        files = {ext.strip("_"): cube.file(ext, wish.resolution) for ext in moment.maps_to_pass}
        prior: str | None = None
        for argument, exts in moment.other_exts.items():
            candidates = [names.tidy(cube.source.target + ext) for ext in ([exts] if isinstance(exts, str) else exts)]
            known = [name for name in candidates if name in self._asked_for]
            if argument == PRIOR:
                prior = known[0] if known else None
                if not known:
                    self._without_prior[f"{' '.join(cube.which)} {moment.name}"] = candidates
            else:
                files[argument] = (known or candidates)[0]
        given = files | ({PRIOR: prior} if prior else {})
        lacking = [name for name in given.values() if name not in self._made]
        lacking += [f"{name} in its maps_to_pass" for name in HYBRID_NEEDS if name not in files]
        if lacking:
            return f"{HYBRID} needs more: there is no {', '.join(lacking)}"
        recipe: dict[str, Any] = {"algorithm": HYBRID, "files": given, "options": dict(moment.kwargs)}
        needs = tuple(self._made[name] for name in given.values())
        group = str(cube.unit("hybrids"))
        return cube.make(cube.unit(moment.name, wish.resolution), recipe, needs, wish.outputs, group=group)


def _wishes(project: Project, cube: Cube) -> Iterator[Wish]:
    """Yield every map that the keys ask for of a cube, each once."""
    if not cube.is_line:
        return
    wanted = [project.moments[name] for name in dict.fromkeys(cube.settings.moments) if name in project.moments]
    moments = [moment for moment in wanted if moment.algorithm in (*OF_CUBES, HYBRID)]
    for resolution in cube.resolutions:
        for moment in moments:
            exts = (moment.ext,) if moment.ext_error is None else (moment.ext, moment.ext_error)
            yield Wish(cube, resolution, moment, tuple([cube.file(ext, resolution) for ext in exts]))


def _left_out(project: Project, cube: Cube) -> Iterator[str]:
    for name in dict.fromkeys(cube.settings.moments):
        moment = project.moments.get(name)
        why = "it is not in the moment key" if moment is None else None
        if moment is not None and moment.algorithm not in (*OF_CUBES, HYBRID):
            why = f"there is no algorithm {moment.algorithm}"
        if not cube.is_line:
            why = "maps are made of lines only"
        if why:
            yield f"{' '.join(cube.which)}: {name} left out: {why}"
