"""From Jy/beam to kelvin: brightness temperature, and the frequencies of an image's planes. No pixels."""

from __future__ import annotations

import numpy as np
from astropy.constants import codata2018
from astropy.io import fits
from numpy.typing import NDArray

from fringeflow.errors import DataError
from fringeflow_postprocess.beam import Beam

_JANSKY = 1e-26  # W m-2 Hz-1
_C = float(codata2018.c.value)
_BOLTZMANN = float(codata2018.k_B.value)


def kelvin_per_jansky(frequency_hz: NDArray[np.float64], beam: Beam) -> NDArray[np.float64]:
    """Return the brightness temperature of 1 Jy/beam, c^2 / (2 k nu^2 Omega) (postprocess specification, 9.3).

    The constants are those of CODATA 2018 (W-21).

    Parameters
    ----------
    frequency_hz
        Any shape.
    beam
        The restoring beam.

    Returns
    -------
    ndarray
        K per (Jy/beam), of the shape of `frequency_hz`.
    """
    return np.asarray(_JANSKY * _C**2 / (2 * _BOLTZMANN * np.square(frequency_hz) * beam.solid_angle_sr))


def frequencies_hz(header: fits.Header, planes: int) -> NDArray[np.float64]:
    """Return the frequency of each plane, read off the spectral axis, which is the third.

    Raises
    ------
    DataError
        The axis is none of FREQ, VRAD, VOPT (in Hz or m/s), or a velocity without rest frequency.
    """
    kind = str(header["CTYPE3"]).split("-")[0].strip().upper()
    axis = header["CRVAL3"] + header["CDELT3"] * (np.arange(planes, dtype=np.float64) + 1 - header["CRPIX3"])
    unit = str(header.get("CUNIT3", "")).strip()
    scale = {"": 1.0, "Hz": 1.0, "GHz": 1e9, "m/s": 1.0, "m s-1": 1.0, "km/s": 1e3, "km s-1": 1e3}.get(unit)
    if scale is None:
        raise DataError(f"the spectral axis is in {unit}", remedy="export the image with a velocity axis in m/s")
    if kind == "FREQ":
        return np.asarray(axis * scale)
    rest = header.get("RESTFRQ", header.get("RESTFREQ", 0.0))
    if not rest > 0:
        raise DataError("a velocity axis without rest frequency", remedy="set RESTFRQ in the image")
    if kind == "VRAD":
        return np.asarray(rest * (1 - axis * scale / _C))
    if kind == "VOPT":
        return np.asarray(rest / (1 + axis * scale / _C))
    raise DataError(f"a spectral axis of type {kind}", remedy="export the image with a radio velocity axis")
