"""The plan of a project as text: every unit with what it needs and waits for.

A survey has a hundred thousand units, so that text is put together here piece by piece, what units have in common once;
it is what `json.dump` with an indent of one space, or a tree of `rich`, would write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring as quoted
from typing import TextIO

from rich.console import Console
from rich.text import Text

from fringeflow.catalogue import Catalogue
from fringeflow.cli.keys_json import jsonable
from fringeflow.graph.build import STAGES
from fringeflow.graph.model import Graph, Unit, UnitId

_STYLES = {"made": "green", "ready": "cyan", "waiting": "dim", "target": "bold", "note": "yellow"}


def write_json(catalogue: Catalogue, out: TextIO) -> None:
    """Write units and notes as JSON."""
    texts = _Texts()
    notes: list[str] = []
    out.write('{\n "units": ')
    between = "["
    for target in catalogue.targets:
        graph = catalogue.graph(target)
        for unit in catalogue.units(target):
            out.write(f"{between}\n  {texts.of_unit(unit, graph)}")
            between = ","
        notes += graph.notes
    out.write("[]" if between == "[" else "\n ]")
    out.write(f',\n "notes": {_list_of(notes, level=1)}\n}}\n')


def write_tree(catalogue: Catalogue, out: Console) -> None:
    """Write units by target and stage, then notes and counts; no line is folded."""
    notes: list[str] = []
    counts = dict.fromkeys(STAGES, 0)
    styles = {name: _codes(out, style) for name, style in _STYLES.items()}
    for target in catalogue.targets:
        graph = catalogue.graph(target)
        branches: dict[str, list[Unit]] = {stage: [] for stage in STAGES}
        for unit in catalogue.units(target):
            branches[unit.id.stage].append(unit)
        before, after = styles["target"]
        lines = [f"{before}{target}{after}"]
        for stage, units in branches.items():
            counts[stage] += len(units)
            last = stage == STAGES[-1]
            lines.append(f"{'└' if last else '├'}── {stage}")
            guides = ["    ├── " if last else "│   ├── "] * len(units)
            guides[-1:] = ["    └── " if last else "│   └── "] * bool(units)
            lines += [guide + _leaf(unit, graph, styles) for guide, unit in zip(guides, units, strict=True)]
        out.file.write("\n".join([*lines, ""]))
        notes += graph.notes
    before, after = styles["note"]
    out.file.writelines(f"{before}note{after} {note}\n" for note in notes)
    summary = ", ".join(f"{count} {stage}" for stage, count in counts.items())
    out.file.write(f"{sum(counts.values())} units: {summary}\n")


class _Texts:
    """JSON of units; what many have in common is written once."""

    def __init__(self) -> None:
        self._of_needs: dict[int, tuple[object, str]] = {}  # by identity, so what it is of is kept
        self._of_recipes: dict[int, tuple[object, str]] = {}
        self._of_values: dict[str, str] = {}

    def of_unit(self, unit: Unit, graph: Graph) -> str:
        """Return the members of a unit, as the second level of a text."""
        name, key = unit.id, graph.key(unit.id)
        state, leaves, units = state_of(unit, graph)
        _, needs = self._of_needs.get(id(unit.needs)) or self._needs(unit)
        _, recipe = self._of_recipes.get(id(unit.recipe)) or self._recipe(unit)
        waits = needs if not leaves and len(units) == len(unit.needs) else _list_of([*leaves, *map(str, units)])
        return (
            f'{{\n   "unit": {quoted(str(name))},\n   "stage": {quoted(name.stage)},'
            f'\n   "target": {quoted(name.target)},\n   "config": {quoted(name.config)},'
            f'\n   "product": {quoted(name.product)},\n   "step": {quoted(name.step)},'
            f'\n   "work_key": {"null" if key is None else quoted(key)},\n   "needs": {needs},'
            f'\n   "reads": {_list_of(unit.leaves) if unit.leaves else "[]"},\n   "outputs": {_list_of(unit.outputs)},'
            f'\n   "recipe": {recipe},\n   "state": "{state}",\n   "waits_for": {waits},'
            f'\n   "more_to_come": {"true" if unit.open else "false"}\n  }}'
        )

    def _needs(self, unit: Unit) -> tuple[object, str]:
        found = self._of_needs[id(unit.needs)] = unit.needs, _list_of([str(need.unit) for need in unit.needs])
        return found

    def _recipe(self, unit: Unit) -> tuple[object, str]:
        members = [f"{quoted(name)}: {self._value(value)}" for name, value in unit.recipe.items()]
        text = "{\n    " + ",\n    ".join(members) + "\n   }" if members else "{}"
        found = self._of_recipes[id(unit.recipe)] = unit.recipe, text
        return found

    def _value(self, value: object) -> str:
        if type(value) is str:
            return quoted(value)
        name = repr(value)
        found = self._of_values.get(name)
        if found is None:
            text = json.dumps(value, indent=1, ensure_ascii=False, default=jsonable)
            found = self._of_values[name] = text.replace("\n", "\n    ")
        return found


def _list_of(names: Sequence[str], level: int = 3) -> str:
    if not names:
        return "[]"
    between = "\n" + " " * (level + 1)
    return f"[{between}{f',{between}'.join(map(quoted, names))}\n{' ' * level}]"


def state_of(unit: Unit, graph: Graph) -> tuple[str, list[str], list[UnitId]]:
    """Return whether a unit is made, ready or waiting, and the inputs and units it waits for."""
    if graph.made(unit.id):
        return "made", [], []
    leaves, units = graph.lacking(unit.id)
    return "waiting" if leaves or units or unit.open else "ready", leaves, units


def _leaf(unit: Unit, graph: Graph, styles: Mapping[str, tuple[str, str]]) -> str:
    state, leaves, units = state_of(unit, graph)
    missing = [*leaves, *map(str, units)]
    before, after = styles[state]
    name = f"{unit.id.config}/{unit.id.product}" + (f"/{unit.id.step}" if unit.id.step else "")
    waits = f"  waits for {', '.join(missing)}" if missing else ""
    if unit.open:
        waits += "  (channel blocks follow from its plan)"
    dim, plain = styles["waiting"] if waits else ("", "")
    return f"{before}{state}{after}  {name}{dim}{waits}{plain}"


def _codes(out: Console, style: str) -> tuple[str, str]:
    """Return what `out` writes before and after a text in a style: nothing, where it is no terminal."""
    with out.capture() as captured:
        out.print(Text("|", style=style), end="")
    before, _, after = captured.get().partition("|")
    return before, after
