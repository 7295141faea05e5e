"""What a project asks for and how much of it is made: the graphs of all targets over one ledger and one set of drops.

It knows nothing of queues and jobs. Everything in it can be rebuilt from the keys, the drops and the manifests.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fringeflow.drops import Drops
from fringeflow.graph.build import STAGES, Build, Selection, wanted
from fringeflow.graph.model import Facts, Graph, Lookup, Unit, UnitId
from fringeflow.keys.model import Project
from fringeflow.manifest import Input, Manifest
from fringeflow.sources import ManifestSource, ReadFacts

if TYPE_CHECKING:
    from fringeflow.jobs.request import TaskUnit

Builder = Callable[[Project, str, Mapping[str, str], Lookup], Graph]
"""(project, target, digests of the drops, lookup) -> the target's graph."""


@dataclass(slots=True)
class _Target:
    """What is known of one target: its graph and which of its units are asked for."""

    graph: Graph
    wanted: Set[UnitId]
    own: list[Unit]
    """The units that are asked for and not of the parts of a mosaic, in order."""


class Catalogue:
    """The state of a project.

    What is made is known from listings, and remembered until `note` or `refresh` says otherwise: asking is cheap.

    Parameters
    ----------
    most_units
        Units whose graphs are kept in memory, about; those of targets not asked for lately are built again when they
        are. None: all.
    """

    def __init__(
        self,
        project: Project,
        selection: Selection,
        drops: Drops,
        ledger: ManifestSource,
        builder: Builder | None = None,
        *,
        most_units: int | None = None,
    ) -> None:
        self._build = builder or Build()
        self.project = project
        self.selection = selection
        self.drops = drops
        self._ledger = ledger
        self._most_units = most_units
        self._marks: dict[str, bytes] = {}  # by target: a digest of each work key, end to end
        self._leaves: tuple[Drops, dict[str, str]] = {}, {}
        self._targets: OrderedDict[str, _Target] = OrderedDict()  # the one asked for last comes last
        self._units = 0
        self._counts: dict[str, tuple[int, int]] = {}

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """The targets that are asked for, and the parts of those that are mosaics, sorted."""
        chosen = self.selection.targets or tuple(self.project.targets)
        return tuple(sorted({*chosen, *(part for name in chosen for part in self._parts(name))}))

    @cached_property
    def _asked_for(self) -> frozenset[str]:
        return frozenset(self.targets)

    def includes(self, target: str) -> bool:
        """Return whether `target` is asked for."""
        return target in self._asked_for

    def concerned(self, target: str) -> tuple[str, ...]:
        """Return the targets that are asked for and have units that may need one of `target`: it, and its mosaic."""
        return tuple(name for name in (target, *self._mosaic(target)) if self.includes(name))

    def graph(self, target: str) -> Graph:
        """Return the graph of `target` as of now; that of a mosaic holds units of its parts too."""
        return self._target(target).graph

    def units(self, target: str) -> Iterator[Unit]:
        """Yield the units of `target` that are asked for or needed, in an order in which they could be made."""
        yield from self._target(target).own

    def all_units(self) -> Iterator[Unit]:
        """Yield the units of all targets that are asked for or needed."""
        for target in self.targets:
            yield from self.units(target)

    def ready(self, target: str) -> list[Unit]:
        """Return the units of `target` that are asked for, can be made now and have not been."""
        known = self._target(target)
        return [unit for unit in known.own if not known.graph.made(unit.id) and known.graph.is_ready(unit.id)]

    def counts(self) -> tuple[int, int]:
        """Return how many units are made and how many are asked for or needed."""
        for target in self.targets:
            if target not in self._counts:
                known = self._target(target)
                self._counts[target] = sum(known.graph.made(unit.id) for unit in known.own), len(known.own)
        counts = [self._counts[target] for target in self.targets]
        return sum(made for made, _ in counts), sum(total for _, total in counts)

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
        return self._ledger.get(unit, key) if key is not None and self.is_made(unit, key) else None

    def note(self, unit: UnitId, work_key: str) -> bool:
        """Take in that `unit` may have been made; return whether it was."""
        if not self.is_made(unit, work_key):
            if self._ledger.get(unit, work_key) is None:
                return False
            self._marks[unit.target] += _mark(work_key)
            for target in (unit.target, *self._mosaic(unit.target)):
                self._counts.pop(target, None)
                known = self._targets.get(target)
                if known is not None and not known.graph.take_in(unit, work_key):
                    self._forget(target)
        return True

    def is_made(self, unit: UnitId, work_key: str) -> bool:
        """Return whether `unit` with `work_key` is known to have been made."""
        if unit.target not in self._marks:
            below = (f"{stage}/{unit.target}" for stage in STAGES)
            self._marks[unit.target] = b"".join(_mark(key) for prefix in below for _, key in self._ledger.made(prefix))
        return _is_among(_mark(work_key), self._marks[unit.target])

    def refresh(self, targets: Collection[str] | None = None) -> None:
        """Look again at what is made, of all targets unless some are named: others may have made or removed it.

        Of a mosaic its parts are looked at too.
        """
        if targets is None:
            made: dict[str, list[bytes]] = {target: [] for target in self.targets}
            for target, key in self._ledger.made():
                made.setdefault(target, []).append(_mark(key))
            self._marks = {target: b"".join(marks) for target, marks in made.items()}
            self._targets.clear()
            self._counts.clear()
            self._units = 0
        for target in {*(targets or ()), *(part for name in targets or () for part in self._parts(name))}:
            self._forget(target)
            self._marks.pop(target, None)
            self._counts.pop(target, None)

    def follow(self, found: Drops, targets: Iterable[str]) -> None:
        """Take in what is dropped now; `targets` are those whose units read what has changed."""
        self.drops = found
        for target in targets:
            self._forget(target)
            self._counts.pop(target, None)

    def task_unit(self, unit: Unit) -> TaskUnit:
        """Return `unit` with the artefacts and facts a job needs to make it; all it needs must have been made."""
        from fringeflow.jobs.request import TaskUnit  # what only looks does not wait for it

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

    def _target(self, target: str) -> _Target:
        known = self._targets.get(target)
        if known is None:
            graph = self._build(self.project, target, self._digests(), self._lookup)
            asked_for = self._wanted(target, graph)
            own = [unit for unit in graph if unit.id.target == target and unit.id in asked_for]
            known = self._targets[target] = _Target(graph, asked_for, own)
            self._units += len(graph)
            while self._most_units is not None and self._units > self._most_units and len(self._targets) > 1:
                self._drop(next(iter(self._targets)))
        elif self._most_units is not None:
            self._targets.move_to_end(target)
        return known

    def _wanted(self, target: str, graph: Graph) -> Set[UnitId]:
        """Return what is asked for of a graph: of a part, also what a mosaic needs that is."""
        found = wanted(graph, self.selection)
        if self.selection.targets and target not in self.selection.targets:
            for mosaic in self._mosaic(target):
                found = found | {unit for unit in self._target(mosaic).wanted if unit in graph}
        return found

    def _mosaic(self, target: str) -> tuple[str, ...]:
        """Return the linear mosaic that `target` is a part of, if it is."""
        known = self.project.targets.get(target)
        return (known.mosaic_parent,) if known is not None and known.mosaic_parent else ()

    def _parts(self, target: str) -> tuple[str, ...]:
        known = self.project.targets.get(target)
        return known.mosaic_parts if known is not None else ()

    def _forget(self, target: str) -> None:
        """Have the graph of `target` built again, and that of its mosaic, which holds the same units."""
        for name in (target, *self._mosaic(target)):
            self._drop(name)

    def _drop(self, target: str) -> None:
        known = self._targets.pop(target, None)
        if known is not None:
            self._units -= len(known.graph)

    def _lookup(self, unit: UnitId, work_key: str) -> Facts | None:
        return ReadFacts(self._ledger, unit, work_key) if self.is_made(unit, work_key) else None

    def _digests(self) -> Mapping[str, str]:
        """Return the digest of every dropped input; drawn up once for as long as the drops are the same."""
        if self._leaves[0] is not self.drops:
            self._leaves = self.drops, {name: drop.sha256 for name, drop in self.drops.items()}
        return self._leaves[1]


_MARK_BYTES = 16


def _mark(work_key: str) -> bytes:
    """Return what is kept of a work key: of a hundred thousand units that is little, and no two have the same."""
    return hashlib.blake2b(work_key.encode(), digest_size=_MARK_BYTES).digest()


def _is_among(mark: bytes, marks: bytes) -> bool:
    place = marks.find(mark)
    while place % _MARK_BYTES and place >= 0:
        place = marks.find(mark, place + 1)
    return place >= 0
