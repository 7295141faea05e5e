"""One line cube at its native and its convolved resolutions, side by side on common scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fringeflow.errors import MissingInputError
from fringeflow_derived.page import measure, quantities, read
from fringeflow_derived.page.blocks import Block, Picture, Table
from fringeflow_derived.page.figures import curves, maps, style
from fringeflow_derived.page.figures.maps import Frame, Panel
from fringeflow_derived.page.measure import Spectrum
from fringeflow_derived.page.view import LineView

FLUX = "Flux in the broad mask (Jy km/s)"
ROWS = ("mom0", "mom1", "ew")


def table(view: LineView) -> Block:
    """Return a table of beam, noise, peak and flux per resolution."""
    rows = [_row(view, tag) for tag in _tags(view)]
    head = ("Resolution", "Beam", "Noise (K)", "Noise (mJy/beam)", "Peak (K)", FLUX, "Cube")
    caption = (
        "Noise is the median of the noise cube, times the primary beam where that is there. The broad mask is the same"
        " for all resolutions."
    )
    return Table(tuple(rows), head, caption)


def spectra(view: LineView) -> Block:
    """Return the integrated spectra of all resolutions over the one broad mask: flux does not depend on the beam."""
    found = {name: one for tag in _tags(view) if (one := _spectrum(view, tag)) for name in (tag or "native",)}
    if not found:
        raise MissingInputError("the broad mask is not there, so resolutions cannot be compared over one volume")
    return Picture(
        curves.spectrum(found, view.mean_velocity_kms),
        "Flux density over the same broad mask at every resolution (Jy). A wider beam moves some of the flux out of"
        " the mask.",
        tuple(path for tag in _tags(view) if (path := _cube(view, tag))),
        wide=True,
    )


def gallery(view: LineView) -> Block:
    """Return the maps of all resolutions as a grid: one row a quantity with one scale, one column a resolution."""
    tags = [tag for tag in _tags(view) if view.shelf.find("derived", *quantities.QUANTITIES[0].exts, tag=tag)]
    if not tags:
        raise MissingInputError("no resolution has an integrated intensity map")
    panels, files = [], []
    for name in ROWS:
        quantity = quantities.BY_NAME[name]
        limits = None
        for tag in tags:
            path = view.shelf.find("derived", *quantity.exts, tag=tag)
            if path is None:
                panels.append(_blank(view, quantity.label))
                continue
            panels.append(quantities.panel(view, quantity, tag=tag, limits=limits))
            limits = panels[-1].limits
            files.append(path)
    return Picture(
        _draw(view, panels, tags),
        "Integrated intensity (K km/s), mean velocity with contours of the integrated intensity (km/s) and effective"
        " width (km/s): one column per resolution, one scale per row, that of the native map. The ellipse is each map's"
        " beam.",
        tuple(files),
        wide=True,
    )


def _draw(view: LineView, panels: list[Panel], tags: list[str]) -> bytes:
    figure, axes = maps.grid(view.frame, len(tags), len(ROWS), side_in=2.35)
    for index, (panel, one) in enumerate(zip(panels, axes, strict=True)):
        tag = tags[index % len(tags)]
        beam = read.beam_of(read.read_plane(view.shelf.need("derived", *quantities.QUANTITIES[0].exts, tag=tag)).header)
        frame = Frame(view.frame.wcs, view.pixel_arcsec, beam, view.distance_mpc)
        maps.draw(one, panel, frame)
        one.text(
            0.04,
            0.95,
            tag or "native",
            transform=one.transAxes,
            fontsize=style.NORMAL,
            va="top",
            weight="bold",
            color="white" if maps.is_dark(panel) else style.INK,
        )
        if index % len(tags) == 0:
            maps.colour_bar(figure, one, panel)
    return style.png(figure)


def _blank(view: LineView, label: str) -> Panel:
    shape = view.frame.wcs.array_shape
    return Panel(np.full(shape, np.nan), f"{label}: not there", style.WIDTH, (0.0, 1.0))


def _tags(view: LineView) -> tuple[str, ...]:
    return ("", *view.shelf.entry.tags)


def _cube(view: LineView, tag: str) -> Path | None:
    return view.shelf.find("derived", tag=tag) if tag else view.cube


def _spectrum(view: LineView, tag: str) -> Spectrum | None:
    cube, mask = _cube(view, tag), view.mask("broad")
    if cube is None or mask is None:
        return None
    return view.spectrum(cube, mask, view.shelf.find("derived", "noise", tag=tag))


def _row(view: LineView, tag: str) -> tuple[str | Path, ...]:
    path = _cube(view, tag)
    name = tag or "native"
    if path is None:
        return (name, "not there", "", "", "", "", "")
    with read.open_cube(path) as cube:
        beam = read.beam_of(cube.header)
    noise_k = _noise_k(view, tag)
    per_beam = view.k_arcsec2_per_jy / beam.area_arcsec2 if beam else np.nan
    one = _spectrum(view, tag)
    flux = "{:.4g} ± {:.2g}".format(*one.total_jykms) if one else "no mask"
    noise = (f"{noise_k:.3g}", f"{noise_k / per_beam * 1e3:.3g}") if np.isfinite(noise_k) else ("not there", "")
    return (name, measure.beam_label(beam) if beam else "none", *noise, f"{measure.peak(path):.3g}", flux, path)


def _noise_k(view: LineView, tag: str) -> float:
    if view.shelf.find("derived", "noise", tag=tag) is None:
        return float("nan")
    return float(np.nanmedian(view.channel_noise_k(tag)))
