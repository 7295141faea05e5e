"""The cubes that products are derived from, the resolutions each can have, and how their units and files are called."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from fringeflow import names
from fringeflow.graph.model import Facts, Graph, Need, Unit, UnitId
from fringeflow.keys.model import Derived, Project

REVISION = 2
FACT = "products.derived"
_VOXELS_PER_CORE = 8_000_000
_BASE_MB = 350
_BYTES_PER_PIXEL = 80


@dataclass(frozen=True, slots=True)
class Resolution:
    """One resolution of a cube; the native one has no tag."""

    tag: str = ""
    fwhm_arcsec: float | None = None
    distance_mpc: float | None = None


NATIVE = Resolution()


@dataclass(frozen=True, slots=True)
class Cube:
    """One post-processed cube or image and what is to be derived from it."""

    source: UnitId
    settings: Derived
    resolutions: tuple[Resolution, ...]
    memory_mb: int
    cores: int
    is_line: bool
    # what is asked for often
    _stems: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    _needs: dict[str, Need] = field(default_factory=dict, repr=False, compare=False)
    _recipes: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def which(self) -> tuple[str, str, str]:
        """Target, config, product."""
        _, target, config, product, _ = self.source
        return target, config, product

    def unit(self, name: str, resolution: Resolution = NATIVE) -> UnitId:
        """Return the id of what makes `name` at a resolution."""
        return self.need(name, resolution).unit

    def need(self, name: str, resolution: Resolution = NATIVE) -> Need:
        """Return the need for `name` at a resolution; many units have it."""
        step = f"{name}@{resolution.tag}" if resolution.tag else name
        found = self._needs.get(step)
        if found is None:
            found = self._needs[step] = Need(UnitId("derived", *self.which, step))
        return found

    def stem(self, resolution: Resolution = NATIVE) -> str:
        """Return what the names of all files at a resolution begin with; a `tail` follows."""
        found = self._stems.get(resolution.tag)
        if found is None:
            found = self._stems[resolution.tag] = names.cube(*self.which, resolution.tag, "").rstrip("_")
        return found

    def file(self, ext: str, resolution: Resolution = NATIVE) -> str:
        """Return the name of a file at a resolution."""
        return self.stem(resolution) + tail(ext)

    def options(self, name: str) -> Mapping[str, Any]:
        """Return the options that the derived key gives."""
        found: Mapping[str, Any] = self.only_options(name)["options"]
        return found

    def only_options(self, name: str) -> Mapping[str, Any]:
        """Return the recipe of what has nothing but the options `name`."""
        found = self._recipes.get(name)
        if found is None:
            found = self._recipes[name] = {"options": dict(sorted(self.settings.kwargs.get(name, {}).items()))}
        return found

    def make(
        self,
        unit: UnitId,
        recipe: Mapping[str, Any],
        needs: Iterable[UnitId],
        outputs: tuple[str, ...],
        *,
        group: str = "",
        leaves: tuple[str, ...] = (),
        welcome: tuple[str, ...] = (),
    ) -> Unit:
        """Return a unit of this cube."""
        return self.make_of(unit, recipe, needs_of(needs), outputs, group, leaves, welcome)

    def make_of(
        self,
        unit: UnitId,
        recipe: Mapping[str, Any],
        needs: tuple[Need, ...],
        outputs: tuple[str, ...],
        group: str = "",
        leaves: tuple[str, ...] = (),
        welcome: tuple[str, ...] = (),
    ) -> Unit:
        """Return a unit of this cube as `make` does, of needs that many have in common."""
        memory_mb, cores = self.memory_mb, self.cores
        return Unit(unit, REVISION, recipe, needs, leaves, outputs, FACT, group, False, memory_mb, cores, welcome)


@lru_cache(maxsize=256)
def tail(ext: str) -> str:
    """Return what the name of a file ends with, behind the stem of its cube."""
    return names.tidy(f"_{ext.strip('_')}.fits")


def needs_of(units: Iterable[UnitId]) -> tuple[Need, ...]:
    """Return the needs for `units`, each once."""
    return tuple([Need(unit) for unit in dict.fromkeys(units)])


def cubes_of(project: Project, target: str, graph: Graph, notes: list[str]) -> list[Cube]:
    """Return what is post-processed of `target` in `graph`, adding to `notes` the resolutions that cannot be had."""
    sources = [unit.id for unit in graph if unit.id.stage == "postprocess" and unit.id.target == target]
    return [_cube(project, source, graph, notes) for source in sources if not source.step]


def linked(cube: Cube, cubes: list[Cube]) -> list[Cube]:
    """Return the cubes of the configs that `mask_configs` names, in its order, and last the cube itself."""
    own = cube.source.config
    configs = [config for config in dict.fromkeys(cube.settings.mask_configs) if config != own]
    same = {other.source.config: other for other in cubes if other.source.product == cube.source.product}
    return [same[config] for config in (*configs, own) if config in same]


def _cube(project: Project, source: UnitId, graph: Graph, notes: list[str]) -> Cube:
    settings = project.derived.get(source.config, {}).get(source.product, Derived())
    facts = graph.facts(source) or {}
    return Cube(
        source=source,
        settings=settings,
        resolutions=(NATIVE, *_resolutions(project, source, settings, facts, notes)),
        memory_mb=_memory_mb(facts),
        cores=_cores(facts),
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


def _cores(facts: Facts) -> int:
    """Return how many cores are worth having: small cubes are better made side by side."""
    return max(1, math.prod(facts.get("shape") or ()) // _VOXELS_PER_CORE)
