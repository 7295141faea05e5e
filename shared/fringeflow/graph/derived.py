"""The units of the derived stage: what is made of every post-processed cube, from convolved cubes to flat maps. No I/O.

A unit's work key does not depend on which others exist but for those it is made of, so the set may change once the
native beam is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fringeflow.graph.derived_cubes import Cube, Resolution, cubes_of, linked, needs_of
from fringeflow.graph.derived_maps import Kind, Maps, kinds_of
from fringeflow.graph.model import Graph, Need, Unit, UnitId
from fringeflow.keys.model import Project
from fringeflow.keys.values import velocity_text

SHUFFLED: tuple[str, ...] = ("shuffled", "shuffled_noise", "shuffled_strictmask", "shuffled_broadmask")
"""What is shuffled: the cube, its noise and its masks."""


def add_units(project: Project, target: str, graph: Graph, kinds: Mapping[str, Kind] | None = None) -> tuple[str, ...]:
    """Add to `graph` a unit for every derived product of what is post-processed of `target` in it.

    As long as a native beam is not known, every resolution of the keys is taken to be reachable; then those that are
    finer are left out. `kinds` are the maps that the project knows, where they have been worked out already.

    Returns
    -------
    tuple of str
        What the keys ask for and is left out, and why.
    """
    notes: list[str] = []
    cubes = cubes_of(project, target, graph, notes)
    lines = [cube for cube in cubes if cube.is_line]
    for cube in cubes:
        for resolution in cube.resolutions:
            _add_cube(graph, cube, resolution)
    leaf = _leaf(project, target)
    for cube in lines:
        graph.add(_broad_mask(cube, cubes, leaf))
    maps = Maps(project, graph, cubes, kinds_of(project) if kinds is None else kinds)
    maps.add()
    fields = {cube.source: field for cube in lines if (field := _add_velocity_field(graph, cube, cubes, maps))}
    for cube in lines:
        source = _field_for(graph, cube, cubes, fields, leaf)
        if source is None:
            notes.append(f"{' '.join(cube.which)}: no velocity field, so flat masks and shuffled cubes are left out")
            continue
        graph.add(_shuffled(cube, source))
        notes += _add_flat_masks(project, graph, cube, source)
    maps.add()
    return (*notes, *maps.notes())


@dataclass(frozen=True, slots=True)
class FieldSource:
    """Where a velocity field comes from: a unit of ours, or a dropped input."""

    file: str
    unit: UnitId | None = None
    leaf: str | None = None

    @property
    def needs(self) -> tuple[UnitId, ...]:
        """The unit that makes it, if one does."""
        return () if self.unit is None else (self.unit,)

    @property
    def leaves(self) -> tuple[str, ...]:
        """The dropped input it is, if it is one."""
        return () if self.leaf is None else (self.leaf,)


def _add_cube(graph: Graph, cube: Cube, resolution: Resolution) -> None:
    """Add the cube at a resolution, its noise and, of a line, its strict mask."""
    made, noise = cube.need("cube", resolution), cube.need("noise", resolution)
    recipe: dict[str, Any] = {}
    exts: tuple[str, ...] = ("",)
    if resolution.tag:
        exts = ("", "coverage", "coverage2d")
        recipe = {"fwhm_arcsec": resolution.fwhm_arcsec, "options": _convolution(cube)}
        if resolution.distance_mpc is not None:
            recipe["distance_mpc"] = resolution.distance_mpc
    outputs = tuple([cube.file(ext, resolution) for ext in exts])
    graph.add(cube.make_of(made.unit, recipe, (Need(cube.source),), outputs))
    outputs = (cube.file("noise", resolution),)
    graph.add(cube.make_of(noise.unit, cube.only_options("noise_kw"), (made,), outputs))
    if cube.is_line:
        unit, outputs = cube.unit("strictmask", resolution), (cube.file("strictmask", resolution),)
        graph.add(cube.make_of(unit, cube.only_options("strictmask_kw"), (made, noise), outputs))


def _convolution(cube: Cube) -> Mapping[str, Any]:
    options = cube.options("convolve_kw")
    if options.get("spec_smooth") is None:
        return options
    return {**options, "spec_smooth": velocity_kms(options["spec_smooth"])}


def _broad_mask(cube: Cube, cubes: list[Cube], leaf: str | None) -> Unit:
    """Return the union of the strict masks of a cube's own config and of those it is linked with.

    It welcomes the velocity field that someone may drop, so that it is looked for even where nothing reads it yet.
    """
    contributing = [cube, *linked(cube, cubes)[:-1]]
    needs = tuple([other.need("strictmask", resolution) for other in contributing for resolution in other.resolutions])
    recipe, welcome = cube.only_options("broadmask_kw"), (leaf,) if leaf else ()
    return cube.make_of(cube.unit("broadmask"), recipe, needs, (cube.file("broadmask"),), welcome=welcome)


def _add_velocity_field(graph: Graph, cube: Cube, cubes: list[Cube], maps: Maps) -> FieldSource | None:
    """Add the combined velocity field of a cube, if it has hybrid fields to start from."""
    own = list(maps.hybrids(cube))
    if not own or "@" in own[0][0].step:
        return None
    layers = dict.fromkeys([own[0], *(layer for other in linked(cube, cubes) for layer in maps.hybrids(other))])
    recipe = {"layers": [file for _, file in layers]}
    outputs = (cube.file("combined_velocity_field"), cube.file("combined_velocity_field_source"))
    unit = graph.add(cube.make(cube.unit("vfield"), recipe, tuple(unit for unit, _ in layers), outputs))
    return FieldSource(outputs[0], unit=unit)


def _leaf(project: Project, target: str) -> str | None:
    """Return the name of the dropped input that is the velocity field of `target`, if the window key names one."""
    file = project.targets[target].vfield_file
    return f"vfield/{file}" if file and project.roots.vfield else None


def _field_for(
    graph: Graph, cube: Cube, cubes: list[Cube], fields: dict[UnitId, FieldSource], leaf: str | None
) -> FieldSource | None:
    """Return the velocity field of a cube: what someone gave, else its own, else one of another config.

    Other configs are looked at in the order of `mask_configs`, then all others of the same product.
    """
    if leaf and graph.is_dropped(leaf):
        return FieldSource(leaf, leaf=leaf)
    same = [other for other in cubes if other.source.product == cube.source.product]
    order = [cube, *linked(cube, cubes), *same]
    return next((fields[other.source] for other in order if other.source in fields), None)


def _add_flat_masks(project: Project, graph: Graph, cube: Cube, source: FieldSource) -> Iterator[str]:
    """Add the flat masks of a cube at all its resolutions; yield what is left out, and why."""
    for kind in ("strict", "broad"):
        window = cube.options(f"flat{kind}mask_kw").get("window", project.targets[cube.source.target].window)
        if window is None:
            yield f"{' '.join(cube.which)}: no velocity window, so flat{kind}mask is left out"
            continue
        recipe = {"window_kms": velocity_kms(window), "field": source.file}
        group, needs = str(cube.unit("flatmasks")), needs_of(source.needs)
        for resolution in cube.resolutions:
            strict = cube.need("strictmask", resolution)
            masks = (strict,) if kind == "strict" else (strict, cube.need("broadmask"))
            unit, outputs = cube.unit(f"flat{kind}mask", resolution), (cube.file(f"flat{kind}mask", resolution),)
            graph.add(cube.make_of(unit, recipe, (*masks, *needs), outputs, group, source.leaves))


def _shuffled(cube: Cube, source: FieldSource) -> Unit:
    return cube.make(
        cube.unit("shuffled"),
        {"field": source.file, "options": cube.options("shuffle_kw")},
        (*(cube.unit(name) for name in ("cube", "noise", "strictmask", "broadmask")), *source.needs),
        tuple(cube.file(ext) for ext in SHUFFLED),
        leaves=source.leaves,
    )


def velocity_kms(window: float | str) -> float:
    """Return a velocity width in km/s from a number or a text with its unit."""
    return float(velocity_text(str(window)).removesuffix("km/s"))
