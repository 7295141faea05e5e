"""Convolves images that have blank pixels with a kernel, and says how much of each result is data. Arrays only."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import fft

from fringeflow_derived.sources import Array

NanTreatment = Literal["interpolate", "fill"]
MIN_WEIGHT = 1e-6
"""Below this share of the kernel on data, the FFT's rounding would show in the quotient."""


class Convolver:
    """Convolution of images of one shape with one kernel.

    What lies outside the array counts as blank, not as zero: the array is padded by the kernel's radius (derived
    specification, W9).

    Parameters
    ----------
    shape
        Rows and columns of the images.
    kernel
        Odd square image of unit sum.
    """

    def __init__(self, shape: tuple[int, int], kernel: Array) -> None:
        self._shape = shape
        radius = kernel.shape[0] // 2
        self._padded = [fft.next_fast_len(size + radius, real=True) for size in shape]
        # A kernel wider than the padded image would wrap onto itself: what falls off it meets no data.
        reach = min(radius, *(size - 1 for size in shape))
        inner = kernel[radius - reach : radius + reach + 1, radius - reach : radius + reach + 1]
        image = np.zeros(self._padded, np.float32)
        offsets = np.arange(-reach, reach + 1)
        image[np.ix_(offsets % self._padded[0], offsets % self._padded[1])] = inner
        self._transform = fft.rfft2(image)
        self._last: tuple[Array, Array, Array] | None = None

    def __call__(self, image: Array, nan_treatment: NanTreatment = "interpolate") -> tuple[Array, Array]:
        """Convolve one image; may be called from several threads at once.

        The transforms are computed in single precision: their rounding is 1e-7 of the brightest pixel.

        Parameters
        ----------
        image
            (ny, nx), NaN where blank.
        nan_treatment
            ``interpolate``: blank pixels have no weight (normalised convolution). ``fill``: blank pixels inside the
            array and everything outside count as 0.

        Returns
        -------
        smoothed
            float32, blank where `image` is.
        coverage
            float32, 0 to 1 on the whole array: the share of each new beam that rests on data.
        """
        valid = np.isfinite(image)
        _, coverage, weight = self._footprint(valid)
        if not valid.any():
            return np.full(self._shape, np.nan, np.float32), coverage
        smoothed = self._convolve(np.where(valid, image, np.float32(0)).astype(np.float32, copy=False))
        if nan_treatment == "interpolate":
            smoothed /= weight
        else:
            np.copyto(smoothed, np.float32(np.nan), where=~valid)
        return smoothed, coverage

    def coverage(self, valid: Array) -> Array:
        """Return the convolved footprint."""
        return self._footprint(valid)[1]

    def _footprint(self, valid: Array) -> tuple[Array, Array, Array]:
        """Return `valid`, its coverage and the weights that results are divided by, NaN where blank.

        Consecutive channels mostly share them, so the last ones are kept.
        """
        last = self._last
        if last is None or not np.array_equal(valid, last[0]):
            coverage = np.clip(self._convolve(valid.astype(np.float32)), 0.0, 1.0)
            weight = np.where(valid, np.maximum(coverage, MIN_WEIGHT), np.float32(np.nan)).astype(np.float32)
            last = self._last = valid, coverage, weight
        return last

    def _convolve(self, image: Array) -> Array:
        # Axis by axis, so that rows of padding are not transformed along the other.
        (height, width), (rows, columns) = self._shape, self._padded
        product = fft.fft(fft.rfft(image, n=columns, axis=1), n=rows, axis=0, overwrite_x=True)
        product *= self._transform
        part = fft.ifft(product, axis=0, overwrite_x=True)[:height]
        result: Array = fft.irfft(part, n=columns, axis=1, overwrite_x=True)[:, :width]
        return result
