"""Units, what each needs, and their work keys: the graph of everything a project asks for. Pure functions, no I/O.

A work key is computed from the leaves up: it covers the stage's revision, the recipe, the work keys of the units
needed and the digests of the dropped inputs. It is therefore known before anything has run, and two runs that make
the same unit agree on it even where a file format stores the time of day.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

Facts = Mapping[str, Any]


class _Hashed:
    """Remembers its hash. That is no member of the value: another process has other hashes and finds its own."""

    __slots__ = ("_hash",)
    _hash: int


# A survey has a hundred thousand of these: plain dataclasses are made and compared far faster than validated models.
@dataclass(frozen=True, slots=True, order=True)
class UnitId(_Hashed):
    """The readable identity of a unit: ``imaging/ngc5921/vla/hi21cm`` or, for an inner step, ``.../plan``."""

    stage: str
    target: str
    config: str
    product: str
    step: str = ""

    def __str__(self) -> str:
        cube = f"{self.stage}/{self.target}/{self.config}/{self.product}"
        return f"{cube}/{self.step}" if self.step else cube

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            found = hash((self.stage, self.target, self.config, self.product, self.step))
            object.__setattr__(self, "_hash", found)
            return found

    @staticmethod
    def parse(text: str) -> UnitId:
        """Read what `str` wrote."""
        parts = text.split("/")
        if len(parts) not in (4, 5) or not all(parts):
            raise ValueError(f"not a unit: {text!r} (stage/target/config/product or stage/target/config/product/step)")
        return UnitId(*parts)

    def at(self, step: str) -> UnitId:
        """Return the unit of the same stage and cube at another step."""
        return replace(self, step=step)

    def of(self, stage: str) -> UnitId:
        """Return the unit of the same cube and step in another stage."""
        return replace(self, stage=stage)


@dataclass(frozen=True, slots=True)
class Need:
    """That one unit needs another.

    `fetch` false: only the facts of its manifest are read, not its artefacts. `keyed` false: the needed unit follows
    from others that are keyed (a block from its plan), so it adds nothing to the work key.
    """

    unit: UnitId
    fetch: bool = True
    keyed: bool = True


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest thing a stage makes as one.

    Parameters
    ----------
    id
        What it is called.
    revision
        Raise it when the science of this step changes its results.
    recipe
        The parameters that matter to it, as JSON.
    needs, leaves
        The units, and the names of dropped inputs (``incoming/a.ms``), that it is made from.
    outputs
        Names of the artefacts it makes.
    fact
        What is announced when it is made.
    group
        Ready units of one stage with the same group are made in one job.
    open
        It has needs that are not known yet: it cannot be ready.
    memory_mb
        Estimate for the scheduler.
    cores
        Most cores that help; what is made does not depend on how many it gets.
    welcome
        Names of dropped inputs that need not be there, but change which units there are.
    """

    id: UnitId
    revision: int
    recipe: Mapping[str, Any]
    needs: tuple[Need, ...] = ()
    leaves: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    fact: str = "unit.made"
    group: str = ""
    open: bool = False
    memory_mb: int = 1000
    cores: int = 1
    welcome: tuple[str, ...] = ()


Lookup = Callable[[UnitId, str], Facts | None]
"""(unit, work key) -> the facts of its manifest, or None when it has not been made."""


_UNKNOWN = "unknown"


