"""Cubes smoothed along the spectral axis, and stored on no more pixels than their beam needs; planes of arrays only.

Both are optional (derived specification, section 5.10 and C5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, repeat

import numpy as np

from fringeflow.fitscards import Cards
from fringeflow_derived.sources import Array


def smoothed(planes: Iterable[Array], weights: Array) -> Iterator[Array]:
    """Yield the planes of a cube smoothed with a box, each read once.

    Parameters
    ----------
    planes
        (ny, nx) in channel order, NaN where blank.
    weights
        Of the box, an odd number (`peaks.box_weights`). Blank channels and those beyond the band have no weight; what
        is blank stays so.
    """
    if len(weights) == 1:
        yield from planes
        return
    reach = len(weights) // 2
    window: deque[Array | None] = deque([None] * reach, maxlen=len(weights))
    for plane in chain(planes, repeat(None, reach)):
        window.append(plane)
        if len(window) == len(weights):
            centre = window[reach]
            if centre is not None:
                yield _mean(centre, window, weights)


def stride(beam_pixels: float, pixels_per_beam: float | None) -> int:
    """Return every how manyth pixel is kept, so that a beam of FWHM `beam_pixels` still has `pixels_per_beam`.

    A Gaussian beam sampled at 3 pixels or more loses nothing: its transform is below 4e-4 at the highest frequency.
    """
    return 1 if pixels_per_beam is None else max(1, int(beam_pixels / pixels_per_beam + 1e-9))


def thinned(plane: Array, step: int) -> Array:
    """Return every `step`-th pixel of an image: the middle ones of blocks of that size."""
    return plane[step // 2 :: step, step // 2 :: step]


def thin_header(header: Cards, step: int) -> None:
    """Change the celestial grid of a header to that of `thinned` images, in place."""
    if step == 1:
        return
    for axis in ("1", "2"):
        header[f"CRPIX{axis}"] = (float(header[f"CRPIX{axis}"]) - 1 - step // 2) / step + 1
        for name in (f"CDELT{axis}", f"CD{axis}_1", f"CD{axis}_2"):
            if name in header:
                header[name] = float(header[name]) * step


def _mean(centre: Array, window: Iterable[Array | None], weights: Array) -> Array:
    total, weight = np.zeros(centre.shape), np.zeros(centre.shape)
    for share, plane in zip(weights, window, strict=True):
        if plane is not None:
            finite = np.isfinite(plane)
            total += share * np.where(finite, plane, 0.0)
            weight += share * finite
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.isfinite(centre), total / weight, np.nan).astype(np.float32)
