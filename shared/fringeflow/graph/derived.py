"""The units of the derived stage: cubes at each resolution, noise, masks and maps of every post-processed cube. No I/O.

A unit's work key does not depend on which others exist, so the set may change once the native beam is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fringeflow import names
from fringeflow.graph.model import Facts, Graph, Need, Unit, UnitId
from fringeflow.keys.model import Derived, Frozen, Moment, Project

REVISION = 1
FACT = "products.derived"
ALGORITHMS: tuple[str, ...] = ("mom0", "mom1", "mom2", "ew", "tpeak", "vpeak", "vquad")
"""Algorithms whose maps are made of a cube, its noise and a mask."""

MASKS: tuple[str, ...] = ("strictmask", "broadmask")
_BASE_MB = 350
_BYTES_PER_PIXEL = 160


class Resolution(Frozen):
    """One resolution of a cube; the native one has no tag."""

    tag: str = ""
    fwhm_arcsec: float | None = None
    distance_mpc: float | None = None

    def step(self, name: str) -> str:
        """Return the step that makes `name` at this resolution."""
        return f"{name}@{self.tag}" if self.tag else name


class Cube(Frozen):
    """One post-processed cube or image and what is to be derived from it."""

    source: UnitId
    settings: Derived
    resolutions: tuple[Resolution, ...]
    memory_mb: int
    is_line: bool

    @property
    def which(self) -> tuple[str, str, str]:
        """Target, config, product."""
        return self.source.target, self.source.config, self.source.product

    def unit(self, name: str, resolution: Resolution | None = None) -> UnitId:
        """Return the id of what makes `name` at a resolution."""
        step = resolution.step(name) if resolution else name
        return UnitId(stage="derived", target=self.which[0], config=self.which[1], product=self.which[2], step=step)

    def file(self, resolution: Resolution, ext: str = "") -> str:
        """Return the name of a file at a resolution."""
        return names.cube(*self.which, "_".join(part for part in (resolution.tag, ext.strip("_")) if part))


def add_units(project: Project, target: str, graph: Graph) -> tuple[str, ...]:
    """Add to `graph` a unit for every derived product of what is post-processed of `target` in it.

    As long as a native beam is not known, every resolution of the keys is taken to be reachable; then those that are
    finer are left out.

    Returns
    -------
    tuple of str
        What the keys ask for and is left out, and why.
    """
    notes: list[str] = []
    sources = [unit.id for unit in graph if unit.id.stage == "postprocess" and unit.id.target == target]
    cubes = [_cube(project, source, graph, notes) for source in sources if not source.step]
    for cube in cubes:
        for resolution in cube.resolutions:
            _add_cube(graph, cube, resolution)
            if cube.is_line:
                graph.add(_strict_mask(cube, resolution))
    for cube in (cube for cube in cubes if cube.is_line):
        graph.add(_broad_mask(cube, cubes))
        for resolution in cube.resolutions:
            for moment in _moments(project, cube):
                graph.add(_map(cube, resolution, moment))
    for cube in cubes:
        notes += _left_out(project, cube)
    return tuple(notes)


def _cube(project: Project, source: UnitId, graph: Graph, notes: list[str]) -> Cube:
    settings = project.derived.get(source.config, {}).get(source.product, Derived())
    facts = graph.facts(source) or {}
    return Cube(
        source=source,
        settings=settings,
        resolutions=(Resolution(), *_resolutions(project, source, settings, facts, notes)),
        memory_mb=_memory_mb(facts),
        is_line=project.product(source.product).kind == "line",
    )


def _resolutions(
    project: Project, source: UnitId, settings: Derived, facts: Facts, notes: list[str]
) -> Iterator[Resolution]:
    """Yield the resolutions that can be had, angular ones first."""
    where = f"{source.target} {source.config} {source.product}"
    distance = _distance_mpc(project, source.target)
    wanted = [Resolution(tag=tag, fwhm_arcsec=fwhm) for tag, fwhm in settings.ang_res_arcsec.items()]
    if settings.phys_res_pc and distance is None:
        notes.append(f"{where}: no distance, so {', '.join(settings.phys_res_pc)} left out")
    elif distance is not None:
        wanted += [
            Resolution(tag=tag, fwhm_arcsec=names.arcsec_of_parsec(parsec, distance), distance_mpc=distance)
            for tag, parsec in settings.phys_res_pc.items()
        ]
    beam = facts.get("beam_arcsec")
    tolerance = float(settings.kwargs.get("convolve_kw", {}).get("tol", 0.1))
    for resolution in wanted:
        # The same test, with the same slack for rounding, as the convolution itself makes.
        if beam and (resolution.fwhm_arcsec or 0.0) < beam[0] * (1 - tolerance - 1e-9):
            notes.append(
                f"{where}: {resolution.tag} ({resolution.fwhm_arcsec:.4g} arcsec) is finer than the beam "
                f"({beam[0]:.4g} arcsec), so it is left out"
            )
        else:
            yield resolution


def _distance_mpc(project: Project, target: str) -> float | None:
    """Return the distance of a target, that of its mosaic if it has none of its own."""
    own = project.targets[target]
    parent = project.targets.get(own.mosaic_parent or "")
    return own.distance_mpc if own.distance_mpc is not None or parent is None else parent.distance_mpc


def _memory_mb(facts: Facts) -> int:
    """Return what a job needs: blocks of fixed size, and some images."""
    shape = facts.get("shape") or (1, 1500, 1500)
    return _BASE_MB + int(shape[-1] * shape[-2] * _BYTES_PER_PIXEL / 1e6)


def _unit(
    cube: Cube, unit: UnitId, recipe: Mapping[str, Any], needs: tuple[UnitId, ...], outputs: tuple[str, ...]
) -> Unit:
    return Unit(
        id=unit,
        revision=REVISION,
        recipe=recipe,
        needs=tuple(Need(unit=need) for need in needs),
        outputs=outputs,
        fact=FACT,
        memory_mb=cube.memory_mb,
    )


def _options(cube: Cube, name: str) -> dict[str, Any]:
    """Return the options that the derived key gives."""
    return dict(sorted(cube.settings.kwargs.get(name, {}).items()))


def _add_cube(graph: Graph, cube: Cube, resolution: Resolution) -> None:
    """Add the cube at a resolution and its noise."""
    exts = ("", "coverage", "coverage2d") if resolution.tag else ("",)
    recipe: dict[str, Any] = {}
    if resolution.tag:
        recipe = {"fwhm_arcsec": resolution.fwhm_arcsec, "options": _options(cube, "convolve_kw")}
        if resolution.distance_mpc is not None:
            recipe["distance_mpc"] = resolution.distance_mpc
    outputs = tuple(cube.file(resolution, ext) for ext in exts)
    made = graph.add(_unit(cube, cube.unit("cube", resolution), recipe, (cube.source,), outputs))
    recipe = {"options": _options(cube, "noise_kw")}
    graph.add(_unit(cube, cube.unit("noise", resolution), recipe, (made,), (cube.file(resolution, "noise"),)))


def _strict_mask(cube: Cube, resolution: Resolution) -> Unit:
    return _unit(
        cube,
        cube.unit("strictmask", resolution),
        {"options": _options(cube, "strictmask_kw")},
        (cube.unit("cube", resolution), cube.unit("noise", resolution)),
        (cube.file(resolution, "strictmask"),),
    )


def _broad_mask(cube: Cube, cubes: list[Cube]) -> Unit:
    """Return the union of the strict masks of a cube's own config and of those it is linked with."""
    configs = dict.fromkeys((cube.source.config, *cube.settings.mask_configs))
    linked = [
        other
        for config in configs
        for other in cubes
        if other.source.config == config and other.source.product == cube.source.product
    ]
    needs = tuple(other.unit("strictmask", resolution) for other in linked for resolution in other.resolutions)
    recipe = {"options": _options(cube, "broadmask_kw")}
    return _unit(cube, cube.unit("broadmask"), recipe, needs, (cube.file(Resolution(), "broadmask"),))


