"""The commands that look at a project without running it: check, keys, plan."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fringeflow.cli.console import console
from fringeflow.cli.keys_json import jsonable, project_as_data
from fringeflow.cli.plan import write_json, write_tree
from fringeflow.collecting import no_garbage
from fringeflow.errors import DataError
from fringeflow.graph.build import Selection
from fringeflow.graph.imaging_idle import idle_lines
from fringeflow.keys.explain import explain
from fringeflow.keys.model import Project
from fringeflow.keys.parameters import nearest
from fringeflow.keys.problems import Problem
from fringeflow.keys.project import check_data, load, load_or_raise
from fringeflow.workdir import Passage, Workdir

if TYPE_CHECKING:  # imported when it is needed: plain text does not wait for it
    from rich.table import Table
    from rich.text import Text


def check(master_key: Path, *, as_json: bool, lenient: bool) -> int:
    """Print every problem of a project; return 1 if any is an error."""
    project, problems = load(master_key, lenient=lenient)
    problems = [*problems, *check_data(project, lenient=lenient), *idle_lines(project)]
    errors, warnings, notes = (
        sum(problem.severity == severity for problem in problems) for severity in ("error", "warning", "note")
    )
    if as_json:
        _print_json([problem.model_dump(mode="json") for problem in problems])
    else:
        out = console()
        for problem in problems:
            out.print(said(problem))
        out.print(f"{errors} errors, {warnings} warnings" + (f", {notes} notes" if notes else ""))
    return 1 if errors else 0


def keys(master_key: Path, *, as_json: bool, lenient: bool, explained: str | None = None) -> int:
    """Print the project, or where everything about the cube `explained` comes from; problems go to standard error."""
    project, problems = load(master_key, lenient=lenient)
    for problem in problems:
        console(stderr=True).print(said(problem))
    if explained is not None:
        found = explain(project, *_cube(project, explained))
        _print_json(found) if as_json else console().print(_explanation(explained, found))
    elif as_json:
        _print_json(project_as_data(project))
    else:
        console().print(_summary(project))
    return 1 if any(problem.severity == "error" for problem in problems) else 0


def plan(master_key: Path, *, workdir: Path | None, as_json: bool) -> int:
    """Print every unit of a project and its state."""
    with no_garbage():
        project = load_or_raise(master_key)
        passage = Passage(project, Selection(), None if workdir is None else Workdir(workdir))
        # What reads a store has threads, which cannot be shared out among processes.
        cores = len(os.sched_getaffinity(0)) if workdir is None else 1
        if as_json:
            write_json(passage, sys.stdout, cores=cores)
        else:
            write_tree(passage, console(), cores=cores)
    return 0


def said(problem: Problem) -> Text:
    """Return a problem as a line: severity, file:line, what is wrong, what to do."""
    from rich.text import Text

    colour = {"error": "bold red", "warning": "yellow", "note": "blue"}[problem.severity]
    return Text.assemble((problem.severity, colour), " ", str(problem).removeprefix(problem.severity).lstrip(": "))


def _summary(project: Project) -> Table:
    from rich.table import Table

    table = Table("target", "measurement sets", "configs with data", "velocity (km/s)", "distance (Mpc)")
    for name, target in project.targets.items():
        window = f"{target.vsys_kms:g} ± {target.vwidth_kms / 2:g}"
        distance = "" if target.distance_mpc is None else f"{target.distance_mpc:g}"
        table.add_row(name, str(len(target.measurements)), " ".join(project.configs_with_data(name)), window, distance)
    table.title = f"{len(project.targets)} targets; products {' '.join(project.products)}"
    return table


def _cube(project: Project, wanted: str) -> tuple[str, str, str]:
    """Return target, config and product of a cube that is written with slashes between them."""
    known = project.targets, {**project.interf_configs, **project.feather_configs}, project.products
    parts = wanted.split("/")
    if len(parts) != len(known):
        raise DataError(f"{wanted!r} is not a cube", remedy="write TARGET/CONFIG/PRODUCT")
    for what, part, names in zip(("target", "config", "product"), parts, known, strict=True):
        if part not in names:
            raise DataError(f"unknown {what} {part!r}", remedy=nearest(part, names))
    target, config, product = parts
    return target, config, product


def _explanation(cube: str, found: Mapping[str, Any]) -> Table:
    from rich.table import Table

    table = Table("what", "value", "from", title=cube)
    for what, value, places in _told(found):
        table.add_row(what, value, "\n".join(places))
    return table


def _told(found: Any, name: str = "") -> Iterator[tuple[str, str, list[str]]]:
    """Yield every value of an explanation with its name and where it comes from."""
    if isinstance(found, list):
        found = {str(number): item for number, item in enumerate(found, 1)}
    if set(found) == {"value", "from"}:
        yield name, json.dumps(found["value"], default=jsonable), found["from"] or ["default"]
        return
    for member, item in found.items():
        yield from _told(item, f"{name}.{member}" if name else member)


def _print_json(data: object) -> None:
    json.dump(data, sys.stdout, indent=1, ensure_ascii=False, default=jsonable)
    sys.stdout.write("\n")
