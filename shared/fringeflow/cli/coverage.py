"""The `coverage` command: which spectral window covers which line, before anything is imaged; needs metadata only."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fringeflow.cli.console import console
from fringeflow.errors import DataError

if TYPE_CHECKING:  # imported when it is needed: other commands do not wait for it
    from fringeflow.graph.model import Unit
    from fringeflow.keys.model import Project


def coverage(
    master_key: Annotated[Path, typer.Argument(metavar="MASTER_KEY", help="The master key file of a project.")],
    *,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="T", help="Only this target, or the parts of this mosaic; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Print which spectral windows cover each line, and what is left out and why. Reads metadata only.

    Of every target, config and product: each window's velocities in LSRK over the whole track, its frequencies as they
    are stored, the width of its channels, and the channels that come of it. Exits 0 only if every product gets data of
    every array that it needs.
    """
    from fringeflow.cli import aside
    from fringeflow.keys.project import load_or_raise

    project = load_or_raise(master_key)
    unknown = sorted(set(target or ()) - set(project.targets))
    if unknown:
        raise DataError(f"no target is called {unknown[0]!r}", remedy=f"there are {', '.join(project.targets)}")
    units = list(_units(project, target or tuple(project.targets)))
    (found,) = aside.call("coverage", [{"units": [(unit.recipe, _places(project, unit)) for unit in units]}])
    rows = [
        {"target": unit.id.target, "config": unit.id.config, "product": unit.id.product, **covered}
        for unit, covered in zip(units, found, strict=True)
    ]
    if as_json:
        json.dump(rows, sys.stdout, indent=1, ensure_ascii=False)
        sys.stdout.write("\n")
    else:
        for row in rows:
            show(row)
    raise typer.Exit(0 if all(map(_is_whole, rows)) else 1)


def _units(project: Project, targets: list[str] | tuple[str, ...]) -> Iterator[Unit]:
    from fringeflow.graph import staging
    from fringeflow.graph.model import Graph

    recipes = staging.Recipes(project)
    parts = {part for name in targets for part in project.targets[name].mosaic_parts}
    for name in sorted({*targets, *parts}):
        graph = Graph({}, lambda *_: None)
        staging.add_units(project, name, graph, recipes)
        yield from graph


def _places(project: Project, unit: Unit) -> dict[str, str]:
    """Return where the measurement sets of a unit lie, as far as they do."""
    from fringeflow.drops import roots_for
    from fringeflow.keys.locate import find_input

    found = {leaf: find_input(*roots_for(leaf, project.roots)) for leaf in unit.leaves}
    return {leaf: str(path) for leaf, path in found.items() if path is not None}


def _is_whole(row: Mapping[str, Any]) -> bool:
    return not row["lacking"] and "refused" not in (row["channels"] or {})


def show(row: Mapping[str, Any]) -> None:
    """Print how one product is covered, as text."""
    out = console()
    out.print(f"{row['target']} {row['config']} {row['product']}: {row['asked']}", style="bold", markup=False)
    for item in row["inputs"]:
        out.print(f"  {item['name'].removeprefix('incoming/')} ({item['array_tag']})", markup=False)
        for note in item["notes"]:
            out.print(f"    {note}", markup=False)
        for window in item["windows"]:
            out.print(f"    {_said(window)}", style="" if window["used"] else "dim", markup=False)
    channels = row["channels"]
    if channels and "refused" in channels:
        out.print(f"  refused: {channels['refused']}", style="red", markup=False)
    elif channels:
        low, high = channels["covered_kms"]
        width, number = channels["width_kms"], channels["n_channels"]
        out.print(f"  gives {number} channels of {width:.5g} km/s, {low:.1f} to {high:.1f} km/s", markup=False)
        if channels["not_covered_kms"] > width / 2:
            beyond = f"{channels['not_covered_kms']:.1f} km/s of the window at its upper end are not covered"
            out.print(f"  {beyond} (override: staging_cover_window True)", markup=False)
    for group in row["lacking"]:
        out.print(f"  no data of {' or '.join(group)}: this is not made", style="red", markup=False)


def _said(window: Mapping[str, Any]) -> str:
    """Return a window in words."""
    low, high = window["stored_ghz"]
    stored = f"stored {window['frame']} {low:.6f} to {high:.6f} GHz"
    if "kms" in window:
        reach = "{:.1f} to {:.1f} km/s".format(*window["kms"])
        width = f"{window['channel_kms']:.4g} km/s"
    else:
        reach = "{:.6f} to {:.6f} GHz".format(*window["lsrk_ghz"])
        width = f"{window['channel_ghz'] * 1e3:.4g} MHz"
    where = " of {:g} to {:g} GHz".format(*window["range_ghz"]) if "range_ghz" in window else ""
    verdict = (
        f"used, covers {window['share']:.0%}{where}" if window["used"] else f"left out{where}: {window['left_out']}"
    )
    return f"window {window['window']}: {reach} in channels of {width} ({stored}): {verdict}"
