"""One field corrected and with a round beam, and its weight: what feathers and mosaics are made of. Arrays and planes.

The grid is the box round the valid pixels, not rebinned: rebinning comes last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from fringeflow.errors import DataError
from fringeflow.fitsplanes import Planes
from fringeflow_postprocess import noise, primary_beam, trim
from fringeflow_postprocess.planning import Plan, response_of
from fringeflow_postprocess.spectral_index import corrected_term


def grid(image: Planes, plan: Plan) -> tuple[fits.Header, tuple[int, int, int]]:
    """Return the header and shape of the result, of one Stokes parameter."""
    first = (plan.planes[0],) if image.is_cube else ()
    box = plan.staged
    header = trim.cropped_header(image.header, (box.x[0], box.y[0], *first))
    return header, (plan.planes[1] - plan.planes[0], box.y[1] - box.y[0], box.x[1] - box.x[0])


def planes(image: Planes, response: Planes, plan: Plan, sigmas: list[float]) -> Iterator[NDArray[np.float32]]:
    """Yield the planes in Jy per round beam, corrected, then convolved (5.1); append the noise of each to `sigmas`.

    The noise is that at the round beam where the response is one (W-19); NaN for blank planes.
    """
    for index in plan.kept:
        pb = response_of(image, response, index)
        plane = primary_beam.corrected(image.plane(index), pb, plan.settings.pblimit)
        plane = plan.staged.of(plan.at_round_beam(plane, index))
        sigmas.append(noise.flat_noise(plane, plan.staged.of(pb)))
        yield plane


def term_planes(
    term: Planes, image: Planes, response: Planes, plan: Plan, beam_slope: float
) -> Iterator[NDArray[np.float32]]:
    """Yield the planes of an image's first-order Taylor `term` in the same way (see `corrected_term`)."""
    for index in plan.kept:
        pb = response_of(image, response, index)
        both = term.beside(image, index), image.plane(index)
        plane = corrected_term(*both, pb, plan.settings.pblimit, beam_slope)
        yield plan.staged.of(plan.at_round_beam(plane, index))


def weight_planes(
    made: Planes, image: Planes, response: Planes, plan: Plan, sigmas: Sequence[float]
) -> Iterator[NDArray[np.float32]]:
    """Yield the weights, response^2 / sigma^2, valid where what was `made` is (W-18).

    Raises
    ------
    DataError
        The noise cannot be measured in any plane.
    """
    # Neighbouring channels are alike, neighbouring Stokes parameters are not.
    smooth = np.concatenate([noise.in_groups(each) for each in np.split(np.array(sigmas), len(plan.stokes))])
    if not np.isfinite(smooth).all():
        raise DataError(f"the noise of {image.path} cannot be measured: too few pixels", remedy="lower pblimit")
    for place, index in enumerate(plan.kept):
        pb = plan.staged.of(response_of(image, response, index))
        yield noise.weight(pb, float(smooth[place]), np.isfinite(made.plane(place)))
