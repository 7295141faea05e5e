"""Peak maps of spectra: brightness (tpeak), channel velocity (vpeak) and parabolic velocity (vquad). Arrays only.

See `moments` for what goes in and comes out (derived specification, sections 9.4 and 9.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

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
    values = smooth.candidates(spectra.valid if masked else None)[low : high + 1]
    channel = np.argmax(values, axis=0)
    peak = _at(values, channel)
    found = peak > -np.inf
    error = None
    if spectra.noise is not None:
        sigma = smooth.sigma(channel + low)
        shares, total = smooth.shares(channel, values, RIVALS_OF_HEIGHT * sigma)
        spread = np.sqrt(variance(shares, smooth.rho)) / total
        error = np.where(found, sigma * spread, np.nan)
    return np.where(found, peak, np.nan).astype(np.float64), error


def vpeak(spectra: Spectra, *, window_kms: float | None = None) -> MapPair:
    """Return the velocity of the channel of the largest value in the mask, km/s.

    The error is that of `vquad`, and in quadrature that of a position within one channel: the scatter about the true
    velocity of the peak, where that is 5 times the noise or more.
    """
    peak = _Peak.of(spectra, window_kms)
    error = None
    if spectra.noise is not None:
        error = np.where(spectra.measured, spectra.dv * np.sqrt(peak.place_error(1.0) ** 2 + 1 / 12), np.nan)
    return np.where(spectra.measured, spectra.velocity_kms[peak.channel], np.nan).astype(np.float64), error


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
    peak = _Peak.of(spectra, window_kms)
    channel, (shift, _) = peak.channel, peak.parabola
    centre = np.clip(channel, 1, max(1, len(spectra.data) - 2))
    if len(spectra.data) < 3:
        centre, shift = channel, np.zeros(channel.shape)
    elif maxshift is not None:
        shift = np.clip(shift, -maxshift, maxshift)
    numbers = np.arange(len(spectra.velocity_kms))
    velocity = np.interp(centre + shift, numbers, spectra.velocity_kms)
    error = None
    if spectra.noise is not None:
        place = peak.place_error(np.inf if maxshift is None else 1.0)
        error = np.where(spectra.measured, spectra.dv * place, np.nan)
    return np.where(spectra.measured, velocity, np.nan), error


class Smoothed:
    """Spectra smoothed with a box, and the covariance of what comes out.

    A box of N channels has fractional weights at both ends. Blank channels and those beyond the band have no weight.
    """

    def __init__(self, spectra: Spectra, window_kms: float | None) -> None:
        # Not the spectra themselves, which may keep this: what refers to itself waits in memory for the collector.
        self._data, self._finite, self._noise, self._rho = spectra.data, spectra.finite, spectra.noise, spectra.rho
        self.weights = box_weights(1.0 if window_kms is None else window_kms / spectra.dv)
        self.values: Array = spectra.data if len(self.weights) == 1 else self._smooth()
        both = np.concatenate([spectra.rho[:0:-1], spectra.rho])
        response = np.convolve(np.convolve(self.weights, both), self.weights[::-1])
        self.rho: tuple[float, ...] = tuple(response[len(response) // 2 :] / response[len(response) // 2])
        """Correlation of smoothed channels."""

    @property
    def has_noise(self) -> bool:
        """Whether variances can be had."""
        return self._noise is not None

    def variance(self, channel: Array, gradient: Array) -> Array:
        """Return the variance of a quantity that depends on the smoothed values around each pixel's `channel`.

        Parameters
        ----------
        channel
            (...) or with further axes in front.
        gradient
            (odd number, ...): its derivatives after the values on both sides of `channel` and at it.
        """
        size = len(self.weights) + len(gradient) - 1
        unsmoothed = np.zeros((size, *channel.shape))
        for start, weight in enumerate(self.weights):
            unsmoothed[start : start + len(gradient)] += weight * gradient
        around = np.arange(size).reshape(-1, *[1] * channel.ndim) - size // 2
        return variance(unsmoothed * self._sigma(channel + around), self._rho)

    def sigma(self, channel: Array) -> Array:
        """Return the noise of the smoothed values at each pixel's `channel`."""
        return np.sqrt(self.variance(channel, np.ones((1, *[1] * channel.ndim))))

    def candidates(self, allowed: Array | None) -> Array:
        """Return the values, -inf where blank or not `allowed` (None: where blank)."""
        where = self._finite if allowed is None else allowed
        if where.all():
            return self.values
        found = self.values.copy()
        np.copyto(found, -np.inf, where=~where)
        return found

    def shares(self, channel: Array, values: Array, step: Array) -> tuple[Array, Array]:
        """Return to what extent each channel is the peak, 1 for the largest value, and the sum over channels.

        Parameters
        ----------
        channel
            That of the largest of the values.
        values
            (nchan, ...) -inf in channels that may not be the peak; see `candidates`.
        step
            By how much, times the dispersion of the difference of unit noise, a value is below the largest one when
            its share falls to exp(-1/2).
        """
        differences = np.sqrt(2 * (1 - np.array([*self.rho, 0.0])))
        differences = np.maximum(differences, _LEAST_DIFFERENCE)
        peak = _at(values, channel)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            # Far from the peak the noise is independent of it; the few channels close to it are done again.
            shares = np.ascontiguousarray(peak - values, dtype=self._data.dtype)
            shares *= (1 / (step * differences[-1])).astype(shares.dtype)
            _gaussian(shares)
            lags = np.arange(1 - len(self.rho), len(self.rho)).reshape(-1, *[1] * channel.ndim)
            near = _within(channel + lags, len(values))
            below = (peak - _at(values, near)) / (step * differences[np.abs(near - channel)])
            shares.reshape(-1)[_places(shares, near)] = _gaussian(below)
            shares.reshape(-1)[_places(shares, channel)] = 1
            return shares, sum_channels(shares)

    def at(self, channel: Array) -> Array:
        """Return the smoothed value at each pixel's `channel`: 0 where blank or negative."""
        values = _at(self.values, channel).astype(np.float64)
        return np.where(values > 0, values, 0.0)

    def _smooth(self) -> Array:
        data, finite, reach = self._data, self._finite, len(self.weights) // 2
        whole = bool((finite == finite[0]).all())
        filled = data if whole else np.where(finite, data, data.dtype.type(0))
        total, term = np.zeros_like(filled), np.empty_like(filled)
        # Where no spectrum is blank in part, the weight of a channel is the same in all.
        weight = np.zeros((len(data), *[1] * (data.ndim - 1)) if whole else data.shape, data.dtype)
        for offset, share in zip(range(-reach, reach + 1), self.weights.astype(data.dtype), strict=True):
            into, start = slice(max(0, -offset), len(data) - max(0, offset)), max(0, offset)
            size = max(0, len(data) - abs(offset))
            if size:
                total[into] += np.multiply(filled[start : start + size], share, out=term[:size])
                weight[into] += share if whole else share * finite[start : start + size]
        with np.errstate(invalid="ignore", divide="ignore"):
            total /= weight
        return total if whole else np.where(finite, total, data.dtype.type(np.nan))

    def _sigma(self, channel: Array) -> Array:
        """Return the noise at each pixel's `channel`, of the nearest one beyond the band; blanks count as 0."""
        assert self._noise is not None
        noise = _at(self._noise, _within(channel, len(self._data))).astype(np.float64)
        return np.where(np.isfinite(noise), noise, 0.0)


