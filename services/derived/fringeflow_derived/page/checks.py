"""Pictures that show whether the imaging can be trusted: noise, primary beam, point spread function, residuals."""
# ruff: noqa: RUF001 - Greek letters, primes and minus signs are what the reader of the page expects

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fringeflow.errors import CorruptInputError
from fringeflow_derived.page import measure, read
from fringeflow_derived.page.blocks import Block, Picture
from fringeflow_derived.page.figures import curves, maps, style
from fringeflow_derived.page.figures.maps import Frame, Panel
from fringeflow_derived.page.read import Array, Header
from fringeflow_derived.page.view import LineView

EDGES = np.linspace(-8.0, 8.0, 81)


def noise(view: LineView) -> Block:
    """Return the noise map, the primary beam, and the noise of each channel."""
    path = view.shelf.need("derived", "noise")
    unit = view.kelvin_per_jybeam
    with read.open_cube(path) as cube:
        mean = _mean(cube)
    panels = [Panel(mean, "Noise, mean over channels (K)", style.UNCERTAINTY, maps.stretch(mean, 0.5, 99.5))]
    files = [path]
    if view.response is not None:
        with read.open_cube(view.response) as cube:
            response = cube.plane(cube.shape[0] // 2)
        label, levels = "Primary beam, middle channel", (0.25, 0.5, 0.75)
        panels.append(Panel(response, label, style.WIDTH, (0.0, 1.0), response, levels, "white"))
        files.append(view.response)
    name = "noise cube × primary beam" if view.response else "noise cube"
    curve = {name: (view.velocity_kms, view.channel_noise_k() / unit * 1e3)}
    residual = view.shelf.find("imaging", "residual")
    if residual is not None:
        with read.open_cube(residual) as cube:
            sigma = np.array([measure.robust_sigma(plane) for plane in cube.planes()])
            curve["residual image (before rounding the beam)"] = (read.velocities_kms(cube.header), sigma * 1e3)
        files.append(residual)
    png = _maps_and_curve(panels, view.full_frame, lambda axes: curves.draw_noise(axes, curve))
    return Picture(
        png,
        _noise_caption(view),
        tuple(files),
        wide=True,
    )


def _noise_caption(view: LineView) -> str:
    """Say what the pictures of the noise show; of a cube alone there is neither primary beam nor residual."""
    if view.response is None:
        return "Noise (K), and the noise of each channel (mJy/beam): the median over the field of the noise cube."
    return (
        "Noise (K), which grows where the primary beam falls; the primary beam with contours at 0.25, 0.5 and 0.75; the"
        " noise of each channel (mJy/beam): the median over the field of the noise cube, times the primary beam so that"
        " it is flat, and the scatter (1.4826 MAD) of the residual image, which also holds what was not cleaned."
    )


def point_spread(view: LineView) -> Block:
    """Return the point spread function of the middle channel with its radial profile."""
    path = view.shelf.need("imaging", "psf")
    with read.open_cube(path) as cube:
        image, header = cube.plane(cube.shape[0] // 2), cube.header.copy()
    if not np.isfinite(image).any():
        raise CorruptInputError(f"{path.name} has no finite pixel in its middle channel")
    beam = _imaging_beam(view) or view.beam
    return spread_picture(image, header, beam, path, " of the middle channel")


def spread_picture(image: Array, header: Header, beam: read.Beam | None, path: Path, which: str = "") -> Picture:
    """Return a point spread function, cut to ten beams about its peak, with its radial profile."""
    cell = read.pixel_arcsec(header)
    peak = np.unravel_index(int(np.nanargmax(image)), image.shape)
    reach = 6 * beam.major_arcsec if beam else 40 * cell
    half = max(int(reach / cell), 8)
    window = read.window_around(_near(image.shape, (int(peak[0]), int(peak[1])), half), margin=0.0)
    frame = Frame(read.sky(header)[window.slices], cell, beam)
    sidelobe = float(np.nanmin(image))
    panel = Panel(image[window.slices], "Point spread function", "RdGy_r", (-0.35, 0.35), image[window.slices], (0.5,))
    radius, mean = measure.radial_profile(image, (int(peak[0]), int(peak[1])), cell, reach)
    png = _maps_and_curve([panel], frame, lambda axes: curves.draw_profile(axes, radius, mean, beam))
    return Picture(
        png,
        f"Point spread function{which} (peak 1, shown from −0.35 to 0.35, contour at half maximum) and its"
        " azimuthal mean against radius, with the fitted beam. The deepest negative sidelobe is"
        f" −{abs(sidelobe):.0%} of the peak.",
        (path,),
        wide=True,
    )


def residual(view: LineView) -> Block:
    """Return the residual of the brightest channel and the distribution of residual over noise of all channels."""
    path = view.shelf.need("imaging", "residual")
    with read.open_cube(path) as cube:
        channel = _brightest(view, read.velocities_kms(cube.header))
        image, header = cube.plane(channel), cube.header.copy()
        counts = np.zeros(EDGES.size - 1)
        for plane in cube.planes():
            counts += histogram(plane)
        velocity = read.velocities_kms(cube.header)[channel]
    frame = Frame(read.sky(header), read.pixel_arcsec(header), _imaging_beam(view) or view.beam, view.distance_mpc)
    return residual_picture(image, counts, frame, path, f" of the channel at {velocity:.1f} km/s, the brightest,")


def residual_picture(image: Array, counts: Array, frame: Frame, path: Path, which: str = "") -> Picture:
    """Return a residual image in mJy/beam beside a histogram of residual over noise."""
    sigma = measure.robust_sigma(image) * 1e3
    panel = Panel(image * 1e3, "Residual (mJy beam$^{-1}$)", "RdGy_r", (-5 * sigma, 5 * sigma))
    png = _maps_and_curve([panel], frame, lambda axes: curves.draw_histogram(axes, counts, EDGES))
    beyond = counts[(EDGES[:-1] >= 5) | (EDGES[1:] <= -5)].sum()
    return Picture(
        png,
        f"Residual{which} on a scale of ±5σ, σ = {sigma:.3g} mJy/beam; and residual over noise (1.4826 MAD) of"
        f" every pixel with a unit Gaussian. Beyond ±5σ lie {beyond:.0f} of {counts.sum():.0f} pixels; the outermost"
        " bins hold all that lies outside.",
        (path,),
        wide=True,
    )


def histogram(plane: Array) -> Array:
    """Return counts of the plane over its own robust scatter; what lies outside is counted in the outermost bins."""
    sigma = measure.robust_sigma(plane)
    if not sigma > 0:
        return np.zeros(EDGES.size - 1)
    ratio = np.clip(plane[np.isfinite(plane)] / sigma, EDGES[0], EDGES[-1])
    return np.asarray(np.histogram(ratio, EDGES)[0], dtype=np.float64)


def _maps_and_curve(panels: list[Panel], frame: Frame, draw: Callable[[Any], None]) -> bytes:
    side, left, bottom, gap, curve_in = 3.1, 0.95, 0.55, 0.28, 4.0
    start = left + len(panels) * side + (len(panels) - 1) * gap + 0.85
    figure = style.new_figure(start + curve_in + 0.2, bottom + side + 0.72)
    for index, panel in enumerate(panels):
        axes = style.place(figure, left + index * (side + gap), bottom, side, side, projection=frame.wcs)
        maps.dress(axes, declination=index == 0)
        maps.draw(axes, panel, frame)
        maps.colour_bar(figure, axes, panel)
    draw(style.place(figure, start, bottom, curve_in, side))
    return style.png(figure)


def _mean(cube: read.Cube) -> Array:
    total, count = np.zeros(cube.shape[1:]), np.zeros(cube.shape[1:])
    for plane in cube.planes():
        known = np.isfinite(plane)
        total[known] += plane[known]
        count += known
    mean = np.full(total.shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def _near(shape: tuple[int, ...], centre: tuple[int, int], half: int) -> read.Mask:
    y, x = np.indices(shape)
    return np.asarray((abs(y - centre[0]) <= half) & (abs(x - centre[1]) <= half))


def _imaging_beam(view: LineView) -> read.Beam | None:
    path = view.shelf.find("imaging")
    if path is None:
        return None
    with read.open_cube(path) as cube:
        return read.beam_of(cube.header)


def _brightest(view: LineView, velocity_kms: Array) -> int:
    for one in view.spectra.values():
        wanted = one.velocity_kms[int(np.argmax(one.flux_jy))]
        return int(np.argmin(np.abs(velocity_kms - wanted)))
    return velocity_kms.size // 2
