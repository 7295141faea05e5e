"""The chapter of one spectral line cube: moment maps, spectrum, channel maps, kinematics, resolutions."""
# ruff: noqa: RUF001 - Greek letters, primes and minus signs are what the reader of the page expects

from __future__ import annotations

from functools import partial

import numpy as np

from fringeflow.errors import DataError, MissingInputError
from fringeflow_derived.page import blocks, checks, facts, measure, quantities, read, resolutions
from fringeflow_derived.page.blocks import Block, Chapter, Picture, Section
from fringeflow_derived.page.entries import Shelf
from fringeflow_derived.page.figures import channels, curves, maps, style
from fringeflow_derived.page.figures.channels import Channel
from fringeflow_derived.page.figures.maps import Panel
from fringeflow_derived.page.quantities import Quantity
from fringeflow_derived.page.view import LineView

MOST_CHANNELS = 24


def chapter(shelf: Shelf) -> Chapter:
    """Return the chapter of the line cube of `shelf`."""
    entry = shelf.entry
    title = entry.title
    try:
        view = LineView(shelf)
    except DataError as error:
        return Chapter(title, entry.root, (Section("Nothing to show", (blocks.Note(str(error)),)),))
    wanted = [one for one in quantities.QUANTITIES if not entry.flat or shelf.has("derived", *one.exts)]
    sections = [
        blocks.build("At a glance", partial(_overview, view), partial(facts.line_table, view)),
        blocks.build("Moment maps", *(partial(_moment, view, quantity) for quantity in wanted)),
        blocks.build("Spectrum", partial(_spectrum, view)),
        blocks.build("Channel maps", partial(_channel_maps, view)),
        blocks.build("Position-velocity cut", partial(_position_velocity, view)),
        blocks.build("Resolutions", *_resolutions(view)),
        blocks.build("Noise" if entry.flat else "Noise and primary beam", partial(checks.noise, view)),
    ]
    if not entry.flat:
        sections.append(blocks.build("Imaging", partial(checks.point_spread, view), partial(checks.residual, view)))
    sections.append(Section("Files", facts.files(shelf)))
    return Chapter(title, entry.root, tuple(sections))


def overview(view: LineView) -> bytes:
    """Draw mom0, mom1 with contours, a width map and the spectrum in one row, as PNG about 1600 by 530 pixels."""
    side, left, gap, bottom = 3.0, 0.95, 0.25, 0.6
    frame = view.frame
    figure = style.new_figure(14.55, bottom + side + 1.2)
    panels = [
        quantities.panel(view, quantities.QUANTITIES[0]),
        quantities.panel(view, quantities.QUANTITIES[1]),
        quantities.panel(view, quantities.width_of(view)),
    ]
    for index, panel in enumerate(panels):
        axes = style.place(figure, left + index * (side + gap), bottom, side, side, projection=frame.wcs)
        maps.dress(axes, declination=index == 0)
        maps.draw(axes, panel, frame)
        maps.colour_bar(figure, axes, panel)
    start = left + 3 * (side + gap) + 0.7
    curve = style.place(figure, start, bottom, 14.55 - start - 0.2, side)
    curves.draw_spectra(curve, view.spectra, view.mean_velocity_kms)
    entry = view.shelf.entry
    title = "   ".join(dict.fromkeys(word for word in (view.name, entry.product, entry.config) if word))
    figure.text(left / 14.55, 1 - 0.34 / figure.get_figheight(), title, fontsize=14, color=style.INK, weight="bold")
    return style.png(figure)


def _overview(view: LineView) -> Block:
    return Picture(
        overview(view),
        "Integrated intensity, mean velocity with contours of the integrated intensity, width of the line, and the"
        " integrated spectrum. North is up, east is left; the ellipse is the beam.",
        (view.cube,),
        wide=True,
    )


def _moment(view: LineView, quantity: Quantity) -> Block:
    value, path = view.plane(*quantity.exts)
    panels, files = [quantities.panel(view, quantity)], [path]
    caption = quantity.meaning
    if view.shelf.find("derived", *quantities.error_exts(quantity)) is None:
        caption += " The uncertainty's file is not there."
    else:
        error, error_path = view.plane(*quantities.error_exts(quantity))
        label = f"1σ uncertainty ({quantity.unit})"
        panels.append(Panel(error, label, style.UNCERTAINTY, maps.stretch(error, 1, 98)))
        files.append(error_path)
        if quantity.name == "mom0":
            ratio = np.divide(value, error, out=np.full_like(value, np.nan), where=(value != 0) & (error > 0))
            panels.append(Panel(ratio, "Signal to noise", style.WIDTH, (0.0, maps.stretch(ratio)[1])))
    return Picture(maps.row(panels, view.frame), caption, tuple(files), wide=len(panels) > 2)


