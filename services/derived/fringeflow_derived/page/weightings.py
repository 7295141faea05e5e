"""The page of test images: which weighting and taper gives which beam and noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from fringeflow_derived.page import html
from fringeflow_derived.page.blocks import Block, Chapter, Note, Picture, Section, Table, build
from fringeflow_derived.page.figures import weightings as figures
from fringeflow_derived.page.read import Array

Row = Mapping[str, Any]

_PSF_LIMITS = (-0.1, 1.0)
_HEAD = (
    "set", "beam (arcsec)", "angle (deg)", "noise (mJy/beam)", "predicted", "peak", "kappa", "skirt", "epsilon",
    "seconds", "status",
)  # fmt: skip
_MEANINGS = (
    "Noise: robust, in the channel without signal, where the primary beam is above 0.7; predicted: from the weights of "
    "the visibilities. Peak: of the channel with most signal. Kappa: excess of the PSF over the "
    "Gaussian of its beam inside half its width (0 for a Gaussian, negative if more peaked). Skirt: the PSF one width "
    "from its peak (0.0625). Epsilon: volume of the Gaussian over that of the PSF out to its first null (1)."
)


def write(out: Path, folder: Path, stem: str, title: str, rows: Sequence[Row], suggestion: str | None) -> Path:
    """Write the page `out` about the rows of a test, whose FITS files ``{stem}_test_{name}*.fits`` lie in `folder`."""
    good = [row for row in rows if row["status"] != "failed"]
    sections = [Section("Results", (_table(rows, folder, stem), Note(_MEANINGS), _said(suggestion)))]
    if good:
        sections += [
            build("Measures", *_pictures(good)),
            build("Point spread functions", *_galleries(good, folder, stem, "_psf")),
            build("Images", *_galleries(good, folder, stem, "")),
        ]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html.document(title, [Chapter(title, "test", tuple(sections))], out.parent), encoding="utf-8")
    return out


def _said(suggestion: str | None) -> Note:
    return Note(f"Suggested: {suggestion}" if suggestion else "No set could be imaged.")


def _table(rows: Sequence[Row], folder: Path, stem: str) -> Table:
    return Table(
        tuple(_cells(row) for row in rows), _HEAD, f"{stem}_test_summary.csv in {folder.name} holds all figures"
    )


def _cells(row: Row) -> tuple[str, ...]:
    if row["status"] == "failed":
        return (row["test_name"], *("" for _ in _HEAD[2:]), f"failed: {row['message']}")
    return (
        row["test_name"],
        f"{row['bmaj_arcsec']:.4g} x {row['bmin_arcsec']:.4g}",
        f"{row['bpa_deg']:.1f}",
        f"{1e3 * row['rms']:.4g}",
        f"{1e3 * row['predicted_rms']:.4g}",
        f"{1e3 * row['max']:.4g}",
        f"{row['kappa']:.3f}",
        "" if row["skirt_level"] is None else f"{row['skirt_level']:.3f}",
        f"{row['epsilon']:.3f}",
        f"{row['seconds']:.1f}",
        str(row["status"]),
    )


def _pictures(rows: Sequence[Row]) -> list[Callable[[], Block]]:
    drawn = {
        "Azimuthal profiles of the PSFs, with the Gaussians of their beams": figures.profiles,
        "Measures against the robustness": figures.against_robust,
        "Measures against the beam": figures.against_beam,
    }
    return [partial(_one, draw, rows, caption) for caption, draw in drawn.items()]


def _one(draw: Callable[[Sequence[Row]], bytes], rows: Sequence[Row], caption: str) -> Block:
    return Picture(draw(rows), caption, wide=True)


def _galleries(rows: Sequence[Row], folder: Path, stem: str, kind: str) -> list[Callable[[], Block]]:
    pages = [rows[start : start + figures.PANELS] for start in range(0, len(rows), figures.PANELS)]
    return [partial(_gallery, page, folder, stem, kind) for page in pages]


def _gallery(rows: Sequence[Row], folder: Path, stem: str, kind: str) -> Block:
    files = tuple(folder / f"{stem}_test_{row['test_name']}{kind}.fits" for row in rows)
    planes = [np.asarray(fits.getdata(path), dtype=np.float64) for path in files]
    if kind:
        shown = [_centre(plane, row) for plane, row in zip(planes, rows, strict=True)]
        caption = "PSFs about their peaks, -0.1 to 1, with the contour of half the peak"
        return Picture(figures.gallery(rows, shown, [_PSF_LIMITS] * len(rows), half=True), caption, files, wide=True)
    limits = [_limits(plane) for plane in planes]
    caption = "The channel with most signal, median plus and minus three standard deviations"
    return Picture(figures.gallery(rows, planes, limits, half=False), caption, files, wide=True)


def _centre(plane: Array, row: Row) -> Array:
    """Return the PSF out to six beams."""
    half = max(4, int(6 * row["bmaj_arcsec"] / row["cell_arcsec"]))
    y, x = (length // 2 for length in plane.shape)
    return plane[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]


def _limits(plane: Array) -> tuple[float, float]:
    middle, spread = float(np.nanmedian(plane)), float(np.nanstd(plane))
    return middle - 3 * spread, middle + 3 * spread
