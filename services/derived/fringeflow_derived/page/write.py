"""Writes the page and the overview picture: the two things other rooms ask of this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fringeflow_derived.page import continuum, html, line
from fringeflow_derived.page.blocks import Bars, Chapter, Section
from fringeflow_derived.page.entries import CubeEntry, Shelf
from fringeflow_derived.page.view import LineView


def write_page(
    products: Path,
    out: Path,
    entries: Sequence[CubeEntry],
    *,
    title: str = "fringeflow products",
    timings: Mapping[str, float] | None = None,
) -> Path:
    """Write one self-contained HTML page about the products of `entries`.

    Parameters
    ----------
    products
        Folder with ``{imaging,postprocess,derived}/<directory>/``; files that are not there are said on the page.
    out
        The HTML file; links to FITS files are relative to its folder. Equal products give equal bytes.
    entries
        What to show, in this order.
    title
        Heading of the page.
    timings
        Seconds of each step, shown as bars at the end.

    Returns
    -------
    Path
        `out`.
    """
    chapters = [_chapter(Shelf(products, entry)) for entry in entries]
    if timings:
        bars = Bars(tuple((name, float(seconds)) for name, seconds in timings.items()), "s")
        chapters.append(Chapter("Time spent", "timings", (Section("Seconds of each step", (bars,)),)))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html.document(title, chapters, out.parent), encoding="utf-8")
    return out


def overview_figure(products: Path, entry: CubeEntry, out: Path) -> Path:
    """Write one wide PNG (about 1600 by 550): integrated intensity, mean velocity, line width and spectrum.

    Raises
    ------
    MissingInputError
        If the cube, a mask, or one of the maps is not there.
    """
    png = line.overview(LineView(Shelf(products, entry)))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(png)
    return out


def _chapter(shelf: Shelf) -> Chapter:
    return line.chapter(shelf) if shelf.entry.kind == "line" else continuum.chapter(shelf)
