"""The units of maps, each after what it is made of: cubes, masks, or other maps of this or another cube. No I/O.

The order follows from what a map needs; the round of the moment key is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fringeflow import names
from fringeflow.graph.derived_cubes import NATIVE, Cube, Resolution, tail
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
class Kind:
    """One map of the moment key, and what its units have in common."""

    moment: Moment
    name: str
    is_hybrid: bool
    is_passed_on: bool
    """Whether hybrids may be made of it."""
    mask: str | None
    """Name of its mask, None for all of the cube."""
    tails: tuple[str, ...]
    """How the names of its file and its error's end."""
    recipe: Mapping[str, Any]


def kinds_of(project: Project) -> dict[str, Kind]:
    """Return the maps of the moment key that there are algorithms for, by name."""
    known = [moment for moment in project.moments.values() if moment.algorithm in (*OF_CUBES, HYBRID)]
    endings: set[str] = set()
    for moment in known:
        if moment.algorithm == HYBRID:
            endings.update(tail(ext) for ext in moment.maps_to_pass)
            for exts in moment.other_exts.values():
                endings.update([exts] if isinstance(exts, str) else exts)
    return {moment.name: _kind(moment, endings) for moment in known}


def _kind(moment: Moment, passed_on: set[str]) -> Kind:
    mask = None if moment.mask is None or moment.mask.lower() == "none" else moment.mask
    tails = tuple(tail(ext) for ext in (moment.ext, moment.ext_error) if ext is not None)
    return Kind(
        moment=moment,
        name=moment.name,
        is_hybrid=moment.algorithm == HYBRID,
        is_passed_on=any(names.tidy(ending).endswith(own) for own in tails for ending in passed_on),
        mask=mask,
        tails=tails,
        recipe={
            "algorithm": _SAME_AS.get(moment.algorithm, moment.algorithm),
            "mask": mask,
            "options": dict(moment.kwargs),
        },
    )


Wish = tuple[Kind, tuple[str, ...]]
"""A map that is asked for, and the names of its file and its error's."""


@dataclass(slots=True)
class Place:
    """A cube at a resolution, and the maps of it that cannot be made yet."""

    cube: Cube
    resolution: Resolution
    group: str
    """All maps of one resolution are made in one job, reading the cube once."""
    waiting: list[Wish]
    needs: dict[str | None, tuple[Need, ...]]
    """Cube, noise and mask, by mask; those without one are always there."""

    def unit(self, kind: Kind) -> UnitId:
        """Return the id of what makes a map."""
        _, target, config, product, _ = self.cube.source
        tag = self.resolution.tag
        return UnitId("derived", target, config, product, f"{kind.name}@{tag}" if tag else kind.name)

    def needs_with(self, mask: str | None, graph: Graph) -> tuple[Need, ...] | None:
        """Return what a map needs, or None if there is no such mask; one broad mask is for all resolutions."""
        found = self.needs.get(mask)
        if found is None:
            of_mask = self.cube.need(f"{mask}", NATIVE if mask == "broadmask" else self.resolution)
            if of_mask.unit not in graph.ids:
                return None
            found = self.needs[mask] = (*self.needs[None], of_mask)
        return found


