"""Single-dish images: what they are in, and how they come onto an interferometer's grid, a plane at a time.

Axes may be in any order with any number of degenerate ones; the spectral one may be frequency or velocity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow.errors import DataError
from fringeflow.fitsplanes import Planes
from fringeflow_postprocess import kelvin
from fringeflow_postprocess.beam import Beam, beams_of, round_beam_arcsec
from fringeflow_postprocess.channels import Channels, Mixture, mixtures, moved
from fringeflow_postprocess.convolve import to_round_beam
from fringeflow_postprocess.feathering import in_both
from fringeflow_postprocess.regrid import Regrid, mixed
from fringeflow_postprocess.sky import Sky

_MARGIN_BEAMS = 1.5

_KELVIN = {"k": 1.0, "ktmb": 1.0, "kelvin": 1.0, "mk": 1e-3, "mktmb": 1e-3}
_PER_BEAM = {"jy/beam": 1.0, "jybeam-1": 1.0, "mjy/beam": 1e-3, "mjybeam-1": 1e-3}
_PER_PIXEL = {"jy/pixel": 1.0, "jy/pix": 1.0, "jypixel-1": 1.0, "jypix-1": 1.0}


class SingleDish:
    """A single-dish image or cube in Jy/beam on its own grid.

    Parameters
    ----------
    image
        In K (of the main beam), Jy/beam or Jy/pixel. If it has a beam per plane all are brought to the smallest round
        one that holds them.

    Raises
    ------
    CorruptInputError
        There is no beam.
    DataError
        Another unit, or no frequency to convert kelvin at (W-13).
    """

    def __init__(self, image: Planes) -> None:
        self.image = image
        self.sky = Sky.of(image.header, image.shape)
        self.channels = Channels.of(image.header, image.channels) if image.is_cube else None
        self._beams = beams_of(image)
        usable = [beam for beam in self._beams if beam.major_arcsec > 0]
        pixel = self.sky.pixel_arcsec
        alike = all(beam == usable[0] for beam in usable)
        self.beam = usable[0] if alike and usable else Beam(*[round_beam_arcsec(usable or self._beams, pixel)] * 2)
        self._to_round = not alike
        self._factors = self._jansky_per_beam()

    def plane(self, index: int) -> NDArray[np.float32]:
        """Return a plane in Jy per `beam`, NaN where blank."""
        plane = self.image.plane(index) * np.float32(self._factors[index])
        if self._to_round and self._beams[index].major_arcsec > 0:
            return to_round_beam(plane, self._beams[index], self.beam.major_arcsec, self.sky.increments_arcsec)
        return plane

    def _jansky_per_beam(self) -> NDArray[np.float64]:
        """Return what each plane is multiplied with."""
        written = str(self.image.header.get("BUNIT", "")).strip()
        unit = "".join(character for character in written.lower() if character not in " ()_.")
        count = len(self.image)
        if unit in _PER_BEAM:
            return np.full(count, _PER_BEAM[unit])
        if unit in _PER_PIXEL:
            pixel_sr = math.radians(self.sky.pixel_arcsec / 3600) ** 2
            return np.array([_PER_PIXEL[unit] * beam.solid_angle_sr / pixel_sr for beam in self._beams])
        if unit not in _KELVIN:
            raise DataError(
                f"{self.image.path} is in {written or 'no unit'}", remedy="convert it to K, Jy/beam or Jy/pixel"
            )
        frequencies = _frequencies(self.image)
        pairs = zip(np.tile(frequencies, len(self.image.stokes)), self._beams, strict=True)
        each = [kelvin.kelvin_per_jansky(np.array(nu), beam) if beam.major_arcsec > 0 else np.nan for nu, beam in pairs]
        return _KELVIN[unit] / np.array(each, dtype=np.float64)


class Aligned:
    """A single-dish image on the grid of an interferometer's (postprocess specification, 7.1), with a margin.

    The margin of one and a half beams is there since a dish sees within the field what lies beyond it: `sky` is the
    grid, which goes on beyond the interferometer's by so much on all sides. Velocities are matched, radio definition;
    where the interferometer's channels are wider the dish's are averaged (W-13). The planes are those of the
    interferometer's Stokes parameters that the dish has measured, `stokes` (W-17). After all planes have been given,
    `record` says how much of the interferometer's is covered.

    Raises
    ------
    DataError
        Different spectral frames, or nothing in common.
    """

    def __init__(self, dish: SingleDish, template: Planes) -> None:
        self._dish, self._template = dish, template
        _same_frame(dish.image, template)
        inner = Sky.of(template.header, template.shape)
        self._margin = margin_pixels(dish.beam, inner)
        self.sky = inner.wider(self._margin)
        self.stokes = in_both(template, dish.image)
        self._regrid = Regrid(dish.sky, self.sky)
        self._mixtures = _mixtures(dish, template)
        self._wanted = self._found = 0

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for stokes, (channel, each) in product(self.stokes, enumerate(self._mixtures)):
            valid = np.isfinite(self._template.plane(self._template.first(stokes) + channel))
            mixture = moved(each, self._dish.image.first(stokes))
            plane = self._regrid.image(
                mixed([self._dish.plane(item) for item, _ in mixture], mixture, self._dish.sky.shape)
            )
            self._wanted += int(valid.sum())
            inside = tuple(slice(self._margin, self._margin + length) for length in valid.shape)
            self._found += int((valid & np.isfinite(plane[inside])).sum())
            yield plane
        if not self._found:
            raise DataError(
                f"{self._dish.image.path} covers nothing of {self._template.path}",
                remedy="correct the single dish key, or the position and velocities in the file",
            )

    def record(self) -> dict[str, Any]:
        """Return the beam (arcsec) and the part of the interferometer's valid pixels that is covered, as JSON."""
        beam = self._dish.beam
        return {
            "beam_arcsec": [beam.major_arcsec, beam.minor_arcsec, beam.pa_deg],
            "unit_in": str(self._dish.image.header.get("BUNIT", "")).strip(),
            "channels_averaged": max(len(mixture) for mixture in self._mixtures),
            "coverage": self._found / max(self._wanted, 1),
        }


def margin_pixels(beam: Beam, sky: Sky) -> int:
    """Return by how many pixels a single dish's image goes on beyond an interferometer's grid."""
    return math.ceil(_MARGIN_BEAMS * beam.major_arcsec / sky.pixel_arcsec - 1e-6)


def _mixtures(dish: SingleDish, template: Planes) -> list[Mixture]:
    if dish.channels is None or not template.is_cube:
        if dish.image.channels != 1 or template.channels != 1:
            raise DataError(f"{dish.image.path} and {template.path}: only one of them is a cube", remedy="name another")
        return [((0, 1.0),)]
    return mixtures(dish.channels, Channels.of(template.header, template.channels))


def _same_frame(dish: Planes, template: Planes) -> None:
    theirs, ours = (str(image.header.get("SPECSYS", "")).strip().upper() for image in (dish, template))
    if dish.is_cube and template.is_cube and theirs and ours and theirs != ours:
        raise DataError(f"{dish.path} has {theirs} velocities, the interferometer {ours}", remedy="regrid it to LSRK")


def _frequencies(image: Planes) -> NDArray[np.float64]:
    if image.is_cube:
        return kelvin.frequencies_hz(image.header, image.channels)
    rest = image.header.get("RESTFRQ", image.header.get("RESTFREQ", 0.0))
    if not rest > 0:
        raise DataError(f"{image.path} is in K and has no frequency", remedy="set RESTFRQ, or convert it to Jy/beam")
    return np.array([float(rest)])