@dataclass(frozen=True)
class _Peak:
    """The channel of the largest value in the mask, which several maps are made from."""

    smooth: Smoothed
    values: Array
    channel: Array

    @classmethod
    def of(cls, spectra: Spectra, window_kms: float | None) -> _Peak:
        """Return that of some spectra, found once."""
        key = cls, window_kms
        if key not in spectra.shared:
            smooth = Smoothed(spectra, window_kms)
            values = smooth.candidates(spectra.valid)
            spectra.shared[key] = cls(smooth, values, np.argmax(values, axis=0))
        found: _Peak = spectra.shared[key]
        return found

    @cached_property
    def parabola(self) -> tuple[Array, Array]:
        """Distance of the vertex from the peak and its uncertainty, in channels."""
        return _parabola(self.smooth, self.channel)

    def place_error(self, most: float) -> Array:
        """Return the uncertainty of the place, in channels: that of the vertex, up to `most`, or of another peak."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.sqrt(np.minimum(self.parabola[1], most) ** 2 + self._elsewhere))

    @cached_property
    def _elsewhere(self) -> Array:
        """Mean square distance of the channels that may be the true peak."""
        step = RIVALS_IN_PLACE * self.smooth.sigma(self.channel)
        shares, total = self.smooth.shares(self.channel, self.values, step)
        away = (np.arange(len(shares)).reshape(-1, *[1] * self.channel.ndim) - self.channel).astype(shares.dtype)
        away *= away
        away[away <= 1] = 0  # the parabola takes care of the channels on either side
        with np.errstate(invalid="ignore"):
            return np.asarray(sum_channels(np.multiply(shares, away, out=away)) / total)


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


def _at(values: Array, channel: Array) -> Array:
    """Return what each pixel holds at its channel, or channels: (..., as a plane of `values`)."""
    return np.asarray(values.reshape(-1)[_places(values, channel)])


def _places(values: Array, channel: Array) -> Array:
    """Return the flat indices of what each pixel holds at its channel, or channels."""
    shape = values.shape[1:]
    return np.asarray(channel * math.prod(shape) + np.arange(math.prod(shape)).reshape(shape))


def _within(channel: Array, channels: int) -> Array:
    """Return the nearest channel of the band; as `numpy.clip`, which takes long for short arrays."""
    return np.asarray(np.minimum(np.maximum(channel, 0), channels - 1))


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
        gradient = np.stack([0.5 * (1 / q + slope), -slope, -0.5 * (1 / q - slope)])
    if not smooth.has_noise:
        return shift, np.ones(channel.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        total = smooth.variance(centre, gradient)
    return shift, np.where((q < 0) & np.isfinite(total), np.sqrt(total), 1.0)
