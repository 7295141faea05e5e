"""Channel maps and position-velocity diagrams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patheffects import withStroke

from fringeflow_derived.page.figures import maps, style
from fringeflow_derived.page.figures.curves import VELOCITY_LABEL
from fringeflow_derived.page.figures.maps import Frame, Panel
from fringeflow_derived.page.measure import Cut, Gradient
from fringeflow_derived.page.read import Array, Mask


@dataclass(frozen=True)
class Channel:
    """One panel of the channel maps: the mean of neighbouring channels at a velocity, and the mask's outline."""

    velocity_kms: float
    data: Array
    mask: Mask | None


def grid(
    channels: Sequence[Channel], frame: Frame, limits: tuple[float, float], *, unit: str, columns: int = 6
) -> bytes:
    """Draw channel maps on one scale as PNG; only the lower left panel carries coordinates and the beam."""
    columns = min(columns, len(channels))
    rows = math.ceil(len(channels) / columns)
    side, left, bottom, right, top, gap = 1.72, 0.95, 0.6, 0.95, 0.12, 0.05
    height, width = channels[0].data.shape
    tall = side * height / width
    figure = style.new_figure(left + columns * (side + gap) + right, bottom + rows * tall + (rows - 1) * gap + top)
    for index, channel in enumerate(channels):
        line, column = divmod(index, columns)
        lower_left = index == (rows - 1) * columns
        axes = style.place(
            figure,
            left + column * (side + gap),
            bottom + (rows - 1 - line) * (tall + gap),
            side,
            tall,
            **({"projection": frame.wcs} if lower_left else {}),
        )
        if lower_left:
            maps.dress(axes)
            for coordinate in axes.coords:
                coordinate.set_ticks(number=3)
        else:
            axes.set_xticks([])
            axes.set_yticks([])
        _draw_channel(axes, channel, frame, limits, marks=lower_left)
    bar_axes = style.place(figure, left + columns * (side + gap) + 0.06, bottom, 0.13, rows * tall + (rows - 1) * gap)
    bar = figure.colorbar(ScalarMappable(Normalize(*limits), style.INTENSITY), cax=bar_axes)
    bar.ax.tick_params(labelsize=style.SMALL, labelcolor=style.INK, color=style.FAINT)
    bar.set_label(unit, fontsize=style.NORMAL, color=style.INK)
    return style.png(figure)


def position_velocity(
    field: Panel, frame: Frame, ends: tuple[Array, Array], cut: Cut, line: Gradient, sigma_k: float
) -> bytes:
    """Draw the velocity field with the line of the cut, and the diagram beside it, as PNG."""
    side = 3.35
    figure = style.new_figure(0.95 + side + 1.0 + 5.1 + 0.95, 0.6 + side + 0.72)
    axes = style.place(figure, 0.95, 0.6, side, side, projection=frame.wcs)
    maps.dress(axes)
    maps.draw(axes, field, frame)
    maps.colour_bar(figure, axes, field)
    axes.annotate(
        "",
        (ends[0][1], ends[1][1]),
        (ends[0][0], ends[1][0]),
        arrowprops={"arrowstyle": "-|>", "color": style.INK, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0},
    )
    _draw_cut(figure, style.place(figure, 0.95 + side + 1.0, 0.6, 5.1, side), cut, line, sigma_k)
    return style.png(figure)


def _draw_channel(axes: Any, channel: Channel, frame: Frame, limits: tuple[float, float], *, marks: bool) -> None:
    outline = None if channel.mask is None else channel.mask.astype(float)
    panel = Panel(channel.data, "", style.INTENSITY, limits, outline, (0.5,), style.OUTLINE)
    maps.draw(axes, panel, frame, marks=marks)
    axes.text(
        0.05,
        0.94,
        f"{channel.velocity_kms:.1f}",
        transform=axes.transAxes,
        color="white",
        fontsize=style.NORMAL,
        va="top",
        path_effects=[withStroke(linewidth=2, foreground="black", alpha=0.8)],
    )
    if not marks:
        for spine in axes.spines.values():
            spine.set_color(style.FAINT)


def _draw_cut(figure: Any, axes: Any, cut: Cut, line: Gradient, sigma_k: float) -> None:
    offset = cut.offset_arcsec / 60
    order = np.argsort(cut.velocity_kms)
    velocity, data = cut.velocity_kms[order], cut.brightness_k[order]
    step = float(np.median(np.diff(velocity)))
    half = (cut.offset_arcsec[1] - cut.offset_arcsec[0]) / 120
    image = axes.imshow(
        data,
        origin="lower",
        aspect="auto",
        cmap=style.INTENSITY,
        extent=(offset[0] - half, offset[-1] + half, velocity[0] - step / 2, velocity[-1] + step / 2),
        vmin=-sigma_k,
        vmax=float(np.nanpercentile(data, 99.8)),
        interpolation="nearest",
    )
    levels = [sigma_k * 3 * 2**power for power in range(6) if sigma_k * 3 * 2**power < np.nanmax(data)]
    if levels:
        axes.contour(offset, velocity, data, levels=levels, colors="white", linewidths=0.6)
    fitted = line.vsys_kms + line.slope_kms_arcsec * cut.offset_arcsec
    axes.plot(offset, fitted, color=style.OUTLINE, linewidth=1, linestyle="--")
    axes.axvline(0, color="white", linewidth=0.5, alpha=0.5)
    axes.axhline(line.vsys_kms, color="white", linewidth=0.5, alpha=0.5)
    axes.set_xlim(offset[0] - half, offset[-1] + half)
    axes.set_ylim(velocity[0] - step / 2, velocity[-1] + step / 2)
    style.plain(axes, x="Offset along the cut (arcmin)", y=VELOCITY_LABEL)
    box = axes.get_position()
    bar = figure.colorbar(image, cax=figure.add_axes((box.x1 + 0.008, box.y0, 0.012, box.height)))
    bar.ax.tick_params(labelsize=style.SMALL, labelcolor=style.INK, color=style.FAINT)
    bar.set_label("Brightness temperature (K)", fontsize=style.NORMAL, color=style.INK)
