"""Moment maps of spectra, each with its uncertainty (derived specification, section 9). Arrays only.

>>> from fringeflow_derived import moments
>>> spectra = moments.Spectra(cube, velocity_kms, mask=mask, noise=noise)
>>> intensity, error = moments.mom0(spectra)

Every function returns (map, error), float64, NaN where undefined; the error is None where no noise is given. Sums run
in channel order, so a pixel's result does not depend on which others are computed with it.

Errors are the scatter about the map of the noise-free cube under the same mask, within 10 per cent where the peak is 5
times the noise or more (`tests/derived/test_derived_truth.py`). They know nothing of what the mask leaves out: a mask
that follows the noise cuts faint wings off at random, so that under a strict mask the sums scatter by 1.3 (peaks of 10
times the noise) to 2 times (of 4) their errors about the whole line's, are low by 0.6 to 1.5 of them, and widths are
too small by several. Peak maps hardly feel the mask; broad masks spare the sums, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from fringeflow_derived.correlation import bandwidth_factor, response_sigma, sum_channels, variance
from fringeflow_derived.sources import Array

MapPair: TypeAlias = tuple[Array, Array | None]


@dataclass(frozen=True)
class Spectra:
    """Spectra of some pixels.

    Parameters
    ----------
    data
        (nchan, ...) in K, NaN where blank.
    velocity_kms
        (nchan,) of the channel centres, ascending or descending.
    mask
        Boolean, same shape: the channels that count. None: all.
    noise
        Same shape, in K. None: no errors.
    rho
        Correlation of the noise over channels (`correlation.measure`).
    channel_kms
        Channel width; from the velocities if there are two or more.
    """

    data: Array
    velocity_kms: Array
    mask: Array | None = None
    noise: Array | None = None
    rho: tuple[float, ...] = (1.0,)
    channel_kms: float | None = None

    @cached_property
    def dv(self) -> float:
        """Channel width in km/s, positive."""
        if self.channel_kms is not None:
            return self.channel_kms
        if len(self.velocity_kms) < 2:
            raise ValueError("one channel has no width of its own: give channel_kms")
        return float(np.median(np.abs(np.diff(self.velocity_kms))))

    @cached_property
    def valid(self) -> Array:
        """Voxels that count: inside the mask and not blank."""
        finite = np.isfinite(self.data)
        return np.asarray(finite if self.mask is None else finite & self.mask)

    @cached_property
    def measured(self) -> Array:
        """Pixels with a voxel that counts."""
        return np.asarray(self.valid.any(axis=0))

    @cached_property
    def values(self) -> Array:
        """Data where they count, else 0, float64."""
        return np.where(self.valid, self.data, 0.0).astype(np.float64)

    @cached_property
    def sigma(self) -> Array | None:
        """Noise where data count, else 0, float64."""
        return None if self.noise is None else np.where(self.valid, self.noise, 0.0).astype(np.float64)

    @cached_property
    def total(self) -> Array:
        """Sum over the channels that count, K."""
        return sum_channels(self.values)

    @cached_property
    def total_error(self) -> Array | None:
        """Uncertainty of `total`, K."""
        return None if self.sigma is None else np.sqrt(variance(self.sigma, self.rho))

    @cached_property
    def velocities(self) -> Array:
        """Velocities relative to the middle of the band, shaped to multiply data."""
        relative = self.velocity_kms - self.middle_kms
        return relative.reshape(-1, *[1] * (self.data.ndim - 1)).astype(np.float64)

    @cached_property
    def middle_kms(self) -> float:
        """The velocity that moments are taken about, so that none is lost to rounding."""
        return 0.5 * float(self.velocity_kms[0] + self.velocity_kms[-1])

    @cached_property
    def mean(self) -> Array:
        """Intensity-weighted mean velocity relative to the middle of the band."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return sum_channels(self.values * self.velocities) / self.total

    @cached_property
    def peak_channel(self) -> Array:
        """Channel of the largest value that counts; 0 where none does."""
        found: Array = np.argmax(np.where(self.valid, self.data, -np.inf), axis=0)
        return found

    def error(self, gradient: Array) -> Array | None:
        """Return the uncertainty of a quantity with derivative `gradient` after each channel's value."""
        if self.sigma is None:
            return None
        return np.sqrt(variance(np.where(self.valid, gradient, 0.0) * self.sigma, self.rho))

    def trusted(self, min_snr: float | None) -> Array:
        """Return where a mean velocity means something (derived specification, W23).

        The sum must be `min_snr` times what independent channels of this noise would add up to, and the mean within
        the channels that count.
        """
        half = 0.5 * self.dv
        low = np.where(self.valid, self.velocities, np.inf).min(axis=0) - half
        high = np.where(self.valid, self.velocities, -np.inf).max(axis=0) + half
        good: Array = self.measured & (self.mean >= low) & (self.mean <= high)
        if min_snr is not None and self.sigma is not None:
            good &= np.abs(self.total) >= min_snr * np.sqrt(sum_channels(self.sigma**2))
        return good


