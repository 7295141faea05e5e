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
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from fringeflow_derived.correlation import bandwidth_factor, response_sigma
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
    shared
        What functions of these spectra keep for one another.
    """

    data: Array
    velocity_kms: Array
    mask: Array | None = None
    noise: Array | None = None
    rho: tuple[float, ...] = (1.0,)
    channel_kms: float | None = None
    shared: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def dv(self) -> float:
        """Channel width in km/s, positive."""
        if self.channel_kms is not None:
            return self.channel_kms
        if len(self.velocity_kms) < 2:
            raise ValueError("one channel has no width of its own: give channel_kms")
        return float(np.median(np.abs(np.diff(self.velocity_kms))))

    @cached_property
    def finite(self) -> Array:
        """Voxels that are not blank."""
        return np.isfinite(self.data)

    @cached_property
    def valid(self) -> Array:
        """Voxels that count: inside the mask and not blank."""
        return np.asarray(self.finite if self.mask is None else self.finite & self.mask)

    @cached_property
    def measured(self) -> Array:
        """Pixels with a voxel that counts."""
        return np.asarray(self.valid.any(axis=0))

    @cached_property
    def voxels(self) -> Array:
        """Flat indices of the voxels that count, in channel order: few, where the mask is that of a line."""
        return np.flatnonzero(self.valid)

    @cached_property
    def channel(self) -> Array:
        """Channel of each of `voxels`."""
        return self.voxels // max(1, self._pixels)

    @cached_property
    def pixel(self) -> Array:
        """Flat index of the pixel of each of `voxels`."""
        return np.asarray(self.voxels - self.channel * self._pixels)

    @cached_property
    def values(self) -> Array:
        """Data at `voxels`, float64."""
        return self.data.ravel()[self.voxels].astype(np.float64)

    @cached_property
    def sigma(self) -> Array | None:
        """Noise at `voxels`, float64."""
        return None if self.noise is None else self.noise.ravel()[self.voxels].astype(np.float64)

    @cached_property
    def total(self) -> Array:
        """Sum over the channels that count, K."""
        return self.sum(self.values)

    @cached_property
    def total_error(self) -> Array | None:
        """Uncertainty of `total`, K."""
        return self.error(np.ones(len(self.voxels)))

    @cached_property
    def velocities(self) -> Array:
        """Velocity of each of `voxels` relative to the middle of the band."""
        relative: Array = (self.velocity_kms - self.middle_kms).astype(np.float64)[self.channel]
        return relative

    @cached_property
    def middle_kms(self) -> float:
        """The velocity that moments are taken about, so that none is lost to rounding."""
        return 0.5 * float(self.velocity_kms[0] + self.velocity_kms[-1])

    @cached_property
    def mean(self) -> Array:
        """Intensity-weighted mean velocity relative to the middle of the band."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.sum(self.values * self.velocities) / self.total

    @cached_property
    def peak(self) -> Array:
        """Largest value that counts; 0 where none does."""
        found = np.full(self._pixels, -np.inf)
        np.maximum.at(found, self.pixel, self.values)
        return np.where(self.measured, found.reshape(self.measured.shape), 0.0)

    @cached_property
    def is_peak(self) -> Array:
        """Which of `voxels` holds the largest value of its pixel: the first, if several do."""
        largest = np.flatnonzero(self.values == self.at(self.peak))
        _, first = np.unique(self.pixel[largest], return_index=True)
        found = np.zeros(len(self.voxels), bool)
        found[largest[first]] = True
        return found

    def at(self, image: Array) -> Array:
        """Return what an image holds at the pixel of each of `voxels`."""
        found: Array = np.ravel(image)[self.pixel]
        return found

    def sum(self, terms: Array) -> Array:
        """Return the sum over each pixel's `voxels` of one term for each, added up in channel order."""
        return self._added(self.pixel, terms)

    def error(self, gradient: Array) -> Array | None:
        """Return the uncertainty of a quantity with derivative `gradient` after the value of each of `voxels`.

        See `correlation.variance`.
        """
        if self.sigma is None:
            return None
        a = gradient * self.sigma
        total = self.sum(a * a)
        for correlation, (first, second) in zip(self.rho[1:], self._pairs, strict=False):
            total += 2 * correlation * self._added(self.pixel[first], a[first] * a[second])
        return np.sqrt(np.maximum(total, 0.0))

    def trusted(self, min_snr: float | None) -> Array:
        """Return where a mean velocity means something (derived specification, W23).

        The sum must be `min_snr` times what independent channels of this noise would add up to, and the mean within
        the channels that count.
        """
        half = 0.5 * self.dv
        low, high = np.full((2, self._pixels), [[np.inf], [-np.inf]])
        np.minimum.at(low, self.pixel, self.velocities)
        np.maximum.at(high, self.pixel, self.velocities)
        low, high = (side.reshape(self.measured.shape) for side in (low - half, high + half))
        good: Array = self.measured & (self.mean >= low) & (self.mean <= high)
        if min_snr is not None and self.sigma is not None:
            good &= np.abs(self.total) >= min_snr * np.sqrt(self.sum(self.sigma**2))
        return good

    def _added(self, pixel: Array, terms: Array) -> Array:
        found = np.bincount(pixel, terms, minlength=self._pixels).astype(np.float64, copy=False)
        return found.reshape(self.data.shape[1:])

    @cached_property
    def _pixels(self) -> int:
        return math.prod(self.data.shape[1:])

    @cached_property
    def _pairs(self) -> list[tuple[Array, Array]]:
        """For each lag that is correlated, the pairs of `voxels` that many channels apart in one pixel."""
        number = np.full(self.data.size, -1, np.int32)
        number[self.voxels] = np.arange(len(self.voxels), dtype=np.int32)
        found = []
        for lag in range(1, min(len(self.rho), len(self.data))):
            inside = np.searchsorted(self.voxels, self.data.size - lag * self._pixels)
            partners = number[self.voxels[:inside] + lag * self._pixels]
            first = np.flatnonzero(partners >= 0)
            found.append((first, partners[first]))
        return found


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
        empty = spectra.finite.any(axis=0) & ~spectra.measured
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
    """Return the intensity-weighted mean velocity, km/s; blank where `Spectra.trusted` is false.

    Where one channel counts alone the noise does not move the mean; the error is then that of a place somewhere in it.
    """
    good = spectra.trusted(min_snr)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = spectra.error((spectra.velocities - spectra.at(spectra.mean)) / spectra.at(spectra.total))
    if error is not None:
        error[spectra.sum(np.ones(len(spectra.pixel))) == 1] = spectra.dv / math.sqrt(12)
    return _where(good, spectra.mean + spectra.middle_kms, error)


