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
        self._last: tuple[Array, Array] | None = None

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
        coverage = self.coverage(valid)
        if not valid.any():
            return np.full(self._shape, np.nan, np.float32), coverage
        smoothed = self._convolve(np.where(valid, image, np.float32(0)))
        if nan_treatment == "interpolate":
            smoothed /= np.maximum(coverage, MIN_WEIGHT)
        smoothed[~valid] = np.nan
        return smoothed, coverage

    def coverage(self, valid: Array) -> Array:
        """Return the convolved footprint; consecutive channels mostly share it, so the last one is kept."""
        last = self._last
        if last is None or not np.array_equal(valid, last[0]):
            last = self._last = valid, np.clip(self._convolve(valid.astype(np.float32)), 0.0, 1.0)
        return last[1]

    def _convolve(self, image: Array) -> Array:
        product = fft.rfft2(np.asarray(image, np.float32), s=self._padded)
        product *= self._transform
        result: Array = fft.irfft2(product, s=self._padded, overwrite_x=True)[: self._shape[0], : self._shape[1]]
        return result
