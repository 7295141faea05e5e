"""Writes what a single dish would see of a simulated disc (`simulation`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy.ndimage import gaussian_filter, map_coordinates

from tests.simulation import CO21_GHZ, FWHM, Truth

BEAM_ARCSEC = 28.0
_CELL_ARCSEC, _SIZE = 4.0, 48


def write_dish(path: Path, truth: Truth, *, unit: str = "K") -> None:
    """Write a cube of the disc at a beam of 28 arcsec, without noise, in K, Jy/beam or Jy/pixel, with a Stokes axis."""
    model = truth.line_cubes_jy[0]
    pad = int(np.ceil(_SIZE * _CELL_ARCSEC / 2 / truth.cell_arcsec)) + 2
    sigma = BEAM_ARCSEC / FWHM / truth.cell_arcsec
    places = (np.arange(_SIZE) - _SIZE // 2) * _CELL_ARCSEC / truth.cell_arcsec
    cube = []
    for plane in model:
        wide = np.pad(plane, pad)
        seen = gaussian_filter(wide, sigma, mode="constant", truncate=6) * 2 * np.pi * sigma**2
        middle = pad + plane.shape[0] // 2
        cube.append(map_coordinates(seen, np.meshgrid(middle + places, middle + places, indexing="ij"), order=3))
    frequencies = truth.windows_ghz[0]
    jansky = np.array(cube)
    scale = {
        "K": 1.222e6 / frequencies[:, None, None] ** 2 / BEAM_ARCSEC**2,  # the textbook's rounded figure
        "Jy/beam": 1.0,
        "Jy/pixel": _CELL_ARCSEC**2 / (np.pi / (4 * np.log(2)) * BEAM_ARCSEC**2),
    }
    values = jansky * scale[unit]
    header = fits.Header()
    axes = (
        ("RA---SIN", truth.ra_deg, -_CELL_ARCSEC / 3600, _SIZE // 2 + 1, "deg"),
        ("DEC--SIN", truth.dec_deg, _CELL_ARCSEC / 3600, _SIZE // 2 + 1, "deg"),
        ("FREQ", frequencies[0] * 1e9, (frequencies[1] - frequencies[0]) * 1e9, 1, "Hz"),
        ("STOKES", 1, 1, 1, ""),
    )
    for axis, (kind, value, step, pixel, measure) in enumerate(axes, 1):
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = kind, value, step
        header[f"CRPIX{axis}"], header[f"CUNIT{axis}"] = pixel, measure
    header["BMAJ"] = header["BMIN"] = BEAM_ARCSEC / 3600
    header["BPA"], header["RESTFRQ"], header["SPECSYS"] = 0.0, CO21_GHZ * 1e9, "LSRK"
    header["RADESYS"], header["EQUINOX"], header["BUNIT"] = "FK5", 2000.0, unit
    fits.writeto(path, values[None].astype(np.float32), header, overwrite=True)
