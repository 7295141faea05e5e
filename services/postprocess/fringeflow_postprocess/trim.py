"""Rebinning, cropping and eroding: of planes (arrays), and of the header that describes their grid. No files."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class Box:
    """A range of pixels on each axis, from zero, the upper end not included."""

    x: tuple[int, int]
    y: tuple[int, int]

    def of(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return this part of `plane`."""
        return plane[self.y[0] : self.y[1], self.x[0] : self.x[1]]


def extent(flags: NDArray[np.bool_], pad: int = 1) -> tuple[int, int]:
    """Return the range of indices from the first to the last true one, widened by `pad` within the array.

    Raises
    ------
    ValueError
        None is true.
    """
    where = np.flatnonzero(flags)
    if not where.size:
        raise ValueError("nothing is valid")
    return max(int(where[0]) - pad, 0), min(int(where[-1]) + pad + 1, len(flags))


def bounding_box(footprint: NDArray[np.bool_], pad: int = 1) -> Box:
    """Return the box round the valid pixels of `footprint`, shape (y, x) (postprocess specification, 9.1).

    Raises
    ------
    ValueError
        None is valid.
    """
    return Box(x=extent(np.any(footprint, axis=0), pad), y=extent(np.any(footprint, axis=1), pad))


def rebin_factor(beam_arcsec: float, pixel_arcsec: float, min_pixels_per_beam: int = 3) -> int:
    """Return by how much pixels can be joined and still sample the beam: floor((b / p) / min), at least 1 (9.1)."""
    return max(math.floor(beam_arcsec / abs(pixel_arcsec) / min_pixels_per_beam), 1)


def rebinned(plane: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return the means of the valid pixels of `factor` x `factor` blocks.

    A block is blank only if all of it is; incomplete blocks at the far edges are dropped.
    """
    if factor == 1:
        return plane
    ny, nx = (length // factor for length in plane.shape)
    blocks = plane[: ny * factor, : nx * factor].reshape(ny, factor, nx, factor)
    valid = np.isfinite(blocks)
    count = valid.sum(axis=(1, 3))
    total = np.where(valid, blocks, 0.0).sum(axis=(1, 3), dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def rebinned_footprint(footprint: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """Return where a rebinned plane with that `footprint` is valid."""
    return np.isfinite(rebinned(np.where(footprint, np.float32(1), np.float32(np.nan)), factor))


def without_rind(plane: NDArray[np.float32], pixels: int) -> NDArray[np.float32]:
    """Return `plane` with its valid area eroded by exactly `pixels`, 4-connected (postprocess specification, W-01).

    The edge of the array is an edge like any other.
    """
    valid = np.isfinite(plane)
    for _ in range(pixels):
        valid = ndimage.binary_erosion(valid)
    return np.where(valid, plane, np.float32(np.nan))


def cropped_header(header: fits.Header, starts: tuple[int, ...]) -> fits.Header:
    """Return `header` for a part of the grid that begins at pixel `starts` (from zero: x, y and, for cubes, plane)."""
    result = header.copy()
    for axis, start in enumerate(starts, start=1):
        result[f"CRPIX{axis}"] = header[f"CRPIX{axis}"] - start
    if len(starts) > 2 and "ALTRPIX" in header:
        result["ALTRPIX"] = header["ALTRPIX"] - starts[2]
    return result


def rebinned_header(header: fits.Header, factor: int) -> fits.Header:
    """Return `header` for celestial pixels joined by `factor`."""
    if factor == 1:
        return header
    result = header.copy()
    for axis in (1, 2):
        result[f"CRPIX{axis}"] = (header[f"CRPIX{axis}"] - 0.5) / factor + 0.5
        result[f"CDELT{axis}"] = header[f"CDELT{axis}"] * factor
    return result
