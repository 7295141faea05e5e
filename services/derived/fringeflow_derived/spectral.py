"""Velocities of channels from the cards of a cube's third axis, whether velocity, frequency or wavelength.

Velocity axes keep their own convention, radio or optical; frequencies become radio velocities, wavelengths optical
ones. Knows cards, not files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from fringeflow.errors import DataError
from fringeflow_derived.sources import Array

SPEED_OF_LIGHT_KMS = 299792.458
REST_CARDS = ("RESTFRQ", "RESTFREQ")

_RADIO, _OPTICAL = ("VRAD", "VELO"), ("VOPT", "FELO", "ZOPT")
_WAVES = ("WAVE", "AWAV")
_KMS = {"m/s": 1e-3, "m s-1": 1e-3, "m.s-1": 1e-3, "km/s": 1.0, "km s-1": 1.0, "km.s-1": 1.0}
_HERTZ = {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9}
_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "micron": 1e-6, "nm": 1e-9, "angstrom": 1e-10}
_LEAST_STEP = {"velocity": 20.0, "frequency": 20.0, "wavelength": 0.0}
"""Steps smaller than this (m/s, Hz) are not believed to be SI where the card with the unit is missing."""


def velocities_kms(header: Mapping[str, Any], channels: int, name: str = "the cube") -> Array:
    """Return the velocities of the channel centres, float64, ascending or descending.

    Parameters
    ----------
    header
        With the cards of axis 3.
    channels
        How many to give; may be more than the axis has.
    name
        What to call the cube in errors.

    Raises
    ------
    DataError
        A card is missing, or says what cannot be turned into velocity; names the card.
    """
    kind, _ = _kind(header)
    if kind == "FREQ":
        frequency = _linear(header, channels, name) * _unit(header, _HERTZ, "frequency", name)
        return np.asarray(SPEED_OF_LIGHT_KMS * (1 - frequency / rest_hz(header, name)))
    if kind in _WAVES:
        metres = _axis(header, channels, name) * _unit(header, _METRES, "wavelength", name)
        return np.asarray(SPEED_OF_LIGHT_KMS * (metres / _rest_metres(header, name) - 1))
    if kind == "ZOPT":
        return np.asarray(SPEED_OF_LIGHT_KMS * _axis(header, channels, name))
    if kind in _RADIO or kind in _OPTICAL:
        scale = _unit(header, _KMS, "velocity", name)
        return _axis(header, channels, name, light=SPEED_OF_LIGHT_KMS / scale) * scale
    raise DataError(
        f"{name}: CTYPE3 is {header.get('CTYPE3', 'missing')!r}",
        remedy="give the spectral axis as velocity (VRAD, VOPT), frequency (FREQ) or wavelength (WAVE)",
    )


def channel_width_kms(header: Mapping[str, Any], channels: int, name: str = "the cube") -> float:
    """Return the median distance of neighbouring channels; of a single channel, that to the next if there were one."""
    return float(np.median(np.abs(np.diff(velocities_kms(header, max(2, channels), name)))))


def convention(header: Mapping[str, Any]) -> str:
    """Return ``radio`` or ``optical``: what the velocities of `velocities_kms` are."""
    kind, _ = _kind(header)
    return "optical" if kind in (*_OPTICAL, *_WAVES) else "radio"


def rest_hz(header: Mapping[str, Any], name: str = "the cube") -> float:
    """Return the rest frequency.

    Raises
    ------
    DataError
        The card RESTFRQ is not there, or is 0.
    """
    found = next((float(header[card]) for card in REST_CARDS if card in header), 0.0)
    if not found > 0:
        raise DataError(f"{name}: the header has no RESTFRQ", remedy="add the card RESTFRQ, the line's frequency in Hz")
    return found


def _rest_metres(header: Mapping[str, Any], name: str) -> float:
    if float(header.get("RESTWAV", 0.0)) > 0:
        return float(header["RESTWAV"])
    return SPEED_OF_LIGHT_KMS * 1e3 / rest_hz(header, name)


def _kind(header: Mapping[str, Any]) -> tuple[str, str]:
    """Return what the axis counts, and the code of a non-linear scale or of a frame."""
    kind, _, code = str(header.get("CTYPE3", "")).strip().upper().partition("-")
    return kind, code.strip("-")


def _axis(header: Mapping[str, Any], channels: int, name: str, light: float = 0.0) -> Array:
    """Return the axis in its own unit; optical scales may go in equal steps of frequency (FELO, VOPT-F2W, WAVE-F2W).

    `light` is the speed of light in that unit where the axis is a velocity, which is then one less than a ratio.
    """
    kind, code = _kind(header)
    linear = _linear(header, channels, name)
    if kind == "FELO" or (code == "F2W" and kind in (*_OPTICAL, *_WAVES)):
        offset = light if kind in ("VOPT", "FELO") else 1.0 if kind == "ZOPT" else 0.0
        reference = float(header["CRVAL3"]) + offset
        return np.asarray(reference / (1 - (linear + offset - reference) / reference) - offset)
    if re.fullmatch(r"[A-Z]2[A-Z]", code):
        raise DataError(
            f"{name}: CTYPE3 is {header['CTYPE3']!r}, a scale that is not linear",
            remedy="regrid the cube to equal steps of radio velocity",
        )
    return linear


def _linear(header: Mapping[str, Any], channels: int, name: str) -> Array:
    for card in ("CRVAL3", "CRPIX3", *(() if "CD3_3" in header else ("CDELT3",))):
        if card not in header:
            raise DataError(f"{name}: the header has no {card}", remedy=f"add the card {card} and try again")
    step = float(header["CD3_3"] if "CD3_3" in header else header["CDELT3"] * header.get("PC3_3", 1.0))
    if step == 0:
        raise DataError(f"{name}: CDELT3 is 0", remedy="set CDELT3 to the width of a channel")
    return np.asarray(float(header["CRVAL3"]) + (np.arange(channels) + 1 - float(header["CRPIX3"])) * step)


def _unit(header: Mapping[str, Any], known: Mapping[str, float], what: str, name: str) -> float:
    """Return the axis's unit in km/s, Hz or m; without CUNIT3 it is SI, where that can be told from the step."""
    unit = str(header.get("CUNIT3", "")).strip().lower()
    if unit in known:
        return known[unit]
    step = abs(float(header.get("CD3_3", header.get("CDELT3", 0.0))))
    if not unit and step >= _LEAST_STEP[what]:
        return known[next(iter(known))]
    raise DataError(
        f"{name}: CUNIT3 is {unit or 'missing'}, and the axis is a {what}",
        remedy=f"set the card CUNIT3 to one of {', '.join(known)}",
    )
