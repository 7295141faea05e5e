"""Peak maps of spectra: brightness (tpeak), channel velocity (vpeak) and parabolic velocity (vquad). Arrays only.

See `moments` for what goes in and comes out (derived specification, sections 9.4 and 9.5).
"""

from __future__ import annotations

import math

import numpy as np

from fringeflow_derived.moments import MapPair, Spectra
from fringeflow_derived.sources import Array


def tpeak(
    spectra: Spectra,
    *,
    channels: tuple[int, int] | None = None,
    window_kms: float | None = None,
    masked: bool = False,
) -> MapPair:
    """Return the peak brightness, K.

    Outside emission it is the largest value of the noise, and so biased upwards (derived specification, W17).

    Parameters
    ----------
    spectra
        Their mask counts only if `masked`.
    channels
        First and last channel (inclusive) to look in, of the whole mask; None: all.
    window_kms
        Width of a box the spectra are smoothed with first, if wider than a channel.
    masked
        Look only where the mask is, pixel by pixel.
    """
    low, high = channels or (0, len(spectra.data) - 1)
    smooth = Smoothed(spectra, window_kms)
    allowed = spectra.valid if masked else np.isfinite(spectra.data)
    values = np.where(allowed[low : high + 1], smooth.values[low : high + 1], -np.inf)
    if not len(values):
        return np.full(spectra.data.shape[1:], np.nan), None if spectra.noise is None else np.nan * spectra.data[0]
    channel = np.argmax(values, axis=0)
    peak = np.take_along_axis(values, channel[np.newaxis], 0)[0].astype(np.float64)
    found = np.isfinite(peak)
    error = None
    if spectra.noise is not None:
        error = np.where(found, np.sqrt(smooth.covariance(channel + low, 0, 0)), np.nan)
    return np.where(found, peak, np.nan), error


def vpeak(spectra: Spectra, *, window_kms: float | None = None) -> MapPair:
    """Return the velocity of the channel of the largest value in the mask, km/s.

    The error is that of the parabola, but at least that of a position within one channel.
    """
    smooth = Smoothed(spectra, window_kms)
    channel, found = _masked_peak(spectra, smooth)
    error = None
    if spectra.noise is not None:
        _, fitted = _parabola(smooth, channel)
        error = np.where(found, np.fmax(fitted * spectra.dv, spectra.dv / math.sqrt(12)), np.nan)
    return np.where(found, spectra.velocity_kms[channel], np.nan).astype(np.float64), error


def vquad(spectra: Spectra, *, window_kms: float | None = None, maxshift: float | None = 0.5) -> MapPair:
    """Return the velocity of the vertex of the parabola through the peak in the mask and its neighbours, km/s.

    Neighbours are taken from the data, whether in the mask or not; blank and negative ones count as 0.

    Parameters
    ----------
    spectra
        Masked spectra.
    window_kms
        Width of a box the spectra are smoothed with first, if wider than a channel.
    maxshift
        Largest distance of the vertex from the peak channel, in channels; None: any.
    """
    smooth = Smoothed(spectra, window_kms)
    channel, found = _masked_peak(spectra, smooth)
    centre = np.clip(channel, 1, max(1, len(spectra.data) - 2))
    shift, spread = _parabola(smooth, channel)
    if len(spectra.data) < 3:
        centre, shift = channel, np.zeros(channel.shape)
    elif maxshift is not None:
        shift = np.clip(shift, -maxshift, maxshift)
    numbers = np.arange(len(spectra.velocity_kms))
    velocity = np.interp(centre + shift, numbers, spectra.velocity_kms)
    error = None if spectra.noise is None else np.where(found, spread * spectra.dv, np.nan)
    return np.where(found, velocity, np.nan), error


