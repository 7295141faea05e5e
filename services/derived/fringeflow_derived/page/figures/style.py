"""How every picture looks: colours, sizes, axes laid out in inches, and PNG bytes that are the same every time."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 110
INK = "#1b2130"
FAINT = "#8a91a3"
UNDEFINED = "#e8eaef"
OUTLINE = "#5ee0ff"  # seen on the dark end of the intensity colours
ACCENT = "#c2410c"
SECOND = "#1d5fa8"
SERIES = ("#1b2130", "#c2410c", "#1d5fa8", "#3f8f3f", "#8e44ad", "#b58900")

INTENSITY = "inferno"
WIDTH = "viridis"
VELOCITY = "coolwarm"
UNCERTAINTY = "cividis"

SMALL, NORMAL, LARGE = 8.0, 9.5, 11.5


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty white figure that belongs to no window system."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """Return the figure as PNG; no software name or time enters, so equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def place(figure: Figure, left: float, bottom: float, width: float, height: float, **options: Any) -> Any:
    """Add axes at a rectangle in inches from the lower left corner."""
    full_width, full_height = figure.get_size_inches()
    rectangle = (left / full_width, bottom / full_height, width / full_width, height / full_height)
    return figure.add_axes(rectangle, **options)


def plain(axes: Axes, *, x: str, y: str, title: str = "") -> None:
    """Dress ordinary axes: labels, inward ticks on all sides, a quiet frame."""
    axes.set_xlabel(x, fontsize=NORMAL, color=INK)
    axes.set_ylabel(y, fontsize=NORMAL, color=INK)
    if title:
        axes.set_title(title, fontsize=NORMAL, color=INK, loc="left", pad=6)
    axes.tick_params(which="both", direction="in", top=True, right=True, labelsize=SMALL, color=FAINT, labelcolor=INK)
    axes.minorticks_on()
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def legend(axes: Axes, **options: Any) -> None:
    """Add a frameless legend in small type."""
    axes.legend(frameon=False, fontsize=SMALL, labelcolor=INK, **options)