class Maps:
    """The maps of all cubes of a target; those that can be made are added to `graph` whenever `add` is called."""

    def __init__(self, project: Project, graph: Graph, cubes: list[Cube], kinds: Mapping[str, Kind]) -> None:
        self._graph = graph
        self._made: dict[str, UnitId] = {}
        self._places = [place for cube in cubes if cube.is_line for place in _places(kinds, cube)]
        self._asked_for = {
            name for place in self._places for kind, outputs in place.waiting if kind.is_passed_on for name in outputs
        }
        self._hybrids: dict[UnitId, dict[Resolution, UnitId]] = {}
        self._without_prior: dict[str, list[str]] = {}
        self._found: dict[str, tuple[dict[str, str], list[str]]] = {}
        self._notes = [note for cube in cubes for note in _left_out(project, cube)]

    def add(self) -> None:
        """Add to the graph every map of which all it is made of is there."""
        added = sum(self._add_at(place) for place in self._places)
        while added:  # nothing but hybrids can follow from maps
            added = sum(self._add_at(place, others=False) for place in self._places if place.waiting)

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
        for place in self._places:
            if place.resolution.tag:  # said once per cube, for the native resolution
                continue
            for wish in place.waiting:
                yield f"{' '.join(place.cube.which)}: {wish[0].name} left out: {self._unit(place, *wish)}"

    def _add_at(self, place: Place, *, others: bool = True) -> bool:
        """Add the hybrids, and other maps, of a cube at a resolution that can be made; say whether there were any."""
        waiting, place.waiting = place.waiting, []
        for wish in waiting:
            kind, outputs = wish
            unit = self._unit(place, kind, outputs) if others or kind.is_hybrid else ""
            if isinstance(unit, str):
                place.waiting.append(wish)
                continue
            name = self._graph.add(unit)
            if kind.is_passed_on:
                self._made.update(dict.fromkeys(outputs, name))
            if kind.is_hybrid:
                self._hybrids.setdefault(place.cube.source, {}).setdefault(place.resolution, name)
        return len(place.waiting) < len(waiting)

    def _unit(self, place: Place, kind: Kind, outputs: tuple[str, ...]) -> Unit | str:
        """Return the unit of a map, or what it lacks."""
        if kind.is_hybrid:
            return self._hybrid(place, kind, outputs)
        needs = place.needs.get(kind.mask) or place.needs_with(kind.mask, self._graph)
        if needs is None:
            return f"there is no {kind.mask}"
        return place.cube.make_of(place.unit(kind), kind.recipe, needs, outputs, place.group)

    def _hybrid(self, place: Place, kind: Kind, outputs: tuple[str, ...]) -> Unit | str:
        cube, moment, stem = place.cube, kind.moment, place.cube.stem(place.resolution)
        others, priors = self._found.get(kind.name) or self._others(cube.source.target, kind)
        if priors:
            self._without_prior[f"{' '.join(cube.which)} {moment.name}"] = priors
        files = {ext.strip("_"): stem + tail(ext) for ext in moment.maps_to_pass}
        given = files | others
        lacking = [name for name in given.values() if name not in self._made]
        lacking += [f"{name} in its maps_to_pass" for name in HYBRID_NEEDS if name not in given]
        if lacking:
            return f"{HYBRID} needs more: there is no {', '.join(lacking)}"
        recipe: dict[str, Any] = {"algorithm": HYBRID, "files": given, "options": dict(moment.kwargs)}
        needs = tuple(self._made[name] for name in given.values())
        group = str(cube.unit("hybrids"))
        return cube.make(place.unit(kind), recipe, needs, outputs, group=group)

    def _others(self, target: str, kind: Kind) -> tuple[dict[str, str], list[str]]:
        """Return the files a hybrid takes besides its own, and the priors it asks for in vain; once for a target."""
        files: dict[str, str] = {}
        in_vain: list[str] = []
        for argument, exts in kind.moment.other_exts.items():
            candidates = [names.tidy(target + ext) for ext in ([exts] if isinstance(exts, str) else exts)]
            known = [name for name in candidates if name in self._asked_for]
            if argument != PRIOR:
                files[argument] = (known or candidates)[0]
            elif known:
                files[PRIOR] = known[0]
            else:
                in_vain = candidates
        found = self._found[kind.name] = files, in_vain
        return found


def _places(kinds: Mapping[str, Kind], cube: Cube) -> Iterator[Place]:
    """Yield a cube at each of its resolutions, with every map that the keys ask for of it, each once."""
    wanted = [kinds[name] for name in dict.fromkeys(cube.settings.moments) if name in kinds]
    for resolution in cube.resolutions:
        stem = cube.stem(resolution)
        asked_for = [(kind, tuple([stem + tail for tail in kind.tails])) for kind in wanted]
        without_mask = cube.need("cube", resolution), cube.need("noise", resolution)
        yield Place(cube, resolution, str(cube.unit("maps", resolution)), asked_for, {None: without_mask})


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