class Smoothed:
    """Spectra smoothed with a box, and the covariance of what comes out.

    A box of N channels has fractional weights at both ends. Blank channels and those beyond the band have no weight.
    """

    def __init__(self, spectra: Spectra, window_kms: float | None) -> None:
        self._spectra = spectra
        self.weights = box_weights(1.0 if window_kms is None else window_kms / spectra.dv)
        self.values: Array = spectra.data if len(self.weights) == 1 else self._smooth()

    @property
    def has_noise(self) -> bool:
        """Whether covariances can be had."""
        return self._spectra.noise is not None

    def covariance(self, channel: Array, first: int, second: int) -> Array:
        """Return the covariance of the smoothed values at offsets `first` and `second` from each pixel's `channel`."""
        reach = len(self.weights) // 2
        total = np.zeros(channel.shape)
        for i, weight in enumerate(self.weights):
            for j, other in enumerate(self.weights):
                lag = abs(first + i - second - j)
                rho = self._spectra.rho[lag] if lag < len(self._spectra.rho) else 0.0
                if rho:
                    sigmas = self._sigma(channel + first + i - reach) * self._sigma(channel + second + j - reach)
                    total += weight * other * rho * sigmas
        return np.maximum(total, 0.0) if first == second else total

    def at(self, channel: Array) -> Array:
        """Return the smoothed value at each pixel's `channel`: 0 where blank or negative."""
        values = np.take_along_axis(self.values, channel[np.newaxis], 0)[0].astype(np.float64)
        return np.where(values > 0, values, 0.0)

    def _smooth(self) -> Array:
        data, reach = self._spectra.data, len(self.weights) // 2
        finite = np.isfinite(data)
        filled = np.where(finite, data, 0.0)
        total, weight = np.zeros(data.shape), np.zeros(data.shape)
        for offset, share in zip(range(-reach, reach + 1), self.weights, strict=True):
            into, start = slice(max(0, -offset), len(data) - max(0, offset)), max(0, offset)
            size = max(0, len(data) - abs(offset))
            if size:
                total[into] += share * filled[start : start + size]
                weight[into] += share * finite[start : start + size]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(finite, total / weight, np.nan)

    def _sigma(self, channel: Array) -> Array:
        """Return the noise at each pixel's `channel`, of the nearest one beyond the band; blanks count as 0."""
        assert self._spectra.noise is not None
        inside = np.clip(channel, 0, len(self._spectra.data) - 1)
        noise = np.take_along_axis(self._spectra.noise, inside[np.newaxis], 0)[0].astype(np.float64)
        return np.where(np.isfinite(noise), noise, 0.0)


def box_weights(channels: float) -> Array:
    """Return the weights, of unit sum, of a centred box `channels` wide: an odd number, the outermost fractional."""
    if channels <= 1:
        return np.ones(1)
    reach = math.ceil((channels - 1) / 2 - 1e-9)
    weights = np.clip((channels + 1) / 2 - np.abs(np.arange(-reach, reach + 1)), 0.0, 1.0)
    normalised: Array = weights / weights.sum()
    return normalised


def _masked_peak(spectra: Spectra, smooth: Smoothed) -> tuple[Array, Array]:
    """Return the channel of the largest smoothed value in the mask, and where there is one."""
    channel = np.argmax(np.where(spectra.valid, smooth.values, -np.inf), axis=0)
    return channel, spectra.measured


def _parabola(smooth: Smoothed, channel: Array) -> tuple[Array, Array]:
    """Return the distance of the vertex from the peak and its uncertainty, in channels (derived, section 9.5).

    Where no vertex exists the distance is 0, and where it has no error to first order (flat top, no noise, fewer than
    three channels) the error is one channel.
    """
    nchan = len(smooth.values)
    if nchan < 3:
        return np.zeros(channel.shape), np.ones(channel.shape)
    centre = np.clip(channel, 1, nchan - 2)
    up, down, peak = smooth.at(centre + 1), smooth.at(centre - 1), smooth.at(centre)
    q = up + down - 2 * peak
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (up - down) / q**2
        shift = np.where(q < 0, -(up - down) / (2 * q), 0.0)
        gradients = {1: -0.5 * (1 / q - slope), -1: 0.5 * (1 / q + slope), 0: -slope}
    if smooth.has_noise:
        total = np.zeros(channel.shape)
        with np.errstate(invalid="ignore", over="ignore"):
            for a, first in gradients.items():
                for b, second in gradients.items():
                    total += first * second * smooth.covariance(centre, a, b)
        return shift, np.where((q < 0) & np.isfinite(total), np.sqrt(np.maximum(total, 0.0)), 1.0)
    return shift, np.ones(channel.shape)
