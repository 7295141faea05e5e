"""The page as a tool of the command line: plain values in, so that the caller needs nothing of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fringeflow_derived.page.entries import CubeEntry
from fringeflow_derived.page.write import overview_figure, write_page


def write(
    products: Path, out: Path, rows: Sequence[Mapping[str, Any]], title: str, timings: Mapping[str, float]
) -> None:
    """Write the page `out` and, beside it, ``overview.png`` of the first line cube that has one.

    Parameters
    ----------
    rows
        The members of a `CubeEntry` each.
    """
    entries = [CubeEntry(**row) for row in rows]
    write_page(products, out, entries, title=title, timings=timings)
    for entry in entries:
        if entry.kind == "line" and (products / "derived" / entry.directory / f"{entry.root}_strictmask.fits").exists():
            overview_figure(products, entry, out.with_name("overview.png"))
            return