class Graph:
    """Units by id, with their work keys and states.

    Parameters
    ----------
    leaves
        Digest of every dropped input that is there, by name.
    lookup
        Finds the facts of a made unit; not asked again about one that it has found.
    """

    def __init__(self, leaves: Mapping[str, str], lookup: Lookup) -> None:
        self._leaves = leaves
        self._lookup = lookup
        self._units: dict[UnitId, Unit] = {}
        self._keys: dict[UnitId, str | None] = {}
        self._made: set[UnitId] = set()
        self._decisive: set[UnitId] = set()
        self.notes: list[str] = []  # what was asked for and is not in the graph, and why

    def __iter__(self) -> Iterator[Unit]:
        return iter(self._units.values())

    def __contains__(self, unit: object) -> bool:
        return unit in self._units

    def __len__(self) -> int:
        return len(self._units)

    def __getitem__(self, unit: UnitId) -> Unit:
        return self._units[unit]

    def add(self, unit: Unit) -> UnitId:
        """Add `unit`; what it needs must have been added before. Return its id."""
        units = self._units
        if unit.id in units:
            raise ValueError(f"{unit.id} is in the graph already")
        for need in unit.needs:
            if need.unit not in units:
                absent = [str(need.unit) for need in unit.needs if need.unit not in units]
                raise ValueError(f"{unit.id} needs {', '.join(absent)}, not in the graph")
        units[unit.id] = unit
        return unit.id

    @property
    def ids(self) -> Mapping[UnitId, Unit]:
        """The units by their ids."""
        return MappingProxyType(self._units)

    def note(self, text: str) -> None:
        """Say that something which was asked for is not in the graph, and why."""
        if text not in self.notes:
            self.notes.append(text)

    def is_dropped(self, leaf: str) -> bool:
        """Return whether the dropped input `leaf` is there."""
        return leaf in self._leaves

    def key(self, unit: UnitId) -> str | None:
        """Return the work key of `unit`, or None while one of its leaves has not been dropped."""
        key = self._keys.get(unit, _UNKNOWN)
        if key is _UNKNOWN:
            key = self._keys[unit] = self._work_key(self._units[unit])
        return key

    def facts(self, unit: UnitId) -> Facts | None:
        """Return the facts of `unit` if it has been made, else None; asked for, they decide what is in the graph."""
        self._decisive.add(unit)
        return self._facts(unit)

    def made(self, unit: UnitId) -> bool:
        """Return whether the manifest of the present work key exists."""
        if unit not in self._made:
            if self._facts(unit) is None:
                return False
            self._made.add(unit)
        return True

    def take_in(self, unit: UnitId, work_key: str) -> bool:
        """Take in that `unit` has been made; return False if other units may follow from it: build the graph again."""
        if unit not in self._units or self.key(unit) != work_key:
            return True
        if unit in self._decisive:
            return False
        self._made.add(unit)
        return True

    def missing(self, unit: UnitId) -> tuple[str, ...]:
        """Return what `unit` waits for: names of leaves and ids of units it needs directly that are not there."""
        leaves, units = self.lacking(unit)
        return (*leaves, *map(str, units))

    def lacking(self, unit: UnitId) -> tuple[list[str], list[UnitId]]:
        """Return the leaves and the units that `unit` waits for."""
        wanted = self._units[unit]
        leaves = [name for name in wanted.leaves if name not in self._leaves]
        return leaves, [need.unit for need in wanted.needs if not self.made(need.unit)]

    def is_ready(self, unit: UnitId) -> bool:
        """Return whether `unit` can be made now (whether or not it has been)."""
        wanted = self._units[unit]
        return (
            not wanted.open
            and all(name in self._leaves for name in wanted.leaves)
            and all(self.made(need.unit) for need in wanted.needs)
        )

    def ready(self) -> list[Unit]:
        """Return the units that can be made now and have not been."""
        return [unit for unit in self if not self.made(unit.id) and self.is_ready(unit.id)]

    def _facts(self, unit: UnitId) -> Facts | None:
        key = self.key(unit)
        return None if key is None else self._lookup(unit, key)

    def _work_key(self, unit: Unit) -> str | None:
        leaves: dict[str, str] = {}
        for name in unit.leaves:
            if name not in self._leaves:
                return None
            leaves[name] = self._leaves[name]
        needs: dict[str, str] = {}
        for need in unit.needs:
            if need.keyed:
                key = self.key(need.unit)
                if key is None:
                    return None
                needs[str(need.unit)] = key
        return digest_of(
            {
                "unit": str(unit.id),
                "revision": unit.revision,
                "recipe": unit.recipe,
                "outputs": unit.outputs,
                "needs": needs,
                "leaves": leaves,
            }
        )


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(content: object) -> str:
    """Return the sha256 of `content` as canonical JSON."""
    return hashlib.sha256(_CANONICAL.encode(content).encode()).hexdigest()
