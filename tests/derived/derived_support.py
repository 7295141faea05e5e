"""Small cubes with known contents for the tests of the derived stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy import ndimage

SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))


def beam_noise(rng, shape, fwhm_pixels):
    """Noise of unit rms with the correlation of a Gaussian beam."""
    sigma = fwhm_pixels * SIGMA_PER_FWHM
    noise = np.stack([ndimage.gaussian_filter(rng.normal(size=shape[1:]), sigma, mode="wrap") for _ in range(shape[0])])
    return noise * (2 * sigma * np.sqrt(np.pi))


def header(
    *,
    cell_arcsec=1.0,
    beam=(5.0, 5.0, 0.0),
    v0_kms=100.0,
    dv_kms=2.5,
    unit="K",
    axis="VRAD",
    restfreq=230.538e9,
    crpix=None,
):
    """Header of a cube; of an image if `axis` is empty."""
    x, y = crpix or (20.0, 20.0)
    cards = fits.Header()
    cards.update({"BMAJ": beam[0] / 3600, "BMIN": beam[1] / 3600, "BPA": beam[2], "BUNIT": unit, "OBJECT": "TEST"})
    cards.update({"CTYPE1": "RA---SIN", "CRVAL1": 150.0, "CDELT1": -cell_arcsec / 3600, "CRPIX1": x, "CUNIT1": "deg"})
    cards.update({"CTYPE2": "DEC--SIN", "CRVAL2": 2.0, "CDELT2": cell_arcsec / 3600, "CRPIX2": y, "CUNIT2": "deg"})
    cards.update({"RESTFRQ": restfreq, "SPECSYS": "LSRK", "JYTOK": 1.222e6 / (230.0**2 * beam[0] * beam[1])})
    if axis == "FREQ":
        f0, df = restfreq * (1 - v0_kms / 299792.458), -restfreq * dv_kms / 299792.458
        cards.update({"CTYPE3": "FREQ", "CRVAL3": f0, "CDELT3": df, "CRPIX3": 1.0, "CUNIT3": "Hz"})
    elif axis:
        cards.update({"CTYPE3": axis, "CRVAL3": v0_kms * 1e3, "CDELT3": dv_kms * 1e3, "CRPIX3": 1.0, "CUNIT3": "m/s"})
    return cards


def write(path: Path, data, cards=None):
    """Write a float32 FITS file."""
    cards = cards or header(axis="VRAD" if data.ndim == 3 else "")
    fits.PrimaryHDU(data.astype(np.float32 if data.dtype != np.uint8 else np.uint8), cards).writeto(
        path, overwrite=True
    )
    return path


def galaxy(shape, v_kms, peak=1.0, sigma_kms=6.0, gradient=1.0, radius=8.0):
    """A rotating disc: Gaussian in space and velocity."""
    _, height, width = shape
    y, x = np.mgrid[0:height, 0:width] - np.array([height // 2, width // 2])[:, None, None]
    bright = peak * np.exp(-0.5 * (x**2 + y**2) / radius**2)
    centre = np.mean(v_kms) + gradient * x
    return bright * np.exp(-0.5 * ((np.asarray(v_kms)[:, None, None] - centre) / sigma_kms) ** 2)
