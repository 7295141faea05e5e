"""The chapter of one continuum image: the image, its spectral index where significant, and its residual."""
# ruff: noqa: RUF001 - Greek letters, primes and minus signs are what the reader of the page expects

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from fringeflow.errors import CorruptInputError, DataError, MissingInputError, NothingSelectedError
from fringeflow_derived.page import blocks, checks, facts, measure, read
from fringeflow_derived.page.blocks import Block, Chapter, Note, Picture, Section, Table
from fringeflow_derived.page.entries import Shelf
from fringeflow_derived.page.figures import maps, style
from fringeflow_derived.page.figures.maps import Frame, Panel
from fringeflow_derived.page.read import Array, Plane

SIGNIFICANT = 5.0
MOST_SOURCES = 8


class ImageView:
    """One continuum image, its residual where there is one, and its noise.

    Raises
    ------
    MissingInputError
        If the image itself is not there.
    CorruptInputError
        If it cannot be read or is blank.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.path = shelf.need("imaging")
        self.image: Plane = read.read_plane(self.path)
        if not np.isfinite(self.image.data).any():
            raise CorruptInputError(f"{self.path.name} has no finite pixel")
        self.residual_path = shelf.find("imaging", "residual")
        residual = read.read_plane(self.residual_path) if self.residual_path else self.image
        self.residual = residual
        self.sigma_jy = measure.robust_sigma(residual.data)
        self.beam = read.beam_of(self.image.header)
        self.frame = self.frame_of(self.image)

    def frame_of(self, plane: Plane) -> Frame:
        """Return the frame of an image with this beam."""
        return Frame(read.sky(plane.header), read.pixel_arcsec(plane.header), self.beam, self.shelf.entry.distance_mpc)


def chapter(shelf: Shelf) -> Chapter:
    """Return the chapter of the continuum image of `shelf`."""
    entry = shelf.entry
    title = f"{entry.target} · {entry.config} · {entry.product}"
    try:
        view = ImageView(shelf)
    except DataError as error:
        return Chapter(title, entry.root, (Section("Nothing to show", (Note(str(error)),)),))
    sections = [
        blocks.build("At a glance", partial(_image, view), partial(_table, view), partial(_sources, view)),
        blocks.build("Imaging", partial(_residual, view), partial(_point_spread, view)),
    ]
    sections.append(Section("Files", facts.files(shelf)))
    return Chapter(title, entry.root, tuple(sections))


def _image(view: ImageView) -> Block:
    image = view.image.data * 1e3
    sigma = view.sigma_jy * 1e3
    levels = tuple(SIGNIFICANT * sigma * 3**power for power in range(6))
    outline, limits = np.nan_to_num(image), (-2 * sigma, 12 * sigma)
    label = "Continuum (mJy beam$^{-1}$)"
    panels = [Panel(image, label, style.INTENSITY, limits, outline, levels, style.OUTLINE)]
    caption = "Continuum brightness (mJy/beam) from −2σ to 12σ, with contours at 5, 15, 45, ... σ."
    path = view.shelf.find("imaging", "alpha")
    if path is None:
        caption += " No spectral index is there."
        return Picture(maps.row(panels, view.frame, side_in=4.4), caption, (view.path,), wide=True)
    shown = np.where(image > SIGNIFICANT * sigma, _index(view, path), np.nan)
    panels.append(Panel(shown, "Spectral index where above 5σ", style.VELOCITY, (-3.0, 3.0), outline, levels))
    caption += (
        " Spectral index α (brightness ∝ frequency to the power α) where the image exceeds 5σ, with the same contours;"
        " values beyond ±3 are shown as ±3 and mean that the band is too narrow to tell."
    )
    return Picture(maps.row(panels, view.frame, side_in=4.4), caption, (view.path, path), wide=True)


def _index(view: ImageView, path: Path) -> Array:
    index = read.read_plane(path).data
    if index.shape != view.image.data.shape:
        raise CorruptInputError(f"{path.name} has shape {index.shape}, {view.path.name} has {view.image.data.shape}")
    return index


def _sources(view: ImageView) -> Block:
    image = np.nan_to_num(view.image.data)
    labels, count = ndimage.label(image > SIGNIFICANT * view.sigma_jy)
    peaks = ndimage.maximum_position(image, labels, range(1, count + 1)) if count else []
    peaks = sorted(peaks, key=lambda place: -image[place])[:MOST_SOURCES]
    path = view.shelf.find("imaging", "alpha")
    index = _index(view, path) if path else None
    rows = tuple(
        (
            _position(view, *place),
            f"{image[place] * 1e3:.2f}",
            f"{image[place] / view.sigma_jy:.1f}",
            "" if index is None else f"{index[place]:.1f}",
        )
        for place in peaks
    )
    if not rows:
        raise NothingSelectedError("no peak of the continuum exceeds 5σ")
    head = ("Position", "Peak (mJy/beam)", "Signal to noise", "Spectral index there")
    caption = (
        f"The brightest of {count} islands above 5σ, without correction for the primary beam. A spectral index far from"
        " zero means that the band is too narrow to tell."
    )
    return Table(rows, head, caption)


def _position(view: ImageView, y: int, x: int) -> str:
    return str(read.sky(view.image.header).pixel_to_world(x, y).to_string("hmsdms", precision=1))


def _table(view: ImageView) -> Table:
    header, image = view.image.header, view.image.data
    y, x = np.unravel_index(int(np.nanargmax(image)), image.shape)
    where = _position(view, int(y), int(x))
    source = "residual" if view.residual_path else "image"
    rows = [
        ("Object", str(header.get("OBJECT", view.shelf.entry.target))),
        ("Centre", facts.centre(header)),
        *facts.beam_rows(view.beam, view.shelf.entry.distance_mpc),
        ("Pixel", f"{view.frame.pixel_arcsec:g}″; {header['NAXIS1']} × {header['NAXIS2']} pixels"),
        ("Noise", f"{view.sigma_jy * 1e3:.3g} mJy/beam (1.4826 MAD of the {source})"),
        ("Peak", f"{image[y, x] * 1e3:.4g} mJy/beam at {where}; {image[y, x] / view.sigma_jy:.0f} times the noise"),
        *view.shelf.entry.facts.items(),
    ]
    return Table(tuple(rows))


def _residual(view: ImageView) -> Block:
    if view.residual_path is None:
        raise MissingInputError("the residual image is not there")
    data = view.residual.data
    return checks.residual_picture(data, checks.histogram(data), view.frame_of(view.residual), view.residual_path)


def _point_spread(view: ImageView) -> Block:
    path = view.shelf.need("imaging", "psf")
    plane = read.read_plane(path)
    return checks.spread_picture(plane.data, plane.header, view.beam, path)
