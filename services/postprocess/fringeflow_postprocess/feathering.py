"""Two cubes of one grid feathered plane by plane, with a count of the flux that goes in and comes out.

Every Stokes parameter is feathered with the single dish's of the same. Those that the single dish has not measured stay
what the interferometer alone has seen: their beam is the same, their large scales are missing, as they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow import fitsstokes
from fringeflow.errors import DataError
from fringeflow.fitsplanes import Planes
from fringeflow_postprocess import feather
from fringeflow_postprocess.beam import beams_of
from fringeflow_postprocess.channels import Channels
from fringeflow_postprocess.feather import Settings
from fringeflow_postprocess.kelvin import frequencies_hz
from fringeflow_postprocess.sky import Sky

_SAMPLES = 24
"""Channels on which the flux scales are compared."""


class _Count:
    """The fluxes and flux scales of one Stokes parameter, plane by plane."""

    def __init__(self) -> None:
        self.scales = np.zeros(4)
        self.flux = np.zeros(3)

    def record(self, channel_kms: float) -> dict[str, float | None]:
        """Return them as JSON; see `Feathering.record`."""
        image, dish, result = (float(flux) for flux in self.flux * channel_kms)
        cross, power, smoothed, wanted = (float(total) for total in self.scales)
        return {
            "flux_interferometer": image,
            "flux_single_dish": dish,
            "flux": result,
            "flux_scale_ratio": cross / power if power > 0 else None,
            "ratio_at_dish_beam": smoothed / wanted if wanted else None,
        }


class Feathering:
    """Feathers an interferometer's image with a single dish's.

    Parameters
    ----------
    image, weight
        Of the interferometer, in Jy per beam, and its weight; a taper follows from the weight (W-12).
    dish
        Of the single dish on the same grid or on one that goes on beyond it, in Jy per own beam.
    frequency_hz
        Of an image without spectral axis; only an effective dish diameter needs it.

    Raises
    ------
    DataError
        The grids differ, or the single dish has none of the Stokes parameters.
    """

    def __init__(
        self, image: Planes, weight: Planes, dish: Planes, settings: Settings, *, frequency_hz: float | None = None
    ) -> None:
        self._image, self._weight, self._dish, self._settings = image, weight, dish, settings
        self._sky = Sky.of(image.header, image.shape)
        wide = Sky.of(dish.header, dish.shape)
        offset = self._sky.offset_in(wide)
        if image.shape != weight.shape or image.channels != dish.channels or offset is None:
            raise DataError(f"{image.path} and {dish.path} are not on one grid", remedy="make them again")
        self._inside = tuple(slice(start, start + size) for start, size in zip(offset, self._sky.shape, strict=True))
        self._wide = wide.shape
        self.beam, self.dish_beam = beams_of(image)[0], beams_of(dish)[0]
        self._used = self.dish_beam
        if settings.dish_m is not None:
            middle = frequencies_hz(image.header, image.channels).mean() if image.is_cube else frequency_hz
            if middle is None:
                raise DataError(f"{image.path} says nothing of its frequency", remedy="leave feather_dish_m out")
            self._used = settings.beam_of(self.dish_beam, float(middle))
        self._counts = {stokes: _Count() for stokes in in_both(image, dish)}
        self._valid = 0

    def planes(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yield the feathered planes and their weights, the interferometer's; blank where either image is (W-11).

        Raises
        ------
        DataError
            At the end, if no pixel is valid in both.
        """
        for index in range(len(self._image)):
            if self._image.stokes[index // self._image.channels] in self._counts:
                yield self._feathered(index)
            else:
                yield self._image.plane(index), self._weight.plane(index)
        if not self._valid:
            raise DataError(
                f"{self._image.path} and {self._dish.path} have no valid pixel in common",
                remedy="correct the single dish key",
            )

    def _feathered(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return a feathered plane and its weight, and count what went in and came out."""
        image, wide, weight = (item.beside(self._image, index) for item in (self._image, self._dish, self._weight))
        beams, increments, taper = (self.beam, self.dish_beam), self._sky.increments_arcsec, None
        if self._settings.taper and np.isfinite(weight).any():
            taper = self._widened(np.sqrt(weight / np.nanmax(weight)))
        both = self._widened(image), wide
        result = feather.feathered(*both, beams, increments, settings=self._settings, used=self._used, taper=taper)
        result, dish = result[self._inside], wide[self._inside]
        stokes, channel = divmod(index, self._image.channels)
        count = self._counts[self._image.stokes[stokes]]
        self._count(image, dish, result, count)
        if channel in np.linspace(0, self._image.channels - 1, _SAMPLES).astype(int):
            scales = feather.overlap(image, dish, beams, increments)
            count.scales += (*scales, *feather.at_dish_beam(result, dish, (self.beam, self._used), increments))
        return result, np.where(np.isfinite(result), weight, np.float32(np.nan))

    def record(self) -> dict[str, Any]:
        """Return, as JSON, fluxes where both are valid, in Jy km/s (an image's in Jy), and two ratios.

        They are of the dish's flux scale to the interferometer's, and of the result, smoothed to the dish's beam, to
        the dish's image: both from some planes. Of several Stokes parameters they are those of the first that is
        feathered, with those of the others and the names of what is not feathered.
        """
        width = self._channel_kms()
        first, *others = [count.record(width) for count in self._counts.values()]
        result: dict[str, Any] = {
            "beam_arcsec": [self.beam.major_arcsec, self.beam.minor_arcsec, self.beam.pa_deg],
            "dish_beam_arcsec": [self._used.major_arcsec, self._used.minor_arcsec, self._used.pa_deg],
            **first,
        }
        if others:
            result["stokes"] = dict(zip(fitsstokes.names(list(self._counts)[1:]), others, strict=True))
        if self.untouched:
            result["not_feathered"] = fitsstokes.names(self.untouched)
        return result

    @property
    def untouched(self) -> fitsstokes.Stokes:
        """The Stokes parameters that only the interferometer has measured."""
        return tuple(stokes for stokes in self._image.stokes if stokes not in self._counts)

    def _widened(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a plane on the dish's grid, blank beyond its own."""
        wide = np.full(self._wide, np.nan, np.float32)
        wide[self._inside] = plane
        return wide

    def _count(
        self, image: NDArray[np.float32], dish: NDArray[np.float32], result: NDArray[np.float32], count: _Count
    ) -> None:
        valid = np.isfinite(result)
        self._valid += int(valid.sum())
        for place, (plane, beam) in enumerate(((image, self.beam), (dish, self.dish_beam), (result, self.beam))):
            count.flux[place] += float(plane[valid].sum(dtype=np.float64)) * _pixels_sr(self._sky) / beam.solid_angle_sr

    def _channel_kms(self) -> float:
        return Channels.of(self._image.header, self._image.channels).width_ms / 1e3 if self._image.is_cube else 1.0


def in_both(image: Planes, dish: Planes) -> fitsstokes.Stokes:
    """Return the Stokes parameters of an interferometer's `image` that the single dish's has too.

    Raises
    ------
    DataError
        There is none.
    """
    found = tuple(stokes for stokes in image.stokes if stokes in dish.stokes)
    if not found:
        ours, theirs = (", ".join(fitsstokes.names(each.stokes)) for each in (image, dish))
        raise DataError(
            f"{dish.path} has Stokes {theirs}, the interferometer's {image.path} {ours}",
            remedy="name another single dish in its key, or correct the Stokes axis",
        )
    return found


def _pixels_sr(sky: Sky) -> float:
    return float(np.radians(sky.pixel_arcsec / 3600) ** 2)
