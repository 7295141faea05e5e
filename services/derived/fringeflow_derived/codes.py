"""Samples of noise in 16 bits each: sign and logarithm of the size, which a division by a model merely shifts.

Dividing samples by an image and a spectrum is then subtracting whole numbers, and a table says which class of size the
quotient is of. Arrays only.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from fringeflow_derived.robust import Levels
from fringeflow_derived.sources import Array

_PER_OCTAVE = 250
_PER_CLASS = 25
_OCTAVES = 5
"""Quotients from ``2**-5`` to ``2**5`` are told apart; what lies beyond is closer to the next model."""

LEVELS = Levels(np.exp2(np.arange(-_OCTAVES * _PER_OCTAVE, _OCTAVES * _PER_OCTAVE + 1, _PER_CLASS) / _PER_OCTAVE))
"""Classes of quotients: tenths of octaves."""

_BAND = 21845
"""Positive samples, negative ones and those left out have a third of all codes each."""

_LEFT_OUT = 2
_REACH_OCTAVES, _IMAGE_OCTAVES, _SPECTRUM_OCTAVES = 20, 12, 10
"""How far sizes, image and spectrum may be from what is typical: together they stay within half a band."""

_SHIFT = 12
_SIGN = 1 << 31 - _SHIFT
_NOT_FINITE = 0xFF << 23 - _SHIFT


class Codes:
    """Codes of samples, 250 to the octave.

    Parameters
    ----------
    typical
        The typical size of samples, in their unit.
    """

    def __init__(self, typical: float) -> None:
        self._typical = typical

    def of(self, values: Array) -> Array:
        """Return the code of each value (float32), uint16."""
        bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32) >> _SHIFT
        return self._of_every_float.take(bits)

    @property
    def left_out(self) -> np.uint16:
        """The code of what is blank or left out."""
        return np.uint16(_middle(_LEFT_OUT))

    def bounded_image(self, image: Array) -> Array:
        """Keep an image, in the unit of the samples, within what codes reach from their typical size; return it."""
        image /= self._typical
        image = _bounded(image, _IMAGE_OCTAVES, out=image)
        image *= self._typical
        return image

    def bounded_spectrum(self, spectrum: Array) -> Array:
        """Return a spectrum no further from 1 than codes reach."""
        return _bounded(spectrum, _SPECTRUM_OCTAVES)

    def shifts(self, image: Array, spectrum: Array) -> tuple[Array, Array]:
        """Return what dividing by image and by spectrum subtracts from codes, modulo 2**16; 0 where they are blank."""
        first, second = (
            np.rint(_PER_OCTAVE * np.log2(np.where(np.isfinite(part), part, 1.0))).astype(np.int16).view(np.uint16)
            for part in (image / self._typical, spectrum)
        )
        return first, second

    @cached_property
    def classes(self) -> Array:
        """The class in `LEVELS` of every code."""
        codes, half = np.arange(1 << 16), LEVELS.count // 2
        band = np.minimum(codes // _BAND, _LEFT_OUT)
        found = np.clip((codes - _middle(band)) // _PER_CLASS + half // 2, 0, half - 1) + half * band
        return np.asarray(np.minimum(found, LEVELS.count - 1))

    @cached_property
    def _of_every_float(self) -> Array:
        """The code of every value of a float's sign, exponent and first bits of mantissa."""
        bits = np.arange(_SIGN, dtype=np.uint32)
        middles = ((bits << _SHIFT) + (1 << _SHIFT - 1)).view(np.float32)
        reach = _REACH_OCTAVES * _PER_OCTAVE
        with np.errstate(invalid="ignore"):
            sizes = middles.astype(np.float64) / self._typical
            places = np.floor(np.clip(_PER_OCTAVE * np.log2(sizes), -reach, reach - 1))
        found = _middle(np.array([[0], [1]])) + np.nan_to_num(places).astype(np.int64)
        found[:, bits >= _NOT_FINITE] = self.left_out
        found[1, 0] = found[0, 0]  # what is -0 is not negative
        return np.asarray(found.astype(np.uint16).ravel())


def _bounded(values: Array, octaves: int, out: Array | None = None) -> Array:
    return np.clip(values, 2.0**-octaves, 2.0**octaves, out=out)


def _middle(band: Any) -> Any:
    """Return the code of a quotient of 1."""
    return band * _BAND + _BAND // 2
