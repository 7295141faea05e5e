"""Peak maps of spectra: brightness (tpeak), channel velocity (vpeak) and parabolic velocity (vquad). Arrays only.

See `moments` for what goes in and comes out (derived specification, sections 9.4 and 9.5).
"""

from __future__ import annotations

import math

import numpy as np

from fringeflow_derived.correlation import sum_channels, variance
from fringeflow_derived.moments import MapPair, Spectra
from fringeflow_derived.sources import Array

RIVALS_OF_HEIGHT = 0.35
RIVALS_IN_PLACE = 0.7
"""How far below the peak, in standard deviations of the difference, a channel still shares in the height of the peak,
or might itself be the true peak. Chosen such that the errors of `tpeak`, and of `vpeak` and `vquad`, are the scatter
on Gaussian lines with dispersions of 0.7 to 4 channels and peaks of 5 to 20 times the noise, with independent channels
and with such that share half of their noise: within 20 per cent for tpeak and vpeak and 30 for vquad on any one of
these, within 5 on average."""

_LEAST_DIFFERENCE = 0.05


def tpeak(
    spectra: Spectra,
    *,
    channels: tuple[int, int] | None = None,
    window_kms: float | None = None,
    masked: bool = False,
) -> MapPair:
    """Return the peak brightness, K.

    Outside emission it is the largest value of the noise, and so biased upwards (derived specification, W17); in
    emission, too, if the peak is broad: by up to half the error at 8 times the noise and a dispersion of 2.4 channels.
    The error is that of the mean of all channels that share in the peak, weighted with their shares: what the
    largest of several equal values scatters by. It is the scatter of peaks of 5 times the noise and more.

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
    allowed = allowed & _between(low, high, allowed)
    channel = np.argmax(np.where(allowed, smooth.values, -np.inf), axis=0)
    found = allowed.any(axis=0)
    peak = np.where(found, np.take_along_axis(smooth.values, channel[np.newaxis], 0)[0], np.nan).astype(np.float64)
    error = None
    if spectra.noise is not None:
        shares = smooth.shares(channel, allowed, RIVALS_OF_HEIGHT)
        error = np.where(found, smooth.sigma(channel) * np.sqrt(variance(shares, smooth.rho)), np.nan)
    return peak, error


def vpeak(spectra: Spectra, *, window_kms: float | None = None) -> MapPair:
    """Return the velocity of the channel of the largest value in the mask, km/s.

    The error is that of `vquad`, and in quadrature that of a position within one channel: the scatter about the true
    velocity of the peak, where that is 5 times the noise or more.
    """
    smooth = Smoothed(spectra, window_kms)
    channel, found = _masked_peak(spectra, smooth)
    error = None
    if spectra.noise is not None:
        _, fitted = _parabola(smooth, channel)
        place = _place_error(smooth, channel, spectra.valid, np.minimum(fitted, 1.0))
        error = np.where(found, spectra.dv * np.sqrt(place**2 + 1 / 12), np.nan)
    return np.where(found, spectra.velocity_kms[channel], np.nan).astype(np.float64), error


def vquad(spectra: Spectra, *, window_kms: float | None = None, maxshift: float | None = 0.5) -> MapPair:
    """Return the velocity of the vertex of the parabola through the peak in the mask and its neighbours, km/s.

    Neighbours are taken from the data, whether in the mask or not; blank and negative ones count as 0. The error is
    that of the parabola (derived specification, section 9.5), and in quadrature that of having taken the wrong
    channel for the peak, which is the larger one for lines broader than about three channels.

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
    error = None
    if spectra.noise is not None:
        fitted = spread if maxshift is None else np.minimum(spread, 1.0)
        error = np.where(found, spectra.dv * _place_error(smooth, channel, spectra.valid, fitted), np.nan)
    return np.where(found, velocity, np.nan), error