LINE_WIDTH_KMS = 10.0
"""Width of the line that limits of the integrated intensity are for."""


_NO_WIDTH = 1e-6  # channels


def mom0(spectra: Spectra, *, include_limits: bool = True, line_width_kms: float = LINE_WIDTH_KMS) -> MapPair:
    """Return the integrated intensity, K km/s.

    With `include_limits`, pixels that have data but none that count are 0, with the error of `limit_error`.
    """
    intensity = np.where(spectra.measured, spectra.dv * spectra.total, np.nan)
    error = None
    if spectra.total_error is not None:
        error = np.where(spectra.measured, spectra.dv * spectra.total_error, np.nan)
    if include_limits:
        empty = np.isfinite(spectra.data).any(axis=0) & ~spectra.measured
        intensity[empty] = 0.0
        if error is not None and spectra.noise is not None:
            typical = median_channel(spectra.noise[:, empty])
            error[empty] = limit_error(typical, spectra.dv, spectra.rho, line_width_kms)
    return intensity, error


def limit_error(noise: Array, dv_kms: float, rho: tuple[float, ...], line_width_kms: float = LINE_WIDTH_KMS) -> Array:
    """Return the uncertainty of the intensity of a line `line_width_kms` wide, K km/s, for `noise` per channel in K."""
    channels = line_width_kms / dv_kms
    return noise * dv_kms * math.sqrt(channels * bandwidth_factor(rho, max(1.0, channels)))


def mom1(spectra: Spectra, *, min_snr: float | None = 3.0) -> MapPair:
    """Return the intensity-weighted mean velocity, km/s; blank where `Spectra.trusted` is false."""
    good = spectra.trusted(min_snr)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = spectra.error((spectra.velocities - spectra.mean) / spectra.total)
    return _where(good, spectra.mean + spectra.middle_kms, error)


def mom2(spectra: Spectra, *, min_snr: float | None = 3.0, subtract_response: bool = False) -> MapPair:
    """Return the intensity-weighted velocity dispersion, km/s; blank where `Spectra.trusted` is false or it is 0.

    With `subtract_response` the spectral response is taken off in quadrature (derived specification, W24).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        square = (spectra.velocities - spectra.mean) ** 2
        second = sum_channels(spectra.values * square) / spectra.total
        width = np.sqrt(second)
        error = spectra.error((square - second) / spectra.total)
        if error is not None:
            error = error / (2 * width)
    # A width of 0 (one channel), or what rounding makes of it, has no error to speak of: its derivative is infinite.
    good = spectra.trusted(min_snr) & (second > (_NO_WIDTH * spectra.dv) ** 2)
    return _where(good, *_without_response(spectra, width, error, subtract=subtract_response))


def ew(spectra: Spectra, *, subtract_response: bool = False) -> MapPair:
    """Return the effective width, ``I / (sqrt(2 pi) T_peak)``, km/s: the dispersion of a Gaussian of that peak."""
    pixel = np.ix_(*[np.arange(size) for size in spectra.data.shape[1:]])
    peak = spectra.values[(spectra.peak_channel, *pixel)]
    scale = spectra.dv / math.sqrt(2 * math.pi)
    with np.errstate(invalid="ignore", divide="ignore"):
        width = scale * spectra.total / peak
        gradient = np.broadcast_to(scale / peak, spectra.data.shape).copy()
        gradient[(spectra.peak_channel, *pixel)] -= width / peak
        error = spectra.error(gradient)
    good = spectra.measured & (peak > 0) & (width > 0)
    return _where(good, *_without_response(spectra, width, error, subtract=subtract_response))


def median_channel(noise: Array) -> Array:
    """Return the median over channels (nchan, ...) of the finite values; NaN where there is none."""
    ordered = np.sort(noise, axis=0)  # NaN come last
    count = np.count_nonzero(np.isfinite(ordered), axis=0)
    ranks = (np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(noise) - 1))
    lower, upper = (np.take_along_axis(ordered, rank[np.newaxis], 0)[0].astype(np.float64) for rank in ranks)
    return np.asarray(0.5 * (lower + upper))


def _where(good: Array, values: Array, error: Array | None) -> MapPair:
    return np.where(good, values, np.nan), None if error is None else np.where(good, error, np.nan)


def _without_response(spectra: Spectra, width: Array, error: Array | None, *, subtract: bool) -> MapPair:
    if not subtract:
        return width, error
    with np.errstate(invalid="ignore"):
        narrow = np.sqrt(width**2 - response_sigma(spectra.dv, spectra.rho) ** 2)
    return narrow, None if error is None else error * width / narrow
