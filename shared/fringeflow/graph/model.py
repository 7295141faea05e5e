"""Units, what each needs, and their work keys: the graph of everything a project asks for. Pure functions, no I/O.

A work key is computed from the leaves up: it covers the stage's revision, the recipe, the work keys of the units
needed and the digests of the dropped inputs. It is therefore known before anything has run, and two runs that make
the same unit agree on it even where a file format stores the time of day.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring as _quoted
from types import MappingProxyType
from typing import Any, Final, NamedTuple

Facts = Mapping[str, Any]


# A survey has a hundred thousand of these: tuples are made, hashed and compared by the interpreter itself.
class UnitId(NamedTuple):
    """The readable identity of a unit: ``imaging/ngc5921/vla/hi21cm`` or, for an inner step, ``.../plan``."""

    stage: str
    target: str
    config: str
    product: str
    step: str = ""

    def __str__(self) -> str:
        cube = f"{self.stage}/{self.target}/{self.config}/{self.product}"
        return f"{cube}/{self.step}" if self.step else cube

    @staticmethod
    def parse(text: str) -> UnitId:
        """Read what `str` wrote."""
        parts = text.split("/")
        if len(parts) not in (4, 5) or not all(parts):
            raise ValueError(f"not a unit: {text!r} (stage/target/config/product or stage/target/config/product/step)")
        return UnitId(*parts)

    def at(self, step: str) -> UnitId:
        """Return the unit of the same stage and cube at another step."""
        return self._replace(step=step)

    def of(self, stage: str) -> UnitId:
        """Return the unit of the same cube and step in another stage."""
        return self._replace(stage=stage)


class Need(NamedTuple):
    """That one unit needs another.

    `fetch` false: only the facts of its manifest are read, not its artefacts. `keyed` false: the needed unit follows
    from others that are keyed (a block from its plan), so it adds nothing to the work key.
    """

    unit: UnitId
    fetch: bool = True
    keyed: bool = True


# Not frozen where it runs, which would make it five times as slow to make; the type checker sees to it.
@dataclass(slots=True)
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

    id: Final[UnitId]
    revision: Final[int]
    recipe: Final[Mapping[str, Any]]
    needs: Final[tuple[Need, ...]] = ()
    leaves: Final[tuple[str, ...]] = ()
    outputs: Final[tuple[str, ...]] = ()
    fact: Final[str] = "unit.made"
    group: Final[str] = ""
    open: Final[bool] = False
    memory_mb: Final[int] = 1000
    cores: Final[int] = 1
    welcome: Final[tuple[str, ...]] = ()


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
        self._recipes: dict[int, str] = {}
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
        units, name = self._units, unit.id
        if name in units:
            raise ValueError(f"{name} is in the graph already")
        for needed, _, _ in unit.needs:
            if needed not in units:
                absent = [str(need.unit) for need in unit.needs if need.unit not in units]
                raise ValueError(f"{name} needs {', '.join(absent)}, not in the graph")
        units[name] = unit
        return name

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

    def absent(self) -> set[UnitId]:
        """Return the units that have not been made: asking about all at once is cheaper than one after another."""
        found: set[UnitId] = set()
        keys = self._keys
        for name, unit in self._units.items():  # needs come before what needs them, so their keys are known
            for need in unit.needs:
                if need.keyed and keys[need.unit] is None:
                    keys[name] = None
                    found.add(name)
                    break
            else:
                key = self.key(name)
                if key is None or self._lookup(name, key) is None:
                    found.add(name)
        return found

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
        needs: list[tuple[str, str]] = []
        for name, _, keyed in unit.needs:
            if keyed:
                key = self.key(name)
                if key is None:
                    return None
                needs.append((str(name), key))
        leaves: list[tuple[str, str]] = []
        for leaf in unit.leaves:
            if leaf not in self._leaves:
                return None
            leaves.append((leaf, self._leaves[leaf]))
        # What `digest_of` would make of a dictionary of these six; recipes are written once for all they serve.
        text = (
            f'{{"leaves":{_texts(leaves)},"needs":{_texts(needs)},"outputs":[{",".join(map(_quoted, unit.outputs))}],'
            f'"recipe":{self._recipe(unit.recipe)},"revision":{unit.revision},"unit":{_quoted(str(unit.id))}}}'
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def _recipe(self, recipe: Mapping[str, Any]) -> str:
        found = self._recipes.get(id(recipe))  # no recipe of a unit in the graph ever goes, so none has another's id
        if found is None:
            found = self._recipes[id(recipe)] = _CANONICAL.encode(recipe)
        return found


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(content: object) -> str:
    """Return the sha256 of `content` as canonical JSON."""
    return hashlib.sha256(_CANONICAL.encode(content).encode()).hexdigest()


def _texts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return canonical JSON of a dictionary of texts."""
    return f"{{{','.join([f'{_quoted(name)}:{_quoted(text)}' for name, text in sorted(dict(pairs).items())])}}}"