class Smoothed:
    """Spectra smoothed with a box, and the covariance of what comes out.

    A box of N channels has fractional weights at both ends. Blank channels and those beyond the band have no weight.
    """

    def __init__(self, spectra: Spectra, window_kms: float | None) -> None:
        self._spectra = spectra
        self.weights = box_weights(1.0 if window_kms is None else window_kms / spectra.dv)
        self.values: Array = spectra.data if len(self.weights) == 1 else self._smooth()
        both = np.concatenate([spectra.rho[:0:-1], spectra.rho])
        response = np.convolve(np.convolve(self.weights, both), self.weights[::-1])
        self.rho: tuple[float, ...] = tuple(response[len(response) // 2 :] / response[len(response) // 2])
        """Correlation of smoothed channels."""

    @property
    def has_noise(self) -> bool:
        """Whether covariances can be had."""
        return self._spectra.noise is not None

    def covariance(self, channel: Array, first: int, second: int) -> Array:
        """Return the covariance of the smoothed values at offsets `first` and `second` from each pixel's `channel`."""
        reach = len(self.weights) // 2
        sides = [(start - reach + i, weight) for start in (first, second) for i, weight in enumerate(self.weights)]
        sigmas = {offset: self._sigma(channel + offset) for offset in dict.fromkeys(offset for offset, _ in sides)}
        total = np.zeros(channel.shape)
        for one, weight in sides[: len(self.weights)]:
            for two, other in sides[len(self.weights) :]:
                lag = abs(one - two)
                rho = self._spectra.rho[lag] if lag < len(self._spectra.rho) else 0.0
                if rho:
                    total += weight * other * rho * sigmas[one] * sigmas[two]
        return np.maximum(total, 0.0) if first == second else total

    def sigma(self, channel: Array) -> Array:
        """Return the noise of the smoothed values at each pixel's `channel`."""
        return np.sqrt(self.covariance(channel, 0, 0))

    def shares(self, channel: Array, allowed: Array, step: float) -> Array:
        """Return to what extent each channel is the peak, of sum 1.

        Parameters
        ----------
        channel
            That of the largest of the values.
        allowed
            (nchan, ...) channels that may be the peak.
        step
            Standard deviations of its difference from the largest value at which a value's share falls to exp(-1/2).
        """
        values = self.values
        differences = np.sqrt(2 * (1 - np.array([*self.rho, 0.0])))
        differences = np.maximum(differences, _LEAST_DIFFERENCE).astype(values.dtype)
        peak = np.take_along_axis(values, channel[np.newaxis], 0)
        unit = (step * self.sigma(channel)).astype(values.dtype)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            # Far from the peak the noise is independent of it; the few channels close to it are done again.
            shares = _gaussian((peak - values) / (unit * differences[-1]))
            for lag in range(1 - len(self.rho), len(self.rho)):
                near = np.clip(channel + lag, 0, len(values) - 1)[np.newaxis]
                away = np.abs(near[0] - channel)
                below = peak - np.take_along_axis(values, near, 0)
                np.put_along_axis(shares, near, _gaussian(below / (unit * differences[away])), 0)
        np.put_along_axis(shares, channel[np.newaxis], 1, 0)
        shares[~allowed] = 0
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(shares * (1 / sum_channels(shares)).astype(shares.dtype))

    def at(self, channel: Array) -> Array:
        """Return the smoothed value at each pixel's `channel`: 0 where blank or negative."""
        values = np.take_along_axis(self.values, channel[np.newaxis], 0)[0].astype(np.float64)
        return np.where(values > 0, values, 0.0)

    def _smooth(self) -> Array:
        data, reach = self._spectra.data, len(self.weights) // 2
        finite = np.isfinite(data)
        whole = bool(finite.all())
        filled = data if whole else np.where(finite, data, np.float32(0))
        total = np.zeros(data.shape)
        # Where nothing is blank, the weight of a channel is the same in all spectra.
        weight = np.zeros((len(data), *[1] * (data.ndim - 1)) if whole else data.shape)
        for offset, share in zip(range(-reach, reach + 1), self.weights, strict=True):
            into, start = slice(max(0, -offset), len(data) - max(0, offset)), max(0, offset)
            size = max(0, len(data) - abs(offset))
            if size:
                total[into] += share * filled[start : start + size]
                weight[into] += share if whole else share * finite[start : start + size]
        with np.errstate(invalid="ignore", divide="ignore"):
            return total / weight if whole else np.where(finite, total / weight, np.nan)

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


def _gaussian(distance: Array) -> Array:
    """Return exp(-d^2 / 2), in place."""
    distance *= distance
    distance *= -0.5
    return np.exp(distance, out=distance)


def _masked_peak(spectra: Spectra, smooth: Smoothed) -> tuple[Array, Array]:
    """Return the channel of the largest smoothed value in the mask, and where there is one."""
    channel = np.argmax(np.where(spectra.valid, smooth.values, -np.inf), axis=0)
    return channel, spectra.measured


def _between(low: int, high: int, like: Array) -> Array:
    """Return which channels lie between two, shaped to be combined with `like`."""
    numbers = np.arange(len(like)).reshape(-1, *[1] * (like.ndim - 1))
    return np.asarray((numbers >= low) & (numbers <= high))


def _place_error(smooth: Smoothed, channel: Array, allowed: Array, fitted: Array) -> Array:
    """Return the uncertainty of a peak's place, in channels: `fitted` close by, or of another channel further off."""
    shares = smooth.shares(channel, allowed, RIVALS_IN_PLACE)
    away = np.arange(len(shares)).reshape(-1, *[1] * channel.ndim) - channel
    # The parabola takes care of the channels on either side.
    return np.asarray(np.sqrt(fitted**2 + sum_channels(np.where(np.abs(away) > 1, shares * away**2, 0.0))))


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
