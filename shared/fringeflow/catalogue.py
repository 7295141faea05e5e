"""What a project asks for and how much of it is made: the graphs of all targets over one ledger and one set of drops.

It knows nothing of queues and jobs. Everything in it can be rebuilt from the keys, the drops and the manifests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from typing import Protocol

from fringeflow.drops import Drops
from fringeflow.graph.build import Selection, build, wanted
from fringeflow.graph.model import Facts, Graph, Lookup, Unit, UnitId
from fringeflow.jobs.request import TaskUnit
from fringeflow.keys.model import Project
from fringeflow.manifest import Input, Manifest

Builder = Callable[[Project, str, Mapping[str, str], Lookup], Graph]
"""(project, target, digests of the drops, lookup) -> the target's graph."""


class ManifestSource(Protocol):
    """Where manifests are looked up."""

    def get(self, unit: UnitId, work_key: str) -> Manifest | None:
        """Return the manifest of `unit` with `work_key`, if there is one."""
        ...


class NoManifests:
    """The source of a project of which nothing has been made."""

    def get(self, unit: UnitId, work_key: str) -> Manifest | None:
        """Return None."""
        del unit, work_key
        return None


class Catalogue:
    """The state of a project.

    Absence of a manifest is remembered until `note` or `refresh` says otherwise, so that asking is cheap.
    """

    def __init__(
        self, project: Project, selection: Selection, drops: Drops, ledger: ManifestSource, builder: Builder = build
    ) -> None:
        self._build = builder
        self.project = project
        self.selection = selection
        self.drops = drops
        self._ledger = ledger
        self._known: dict[str, dict[tuple[UnitId, str], Manifest | None]] = {}  # by target
        self._leaves: tuple[Drops, dict[str, str]] = {}, {}
        self._graphs: dict[str, Graph] = {}
        self._wanted: dict[str, set[UnitId]] = {}
        self._counts: dict[str, tuple[int, int]] = {}

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """The targets that are asked for, sorted."""
        chosen = self.selection.targets or tuple(self.project.targets)
        return tuple(sorted(chosen))

    def graph(self, target: str) -> Graph:
        """Return the graph of `target` as of now."""
        if target not in self._graphs:
            self._graphs[target] = graph = self._build(self.project, target, self._digests(), self._lookup)
            self._wanted[target] = wanted(graph, self.selection)
        return self._graphs[target]

    def units(self, target: str) -> Iterator[Unit]:
        """Yield the units of `target` that are asked for or needed, in an order in which they could be made."""
        graph = self.graph(target)
        yield from (unit for unit in graph if unit.id in self._wanted[target])

    def all_units(self) -> Iterator[Unit]:
        """Yield the units of all targets that are asked for or needed."""
        for target in self.targets:
            yield from self.units(target)

    def ready(self, target: str) -> list[Unit]:
        """Return the units of `target` that are asked for, can be made now and have not been."""
        graph = self.graph(target)
        return [unit for unit in graph.ready() if unit.id in self._wanted[target]]

    def counts(self) -> tuple[int, int]:
        """Return how many units are made and how many are asked for or needed."""
        for target in self.targets:
            if target not in self._counts or target not in self._graphs:
                units = list(self.units(target))
                self._counts[target] = (sum(self.graph(target).made(unit.id) for unit in units), len(units))
        made, total = zip(*(self._counts[target] for target in self.targets), strict=True)
        return sum(made), sum(total)

    def unit(self, unit: UnitId) -> Unit | None:
        """Return the unit as it is defined now, or None when the project no longer has it."""
        graph = self.graph(unit.target) if unit.target in self.project.targets else None
        return graph[unit] if graph is not None and unit in graph else None

    def key(self, unit: UnitId) -> str | None:
        """Return the present work key of `unit`."""
        return self.graph(unit.target).key(unit)

    def manifest(self, unit: UnitId) -> Manifest | None:
        """Return the manifest of the present work key of `unit`, if it has been made."""
        key = self.key(unit)
        return None if key is None else self._find(unit, key)

    def note(self, unit: UnitId, work_key: str) -> Manifest | None:
        """Take in that `unit` may have been made; return its manifest if so."""
        known = self._known.setdefault(unit.target, {})
        if (found := known.get((unit, work_key))) is not None:
            return found
        known.pop((unit, work_key), None)
        manifest = self._find(unit, work_key)
        if manifest is not None:
            self._graphs.pop(unit.target, None)
        return manifest

    def is_made(self, unit: UnitId, work_key: str) -> bool:
        """Return whether `unit` with `work_key` is known to have been made; does not look."""
        return self._known.get(unit.target, {}).get((unit, work_key)) is not None

    def refresh(self, targets: Collection[str] | None = None) -> None:
        """Forget what was found absent, of all targets unless some are named: others may have made it since."""
        for target in {*self._known, *self._graphs} if targets is None else targets:
            known = self._known.get(target, {})
            self._known[target] = {key: manifest for key, manifest in known.items() if manifest is not None}
            self._graphs.pop(target, None)

    def task_unit(self, unit: Unit) -> TaskUnit:
        """Return `unit` with the artefacts and facts a job needs to make it; all it needs must have been made."""
        inputs = [self._input_from(need.unit) for need in unit.needs if need.fetch]
        leaves = [Input(source=name, artefacts=(self.drops[name],)) for name in unit.leaves]
        key = self.key(unit.id)
        if key is None:
            raise ValueError(f"{unit.id} cannot be made: {', '.join(self.graph(unit.id.target).missing(unit.id))}")
        return TaskUnit(
            unit=unit,
            work_key=key,
            inputs=(*inputs, *leaves),
            facts={str(need.unit): self._made(need.unit).facts for need in unit.needs},
            ancestors=self.ancestors(unit.id),
        )

    def inputs(self, unit: Unit) -> tuple[Input, ...]:
        """Return what the manifest of `unit` records as its inputs."""
        leaves = (Input(source=name, artefacts=(self.drops[name],)) for name in unit.leaves)
        return (*(self._input_from(need.unit) for need in unit.needs), *leaves)

    def ancestors(self, unit: UnitId) -> dict[str, str]:
        """Return the digests of all dropped inputs that `unit` descends from."""
        graph = self.graph(unit.target)
        seen, found, pending = {unit}, dict[str, str](), [unit]
        while pending:
            current = graph[pending.pop()]
            found |= {name: self.drops[name].sha256 for name in current.leaves if name in self.drops}
            fresh = [need.unit for need in current.needs if need.unit not in seen]
            seen.update(fresh)
            pending += fresh
        return dict(sorted(found.items()))

    def _input_from(self, unit: UnitId) -> Input:
        manifest = self._made(unit)
        return Input(source=str(unit), work_key=manifest.work_key, artefacts=manifest.outputs)

    def _made(self, unit: UnitId) -> Manifest:
        manifest = self.manifest(unit)
        if manifest is None:
            raise ValueError(f"{unit} has not been made")
        return manifest

    def _lookup(self, unit: UnitId, work_key: str) -> Facts | None:
        manifest = self._find(unit, work_key)
        return None if manifest is None else manifest.facts

    def _find(self, unit: UnitId, work_key: str) -> Manifest | None:
        known = self._known.setdefault(unit.target, {})
        if (unit, work_key) not in known:
            known[unit, work_key] = self._ledger.get(unit, work_key)
        return known[unit, work_key]

    def _digests(self) -> Mapping[str, str]:
        """Return the digest of every dropped input; drawn up once for as long as the drops are the same."""
        if self._leaves[0] is not self.drops:
            self._leaves = self.drops, {name: drop.sha256 for name, drop in self.drops.items()}
        return self._leaves[1]
