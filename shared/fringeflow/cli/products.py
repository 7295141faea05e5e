"""The `products` command: what was made in the folder of a run, and what a product descends from."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.tree import Tree

from fringeflow.cli.console import console
from fringeflow.errors import MissingInputError
from fringeflow.graph.model import UnitId
from fringeflow.layout import read_index
from fringeflow.manifest import Artefact, Input, Manifest
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import open_store
from fringeflow.store.settings import StoreSettings
from fringeflow.workdir import Workdir


def products(directory: Path, *, lineage: str | None, as_json: bool) -> int:
    """Print the products below `directory`, or the ancestors of one."""
    workdir = Workdir(directory)
    if not workdir.store.is_dir():
        raise MissingInputError(
            f"{directory} is not the folder of a run: it has no store/", remedy="see `fringeflow run`"
        )
    ledger = Ledger(open_store(StoreSettings(url=workdir.store.absolute().as_uri())))
    made = list(_current(workdir, ledger))
    if lineage is not None:
        return _lineage(lineage, made, ledger, as_json=as_json)
    if as_json:
        rows = [{"path": path, "unit": str(manifest.unit), **_facts(manifest, item)} for path, manifest, item in made]
        json.dump(rows, sys.stdout, indent=1)
    else:
        console().print(table(made))
    return 0


def table(made: list[tuple[str, Manifest, Artefact]]) -> Table:
    """Return the products as a table."""
    shown = Table("product", "unit", "MB", "s", "work key", title=f"{len(made)} products", title_justify="left")
    for path, manifest, artefact in made:
        size = f"{artefact.size / 1e6:.2f}"
        shown.add_row(path, str(manifest.unit), size, f"{manifest.seconds:.1f}", manifest.work_key[:12])
    return shown


def _facts(manifest: Manifest, artefact: Artefact) -> dict[str, Any]:
    return {
        "size": artefact.size,
        "sha256": artefact.sha256,
        "work_key": manifest.work_key,
        "seconds": manifest.seconds,
    }


def _current(workdir: Workdir, ledger: Ledger) -> Iterator[tuple[str, Manifest, Artefact]]:
    """Yield path, manifest and artefact of every file in the product tree."""
    for path, row in sorted(read_index(workdir.products).items()):
        manifest = ledger.get(UnitId.parse(row["unit"]), row["work_key"])
        if manifest is not None:
            yield path, manifest, next(item for item in manifest.outputs if item.name == Path(path).name)


def _lineage(name: str, made: list[tuple[str, Manifest, Artefact]], ledger: Ledger, *, as_json: bool) -> int:
    chosen = [(manifest, item) for path, manifest, item in made if path == name or Path(path).name == name]
    if not chosen:
        raise MissingInputError(f"no product is called {name}", remedy="`fringeflow products DIR` lists them")
    for manifest, artefact in chosen:
        if as_json:
            json.dump(_as_data(artefact.name, manifest, ledger), sys.stdout, indent=1)
        else:
            tree = Tree(_label(artefact.name, manifest))
            _grow(tree, manifest, ledger, seen=set())
            console().print(tree)
    return 0


def _label(name: str, manifest: Manifest) -> str:
    service = f"fringeflow-{manifest.unit.stage}"
    return f"[bold]{name}[/]  {manifest.unit}  [dim]{manifest.work_key[:12]}  {manifest.software.get(service, '')}[/]"


def _grow(tree: Tree, manifest: Manifest, ledger: Ledger, *, seen: set[str]) -> None:
    """Add the inputs of `manifest` to `tree`; a unit that stands in it already is named without its ancestors."""
    for item in manifest.inputs:
        parent = _parent(item, ledger)
        names = ", ".join(artefact.name for artefact in item.artefacts) or "facts only"
        if parent is None:
            digests = ", ".join(artefact.sha256[:16] for artefact in item.artefacts)
            tree.add(f"[bold yellow]{item.source}[/]  sha256 {digests}")
        elif item.source in seen:
            tree.add(f"[dim]{names}  {item.source} (above)[/]")
        else:
            seen.add(item.source)
            _grow(tree.add(_label(names, parent)), parent, ledger, seen=seen)


def _as_data(name: str, manifest: Manifest, ledger: Ledger) -> dict[str, Any]:
    inputs = []
    for item in manifest.inputs:
        parent = _parent(item, ledger)
        if parent is None:
            inputs.append({"source": item.source, "sha256": [artefact.sha256 for artefact in item.artefacts]})
        else:
            inputs.append(_as_data(", ".join(artefact.name for artefact in item.artefacts), parent, ledger))
    recipe = dict(manifest.recipe)
    return {
        "name": name,
        "unit": str(manifest.unit),
        "work_key": manifest.work_key,
        "recipe": recipe,
        "software": dict(manifest.software),
        "inputs": inputs,
    }


def _parent(item: Input, ledger: Ledger) -> Manifest | None:
    return None if item.work_key is None else ledger.get(UnitId.parse(item.source), item.work_key)
