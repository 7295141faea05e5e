"""One interferometric field from imaging's FITS files to the final grid in kelvin, a plane at a time.

First everything that the result depends on as a whole is settled (see `planning`), then planes flow through. It knows
arrays and FITS files, but no units, recipes or names.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fringeflow.fitsplanes import Planes
from fringeflow_postprocess import primary_beam, trim
from fringeflow_postprocess.planning import Plan, empty, response_of


def kelvin_planes(image: Planes, response: Planes | None, plan: Plan) -> Iterator[NDArray[np.float32]]:
    """Yield the planes of the final cube: corrected, convolved, trimmed, in kelvin.

    Raises
    ------
    DataError
        At the end, if erosion left nothing.
    """
    settings, left = plan.settings, 0
    for index, factor in zip(plan.kept, plan.factors(), strict=True):
        plane = primary_beam.corrected(image.plane(index), response_of(image, response, index), settings.pblimit)
        plane = trim.without_rind(plan.on_final_grid(plan.at_round_beam(plane, index)), settings.rind_pixels)
        left += int(np.isfinite(plane).sum())
        yield plane * np.float32(factor)
    if not left:
        raise empty(image)


def response_planes(image: Planes, response: Planes, plan: Plan) -> Iterator[NDArray[np.float32]]:
    """Yield the planes of the primary beam on the final grid, rebinned as the data are (W-14), not eroded."""
    for index in plan.kept:
        pb = response_of(image, response, index)
        valid = primary_beam.usable(image.plane(index), pb, plan.settings.pblimit)
        yield plan.on_final_grid(np.where(valid, pb, np.float32(np.nan)))


def relative_response_planes(image: Planes, weight: Planes, plan: Plan) -> Iterator[NDArray[np.float32]]:
    """Yield, on the final grid, the response that the `weight` of a corrected image stands for (W-14).

    That is the root of the weight relative to the plane's largest: the noise is inversely proportional to it, as it is
    to a single field's primary beam.
    """
    for index in plan.kept:
        own = np.where(np.isfinite(image.plane(index)), weight.plane(index), np.float32(np.nan))
        largest = np.nanmax(own) if np.isfinite(own).any() else np.float32(1)
        yield plan.on_final_grid(np.sqrt(own / largest))
