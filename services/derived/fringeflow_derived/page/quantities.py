"""The maps of the page: which file holds each quantity, how it is named, coloured and scaled."""
# ruff: noqa: RUF001 - Greek letters, primes and minus signs are what the reader of the page expects

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fringeflow_derived.page.figures import maps, style
from fringeflow_derived.page.figures.maps import Panel
from fringeflow_derived.page.read import Array
from fringeflow_derived.page.view import LineView

CONTOUR_SHARES = (0.05, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Quantity:
    """One kind of map: its files, how to name it and how to colour it."""

    name: str
    exts: tuple[str, ...]
    label: str
    unit: str
    colours: str
    meaning: str


KMS = "km s$^{-1}$"
QUANTITIES = (
    Quantity(
        "mom0",
        ("strict_mom0", "broad_mom0"),
        "Integrated intensity",
        f"K {KMS}",
        style.INTENSITY,
        "Integrated intensity inside the mask (mom0, K km/s), its 1σ uncertainty, and their ratio inside the mask.",
    ),
    Quantity(
        "mom1",
        ("strict_mom1", "broad_mom1"),
        "Mean velocity",
        KMS,
        style.VELOCITY,
        "Intensity-weighted mean velocity (mom1, km/s; red recedes), contours of mom0 at 5, 20, 40, 60 and 80 % of its"
        " peak, and the 1σ uncertainty.",
    ),
    Quantity(
        "mom2",
        ("strict_mom2", "broad_mom2"),
        "Velocity dispersion",
        KMS,
        style.WIDTH,
        "Intensity-weighted velocity dispersion (mom2, km/s) and its 1σ uncertainty.",
    ),
    Quantity(
        "ew",
        ("strict_ew", "broad_ew"),
        "Effective width",
        KMS,
        style.WIDTH,
        "Effective width mom0 / (√2π peak) (ew, km/s; the dispersion of a Gaussian line) and its 1σ uncertainty.",
    ),
    Quantity(
        "tpeak",
        ("broad_tpeak", "strict_tpeak"),
        "Peak brightness",
        "K",
        style.INTENSITY,
        "Peak brightness temperature over the mask's velocities (tpeak, K) and its 1σ uncertainty. Off the galaxy it is"
        " the maximum of the noise.",
    ),
    Quantity(
        "vpeak",
        ("strict_vpeak", "broad_vpeak"),
        "Velocity of the peak",
        KMS,
        style.VELOCITY,
        "Velocity of the brightest channel (vpeak, km/s) and its 1σ uncertainty.",
    ),
    Quantity(
        "vquad",
        ("strict_vquad", "broad_vquad"),
        "Velocity of the peak, parabola",
        KMS,
        style.VELOCITY,
        "Velocity of a parabola through the brightest channel and its neighbours (vquad, km/s) and its 1σ uncertainty.",
    ),
)
BY_NAME = {quantity.name: quantity for quantity in QUANTITIES}


def width_of(view: LineView) -> Quantity:
    """Return the effective width if its map is there, else the dispersion."""
    return BY_NAME["ew"] if view.shelf.find("derived", *BY_NAME["ew"].exts) else BY_NAME["mom2"]


def error_exts(quantity: Quantity) -> tuple[str, ...]:
    """Return the exts of a quantity's uncertainty, e.g. ``strict_emom0``."""
    return tuple(ext.replace(f"_{quantity.name}", f"_e{quantity.name}") for ext in quantity.exts)


def panel(view: LineView, quantity: Quantity, *, tag: str = "", limits: tuple[float, float] | None = None) -> Panel:
    """Return the map of `quantity` at resolution `tag`, coloured and scaled; `limits` override its own."""
    data, _ = view.plane(*quantity.exts, tag=tag)
    label = f"{quantity.label} ({quantity.unit})"
    if quantity.colours == style.VELOCITY:
        outlines, levels = contours(view, tag) if quantity.name == "mom1" else (None, ())
        return Panel(data, label, quantity.colours, limits or maps.about(data, view.vsys_kms), outlines, levels)
    return Panel(data, label, quantity.colours, limits or _limits(data, quantity))


def _limits(data: Array, quantity: Quantity) -> tuple[float, float]:
    if quantity.name == "mom0":
        signal = data[data > 0]
        return 0.0, maps.stretch(signal, 0, 99.7)[1]
    return maps.stretch(data, 1.0, 99.7 if quantity.colours == style.INTENSITY else 98.0)


def contours(view: LineView, tag: str) -> tuple[Array | None, tuple[float, ...]]:
    """Return mom0 at resolution `tag` and the levels to draw it at; nothing if it is not there."""
    if view.shelf.find("derived", *QUANTITIES[0].exts, tag=tag) is None:
        return None, ()
    data, _ = view.plane(*QUANTITIES[0].exts, tag=tag)
    peak = float(np.nanmax(data))
    return np.nan_to_num(data), tuple(share * peak for share in CONTOUR_SHARES)