def mom2(spectra: Spectra, *, min_snr: float | None = 3.0, subtract_response: bool = False) -> MapPair:
    """Return the intensity-weighted velocity dispersion, km/s; blank where `Spectra.trusted` is false or it is 0.

    With `subtract_response` the spectral response is taken off in quadrature (derived specification, W24).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        square = (spectra.velocities - spectra.at(spectra.mean)) ** 2
        second = spectra.sum(spectra.values * square) / spectra.total
        width = np.sqrt(second)
        error = spectra.error((square - spectra.at(second)) / spectra.at(spectra.total))
        if error is not None:
            error = error / (2 * width)
    # A width of 0 (one channel), or what rounding makes of it, has no error to speak of: its derivative is infinite.
    good = spectra.trusted(min_snr) & (second > (_NO_WIDTH * spectra.dv) ** 2)
    return _where(good, *_without_response(spectra, width, error, subtract=subtract_response))


def ew(spectra: Spectra, *, subtract_response: bool = False) -> MapPair:
    """Return the effective width, ``I / (sqrt(2 pi) T_peak)``, km/s: the dispersion of a Gaussian of that peak."""
    peak = spectra.peak
    scale = spectra.dv / math.sqrt(2 * math.pi)
    with np.errstate(invalid="ignore", divide="ignore"):
        width = scale * spectra.total / peak
        gradient = spectra.at(scale / peak)
        gradient[spectra.is_peak] -= spectra.at(width / peak)[spectra.is_peak]
        error = spectra.error(gradient)
    good = spectra.measured & (peak > 0) & (width > 0)
    return _where(good, *_without_response(spectra, width, error, subtract=subtract_response))


def median_channel(noise: Array) -> Array:
    """Return the median over channels (nchan, ...) of the finite values; NaN where there is none."""
    if not noise.size:
        return np.full(noise.shape[1:], np.nan)
    spectra = noise.reshape(len(noise), -1)
    # The noise of most cubes is an image times a spectrum: what sorts one of its pixels sorts all.
    example = spectra[:, np.argmax(np.isfinite(spectra).all(axis=0))]
    found, sorted_by_it = _middle(spectra[np.argsort(example)])
    others = ~sorted_by_it
    others[others] = np.isfinite(spectra[:, others]).any(axis=0)
    if others.any():
        found[others] = _middle(np.sort(spectra[:, others], axis=0))[0]  # NaN come last
    return found.reshape(noise.shape[1:])


def _middle(spectra: Array) -> tuple[Array, Array]:
    """Return the median of the finite values of spectra that ascend, and which really do, without a blank."""
    ascending = (spectra[:-1] <= spectra[1:]).all(axis=0) & np.isfinite(spectra[[0, -1]]).all(axis=0)
    count = np.full(spectra.shape[1], len(spectra))
    count[~ascending] = np.count_nonzero(np.isfinite(spectra[:, ~ascending]), axis=0)
    ranks = (np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(spectra) - 1))
    lower, upper = (spectra[rank, np.arange(len(rank))].astype(np.float64) for rank in ranks)
    return 0.5 * (lower + upper), np.asarray(ascending)


def _where(good: Array, values: Array, error: Array | None) -> MapPair:
    return np.where(good, values, np.nan), None if error is None else np.where(good, error, np.nan)


def _without_response(spectra: Spectra, width: Array, error: Array | None, *, subtract: bool) -> MapPair:
    if not subtract:
        return width, error
    with np.errstate(invalid="ignore"):
        narrow = np.sqrt(width**2 - response_sigma(spectra.dv, spectra.rho) ** 2)
    return narrow, None if error is None else error * width / narrow
