"""Spectral axes: radio velocities of planes, and which planes of one axis make up a plane of another. No pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.constants import speed_of_light

from fringeflow.errors import DataError
from fringeflow_postprocess.kelvin import frequencies_hz

_SNAP = 1e-3
"""Shares of a channel smaller than this are left out: two axes that agree so well are the same."""

_LEAST_COVERED = 0.5
"""A channel of which less than this is covered is blank."""

_VELOCITY_UNITS = {"": 1.0, "m/s": 1.0, "m s-1": 1.0, "km/s": 1e3, "km s-1": 1e3}

Mixture = tuple[tuple[int, float], ...]
"""Planes and their shares, which add up to one; empty for a blank plane."""


@dataclass(frozen=True)
class Channels:
    """Evenly spaced channels: radio velocity of the first, and the step, in m/s."""

    first_ms: float
    step_ms: float
    count: int

    @property
    def width_ms(self) -> float:
        """Of a channel."""
        return abs(self.step_ms)

    def velocities_ms(self) -> NDArray[np.float64]:
        """Return the centres of the channels."""
        return self.first_ms + self.step_ms * np.arange(self.count, dtype=np.float64)

    @staticmethod
    def of(header: fits.Header, planes: int) -> Channels:
        """Return the channels of a cube whose third axis is spectral: frequency or velocity (W-17).

        Raises
        ------
        DataError
            The axis is of no known kind, or a frequency without a rest frequency.
        """
        ends = velocities_ms(header, 2)
        return Channels(float(ends[0]), float(ends[1] - ends[0]), planes)


def velocities_ms(header: fits.Header, planes: int) -> NDArray[np.float64]:
    """Return the radio velocity, c (1 - nu / nu_rest), of each plane."""
    kind, unit = (str(header.get(card, "")).strip() for card in ("CTYPE3", "CUNIT3"))
    if kind.upper().startswith("VRAD") and unit in _VELOCITY_UNITS:
        step = header["CDELT3"] * (np.arange(planes, dtype=np.float64) + 1 - header["CRPIX3"])
        return np.asarray(_VELOCITY_UNITS[unit] * (header["CRVAL3"] + step))
    rest = float(header.get("RESTFRQ", header.get("RESTFREQ", 0.0)))
    if not rest > 0:
        raise DataError(f"a spectral axis of type {kind} without rest frequency", remedy="set RESTFRQ in the file")
    return np.asarray(speed_of_light * (1 - frequencies_hz(header, planes) / rest))


def mixtures(have: Channels, want: Channels) -> list[Mixture]:
    """Return for each wanted channel which of those at hand it is made of.

    Channels count by how much of them lies in the wanted one: wider channels are means, without aliasing (W-13); those
    of the same width or narrower are interpolated linearly. Equal channels are taken as they are (W-08).

    Parameters
    ----------
    have, want
        Their directions may differ.
    """
    width = max(have.width_ms, want.width_ms)
    centres = have.velocities_ms()
    return [_mixture(centres, have.width_ms, velocity, width) for velocity in want.velocities_ms()]


def moved(mixture: Mixture, planes: int) -> Mixture:
    """Return the same mixture of planes that lie farther on."""
    return tuple((index + planes, share) for index, share in mixture)


def union(axes: Sequence[Channels]) -> Channels:
    """Return channels that cover all `axes`: the widest ones, continued with their own phase (W-08, W-30)."""
    template = max(axes, key=lambda axis: round(axis.width_ms / axes[0].width_ms, 3))
    ends = [velocity for axis in axes for velocity in (axis.velocities_ms()[0], axis.velocities_ms()[-1])]
    places = [(end - template.first_ms) / template.step_ms for end in ends]
    first, last = int(np.ceil(min(places) - _LEAST_COVERED)), int(np.floor(max(places) + _LEAST_COVERED))
    return Channels(template.first_ms + first * template.step_ms, template.step_ms, last - first + 1)


def _mixture(centres: NDArray[np.float64], width: float, velocity: float, wanted: float) -> Mixture:
    low = np.maximum(centres - width / 2, velocity - wanted / 2)
    high = np.minimum(centres + width / 2, velocity + wanted / 2)
    shares = np.clip(high - low, 0.0, None) / wanted
    shares[shares < _SNAP * width / wanted] = 0.0
    covered = float(shares.sum())
    if covered < _LEAST_COVERED:
        return ()
    return tuple((int(index), float(shares[index] / covered)) for index in np.flatnonzero(shares))
