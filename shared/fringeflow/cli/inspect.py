"""The commands that look at a project without running it: check, keys, plan."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from fringeflow.cli.console import console
from fringeflow.cli.keys_json import project_as_data
from fringeflow.embedded import survey
from fringeflow.graph.build import STAGES, Selection
from fringeflow.graph.model import Graph, Unit
from fringeflow.keys.model import Project
from fringeflow.keys.problems import Problem
from fringeflow.keys.project import check_data, load, load_or_raise
from fringeflow.workdir import Workdir


def check(master_key: Path, *, as_json: bool, lenient: bool) -> int:
    """Print every problem of a project; return 1 if any is an error."""
    project, problems = load(master_key, lenient=lenient)
    problems = [*problems, *check_data(project)]
    errors = sum(problem.severity == "error" for problem in problems)
    if as_json:
        _print_json([problem.model_dump(mode="json") for problem in problems])
    else:
        out = console()
        for problem in problems:
            out.print(said(problem))
        out.print(f"{errors} errors, {len(problems) - errors} warnings")
    return 1 if errors else 0


def keys(master_key: Path, *, as_json: bool, lenient: bool) -> int:
    """Print the project as data, or as a summary; problems go to standard error."""
    project, problems = load(master_key, lenient=lenient)
    for problem in problems:
        console(stderr=True).print(said(problem))
    data = project_as_data(project)
    if as_json:
        _print_json(data)
    else:
        console().print(_summary(project))
    return 1 if any(problem.severity == "error" for problem in problems) else 0


def plan(master_key: Path, *, workdir: Path | None, as_json: bool) -> int:
    """Print every unit of a project and its state."""
    project = load_or_raise(master_key)
    catalogue = survey(project, Selection(), None if workdir is None else Workdir(workdir))
    rows = [_row(unit, catalogue.graph(target)) for target in catalogue.targets for unit in catalogue.units(target)]
    notes = [note for target in catalogue.targets for note in catalogue.graph(target).notes]
    if as_json:
        _print_json({"units": rows, "notes": notes})
        return 0
    out = console()
    for target in catalogue.targets:
        out.print(_tree(target, [row for row in rows if row["target"] == target]))
    for note in notes:
        out.print(Text.assemble(("note", "yellow"), f" {note}"))
    counts = ", ".join(f"{sum(row['stage'] == stage for row in rows)} {stage}" for stage in STAGES)
    out.print(f"{len(rows)} units: {counts}")
    return 0


def said(problem: Problem) -> Text:
    """Return a problem as a line: severity, file:line, what is wrong, what to do."""
    colour = "bold red" if problem.severity == "error" else "yellow"
    return Text.assemble((problem.severity, colour), " ", str(problem).removeprefix(problem.severity).lstrip(": "))


def _row(unit: Unit, graph: Graph) -> dict[str, Any]:
    made = graph.made(unit.id)
    missing = graph.missing(unit.id)
    return {
        "unit": str(unit.id),
        "stage": unit.id.stage,
        "target": unit.id.target,
        "config": unit.id.config,
        "product": unit.id.product,
        "step": unit.id.step,
        "work_key": graph.key(unit.id),
        "needs": [str(need.unit) for need in unit.needs],
        "reads": list(unit.leaves),
        "outputs": list(unit.outputs),
        "recipe": unit.recipe,
        "state": "made" if made else "waiting" if missing or unit.open else "ready",
        "waits_for": [] if made else list(missing),
        "more_to_come": unit.open,
    }


def _tree(target: str, rows: list[dict[str, Any]]) -> Tree:
    colours = {"made": "green", "ready": "cyan", "waiting": "dim"}
    tree = Tree(f"[bold]{target}[/]")
    for stage in STAGES:
        branch = tree.add(stage)
        for row in rows:
            if row["stage"] == stage:
                name = row["unit"].removeprefix(f"{stage}/{target}/")
                waits = f"  waits for {', '.join(row['waits_for'])}" if row["waits_for"] else ""
                more = "  (channel blocks follow from its plan)" if row["more_to_come"] else ""
                branch.add(Text.assemble((row["state"], colours[row["state"]]), f"  {name}", (waits + more, "dim")))
    return tree


def _summary(project: Project) -> Table:
    table = Table("target", "measurement sets", "configs with data", "velocity (km/s)", "distance (Mpc)")
    for name, target in project.targets.items():
        window = f"{target.vsys_kms:g} ± {target.vwidth_kms / 2:g}"
        distance = "" if target.distance_mpc is None else f"{target.distance_mpc:g}"
        table.add_row(name, str(len(target.measurements)), " ".join(project.configs_with_data(name)), window, distance)
    table.title = f"{len(project.targets)} targets; products {' '.join(project.products)}"
    return table


def _print_json(data: object) -> None:
    json.dump(data, sys.stdout, indent=1, ensure_ascii=False, default=_jsonable)
    sys.stdout.write("\n")


def _jsonable(value: object) -> object:
    if hasattr(value, "items"):
        return dict(value.items())
    if isinstance(value, (set, frozenset, tuple)):
        return sorted(value)
    return str(value)
