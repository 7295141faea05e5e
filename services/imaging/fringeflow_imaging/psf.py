"""How good a PSF is: its azimuthal profile against the Gaussian that images are restored with. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from fringeflow_imaging.beam import Beam
from fringeflow_imaging.minor import Plane

Floats = NDArray[np.float64]

_REACH = 10.0  # major axes
_FWHM = 4.0 * np.log(2.0)


@dataclass(frozen=True)
class Profile:
    """Means over rings one pixel wide: `radius` in arcsec, PSF and Gaussian in units of the peak, pixels of each ring.

    Rings are ellipses of the beam's shape, and `radius` the geometric mean of their half axes.
    """

    radius: Floats
    psf: Floats
    gaussian: Floats
    pixels: NDArray[np.int64]
    width_arcsec: float


@dataclass(frozen=True)
class Shape:
    """What a profile comes to (imaging specification, section 18).

    `kappa`: excess over the Gaussian inside half its width, as a part of it: 0 for a Gaussian, negative if more peaked.
    `skirt_level`: the PSF at one width from its peak: 0.0625 for a Gaussian; None beyond the profile.
    `epsilon`: volume of the Gaussian over that of the PSF, out to the PSF's first null: 1 for a Gaussian.
    """

    kappa: float
    skirt_level: float | None
    epsilon: float


def profile(psf: Plane, beam: Beam, cell_arcsec: float) -> Profile | None:
    """Return the profile of `psf`, (ny, nx), about its peak, out to ten major axes of `beam`; None if it is empty."""
    if not np.isfinite(psf).any() or not np.nanmax(psf) > 0:
        return None
    peak = np.unravel_index(int(np.nanargmax(psf)), psf.shape)
    width = float(np.sqrt(beam[0] * beam[1]))
    radius = _radius(psf.shape, (int(peak[0]), int(peak[1])), beam, cell_arcsec)
    good = np.isfinite(psf) & (radius <= min(_REACH * beam[0], float(radius.max())))
    ring = np.rint(radius[good] / cell_arcsec).astype(np.intp)
    count = np.bincount(ring)
    kept = count > 0
    return Profile(
        radius=_means(ring, radius[good], count)[kept],
        psf=_means(ring, psf[good] / psf[peak], count)[kept],
        gaussian=_means(ring, np.exp(-_FWHM * (radius[good] / width) ** 2), count)[kept],
        pixels=count[kept],
        width_arcsec=width,
    )


def shape_of(found: Profile) -> Shape:
    """Return the measures of a profile; the PSF and the Gaussian are averaged over the same rings."""
    inside = found.radius <= found.width_arcsec / 2
    excess = found.psf - found.gaussian
    nulls = np.flatnonzero(found.psf <= 0)
    end = int(nulls[0]) if nulls.size else len(found.psf)
    volume = float((found.psf * found.pixels)[:end].sum())
    skirt = None
    if found.radius[-1] >= found.width_arcsec and len(found.radius) > 2:
        skirt = float(np.exp(-_FWHM) + CubicSpline(found.radius, excess)(found.width_arcsec))
    return Shape(
        kappa=float(excess[inside].sum() / found.gaussian[inside].sum()),
        skirt_level=skirt,
        epsilon=float((found.gaussian * found.pixels)[:end].sum()) / volume if volume > 0 else float("nan"),
    )


def _radius(shape: tuple[int, ...], peak: tuple[int, int], beam: Beam, cell_arcsec: float) -> Floats:
    """Return the distance from `peak` in arcsec, measured so that the beam is round."""
    major, minor, angle = beam
    rows, columns = np.indices(shape)
    north, west = (rows - peak[0]) * cell_arcsec, (columns - peak[1]) * cell_arcsec
    turn = np.radians(angle)
    along = north * np.cos(turn) - west * np.sin(turn)
    across = north * np.sin(turn) + west * np.cos(turn)
    return np.asarray(np.sqrt(major * minor) * np.hypot(along / major, across / minor), dtype=np.float64)


def _means(ring: NDArray[np.intp], values: NDArray[np.floating], count: NDArray[np.int64]) -> Floats:
    return np.asarray(np.bincount(ring, weights=values) / np.maximum(count, 1))
