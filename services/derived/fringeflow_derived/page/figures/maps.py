"""Maps on the sky: rows of panels with right ascension and declination, colour bar, beam and scale bar."""
# ruff: noqa: RUF001 - Greek letters, primes and minus signs are what the reader of the page expects

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.patheffects import withStroke

from fringeflow_derived.page.figures import style
from fringeflow_derived.page.read import Array, Beam

ARCSEC_PER_RADIAN = 206264.806
NICE = (1.0, 2.0, 5.0)
EQUINOXES = {"FK5": " (J2000)", "ICRS": " (ICRS)", "FK4": " (B1950)"}
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of red, green and blue (ITU-R BT.709)


@dataclass(frozen=True)
class Frame:
    """What all panels of a row share: the pixels' sky, size and the beam."""

    wcs: WCS
    pixel_arcsec: float
    beam: Beam | None = None
    distance_mpc: float | None = None


@dataclass(frozen=True)
class Panel:
    """One map: its values, its label with unit, its colours and limits, and contours to draw over it."""

    data: Array
    label: str
    colours: str
    limits: tuple[float, float]
    contours: Array | None = None
    levels: tuple[float, ...] = ()
    contour_colour: str = style.INK


def stretch(data: Array, low: float = 1.0, high: float = 99.7) -> tuple[float, float]:
    """Return colour limits at two percentiles, never equal."""
    finite = data[np.isfinite(data)]
    if finite.size == 0:
        return 0.0, 1.0
    bottom, top = (float(value) for value in np.percentile(finite, [low, high]))
    pad = max(abs(top), 1e-12) * 0.02
    return (bottom, top) if top - bottom > pad else (bottom - pad, top + pad)


def about(data: Array, centre: float, high: float = 98.0) -> tuple[float, float]:
    """Return colour limits symmetric about `centre`, for a diverging map."""
    finite = data[np.isfinite(data)]
    reach = float(np.percentile(np.abs(finite - centre), high)) if finite.size else 1.0
    reach = max(reach, 1e-3 * abs(centre), 1e-3)
    return centre - reach, centre + reach


def row(panels: Sequence[Panel], frame: Frame, *, side_in: float = 3.35) -> bytes:
    """Draw panels side by side as PNG; declination is labelled on the first only."""
    figure, axes = grid(frame, len(panels), 1, side_in=side_in)
    for panel, one in zip(panels, axes, strict=True):
        draw(one, panel, frame)
        colour_bar(figure, one, panel)
    return style.png(figure)


def grid(frame: Frame, columns: int, rows: int, *, side_in: float, bars: bool = True) -> tuple[Figure, list[Any]]:
    """Return a figure and its sky axes, row by row from the top; room for a bar above each row, if `bars`."""
    left, right, bottom, gap, above = 0.95, 0.2, 0.55, 0.28, 0.72 if bars else 0.3
    height, width = frame.wcs.array_shape or (1, 1)
    tall = side_in * height / width
    figure = style.new_figure(
        left + columns * side_in + (columns - 1) * gap + right, bottom + rows * (tall + above) + (rows - 1) * 0.08
    )
    axes = []
    for line in range(rows):
        for column in range(columns):
            x = left + column * (side_in + gap)
            y = bottom + (rows - 1 - line) * (tall + above + 0.08)
            one = style.place(figure, x, y, side_in, tall, projection=frame.wcs)
            dress(one, declination=column == 0, ascension=line == rows - 1)
            axes.append(one)
    return figure, axes


def dress(axes: Any, *, declination: bool = True, ascension: bool = True) -> None:
    """Label sky axes sparsely, and without labels where a neighbour has them."""
    ra, dec = axes.coords[0], axes.coords[1]
    equinox = EQUINOXES.get(axes.wcs.wcs.radesys, "")
    for coordinate, shown, name in (
        (ra, ascension, f"Right ascension{equinox}"),
        (dec, declination, f"Declination{equinox}"),
    ):
        coordinate.set_ticks(number=4)
        coordinate.set_ticks(color=style.FAINT, direction="in", size=4)
        coordinate.set_ticklabel(size=style.SMALL, color=style.INK, exclude_overlapping=True)
        coordinate.set_axislabel(name if shown else " ", size=style.NORMAL, color=style.INK, minpad=0.6)
        coordinate.set_ticklabel_visible(shown)
        coordinate.display_minor_ticks(True)
    axes.coords.frame.set_color(style.FAINT)


