"""Gaussian convolution of one plane from its own beam to a round one, exact, in the Fourier domain. No files."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from fringeflow_postprocess.beam import Beam, RoundRule

Edges = Literal["normalised", "zero"]

_PADDING_FWHM = 3.0
"""Padding against wrap, in widths of the kernel: a Gaussian has fallen to 2e-11 there."""

_LEAST_WEIGHT = 0.01
"""Pixels with less than this part of the kernel on valid neighbours are blanked."""


def edges_of(rule: RoundRule) -> Edges:
    """Return what blank pixels count for where beams are rounded by this rule: zero as in the reference, or nothing."""
    return "zero" if rule == "reference" else "normalised"


def to_round_beam(
    plane: NDArray[np.float32],
    beam: Beam,
    round_arcsec: float,
    increments_arcsec: tuple[float, float],
    *,
    edges: Edges = "normalised",
) -> NDArray[np.float32]:
    """Return `plane`, in Jy per old beam, convolved to a round beam, in Jy per new beam.

    The transfer function is the ratio of the two beams' Fourier transforms, so the beam that results is exact
    however small the kernel (postprocess specification, W-05). Blank pixels stay blank.

    Parameters
    ----------
    plane
        Shape (y, x); NaN where blank.
    beam
        Beam of this plane; its major axis must not exceed `round_arcsec`.
    round_arcsec
        Full width at half maximum wanted.
    increments_arcsec
        Of x (negative where east is left) and y.
    edges
        "normalised" divides by the convolved footprint: a blank pixel then counts for nothing, instead of for zero,
        and the border keeps its level (W-29); "zero" counts it for zero, as the reference does.
    """
    if beam.is_about(round_arcsec):
        return plane
    valid = np.isfinite(plane)
    narrowest = math.sqrt(max(round_arcsec**2 - beam.minor_arcsec**2, 0.0))
    padded = _padded_shape(plane.shape, narrowest, increments_arcsec)
    transfer = transfer_function(padded, beam, round_arcsec, increments_arcsec)

    def smooth(image: NDArray[np.float64]) -> NDArray[np.float64]:
        spectrum = fft.rfft2(image, padded, workers=1)
        result: NDArray[np.float64] = fft.irfft2(spectrum * transfer, padded, workers=1)
        return result[: plane.shape[0], : plane.shape[1]]

    smoothed = smooth(np.where(valid, plane, 0.0).astype(np.float64))
    if edges == "normalised":
        weight = smooth(valid.astype(np.float64))
        valid &= weight >= _LEAST_WEIGHT
        smoothed = np.divide(smoothed, weight, out=smoothed, where=valid)
    smoothed *= round_arcsec**2 / (beam.major_arcsec * beam.minor_arcsec)
    return np.where(valid, smoothed, np.nan).astype(np.float32)


def transfer_function(
    shape: tuple[int, int], beam: Beam, round_arcsec: float, increments_arcsec: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the Fourier transform of the unit-area kernel from `beam` to the round beam, for ``rfft2`` of `shape`.

    A Gaussian of full width w transforms to exp(-pi^2 w^2 s^2 / (4 ln 2)), s being the spatial frequency along w.
    """
    return _transform(
        shape,
        (round_arcsec**2 - beam.major_arcsec**2, round_arcsec**2 - beam.minor_arcsec**2),
        beam.pa_deg,
        increments_arcsec,
    )


def gaussian(
    shape: tuple[int, int], beam: Beam, increments_arcsec: tuple[float, float], *, columns: int | None = None
) -> NDArray[np.float64]:
    """Return the Fourier transform of `beam` with integral one, for ``rfft2`` of `shape`, or its first `columns`."""
    squares = beam.major_arcsec**2, beam.minor_arcsec**2
    return _transform(shape, squares, beam.pa_deg, increments_arcsec, columns)


def _transform(
    shape: tuple[int, int],
    squares: tuple[float, float],
    pa_deg: float,
    increments_arcsec: tuple[float, float],
    columns: int | None = None,
) -> NDArray[np.float64]:
    """Return the transform of a Gaussian from the squares of its axes (arcsec^2)."""
    east = fft.rfftfreq(shape[1], increments_arcsec[0])[None, :columns]
    north = fft.fftfreq(shape[0], increments_arcsec[1])[:, None]
    angle = math.radians(pa_deg)
    along = east * math.sin(angle) + north * math.cos(angle)
    across = east * math.cos(angle) - north * math.sin(angle)
    excess = squares[0] * along**2 + squares[1] * across**2
    result: NDArray[np.float64] = np.exp(-(math.pi**2) / (4 * math.log(2)) * excess)
    return result


def _padded_shape(
    shape: tuple[int, ...], kernel_arcsec: float, increments_arcsec: tuple[float, float]
) -> tuple[int, int]:
    pads = [math.ceil(_PADDING_FWHM * kernel_arcsec / abs(step)) for step in increments_arcsec[::-1]]
    ny, nx = (fft.next_fast_len(length + pad, real=True) for length, pad in zip(shape, pads, strict=True))
    return ny, nx
