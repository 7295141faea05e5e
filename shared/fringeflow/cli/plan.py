"""The plan of a project as text: every unit with what it needs and waits for.

A survey has a hundred thousand units, so that text is put together here piece by piece, what units have in common once;
it is what `json.dump` with an indent of one space, or a tree of `rich`, would write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring as quoted
from typing import TYPE_CHECKING, Protocol, TextIO

from fringeflow.cli.inorder import in_order
from fringeflow.cli.keys_json import jsonable
from fringeflow.graph.model import Graph, Need, Unit
from fringeflow.graph.stages import STAGES

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {"made": "green", "ready": "cyan", "waiting": "dim", "target": "bold", "note": "yellow"}


class Planned(Protocol):
    """What is asked for: targets, and the units of each. A target is done with before the next is asked about."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets, sorted."""
        ...

    def graph(self, target: str) -> Graph:
        """Return the graph of `target`."""
        ...

    def units(self, target: str) -> Iterable[Unit]:
        """Return the units of `target` that are asked for, each after those it needs."""
        ...


def write_json(planned: Planned, out: TextIO, *, cores: int = 1) -> None:
    """Write units and notes as JSON; `cores` targets are worked at at once (see `in_order`)."""
    values: dict[str, str] = {}

    def listed(target: str) -> tuple[list[str], list[str]]:
        graph = planned.graph(target)
        texts = _Texts(graph, values)
        return [texts.of_unit(unit) for unit in planned.units(target)], graph.notes

    notes: list[str] = []
    out.write('{\n "units": ')
    between = "["
    for units, of_target in in_order(listed, planned.targets, cores):
        for text in units:
            out.write(f"{between}\n  {text}")
            between = ","
        notes += of_target
    out.write("[]" if between == "[" else "\n ]")
    out.write(f',\n "notes": {_list_of(notes, level=1)}\n}}\n')


def write_tree(planned: Planned, out: Console, *, cores: int = 1) -> None:
    """Write units by target and stage, then notes and counts; no line is folded. `cores` as in `write_json`."""
    styles = {name: _codes(out, style) for name, style in _STYLES.items()}

    def drawn(target: str) -> tuple[str, list[int], list[str]]:
        graph = planned.graph(target)
        states = _States(graph)
        branches: dict[str, list[str]] = {stage: [] for stage in STAGES}
        for unit in planned.units(target):
            branches[unit.id.stage].append(_leaf(unit, states, styles))
        before, after = styles["target"]
        lines = [f"{before}{target}{after}"]
        for stage, leaves in branches.items():
            last = stage == STAGES[-1]
            lines.append(f"{'└' if last else '├'}── {stage}")
            stem = "    " if last else "│   "
            lines += [f"{stem}├── {leaf}" for leaf in leaves[:-1]]
            lines += [f"{stem}└── {leaf}" for leaf in leaves[-1:]]
        return "\n".join([*lines, ""]), list(map(len, branches.values())), graph.notes

    notes: list[str] = []
    counts = [0] * len(STAGES)
    for text, of_stages, of_target in in_order(drawn, planned.targets, cores):
        out.file.write(text)
        counts = [total + count for total, count in zip(counts, of_stages, strict=True)]
        notes += of_target
    before, after = styles["note"]
    out.file.writelines(f"{before}note{after} {note}\n" for note in notes)
    summary = ", ".join(f"{count} {stage}" for stage, count in zip(STAGES, counts, strict=True))
    out.file.write(f"{sum(counts)} units: {summary}\n")


class _States:
    """What is made in a graph and what is not."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._absent = graph.absent()
        # By identity: the graph keeps its needs.
        self._of_need: dict[int, str | None] = {}
        self._of_needs: dict[int, tuple[list[str], str]] = {}

    def of(self, unit: Unit) -> tuple[str, list[str], str]:
        """Return whether a unit is made, ready or waiting; the inputs and units it waits for; and these in one text."""
        if unit.id not in self._absent:
            return "made", [], ""
        waits, text = self._of_needs.get(id(unit.needs)) or self._lacking(unit.needs)
        if unit.leaves:
            waits = [*(name for name in unit.leaves if not self._graph.is_dropped(name)), *waits]
            text = ", ".join(waits)
        return "waiting" if waits or unit.open else "ready", waits, text

    def _lacking(self, needs: tuple[Need, ...]) -> tuple[list[str], str]:
        of_need = self._of_need
        for need in needs:
            if id(need) not in of_need:
                of_need[id(need)] = str(need.unit) if need.unit in self._absent else None
        names = [name for need in needs if (name := of_need[id(need)])]
        found = self._of_needs[id(needs)] = names, ", ".join(names)
        return found


class _Texts:
    """JSON of the units of a graph; what many have in common is written once.

    Parameters
    ----------
    graph
        Where they are.
    values
        Texts of members of recipes, by their `repr`, which graphs have in common.
    """

    def __init__(self, graph: Graph, values: dict[str, str]) -> None:
        self._graph = graph
        self._states = _States(graph)
        self._of_needs: dict[int, tuple[object, str]] = {}  # by identity, so what it is of is kept
        self._of_recipes: dict[int, tuple[object, str]] = {}
        self._of_values = values

    def of_unit(self, unit: Unit) -> str:
        """Return the members of a unit, as the second level of a text."""
        name, key = unit.id, self._graph.key(unit.id)
        state, waits_for, _ = self._states.of(unit)
        _, needs = self._of_needs.get(id(unit.needs)) or self._needs(unit)
        _, recipe = self._of_recipes.get(id(unit.recipe)) or self._recipe(unit)
        waits = needs if not unit.leaves and len(waits_for) == len(unit.needs) else _list_of(waits_for)
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


def _leaf(unit: Unit, states: _States, styles: Mapping[str, tuple[str, str]]) -> str:
    state, missing, text = states.of(unit)
    before, after = styles[state]
    _, _, config, product, step = unit.id
    name = f"{config}/{product}/{step}" if step else f"{config}/{product}"
    if not missing and not unit.open:
        return f"{before}{state}{after}  {name}"
    waits = f"  waits for {text}" if missing else ""
    more = "  (channel blocks follow from its plan)" if unit.open else ""
    dim, plain = styles["waiting"]
    return f"{before}{state}{after}  {name}{dim}{waits}{more}{plain}"


def _codes(out: Console, style: str) -> tuple[str, str]:
    """Return what `out` writes before and after a text in a style: nothing, where it is no terminal."""
    from rich.text import Text

    with out.capture() as captured:
        out.print(Text("|", style=style), end="")
    before, _, after = captured.get().partition("|")
    return before, after
