"""How neighbouring channels' noise is correlated, and what that does to sums over channels. Arrays only."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from fringeflow_derived.sources import Array, CubeSource, as_source

MAX_LAG = 5
NEGLIGIBLE = 0.02
"""Correlations below this end the measured vector (derived specification, section 9.3)."""

_SCATTER = 0.1
"""A power spectrum may be this much below 0 from the scatter of the measured correlations alone."""

_ANGLES = np.linspace(0, np.pi, 181)


def measure(
    data: Array | CubeSource,
    noise: Array | CubeSource,
    *,
    signal: Array | CubeSource | None = None,
    pixels_per_beam: float = 1.0,
) -> tuple[float, ...]:
    """Return rho(0) = 1, rho(1), ...: the correlation of the noise over channels (derived specification, section 9.3).

    The first lag counts only if its correlation is neither negligible nor within three times the uncertainty that the
    number of independent samples leaves, those after it down to twice that, or further if the ones before it alone
    are not possible. Two samples or more per beam and axis are looked at: more would say no more.

    Parameters
    ----------
    data, noise
        (nchan, ny, nx), NaN where blank.
    signal
        Boolean, true where there may be signal, which is left out.
    pixels_per_beam
        For the number of independent samples.
    """
    residuals, signals = as_source(data), None if signal is None else as_source(signal)
    sigmas = as_source(noise)
    lags = min(MAX_LAG, residuals.shape[0] - 1)
    sums = np.zeros((lags + 1, 4))  # products, squares of either side, count
    recent: deque[tuple[Array, float, Array]] = deque(maxlen=lags + 1)
    stride = max(1, math.floor(math.sqrt(4 * pixels_per_beam / math.pi) / 2.5))
    chosen = np.s_[::stride, ::stride]
    for channel in range(residuals.shape[0]):
        scaled = (residuals.plane(channel)[chosen] / sigmas.plane(channel)[chosen]).astype(np.float64)
        valid = np.isfinite(scaled)
        if signals is not None:
            valid &= ~signals.plane(channel)[chosen].astype(bool)
        filled = np.where(valid, scaled, 0.0)
        recent.appendleft((filled, float(np.einsum("ij,ij->", filled, filled)), valid))
        for lag, before in enumerate(recent):
            if lag:
                sums[lag] += _products(*before, *recent[0])
    return _significant(sums, pixels_per_beam / stride**2)


def variance(gradient_times_sigma: Array, rho: tuple[float, ...]) -> Array:
    """Return the variance of a quantity whose channels are correlated (derived specification, section 9.3).

    Parameters
    ----------
    gradient_times_sigma
        (nchan, ...) float64: derivative after each channel's value, times that channel's noise; 0 outside the mask.
    rho
        From `measure`; (1,) for independent channels.
    """
    a = gradient_times_sigma
    total = sum_channels(a * a)
    for lag, correlation in enumerate(rho[1 : len(a)], start=1):
        total += 2 * correlation * sum_channels(a[:-lag] * a[lag:])
    return np.maximum(total, 0.0)


def sum_channels(values: Array) -> Array:
    """Return the sum over the first axis in channel order, so that no rounding depends on the other axes' lengths."""
    if math.prod(values.shape[1:]) > 1:
        # The first axis is the outermost: numpy then adds plane to plane.
        return np.asarray(np.add.reduce(np.ascontiguousarray(values), axis=0, dtype=np.float64))
    total = np.zeros(values.shape[1:], np.float64)
    for plane in values:
        total += plane
    return total


def bandwidth_factor(rho: tuple[float, ...], channels: float) -> float:
    """Return by how much correlation raises the variance of a sum over `channels` channels of equal noise."""
    return max(0.0, 1 + 2 * sum(r * max(0.0, 1 - lag / channels) for lag, r in enumerate(rho) if lag))


def response_sigma(dv: float, rho: tuple[float, ...]) -> float:
    """Return the dispersion of the spectral response, in the unit of the channel width `dv`.

    ``dv / sqrt(2 pi)`` for independent channels; broader where neighbours are coupled, after Leroy et al. 2016 (ApJ
    831, 16, equations 5 and 15), who take the response as (k, 1 - 2k, k) (derived specification, W24).
    """
    r = rho[1] if len(rho) > 1 else 0.0
    k = 0.47 * r - 0.23 * r**2 - 0.16 * r**3 + 0.43 * r**4
    return dv / math.sqrt(2 * math.pi) * (1 + 1.18 * k + 10.4 * k**2)


def _products(a: Array, power_a: float, valid_a: Array, b: Array, power_b: float, valid_b: Array) -> Array:
    """Return the sum of products of two channels, of either's squares and how many there are, where both are valid.

    `power` is the sum of squares of a channel, of which few are not valid in the other one.
    """
    only_a, only_b = a[valid_a & ~valid_b], b[valid_b & ~valid_a]
    squares = power_a - np.sum(only_a * only_a), power_b - np.sum(only_b * only_b)
    return np.array([np.einsum("ij,ij->", a, b), *squares, np.count_nonzero(valid_a & valid_b)])


def _significant(sums: Array, pixels_per_beam: float) -> tuple[float, ...]:
    found = [1.0]
    for product, first, second, count in sums[1:]:
        independent = count / max(1.0, pixels_per_beam)
        if independent < 10 or first <= 0 or second <= 0:
            break
        correlation = product / math.sqrt(first * second)
        # What follows a correlation that is there is better taken as measured than as 0.
        least = (3 if len(found) == 1 else 2) / math.sqrt(independent)
        longer = [*found, float(correlation)]
        if abs(correlation) < max(NEGLIGIBLE, least) and not _mends(longer):
            break
        found = longer
    return _possible(np.array(found))


def _mends(rho: list[float]) -> bool:
    """Return whether the last correlation makes possible, or less impossible, what could not be without it."""
    without = _least_power(np.array(rho[:-1]))
    return without < -_SCATTER and _least_power(np.array(rho)) > without


def _possible(rho: Array) -> tuple[float, ...]:
    """Return `rho` such that no variance computed with it is negative: its power spectrum must not be.

    A vector cut off at `MAX_LAG` before it has decayed breaks that; a linear taper mends it. So does one cut off
    because the next correlation was not significant; there, what is negative in the spectrum is taken as 0, which
    gives back part of the lags cut off. What rounding or the scatter of the measurement leave is scaled away.
    """
    if _least_power(rho) < -_SCATTER:
        rho = _tapered(rho) if len(rho) > MAX_LAG else _without_negative_power(rho)
    least = _least_power(rho)
    if least < 0:
        rho = np.concatenate([[1.0], rho[1:] / (1 - least)])
    return tuple(float(value) for value in rho)


def _tapered(rho: Array) -> Array:
    return rho * (1 - np.arange(len(rho)) / len(rho))


def _without_negative_power(rho: Array) -> Array:
    power = np.maximum(_power(rho), 0.0)
    power[[0, -1]] *= 0.5  # the trapezoidal rule over half the circle
    found = np.array([np.sum(power * np.cos(lag * _ANGLES)) for lag in range(MAX_LAG + 1)])
    found = found / found[0]
    kept: Array = found[: 1 + int(np.max(np.flatnonzero(np.abs(found) >= NEGLIGIBLE)))]
    return kept


def _least_power(rho: Array) -> float:
    return float(np.min(_power(rho)))


def _power(rho: Array) -> Array:
    found: Array = 1 + 2 * sum((r * np.cos(lag * _ANGLES) for lag, r in enumerate(rho) if lag), np.zeros_like(_ANGLES))
    return found
