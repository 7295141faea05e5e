"""Spectral indices of continuum images, of one field and of mosaics (postprocess specification, W-22). Arrays, planes.

With x = (nu - nu0) / nu0 the sky is I (1 + alpha x). An image shows it through the primary beam's response P(nu), so
its first two Taylor terms are P I and P I (alpha + s ln P): s ln P is the slope of P, both logarithmic. One pointing
with a Gaussian beam as wide as the wavelength is long has s = 2, at half power a slope of -1.4.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fringeflow.errors import DataError
from fringeflow.fitsplanes import Planes
from fringeflow_postprocess import noise, primary_beam, trim
from fringeflow_postprocess.planning import Plan, response_of
from fringeflow_postprocess.single_field import relative_response_planes

Plane = NDArray[np.float32]

LEAST_SNR = 5.0
"""A mosaic's index is blank where its brightness is less than so many times the noise there."""

_BLANK = np.float32(np.nan)


def of_field(alpha: Planes, image: Planes, response: Planes, plan: Plan, *, beam_slope: float = 0.0) -> Iterator[Plane]:
    """Yield imaging's spectral index on the final grid, where the image is valid, without the primary beam's slope.

    Raises
    ------
    DataError
        It is not of the image's shape.
    """
    if alpha.shape != image.shape or alpha.stokes != image.stokes:
        raise DataError(f"{alpha.path} and {image.path} differ in shape", remedy="image them again")
    for index in plan.kept:
        pb = response_of(image, response, index)
        valid = primary_beam.usable(image.plane(index), pb, plan.settings.pblimit)
        found = np.where(valid, alpha.plane(index), _BLANK)
        if beam_slope:
            found -= np.float32(beam_slope) * np.log(pb, out=np.zeros_like(pb), where=valid)
        inside = trim.without_rind(plan.on_final_grid(np.where(valid, 1, np.nan)), plan.settings.rind_pixels)
        yield np.where(np.isfinite(inside), plan.on_final_grid(found), _BLANK)


def corrected_term(term: Plane, image: Plane, response: Plane, cutoff: float, beam_slope: float) -> Plane:
    """Return the sky's first-order term, (tt1 - s ln P tt0) / P, from two terms of an image and its primary beam.

    Blank where the image is not usable.
    """
    sky = primary_beam.corrected(term, response, cutoff)
    valid = primary_beam.usable(image, response, cutoff)
    slope = np.float32(beam_slope) * np.log(response, out=np.zeros_like(response), where=valid)
    return np.where(valid, sky - slope * primary_beam.corrected(image, response, cutoff), _BLANK)


def of_terms(image: Planes, term: Planes, weight: Planes, plan: Plan) -> Iterator[tuple[Plane, Plane]]:
    """Yield the spectral index, term over image, and its uncertainty, on the final grid.

    Blank where the image is less than `LEAST_SNR` times its noise. The uncertainty is that of a ratio: the variance of
    ``term - alpha image``, over the image squared. The noise of both and its covariance, which follows from that of
    their sum and their difference, are measured in the map itself and rise as the response falls.

    Parameters
    ----------
    image, term, weight
        Of a corrected image with a round beam.

    Raises
    ------
    DataError
        The noise cannot be measured.
    """
    for index, response in zip(plan.kept, relative_response_planes(image, weight, plan), strict=True):
        zeroth, first = (plan.on_final_grid(each.plane(index)) for each in (image, term))
        sigmas = _noise(zeroth, first, response)
        if not np.isfinite(sigmas).all():
            raise DataError(f"the noise of {term.path} cannot be measured", remedy="image it on a larger field")
        sigma, own, covariance = (np.float32(each) for each in sigmas)
        valid = np.isfinite(trim.without_rind(zeroth, plan.settings.rind_pixels)) & np.isfinite(first)
        valid &= zeroth * response >= np.float32(LEAST_SNR) * sigma
        blank = np.full_like(zeroth, _BLANK)
        alpha = np.divide(first, zeroth, out=blank.copy(), where=valid)
        variance = np.maximum(own**2 - 2 * covariance * alpha + (sigma * alpha) ** 2, 0)
        yield alpha, np.divide(np.sqrt(variance), zeroth * response, out=blank, where=valid)


def _noise(zeroth: Plane, first: Plane, response: Plane) -> tuple[float, float, float]:
    """Return the noise of two terms where the response is one, and its covariance."""
    sigma, own = (noise.flat_noise(each, response) for each in (zeroth, first))
    if not (sigma > 0 and own > 0):
        return sigma, own, float("nan")
    scale = np.float32(sigma / own)
    plus, minus = (noise.flat_noise(zeroth + sign * scale * first, response) for sign in (1, -1))
    return sigma, own, (plus**2 - minus**2) / (4 * float(scale))
