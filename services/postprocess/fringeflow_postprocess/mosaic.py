"""The linear mosaic of fields that were imaged separately, a plane at a time: common beam, common grid, weighted mean.

For each pixel and channel, over parts k: ``sum(w_k I_k) / sum(w_k)`` (postprocess specification, 8.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from numpy.typing import NDArray

from fringeflow import fitsstokes
from fringeflow.errors import DataError
from fringeflow.fitsplanes import Planes
from fringeflow_postprocess import channels as spectral
from fringeflow_postprocess import noise, sky
from fringeflow_postprocess.beam import Beam, RoundRule, beams_of, round_beam_arcsec
from fringeflow_postprocess.channels import Channels, Mixture
from fringeflow_postprocess.convolve import Edges, edges_of, to_round_beam
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
        return edges_of(self.round_beam)


@dataclass(frozen=True)
class Layout:
    """The grid and beam of a mosaic: `channels` None for an image; each of `stokes` has them all."""

    sky: Sky
    channels: Channels | None
    beam: Beam
    stokes: fitsstokes.Stokes = fitsstokes.ALONE

    @property
    def shape(self) -> tuple[int, int, int]:
        """(planes, y, x) of one Stokes parameter."""
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
        A forced beam that is too small, parts of different Stokes parameters; see also `sky.around`.
    """
    skies = [Sky.of(part.header, part.shape) for part in parts]
    beams = [beam for part in parts for beam in beams_of(part)]
    fwhm = round_beam_arcsec(
        beams,
        max(item.pixel_arcsec for item in skies),
        rule=settings.round_beam,
        force_arcsec=settings.force_beam_arcsec,
    )
    axes = [Channels.of(part.header, part.channels) for part in parts if part.is_cube]
    return Layout(
        sky=sky.around(skies, centre=settings.centre, extent_arcsec=settings.extent_arcsec),
        channels=spectral.union(axes) if axes else None,
        beam=Beam(fwhm, fwhm),
        stokes=common_stokes(parts),
    )


def layout_of(image: Planes, beam: Beam, grid: Sky, stokes: fitsstokes.Stokes) -> Layout:
    """Return the layout of something with `beam` and `stokes` on `grid`, with the channels of `image`."""
    return Layout(grid, Channels.of(image.header, image.channels) if image.is_cube else None, beam, stokes)


def common_stokes(parts: Sequence[Planes]) -> fitsstokes.Stokes:
    """Return the Stokes parameters of all `parts`, in the order of the first.

    Raises
    ------
    DataError
        They are not those of another part: its mosaic would be of fewer parts in some of them.
    """
    first = parts[0]
    for part in parts:
        if set(part.stokes) != set(first.stokes):
            kinds = [f"{each.path} has Stokes {', '.join(fitsstokes.names(each.stokes))}" for each in (first, part)]
            raise DataError("; ".join(kinds), remedy="give all parts of a mosaic the same Stokes parameters")
    return first.stokes


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
        self.image, self._weight, self._edges = image, weight, edges
        self._layout = layout
        self._sky = Sky.of(image.header, image.shape)
        self._beam = beams_of(image)[0]
        self._regrid = Regrid(self._sky, layout.sky)
        mixtures: list[Mixture] = [((0, 1.0),)]
        if layout.channels:
            mixtures = spectral.mixtures(Channels.of(image.header, image.channels), layout.channels)
        firsts = [image.first(stokes) for stokes in layout.stokes]
        self._mixtures = [spectral.moved(mixture, first) for first in firsts for mixture in mixtures]
        self.noise_factors = [1.0] * len(firsts)
        if not self._beam.is_about(layout.beam.major_arcsec):
            self.noise_factors = [self._noise_factor(first) for first in firsts]

    @property
    def noise_factor(self) -> float:
        """By how much the noise of the first Stokes parameter grows on the way to the common beam."""
        return self.noise_factors[0]

    def showing(self, image: Planes) -> Part:
        """Return the same with another image of the same grid, beam and weight: one of another Taylor term."""
        other = copy(self)
        other.image = image
        return other

    def planes(self, index: int) -> tuple[Plane, Plane]:
        """Return a plane of the mosaic's grid, at its beam, and its weight; both blank where either is (W-18)."""
        mixture, stokes = self._mixtures[index], index // self._layout.shape[0]
        image = self._regrid.image(
            self._convolved(mixed([self.image.plane(item) for item, _ in mixture], mixture, self._sky.shape))
        )
        valid = np.isfinite(image)
        weight = np.ones_like(image)
        if self._weight is not None:
            own = mixed([self._weight.beside(self.image, item) for item, _ in mixture], mixture, self._sky.shape)
            weight = self._regrid.weight(own) / np.float32(self.noise_factors[stokes] ** 2)
            valid &= weight > 0
        return np.where(valid, image, np.float32(np.nan)), np.where(valid, weight, np.float32(np.nan))

    def _convolved(self, plane: Plane) -> Plane:
        increments = self._sky.increments_arcsec
        return to_round_beam(plane, self._beam, self._layout.beam.major_arcsec, increments, edges=self._edges)

    def _noise_factor(self, first: int) -> float:
        """Return by how much the noise grows (in Jy/beam) on the way to the common beam, from some planes (W-19).

        They are those of one Stokes parameter, from `first` on.
        """
        if self._weight is None:
            return 1.0
        factors = []
        for channel in np.unique(np.linspace(0, self.image.channels - 1, _SAMPLES).astype(int)):
            place = first + int(channel)
            plane, weight = self.image.plane(place), self._weight.beside(self.image, place)
            if not np.isfinite(plane).any():
                continue
            response = np.sqrt(weight / np.nanmax(weight))
            factors.append(noise.flat_noise(self._convolved(plane), response) / noise.flat_noise(plane, response))
        known = [factor for factor in factors if np.isfinite(factor)]
        return float(np.median(known)) if known else 1.0


def planes(parts: Sequence[Part], layout: Layout, *, least_response: float = 0.0) -> Iterator[tuple[Plane, Plane]]:
    """Yield the planes of the mosaic and of its total weight; blank where no part is valid."""
    for index in range(len(layout.stokes) * layout.shape[0]):
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
        "noise_factors": [part.noise_factors if len(layout.stokes) > 1 else part.noise_factor for part in parts],
        "shape": list(layout.shape),
    }
