"""Gaussian beams: pixels per beam, the kernel that takes one beam to another, Kelvin per Jy. Numbers only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fringeflow_derived.sources import Array

FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))
KERNEL_RADIUS_SIGMA = 5.0
"""Beyond this a kernel holds 4e-6 of its volume; the specification asks for at least 4 (derived, W9)."""


@dataclass(frozen=True)
class Beam:
    """A Gaussian beam: full widths at half maximum in arcsec, position angle in degrees from north to east."""

    major_arcsec: float
    minor_arcsec: float
    angle_deg: float = 0.0

    @property
    def area_arcsec2(self) -> float:
        """Its solid angle."""
        return math.pi * self.major_arcsec * self.minor_arcsec / (4 * math.log(2))

    def pixels(self, cell_arcsec: float) -> float:
        """Return the number of pixels of side `cell_arcsec` per beam."""
        return self.area_arcsec2 / cell_arcsec**2


def reach(beam: Beam, target_arcsec: float, tolerance: float) -> str:
    """Return what it takes to bring `beam` to a round beam: ``convolve``, ``copy`` or ``unreachable``.

    The test is on the major axis with the fraction `tolerance` (derived specification, section 5.4).
    """
    excess = (target_arcsec - beam.major_arcsec) / beam.major_arcsec
    # A beam that is off the tolerance by rounding alone is still a copy.
    if excess > tolerance + 1e-9:
        return "convolve"
    return "copy" if excess >= -tolerance - 1e-9 else "unreachable"


def kernel(
    beam: Beam, target_arcsec: float, cell_arcsec: float | tuple[float, float], *, east_is_left: bool = True
) -> Array:
    """Return the image of the Gaussian whose convolution with `beam` gives a round beam (derived, section 5.5).

    Parameters
    ----------
    beam
        The present beam.
    target_arcsec
        FWHM of the round beam wanted, larger than the major axis of `beam`.
    cell_arcsec
        Side of square pixels, or width and height of oblong ones.
    east_is_left
        Whether right ascension grows to the left (CDELT1 < 0), as position angles need to know.

    Returns
    -------
    Array
        float64, odd square, unit sum.
    """
    width, height = cell_arcsec if isinstance(cell_arcsec, tuple) else (cell_arcsec, cell_arcsec)
    cell = min(width, height)
    along = math.sqrt(target_arcsec**2 - beam.major_arcsec**2) / FWHM_PER_SIGMA / cell
    across = math.sqrt(target_arcsec**2 - beam.minor_arcsec**2) / FWHM_PER_SIGMA / cell
    radius = math.ceil(KERNEL_RADIUS_SIGMA * max(along, across)) + 1
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    y, x = y * (height / cell), x * (width / cell)
    east = -x if east_is_left else x
    angle = math.radians(beam.angle_deg)
    major = y * math.cos(angle) + east * math.sin(angle)
    minor = y * math.sin(angle) - east * math.cos(angle)
    image = np.exp(-0.5 * ((major / max(along, 1e-6)) ** 2 + (minor / max(across, 1e-6)) ** 2))
    normalised: Array = image / image.sum()
    return normalised


def kernel_fwhm_arcsec(beam: Beam, target_arcsec: float) -> tuple[float, float]:
    """Return the kernel's FWHM along and across the major axis of `beam`."""
    return (
        math.sqrt(max(target_arcsec**2 - beam.major_arcsec**2, 0.0)),
        math.sqrt(max(target_arcsec**2 - beam.minor_arcsec**2, 0.0)),
    )


def kelvin_per_jansky(frequency_ghz: float, beam: Beam) -> float:
    """Return K per Jy/beam (derived specification, section 1)."""
    return 1.222e6 / (frequency_ghz**2 * beam.major_arcsec * beam.minor_arcsec)
