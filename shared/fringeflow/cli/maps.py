"""The `maps` command: products of one cube without a project, with a bar while they are made and a table of them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fringeflow import tools
from fringeflow.cli.console import console
from fringeflow.cli.run import stopped_by_signals

_UNITS = {"mom0": "K km/s", "tpeak": "K"} | dict.fromkeys(("mom1", "mom2", "ew", "vpeak", "vquad"), "km/s")


@dataclass(frozen=True)
class Request:
    """What the command line asks for, in its own words."""

    name: str | None = None
    resolutions: tuple[str, ...] = ()
    distance: str | None = None
    moments: tuple[str, ...] | None = None
    mask: Path | None = None
    window: str | None = None
    jobs: int = 1
    force: bool = False
    page: bool = True


def maps(cube: Path, out: Path, request: Request, *, as_json: bool) -> int:
    """Make the products of `cube` in `out` and print them."""
    started = time.monotonic()
    shown = console(stderr=as_json)
    options = {field.name: getattr(request, field.name) for field in fields(request)}
    with _bar(shown) as bar, stopped_by_signals():
        task = bar.add_task("reading the cube", total=None)

        def progress(step: str, made: int, total: int) -> None:
            bar.update(task, description=f"made {step}", completed=made, total=total)

        result = tools.load("maps")(cube, out, **options, progress=progress)
    seconds = time.monotonic() - started
    if as_json:
        json.dump(result | {"seconds": seconds}, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return 0
    shown.print(table(result, out))
    new = sum(product["new"] for product in result["products"])
    files = len(result["products"])
    shown.print(f"{files} files: {new} made now, {files - new} made before, in {seconds:.1f} s")
    if result["page"]:
        shown.print(f"[bold]look at[/] {Path(result['page']).as_uri()}")
    return 0


def table(result: Mapping[str, Any], out: Path) -> Table:
    """Return the products as a table, a map and its uncertainty in one row."""
    shown = Table("product", "what it holds", "MB", "made", title=f"{result['name']}, in {out}", title_justify="left")
    for product in result["products"]:
        if is_uncertainty(product):
            continue
        when = f"{product['seconds']:.2f} s" if product["new"] else "before"
        shown.add_row(product["name"], said(product), f"{product['size'] / 1e6:.2f}", when)
    return shown


def said(product: Mapping[str, Any]) -> str:
    """Return what is known of a product, in a few words."""
    facts, what = product["facts"], str(product["what"]).partition("@")[0]
    stem = Path(product["name"]).stem
    if what == "noise":
        return f"noise, typically {facts['rms']:.3g} {facts['unit']}"
    if what in ("strictmask", "broadmask"):
        return f"mask: {facts['voxels']} voxels, {facts['pixels']} pixels"
    if what == "maps":
        return _map_said(stem, facts)
    if "_coverage" in stem:
        return "share of each beam that rests on data"
    size = " x ".join(str(length) for length in reversed(facts["shape"]))
    return f"cube in K, {size}, beam {facts['beam_arcsec'][0]:.4g} x {facts['beam_arcsec'][1]:.4g} arcsec"


def is_uncertainty(product: Mapping[str, Any]) -> bool:
    """Return whether a product stands with the map whose uncertainty it is."""
    maps = str(product["what"]).partition("@")[0] == "maps"
    return maps and Path(product["name"]).stem.rpartition("_")[2] not in _UNITS


def _map_said(stem: str, facts: Mapping[str, Any]) -> str:
    word = stem.rpartition("_")[2]
    if facts["median"] is None:
        return "map and uncertainty: empty"
    number = f"sum {facts['total']:.4g}" if word == "mom0" else f"median {facts['median']:.4g}"
    return f"map and uncertainty, {facts['pixels']} pixels, {number} {_UNITS[word]}"


def _bar(shown: Console) -> Progress:
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=shown,
        transient=True,
        disable=not shown.is_terminal,
    )