def _spectrum(view: LineView) -> Block:
    if not view.spectra:
        raise MissingInputError("neither a strict nor a broad mask is there")
    masks = [path for path in (view.mask("strict"), view.mask("broad")) if path]
    mean = view.mean_velocity_kms
    dashed = "" if mean is None else f" The dashed line is the flux-weighted mean velocity, {mean:.1f} km/s."
    return Picture(
        curves.spectrum(view.spectra, mean),
        "Flux density summed over the strict and the broad mask (Jy), with the 1σ band from the noise cube, taken as"
        f" independent from beam to beam.{dashed}"
        f" Kelvin become jansky with {view.kelvin_per_jybeam:.4g} K per Jy/beam.",
        (view.cube, *masks),
        wide=True,
    )


def _channel_maps(view: LineView) -> Block:
    mask_path = view.mask("strict")
    with read.open_cube(view.cube) as cube:
        groups = _groups(view)
        shown = []
        for group in groups:
            data = np.mean([cube.plane(channel, view.window) for channel in group], axis=0)
            shown.append(Channel(float(view.velocity_kms[group].mean()), data, None))
    if mask_path is not None:
        with read.open_cube(mask_path) as mask:
            shown = [
                Channel(one.velocity_kms, one.data, np.any([mask.plane(k, view.window) > 0 for k in group], axis=0))
                for one, group in zip(shown, groups, strict=True)
            ]
    everything = np.stack([one.data for one in shown])
    sigma = measure.robust_sigma(everything)
    limits = (-sigma, maps.stretch(everything, 0, 99.8)[1])
    together = f" Each is the mean of {len(groups[0])} channels." if len(groups[0]) > 1 else ""
    return Picture(
        channels.grid(shown, view.frame, limits, unit="Brightness temperature (K)"),
        f"Brightness temperature (K) at the velocity written in each panel (km/s), all on one scale.{together} The"
        " outline is the strict mask.",
        (view.cube, *((mask_path,) if mask_path else ())),
        wide=True,
    )


def _groups(view: LineView) -> list[list[int]]:
    """Channels shown together: those of the masks and two on either side, at most `MOST_CHANNELS` panels."""
    count = view.velocity_kms.size
    used = np.zeros(count, dtype=bool)
    for one in view.spectra.values():
        used |= one.pixels > 0
    inside = np.flatnonzero(used) if used.any() else np.arange(count)
    first, last = max(int(inside[0]) - 2, 0), min(int(inside[-1]) + 3, count)
    step = -(-(last - first) // MOST_CHANNELS)
    groups = [list(range(start, min(start + step, last))) for start in range(first, last, step)]
    return groups if view.velocity_kms[0] < view.velocity_kms[-1] else groups[::-1]


def _position_velocity(view: LineView) -> Block:
    line = view.gradient
    half = 0.46 * (view.window.x1 - view.window.x0) * view.pixel_arcsec
    width = view.beam.major_arcsec if view.beam else 0.0
    placed = measure.shifted(line, view.window)
    cut = measure.position_velocity(view.cube, placed, half_length_arcsec=half, width_arcsec=width)
    field, path = view.plane("strict_mom1", "broad_mom1")
    contours, levels = quantities.contours(view, "")
    panel = Panel(
        field, f"Mean velocity ({quantities.KMS})", style.VELOCITY, maps.about(field, view.vsys_kms), contours, levels
    )
    sigma = view.noise_k if view.noise else measure.robust_sigma(cut.brightness_k)
    ends = measure.line_ends(line, view.header, half)
    return Picture(
        channels.position_velocity(panel, view.frame, ends, cut, line, sigma),
        f"Brightness temperature (K) along position angle {line.pa_deg:.0f}° (north through east, towards the receding"
        f" side), averaged over {width:.0f}″ across. The angle is that of the velocity gradient: a plane fitted to"
        f" mom1, weighted by mom0, leaves {line.rms_kms:.0f} km/s rms; the cut passes through the mom0-weighted centre."
        " The arrow points to positive offsets; the dashed line is the plane; contours are 3, 6, 12, ... times the"
        f" noise of {sigma:.2g} K.",
        (view.cube, path),
        wide=True,
    )


def _resolutions(view: LineView) -> list[partial[Block]]:
    if not view.shelf.entry.tags:
        return []
    return [partial(make, view) for make in (resolutions.table, resolutions.spectra, resolutions.gallery)]