def _moments(project: Project, cube: Cube) -> list[Moment]:
    """Return the maps that can be made, each once."""
    chosen = [project.moments[name] for name in dict.fromkeys(cube.settings.moments) if name in project.moments]
    return [moment for moment in chosen if _obstacle(moment) is None]


def _obstacle(moment: Moment) -> str | None:
    """Return why a map cannot be made here, None if it can."""
    if moment.algorithm not in ALGORITHMS:
        return f"algorithm {moment.algorithm} is not supported"
    if _mask(moment) not in (None, *MASKS):
        return f"mask {moment.mask} is not supported"
    return "maps made of other maps are not supported" if moment.maps_to_pass or moment.other_exts else None


def _mask(moment: Moment) -> str | None:
    return None if moment.mask is None or moment.mask.lower() == "none" else moment.mask


def _map(cube: Cube, resolution: Resolution, moment: Moment) -> Unit:
    """Return one map; all maps of one resolution are made in one job, reading the cube once."""
    mask = _mask(moment)
    needs = [cube.unit("cube", resolution), cube.unit("noise", resolution)]
    if mask:
        needs.append(cube.unit("broadmask") if mask == "broadmask" else cube.unit(mask, resolution))
    exts = (moment.ext,) if moment.ext_error is None else (moment.ext, moment.ext_error)
    unit = _unit(
        cube,
        cube.unit(moment.name, resolution),
        {"algorithm": moment.algorithm, "mask": mask, "options": dict(moment.kwargs)},
        tuple(needs),
        tuple(cube.file(resolution, ext) for ext in exts),
    )
    return unit.model_copy(update={"group": str(cube.unit("maps", resolution))})


def _left_out(project: Project, cube: Cube) -> Iterator[str]:
    where = " ".join(cube.which)
    for name in dict.fromkeys(cube.settings.moments):
        moment = project.moments.get(name)
        why = "it is not in the moment key" if moment is None else _obstacle(moment)
        if not cube.is_line:
            why = "maps are made of lines only"
        if why:
            yield f"{where}: {name} left out: {why}"