def draw(axes: Any, panel: Panel, frame: Frame, *, marks: bool = True) -> Any:
    """Draw one map with its contours, beam and scale bar; north is up and east is left."""
    axes.set_facecolor(style.UNDEFINED)
    low, high = panel.limits
    image = axes.imshow(
        panel.data, origin="lower", cmap=panel.colours, vmin=low, vmax=high, interpolation="nearest", rasterized=True
    )
    if panel.contours is not None and panel.levels and np.nanmax(panel.contours) > min(panel.levels):
        axes.contour(panel.contours, levels=sorted(panel.levels), colors=panel.contour_colour, linewidths=0.7)
    height, width = panel.data.shape
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(-0.5, height - 0.5)
    if frame.wcs.wcs.cdelt[0] > 0:
        axes.invert_xaxis()
    if marks:
        dark = is_dark(panel)
        draw_beam(axes, frame, dark=dark)
        draw_scale(axes, frame, width, dark=dark)
    return image


def colour_bar(figure: Figure, axes: Any, panel: Panel) -> None:
    """Draw a thin colour bar above a panel, labelled with the panel's name and unit."""
    axes.apply_aspect()
    box = axes.get_position()
    height_in = figure.get_figheight()
    bar_axes = figure.add_axes((box.x0, box.y1 + 0.07 / height_in, box.width, 0.1 / height_in))
    image = axes.images[0]
    bar = figure.colorbar(image, cax=bar_axes, orientation="horizontal")
    bar.ax.xaxis.set_ticks_position("top")
    bar.ax.tick_params(labelsize=style.SMALL, labelcolor=style.INK, color=style.FAINT, size=2, pad=1.5)
    bar.ax.locator_params(nbins=5)
    bar.outline.set_edgecolor(style.FAINT)
    label_y = box.y1 + (0.07 + 0.1 + 0.22) / height_in
    figure.text(box.x0, label_y, panel.label, fontsize=style.NORMAL, color=style.INK, va="bottom")


def is_dark(panel: Panel) -> bool:
    """Return whether the lower edge of a map, where beam and scale bar stand, needs light ink."""
    edge = panel.data[: max(panel.data.shape[0] // 6, 1)]
    low, high = panel.limits
    colours = colormaps[panel.colours](np.clip((edge - low) / (high - low), 0, 1))[..., :3]
    colours[~np.isfinite(edge)] = to_rgb(style.UNDEFINED)
    return bool(np.median(colours @ LUMINANCE) < 0.5)


def draw_beam(axes: Any, frame: Frame, *, dark: bool) -> None:
    """Draw the beam's half-maximum ellipse in the lower left corner."""
    if frame.beam is None:
        return
    height, width = frame.wcs.array_shape or (1, 1)
    major, minor = frame.beam.major_arcsec / frame.pixel_arcsec, frame.beam.minor_arcsec / frame.pixel_arcsec
    side = 1.0 if frame.wcs.wcs.cdelt[0] < 0 else -1.0
    x = 0.045 * width + major / 2
    axes.add_patch(
        Ellipse(
            (x if side > 0 else width - 1 - x, 0.045 * height + major / 2),
            minor,
            major,
            angle=side * frame.beam.pa_deg,
            facecolor="white" if dark else "#ffffffcc",
            edgecolor="black" if dark else style.INK,
            linewidth=0.9,
        )
    )


def draw_scale(axes: Any, frame: Frame, width: int, *, dark: bool) -> None:
    """Draw a bar of a round length in the lower right corner, in kpc or pc where the distance is known."""
    length_px, text = scale_bar(width * frame.pixel_arcsec, frame.pixel_arcsec, frame.distance_mpc)
    share = length_px / width
    colour, halo = ("white", "black") if dark else (style.INK, "white")
    effects = [withStroke(linewidth=2.2, foreground=halo, alpha=0.75)]
    axes.plot(
        [0.955 - share, 0.955],
        [0.055, 0.055],
        transform=axes.transAxes,
        color=colour,
        linewidth=1.8,
        solid_capstyle="butt",
        path_effects=effects,
    )
    axes.text(
        0.955 - share / 2,
        0.075,
        text,
        transform=axes.transAxes,
        color=colour,
        fontsize=style.SMALL,
        ha="center",
        va="bottom",
        path_effects=effects,
    )


def scale_bar(field_arcsec: float, pixel_arcsec: float, distance_mpc: float | None) -> tuple[float, str]:
    """Return a round length of about a quarter of the field: in pixels, and as text."""
    if distance_mpc:
        kpc_per_arcsec = distance_mpc * 1e3 / ARCSEC_PER_RADIAN
        length = _round_down(field_arcsec * kpc_per_arcsec / 3.5)
        text = f"{length:g} kpc" if length >= 1 else f"{length * 1e3:g} pc"
        return length / kpc_per_arcsec / pixel_arcsec, text
    arcsec = _round_down(field_arcsec / 3.5)
    if arcsec >= 60:
        arcsec = 60 * _round_down(field_arcsec / 3.5 / 60)
    return arcsec / pixel_arcsec, f"{arcsec / 60:g}′" if arcsec >= 60 else f"{arcsec:g}″"


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in NICE if step * power <= value * (1 + 1e-9))
