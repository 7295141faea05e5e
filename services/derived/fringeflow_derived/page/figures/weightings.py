"""Figures of test images: PSFs and images side by side, their profiles, and what each weighting comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Ellipse

from fringeflow_derived.page.figures import style
from fringeflow_derived.page.read import Array

Row = Mapping[str, Any]

PANELS = 9
_COLUMNS, _PANEL_IN = 3, 2.75
_NAMED_AT = {"natural": 2.5, "uniform": -2.5}  # where these stand beside the robustnesses of Briggs' weighting
_MEASURES = (
    ("rms", "Noise (Jy beam$^{-1}$)"), ("bmaj_arcsec", "Major axis (arcsec)"), ("kappa", "Kappa"),
    ("epsilon", "Epsilon"),
)  # fmt: skip


def profiles(rows: Sequence[Row]) -> bytes:
    """Draw the PSF of every set against radius, and the Gaussian of its beam, out to three of the largest beams."""
    figure = style.new_figure(8.6, 4.2)
    axes = style.place(figure, 0.85, 0.6, 7.55, 3.4)
    axes.axhline(0, color=style.FAINT, linewidth=0.8)
    for number, row in enumerate(rows):
        colour = style.SERIES[number % len(style.SERIES)]
        found = row["profile"]
        axes.plot(found["radius"], found["psf"], color=colour, linewidth=1.4, label=row["test_name"])
        axes.plot(found["radius"], found["gaussian"], color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
    style.plain(axes, x="Radius, the beam made round (arcsec)", y="Response (peak = 1; dashed: beam)")
    axes.set_xlim(0, 3 * max(row["bmaj_arcsec"] for row in rows))
    style.legend(axes, loc="upper right")
    return style.png(figure)


def gallery(
    rows: Sequence[Row], planes: Sequence[Array], limits: Sequence[tuple[float, float]], *, half: bool
) -> bytes:
    """Draw up to nine planes (north up, east left) with their beams.

    Parameters
    ----------
    limits
        Of the colours, plane by plane.
    half
        Whether to show the contour of half the peak.
    """
    lines = -(-len(rows) // _COLUMNS)
    figure = style.new_figure(_COLUMNS * (_PANEL_IN + 0.45) + 0.25, lines * (_PANEL_IN + 0.65) + 0.2)
    for number, (row, plane, (low, high)) in enumerate(zip(rows, planes, limits, strict=True)):
        line, column = divmod(number, _COLUMNS)
        bottom = (lines - 1 - line) * (_PANEL_IN + 0.65) + 0.5
        axes = style.place(figure, 0.6 + column * (_PANEL_IN + 0.45), bottom, _PANEL_IN - 0.1, _PANEL_IN - 0.1)
        _panel(axes, row, plane, low, high, half=half)
    return style.png(figure)


def against_robust(rows: Sequence[Row]) -> bytes:
    """Draw the measures against the robustness, natural and uniform weighting beside them."""
    places = [_NAMED_AT.get(row["weighting"], row["robust"]) for row in rows]
    return _measures(rows, places, "Robustness (natural at 2.5, uniform at -2.5)")


def against_beam(rows: Sequence[Row]) -> bytes:
    """Draw the measures against the size of the beam."""
    return _measures(rows, [np.sqrt(row["bmaj_arcsec"] * row["bmin_arcsec"]) for row in rows], "Beam (arcsec)")


def _measures(rows: Sequence[Row], places: Sequence[float | None], label: str) -> bytes:
    figure = style.new_figure(8.6, 5.4)
    tapers = sorted({row["taper_arcsec"] for row in rows})
    for number, (name, title) in enumerate(_MEASURES):
        line, column = divmod(number, 2)
        axes = style.place(figure, 0.85 + 4.2 * column, 3.25 - 2.65 * line, 3.2, 1.9)
        for taper, colour in zip(tapers, style.SERIES * len(tapers), strict=False):
            chosen = [
                (place, row[name])
                for place, row in zip(places, rows, strict=True)
                if row["taper_arcsec"] == taper and place is not None
            ]
            if chosen:
                axes.plot(
                    *zip(*sorted(chosen), strict=True), "o-", color=colour, markersize=4, label=f"taper {taper:g}"
                )
        style.plain(axes, x=label, y=title)
        if len(tapers) > 1 and number == 0:
            style.legend(axes)
    return style.png(figure)


def _panel(axes: Any, row: Row, plane: Array, low: float, high: float, *, half: bool) -> None:
    ny, nx = plane.shape
    cell = row["cell_arcsec"]
    east, north = (nx // 2 + 0.5) * cell, (ny // 2 + 0.5) * cell
    extent = (east, east - nx * cell, -north, ny * cell - north)
    axes.imshow(plane, origin="lower", extent=extent, vmin=low, vmax=high, cmap=style.INTENSITY, interpolation="none")
    if half:
        x, y = east - (np.arange(nx) + 0.5) * cell, (np.arange(ny) + 0.5) * cell - north
        axes.contour(x, y, plane, levels=[0.5 * float(np.nanmax(plane))], colors=style.OUTLINE, linewidths=0.8)
    corner = (east - 0.12 * nx * cell, -north + 0.12 * ny * cell)
    # The axis runs to the left, as east does: an angle from north through east is drawn turning the same way.
    axes.add_patch(
        Ellipse(
            corner, row["bmin_arcsec"], row["bmaj_arcsec"], angle=-row["bpa_deg"], facecolor="none",
            edgecolor=style.OUTLINE, linewidth=1.0,
        )
    )  # fmt: skip
    style.plain(axes, x="East (arcsec)", y="North (arcsec)", title=row["test_name"])
