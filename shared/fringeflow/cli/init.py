"""The `init` command: key files to start with, from measurement sets and a few velocities."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from fringeflow.cli import aside
from fringeflow.cli.console import console
from fringeflow.errors import DataError
from fringeflow.keys import lines, writing
from fringeflow.keys.problems import Findings
from fringeflow.keys.starter import Described, Velocity, starter, target_name
from fringeflow.keys.syntax import column_rows, read_text
from fringeflow.keys.tables import number_in
from fringeflow.keys.values import number, positive

_COLUMNS = ("field", "vsys", "vwidth", "distance_mpc")
_REMEDY = "give --vsys KM_S, or --velocities TABLE with lines: FIELD VSYS [VWIDTH [DISTANCE_MPC]]"


@dataclass(frozen=True)
class Request:
    """What the command line asks for; velocities in km/s, LSRK, radio convention."""

    vsys: float | None = None
    vwidth: float = 500.0
    table: Path | None = None
    lines: tuple[str, ...] = ()


def init(sets: Sequence[Path], folder: Path, request: Request) -> int:
    """Write key files for `sets` to `folder`, and say what is in them; return 0."""
    described = [Described(path.absolute(), contents) for path, contents in zip(sets, describe(sets), strict=True)]
    names = sorted({name for item in described for name in item.fields_of()})
    project = starter(described, _velocities(names, request), lines.builtin(), request.lines)
    master = writing.write(project, folder)
    out = console()
    for name, target in project.targets.items():
        out.print(f"target {name}: {target.ra} {target.dec}, {target.vsys_kms:g} ± {target.vwidth_kms / 2:g} km/s")
        for item in target.measurements:
            out.print(f"  {item.array_tag}: {item.path}, field {item.field}")
    out.print(f"configs {' '.join(project.interf_configs)}; products {' '.join(project.products)}")
    out.print(f"written: {master}")
    out.print(f"next: fringeflow check {master}")
    return 0


def describe(sets: Sequence[Path]) -> list[Mapping[str, Any]]:
    """Return what each measurement set holds, read by the staging service in a process of its own."""
    return aside.call("describe", ({"path": path.absolute()} for path in sets))


def _velocities(names: Sequence[str], request: Request) -> dict[str, Velocity]:
    """Return the velocity of each target: from the table, else the one given, else asked for at a terminal."""
    table = _table(request.table, request.vwidth) if request.table is not None else {}
    found = {}
    for name in names:
        if name in table:
            found[name] = table[name]
        elif request.vsys is not None:
            found[name] = Velocity(request.vsys, request.vwidth)
        elif sys.stdin.isatty():
            found[name] = Velocity(
                typer.prompt(f"systemic velocity of {name} (km/s, LSRK, radio)", type=float), request.vwidth
            )
        else:
            where = f" in {request.table}" if request.table else ""
            raise DataError(f"no systemic velocity of {name}{where}", remedy=_REMEDY)
    return found


def _table(file: Path, vwidth_kms: float) -> dict[str, Velocity]:
    findings = Findings()
    found = {}
    for row in column_rows(read_text(file, findings), file, findings, _COLUMNS, optional=2, what="velocity"):
        name = row.cells[0]
        numbers: list[float | None] = [None, None, None]
        for place, (text, check) in enumerate(zip(row.cells[1:], (number, positive, positive), strict=False)):
            numbers[place] = number_in(text, check, row.place, f"{_COLUMNS[place + 1]} of {name}", findings)
        vsys, vwidth, distance = numbers
        if vsys is not None:
            found[target_name(name)] = Velocity(vsys, vwidth or vwidth_kms, distance)
    for problem in findings.problems:
        raise DataError(str(problem).removeprefix(f"{problem.severity}: "), remedy=problem.remedy)
    return found
