"""Filters as wide as a single dish's beam, many pixels: only the lowest spatial frequencies are transformed. No files.

A Gaussian of full width w transforms to exp(-pi^2 w^2 s^2 / (4 ln 2)), s being the spatial frequency along w, which is
below 1e-10 from s = 2.5 / w on. Of a beam of 28 arcsec on pixels of 0.5 arcsec that is a tenth of the columns of a
plane's transform. The others are left out before the columns are transformed, and rows of padding, whose transforms
are zero, before the rows are: a quarter of the time, and of the room a tenth, for a result that is the same in double
precision to 1e-10.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from fringeflow_postprocess.beam import Beam
from fringeflow_postprocess.convolve import gaussian

Real = TypeVar("Real", np.float32, np.float64)
Spectrum = NDArray[np.complexfloating]

_FLOOR = 1e-10
_ROWS = 256
"""Rows transformed together: more need more room and are not faster."""

_LEAST_PADDING = 1.5
_PADDING_FWHM = 2.0
"""Zeros beyond each pair of opposite edges, in widths of the dish's beam: it has fallen to 2e-5 at the nearer."""

ILLUMINATED = 1.13
"""Aperture of a dish in wavelengths, times its beam (rad); beyond it a single dish measures nothing."""


class LowPass:
    """The spatial frequencies that a dish sees of planes of one shape.

    Parameters
    ----------
    shape
        (y, x) of the planes. They are padded with zeros, half as large again and by two beams of the dish at least, so
        that what leaves at one edge does not come in at another (postprocess specification, W-10).
    dish
        Beam of the dish; a narrower one's frequencies are not all there.
    increments_arcsec
        Of x and y.
    """

    def __init__(self, shape: tuple[int, ...], dish: Beam, increments_arcsec: tuple[float, float]) -> None:
        self._shape, self._increments = shape, increments_arcsec
        self._padded = _padded(shape, dish, increments_arcsec)
        widest = math.sqrt(-4 * math.log(2) * math.log(_FLOOR)) / math.pi / dish.minor_arcsec
        step = 1 / (self._padded[1] * abs(increments_arcsec[0]))
        self._columns = min(self._padded[1] // 2, math.ceil(widest / step)) + 1

    def spectrum(self, image: NDArray[Real]) -> Spectrum:
        """Return the transform of an image, of shape (padded y, columns): the first columns of its ``rfft2``."""
        rows = np.empty((self._shape[0], self._columns), np.result_type(image, np.complex64))
        for block in self._blocks():
            rows[block] = fft.rfft(image[block], self._padded[1], workers=1)[:, : self._columns]
        result: Spectrum = fft.fft(rows, self._padded[0], axis=0, workers=1, overwrite_x=True)
        return result

    def image(self, spectrum: Spectrum) -> NDArray[np.floating]:
        """Return the image of a spectrum that is not needed any more, without the padding."""
        rows = fft.ifft(spectrum, axis=0, workers=1, overwrite_x=True)[: self._shape[0]]
        result = np.empty(self._shape, rows.real.dtype)
        for block in self._blocks():
            result[block] = fft.irfft(rows[block], self._padded[1], workers=1)[:, : self._shape[1]]
        return result

    def filtered(self, image: NDArray[Real], transfer: NDArray[Real]) -> NDArray[Real]:
        """Return an image times a transfer function in the Fourier domain, in the precision of both."""
        spectrum = self.spectrum(image)
        spectrum *= transfer
        return self.image(spectrum).astype(image.dtype, copy=False)

    def gaussian(self, beam: Beam) -> NDArray[np.float64]:
        """Return the transform of `beam` with integral one."""
        return gaussian(self._padded, beam, self._increments, columns=self._columns)

    def aperture(self, dish: Beam) -> NDArray[np.float64]:
        """Return one at the spatial frequencies that a dish with this beam measures, else zero."""
        east = fft.rfftfreq(self._padded[1], self._increments[0])[None, : self._columns]
        north = fft.fftfreq(self._padded[0], self._increments[1])[:, None]
        return np.asarray(np.hypot(east, north) <= ILLUMINATED / dish.minor_arcsec, dtype=np.float64)

    def _blocks(self) -> list[slice]:
        return [slice(first, first + _ROWS) for first in range(0, self._shape[0], _ROWS)]


def _padded(shape: tuple[int, ...], dish: Beam, increments_arcsec: tuple[float, float]) -> tuple[int, int]:
    ny, nx = (
        fft.next_fast_len(
            max(math.ceil(length * _LEAST_PADDING), length + math.ceil(_PADDING_FWHM * dish.major_arcsec / abs(step))),
            real=True,
        )
        for length, step in zip(shape, increments_arcsec[::-1], strict=True)
    )
    return ny, nx
