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
from fringeflow_postprocess.convolve import to_round_beam
from fringeflow_postprocess.single_field import Plan, response_of


def grid(image: Planes, plan: Plan) -> tuple[fits.Header, tuple[int, int, int]]:
    """Return the header and shape of the result."""
    first = (plan.planes[0],) if image.is_cube else ()
    box = plan.staged
    header = trim.cropped_header(image.header, (box.x[0], box.y[0], *first))
    return header, (plan.planes[1] - plan.planes[0], box.y[1] - box.y[0], box.x[1] - box.x[0])


def planes(image: Planes, response: Planes, plan: Plan, sigmas: list[float]) -> Iterator[NDArray[np.float32]]:
    """Yield the planes in Jy per round beam, corrected, then convolved (5.1); append the noise of each to `sigmas`.

    The noise is that at the round beam where the response is one (W-19); NaN for blank planes.
    """
    for index in range(*plan.planes):
        pb = response_of(image, response, index)
        plane = primary_beam.corrected(image.plane(index), pb, plan.settings.pblimit)
        own = plan.beams[index]
        if own:
            plane = to_round_beam(plane, own, plan.round_arcsec, plan.increments_arcsec, edges=plan.settings.edges)
        plane, pb = plan.staged.of(plane), plan.staged.of(pb)
        sigmas.append(noise.flat_noise(plane, pb))
        yield plane


def weight_planes(
    made: Planes, image: Planes, response: Planes, plan: Plan, sigmas: Sequence[float]
) -> Iterator[NDArray[np.float32]]:
    """Yield the weights, response^2 / sigma^2, valid where what was `made` is (W-18).

    Raises
    ------
    DataError
        The noise cannot be measured in any plane.
    """
    smooth = noise.in_groups(sigmas)
    if not np.isfinite(smooth).all():
        raise DataError(f"the noise of {image.path} cannot be measured: too few pixels", remedy="lower pblimit")
    for place, index in enumerate(range(*plan.planes)):
        pb = plan.staged.of(response_of(image, response, index))
        yield noise.weight(pb, float(smooth[place]), np.isfinite(made.plane(place)))
