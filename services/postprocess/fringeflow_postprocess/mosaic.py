"""The linear mosaic of fields that were imaged separately, a plane at a time: common beam, common grid, weighted mean.

For each pixel and channel, over parts k: ``sum(w_k I_k) / sum(w_k)`` (postprocess specification, 8.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from numpy.typing import NDArray

from fringeflow.fitsplanes import Planes
from fringeflow_postprocess import channels as spectral
from fringeflow_postprocess import noise, sky
from fringeflow_postprocess.beam import Beam, RoundRule, beams_of, round_beam_arcsec
from fringeflow_postprocess.channels import Channels, Mixture
from fringeflow_postprocess.convolve import Edges, to_round_beam
from fringeflow_postprocess.regrid import Regrid, mixed
from fringeflow_postprocess.sky import Sky

Plane = NDArray[np.float32]

_WORLD = re.compile(
    r"(CTYPE|CRVAL|CDELT|CRPIX|CUNIT|CROTA)[123]|(PC|CD)[123]_[123]|PV[123]_\d+|(LON|LAT)POLE|ALTRVAL|ALTRPIX|WCSAXES"
)
_SAMPLES = 8
"""Planes of a part on which the noise is measured again after convolution to the common beam."""


@dataclass(frozen=True)
class Settings:
    """What may be chosen.

    `centre` and `extent_arcsec` are those of the grid wanted instead of what the parts need; `round_beam` and
    `force_beam_arcsec` as for single fields (W-06); pixels with less than `least_response` squared of a plane's largest
    weight are blank.
    """

    round_beam: RoundRule = "smallest"
    force_beam_arcsec: float | None = None
    centre: SkyCoord | None = None
    extent_arcsec: tuple[float, float] | None = None
    least_response: float = 0.0

    @property
    def edges(self) -> Edges:
        """What blank pixels count for in convolution."""
        return "zero" if self.round_beam == "reference" else "normalised"


@dataclass(frozen=True)
class Layout:
    """The grid and beam of a mosaic: `channels` None for an image."""

    sky: Sky
    channels: Channels | None
    beam: Beam

    @property
    def shape(self) -> tuple[int, int, int]:
        """(planes, y, x)."""
        return (self.channels.count if self.channels else 1, *self.sky.shape)

    def header(self, like: fits.Header) -> fits.Header:
        """Return the cards of this grid, and of `like` those that do not speak of a grid."""
        result = like.copy(strip=True)
        for card in [card for card in result if _WORLD.fullmatch(card)]:
            result.remove(card, ignore_missing=True, remove_all=True)
        result.update(self.sky.header)
        if self.channels:
            result["CTYPE3"], result["CUNIT3"] = "VRAD", "m/s"
            result["CRPIX3"], result["CRVAL3"], result["CDELT3"] = 1.0, self.channels.first_ms, self.channels.step_ms
        return result


def layout(parts: Sequence[Planes], settings: Settings) -> Layout:
    """Return the grid and beam for the mosaic of `parts`, corrected images with round beams (8.1 to 8.3).

    The beam is the smallest round one that encloses all parts': since exact Gaussians are convolved, going to it by way
    of the parts' own round beams widens nothing (W-05).

    Raises
    ------
    DataError
        A forced beam that is too small; see also `sky.around`.
    """
    skies = [Sky.of(part.header, part.shape) for part in parts]
    beams = [beam for part in parts for beam in beams_of(part.hdus, part.header, 1)]
    fwhm = round_beam_arcsec(
        beams,
        max(item.pixel_arcsec for item in skies),
        rule=settings.round_beam,
        force_arcsec=settings.force_beam_arcsec,
    )
    axes = [Channels.of(part.header, len(part)) for part in parts if part.is_cube]
    return Layout(
        sky=sky.around(skies, centre=settings.centre, extent_arcsec=settings.extent_arcsec),
        channels=spectral.union(axes) if axes else None,
        beam=Beam(fwhm, fwhm),
    )


def layout_of(image: Planes, beam: Beam, grid: Sky) -> Layout:
    """Return the layout of something with `beam` on `grid`, with the channels of `image`."""
    return Layout(grid, Channels.of(image.header, len(image)) if image.is_cube else None, beam)


class Part:
    """One field on the way to a mosaic.

    Parameters
    ----------
    image
        Corrected, in Jy per beam.
    weight
        Its weight; None for the same weight everywhere.
    layout
        Of the mosaic.
    """

    def __init__(self, image: Planes, weight: Planes | None, layout: Layout, edges: Edges = "normalised") -> None:
        self._image, self._weight, self._edges = image, weight, edges
        self._layout = layout
        self._sky = Sky.of(image.header, image.shape)
        self._beam = beams_of(image.hdus, image.header, 1)[0]
        self._regrid = Regrid(self._sky, layout.sky)
        self._mixtures: list[Mixture] = [((0, 1.0),)]
        self.noise_factor = 1.0
        if layout.channels:
            self._mixtures = spectral.mixtures(Channels.of(image.header, len(image)), layout.channels)
        if not self._beam.is_about(layout.beam.major_arcsec):
            self.noise_factor = self._noise_factor()

    def planes(self, index: int) -> tuple[Plane, Plane]:
        """Return a plane of the mosaic's grid, at its beam, and its weight; both blank where either is (W-18)."""
        mixture = self._mixtures[index]
        image = self._regrid.image(
            self._convolved(mixed([self._image.plane(item) for item, _ in mixture], mixture, self._sky.shape))
        )
        valid = np.isfinite(image)
        weight = np.ones_like(image)
        if self._weight is not None:
            own = mixed([self._weight.plane(item) for item, _ in mixture], mixture, self._sky.shape)
            weight = self._regrid.weight(own) / np.float32(self.noise_factor**2)
            valid &= weight > 0
        return np.where(valid, image, np.float32(np.nan)), np.where(valid, weight, np.float32(np.nan))

    def _convolved(self, plane: Plane) -> Plane:
        increments = self._sky.increments_arcsec
        return to_round_beam(plane, self._beam, self._layout.beam.major_arcsec, increments, edges=self._edges)

    def _noise_factor(self) -> float:
        """Return by how much the noise grows (in Jy/beam) on the way to the common beam, from some planes (W-19)."""
        if self._weight is None:
            return 1.0
        factors = []
        for index in np.unique(np.linspace(0, len(self._image) - 1, _SAMPLES).astype(int)):
            plane, weight = self._image.plane(int(index)), self._weight.plane(int(index))
            if not np.isfinite(plane).any():
                continue
            response = np.sqrt(weight / np.nanmax(weight))
            factors.append(noise.flat_noise(self._convolved(plane), response) / noise.flat_noise(plane, response))
        known = [factor for factor in factors if np.isfinite(factor)]
        return float(np.median(known)) if known else 1.0


def planes(parts: Sequence[Part], layout: Layout, *, least_response: float = 0.0) -> Iterator[tuple[Plane, Plane]]:
    """Yield the planes of the mosaic and of its total weight; blank where no part is valid."""
    for index in range(layout.shape[0]):
        total, weights = np.zeros(layout.sky.shape), np.zeros(layout.sky.shape)
        for part in parts:
            image, weight = part.planes(index)
            valid = np.isfinite(image)
            total[valid] += weight[valid].astype(np.float64) * image[valid]
            weights[valid] += weight[valid]
        valid = weights > least_response**2 * weights.max()
        mean = np.divide(total, weights, out=total, where=valid)
        yield (
            np.where(valid, mean, np.nan).astype(np.float32),
            np.where(valid, weights, np.nan).astype(np.float32),
        )


def record(parts: Sequence[Part], layout: Layout) -> dict[str, Any]:
    """Return what came of the settings, as JSON."""
    return {
        "beam_arcsec": [layout.beam.major_arcsec, layout.beam.minor_arcsec, 0.0],
        "noise_factors": [part.noise_factor for part in parts],
        "shape": list(layout.shape),
    }
