"""The combination of an interferometer's plane with a single dish's of the same grid, in the Fourier domain. No files.

With the single dish's beam G, of integral one, and both in Jy per own beam::

    result = I - G * I + factor (Omega_I / Omega_S) S

(* is convolution): what CASA's feather does plane by plane, F_I (1 - FT G) + factor (Omega_I / Omega_S) F_S, written so
that only the interferometer's term is transformed. Its plane is padded with zeros before that, so nothing wraps.

One round of that gives the dish half of the weight at baselines of 0.4 of its diameter, 5 m for 12 m, where no
interferometer measures: what its clean lacks there, up to its shortest baseline, stays lost. Further rounds do the same
to the result. After n the weights are 1 - (1 - FT G)^n and (1 - FT G)^n, so that n = 5 hands over at 8 m, the shortest
baselines of 7 m dishes; and the result, smoothed with G, comes ever closer to the dish's image. The dish's noise grows
by n at most, at spatial frequencies where its response is small. (It is Van Cittert's deconvolution of the dish's
image, begun at the interferometer's.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fringeflow.errors import DataError
from fringeflow_postprocess.beam import Beam
from fringeflow_postprocess.convolve import to_round_beam
from fringeflow_postprocess.lowpass import ILLUMINATED, LowPass

Plane = NDArray[np.float32]

_OVERLAP = (0.05, 0.35)
"""Spatial frequencies at which both are compared, by the response of the dish: for 12 m, baselines of 6.5 to 9.7 m."""


@dataclass(frozen=True)
class Settings:
    """What may be chosen (postprocess specification, W-10).

    `factor` multiplies the single dish; `dish_m` is an effective diameter smaller than its own, to whose beam its image
    is smoothed first; `low_pass` takes away what lies beyond its aperture; `rounds` are explained above; `taper` says
    whether both planes are multiplied with the primary beam's response before and divided by it afterwards (W-12).
    """

    factor: float = 1.0
    dish_m: float | None = None
    low_pass: bool = False
    rounds: int = 1
    taper: bool = False

    def beam_of(self, dish: Beam, frequency_hz: float) -> Beam:
        """Return the beam with which the single dish takes part.

        Raises
        ------
        DataError
            The effective diameter would make the image sharper than it is.
        """
        if self.dish_m is None:
            return dish
        fwhm = math.degrees(ILLUMINATED * 299792458.0 / frequency_hz / self.dish_m) * 3600
        if fwhm < dish.major_arcsec * (1 - 1e-3):
            raise DataError(
                f"a dish of {self.dish_m:g} m has a beam of {fwhm:.4g} arcsec, the image {dish.major_arcsec:.4g}",
                remedy="make feather_dish_m smaller or leave it out",
            )
        return Beam(max(fwhm, dish.major_arcsec), max(fwhm, dish.major_arcsec))


def feathered(
    interferometer: Plane,
    dish: Plane,
    beams: tuple[Beam, Beam],
    increments_arcsec: tuple[float, float],
    *,
    settings: Settings | None = None,
    used: Beam | None = None,
    taper: Plane | None = None,
) -> Plane:
    """Return the combination, in Jy per beam of the interferometer, blank where either is (7.3, W-11).

    With one round only what is valid in both counts. With more, what the dish alone sees counts too: emission beyond
    the interferometer's field, which the dish's beam spreads into it, is not taken for its own.

    Parameters
    ----------
    interferometer, dish
        Shape (y, x), in Jy per own beam, NaN where blank.
    beams
        Of the interferometer and of the dish.
    increments_arcsec
        Of x and y.
    used
        Beam to smooth the dish to first; see `Settings.beam_of`.
    taper
        Response that both are multiplied with before and the result divided by after; positive.
    """
    chosen = settings or Settings()
    own, low = beams[0], used or beams[1]
    scaled = (
        dish if used is None or used == beams[1] else to_round_beam(dish, beams[1], low.major_arcsec, increments_arcsec)
    )
    valid = np.isfinite(interferometer) & np.isfinite(scaled)
    if taper is not None:
        valid &= taper > 0
    if not valid.any():
        return np.full(interferometer.shape, np.nan, np.float32)
    weight = np.ones_like(interferometer) if taper is None else np.where(valid, taper, np.float32(0))
    known = valid if chosen.rounds == 1 or taper is not None else np.isfinite(scaled)
    # In single precision, as the planes are: transforms take two thirds of the time and half of the room.
    high = np.where(valid, interferometer, np.float32(0)) * weight
    short = np.where(known, scaled, np.float32(0)) * weight
    seen = LowPass(high.shape, low, increments_arcsec)
    response = seen.gaussian(low).astype(np.float32)
    if chosen.low_pass:
        short = seen.filtered(short, seen.aperture(low).astype(np.float32))
    short *= np.float32(chosen.factor * own.solid_angle_sr / low.solid_angle_sr)
    result = high if known is valid else np.where(valid, high, short)
    for _ in range(chosen.rounds):
        smooth = seen.filtered(result, response)
        result += short
        result -= smooth
        result[~known] = 0
    return np.where(valid, result / np.where(valid, weight, np.float32(1)), np.float32(np.nan))


def overlap(
    interferometer: Plane, dish: Plane, beams: tuple[Beam, Beam], increments_arcsec: tuple[float, float]
) -> tuple[float, float]:
    """Return what the ratio of dish to interferometer follows from, over the spatial frequencies both measure (W-10).

    Of the interferometer smoothed with the dish's beam, F, and the dish, S, both where both are valid: the sums of
    Re(S F*) and |F|^2 over frequencies at which the beam's transform is between 0.05 and 0.35. Their quotient, after
    adding up planes, is the flux ratio.
    """
    valid = np.isfinite(interferometer) & np.isfinite(dish)
    high = np.where(valid, interferometer, 0).astype(np.float64)
    seen = LowPass(high.shape, beams[1], increments_arcsec)
    response = seen.gaussian(beams[1])
    smooth = np.where(valid, seen.filtered(high, response), 0.0)
    low = np.where(valid, dish, 0).astype(np.float64) * (beams[0].solid_angle_sr / beams[1].solid_angle_sr)
    both = (response > _OVERLAP[0]) & (response < _OVERLAP[1])
    ours, theirs = (seen.spectrum(image)[both] for image in (smooth, low))
    theirs *= seen.gaussian(beams[0])[both]  # the smoothed interferometer has both beams
    return float((theirs * ours.conj()).real.sum()), float((ours * ours.conj()).real.sum())


def at_dish_beam(
    result: Plane, dish: Plane, beams: tuple[Beam, Beam], increments_arcsec: tuple[float, float]
) -> tuple[float, float]:
    """Return the fluxes, in Jy, of a feathered plane smoothed with the dish's beam and of the dish's, where valid."""
    valid = np.isfinite(result)
    high = np.where(valid, result, 0).astype(np.float64)
    seen = LowPass(high.shape, beams[1], increments_arcsec)
    smooth = seen.filtered(high, seen.gaussian(beams[1]))
    pixel = math.radians(abs(increments_arcsec[0]) / 3600) * math.radians(abs(increments_arcsec[1]) / 3600)
    sums = float(smooth[valid].sum()), float(dish[valid].sum(dtype=np.float64))
    return sums[0] * pixel / beams[0].solid_angle_sr, sums[1] * pixel / beams[1].solid_angle_sr
