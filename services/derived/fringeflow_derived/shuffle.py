"""Spectra moved along the velocity axis until a velocity field lies in the middle channel, and back. Arrays only.

The cube is moved by fractions of channels, noise and masks to the nearest channel, so that nothing rings (derived
specification, section 12).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import fft

from fringeflow_derived.sources import Array

Kernel = Literal["fourier", "linear", "sinc"]
KERNELS: tuple[Kernel, ...] = ("fourier", "linear", "sinc")
SINC_REACH = 4
"""Half width in channels of the windowed sinc (Lanczos) kernel."""

_BLANK_SHARE = 0.5
_FRACTIONS = 64


@dataclass(frozen=True)
class ShuffleOptions:
    """How spectra are moved.

    `fourier` shifts exactly what is narrow in frequency and rings at sharp edges; `linear` and `sinc` (Lanczos, four
    channels on either side) do not, or hardly, but smooth a little.
    """

    kernel: Kernel = "fourier"


def offsets(velocity_kms: Array, field_kms: Array) -> Array:
    """Return how many channels each spectrum lies from where it is to be: from channel n//2, fractional.

    Parameters
    ----------
    velocity_kms
        (nchan,) of the channel centres, ascending or descending.
    field_kms
        (...) velocities to be moved to channel n//2; NaN where unknown.

    Returns
    -------
    Array
        float64, NaN where the velocity is unknown or off the axis by more than half a channel.
    """
    count = len(velocity_kms)
    numbers = np.arange(count, dtype=np.float64)
    if count > 1:
        order = np.argsort(velocity_kms)
        ascending = np.asarray(velocity_kms, np.float64)[order]
        widths = 0.5 * np.abs(np.diff(ascending)[[0, -1]])
        # The axis goes on for half a channel beyond the centres of the outermost ones.
        ends = (ascending[0] - widths[0], ascending[-1] + widths[1])
        step = 1.0 if order[0] == 0 else -1.0
        places = np.concatenate([[order[0] - 0.5 * step], numbers[order], [order[-1] + 0.5 * step]])
        position = np.interp(field_kms, np.concatenate([[ends[0]], ascending, [ends[1]]]), places)
        with np.errstate(invalid="ignore"):
            known = (field_kms >= ends[0]) & (field_kms <= ends[1])
    else:
        position, known = np.zeros(np.shape(field_kms)), np.isfinite(field_kms)
    return np.where(known, position - count // 2, np.nan)


def shift(spectra: Array, channels: Array, kernel: Kernel = "fourier") -> Array:
    """Return spectra read `channels` further on: what was at channel k + channels is at k.

    Parameters
    ----------
    spectra
        (nchan, ...), NaN where blank.
    channels
        (...) from `offsets`; their negative moves shuffled spectra back.
    kernel
        See `ShuffleOptions`.

    Returns
    -------
    Array
        float32; NaN beyond the ends of the axis, where more than half of a value would come from blank channels, and
        where `channels` is NaN.
    """
    known = np.isfinite(channels)
    move = np.where(known, channels, 0.0)
    finite = np.isfinite(spectra)
    filled = np.where(finite, spectra, 0.0).astype(np.float64)
    moved = _fourier(filled, move) if kernel == "fourier" else _gathered(filled, finite, move, kernel)
    blank = _taps(~finite, move, _weights("linear", move), outside=1.0) > _BLANK_SHARE + 1e-9
    place = np.arange(len(spectra), dtype=np.float64).reshape(-1, *[1] * move.ndim) + move
    outside = (place < -1e-9) | (place > len(spectra) - 1 + 1e-9)
    return np.where(blank | outside | ~known, np.nan, moved).astype(np.float32)


def shift_nearest(spectra: Array, channels: Array) -> Array:
    """Return spectra moved by whole channels: no value is changed; 0, false or NaN beyond the ends of the axis."""
    known = np.isfinite(channels)
    # Half channels go up, whatever the sign: rint would send neighbours different ways.
    move = np.floor(np.where(known, channels, 0.0) + 0.5).astype(np.int64)
    place = np.arange(len(spectra)).reshape(-1, *[1] * move.ndim) + move
    inside = (place >= 0) & (place < len(spectra)) & known
    moved = np.take_along_axis(spectra, np.clip(place, 0, len(spectra) - 1), 0)
    return np.where(inside, moved, np.nan if spectra.dtype.kind == "f" else False).astype(spectra.dtype)


def noise_factor(channels: Array, rho: tuple[float, ...], kernel: Kernel = "fourier") -> Array:
    """Return by what the noise of each spectrum is multiplied when it is moved by `channels`; 1 for ``fourier``."""
    move = np.where(np.isfinite(channels), channels, 0.0)
    if kernel == "fourier":
        return np.ones(move.shape)
    return np.sqrt(_covariance(_weights(kernel, move), rho, 0))


def correlation_after(rho: tuple[float, ...], kernel: Kernel = "fourier") -> tuple[float, ...]:
    """Return the mean correlation of channels after moving spectra by all fractions of a channel."""
    if kernel == "fourier":
        return rho
    weights = _weights(kernel, (np.arange(_FRACTIONS) + 0.5) / _FRACTIONS)
    variance = _covariance(weights, rho, 0)
    lags = range(len(rho) + len(weights))
    found = [float(np.mean(_covariance(weights, rho, lag) / variance)) for lag in lags]
    significant = [lag for lag, value in enumerate(found) if abs(value) >= 0.02]
    return tuple(found[: significant[-1] + 1])


def _fourier(filled: Array, move: Array) -> Array:
    """Return spectra moved by a phase ramp (derived specification, section 12.3)."""
    count = len(filled)
    cycles = fft.rfftfreq(count).reshape(-1, *[1] * move.ndim)
    spectrum = fft.rfft(filled, axis=0) * np.exp(2j * np.pi * cycles * move)
    moved: Array = fft.irfft(spectrum, n=count, axis=0)
    return moved


def _gathered(filled: Array, finite: Array, move: Array, kernel: Kernel) -> Array:
    """Return spectra interpolated between channels; blank ones have no weight."""
    weights = _weights(kernel, move)
    total, weight = _taps(filled, move, weights), _taps(finite, move, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight > 0.1, total / weight, np.nan)


def _taps(values: Array, move: Array, weights: Array, outside: float = 0.0) -> Array:
    """Return sums over neighbouring channels; `weights` (2 * reach, ...) start at ``floor(move) - reach + 1``."""
    count, reach = len(values), len(weights) // 2
    first = np.floor(move).astype(np.int64) - reach + 1
    total = np.zeros(values.shape)
    channel = np.arange(count).reshape(-1, *[1] * move.ndim)
    for tap, weight in enumerate(weights):
        place = channel + first + tap
        inside = (place >= 0) & (place < count)
        value = np.take_along_axis(values, np.clip(place, 0, count - 1), 0)
        total += weight * np.where(inside, value, outside)
    return total


def _weights(kernel: Kernel, move: Array) -> Array:
    """Return the weights (2 * reach, ...), of unit sum, of the channels round fractional places."""
    fraction = move - np.floor(move)
    if kernel == "linear":
        return np.stack([1 - fraction, fraction])
    distance = np.stack([tap - fraction for tap in range(1 - SINC_REACH, SINC_REACH + 1)])
    weights = np.sinc(distance) * np.sinc(distance / SINC_REACH) * (np.abs(distance) < SINC_REACH)
    normalised: Array = weights / weights.sum(axis=0)
    return normalised


def _covariance(weights: Array, rho: tuple[float, ...], lag: int) -> Array:
    """Return the covariance of interpolated values `lag` channels apart, of unit noise with correlation `rho`."""
    total = np.zeros(weights.shape[1:])
    for i, first in enumerate(weights):
        for j, second in enumerate(weights):
            distance = abs(i - j - lag)
            if distance < len(rho):
                total += first * second * rho[distance]
    return total
