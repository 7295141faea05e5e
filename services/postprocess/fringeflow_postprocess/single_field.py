"""One interferometric field from imaging's FITS files to the final grid in kelvin, a plane at a time.

First everything that the result depends on as a whole is settled (`Plan`), then planes flow through. It knows arrays
and FITS files, but no units, recipes or names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from fringeflow.errors import DataError
from fringeflow.fitsplanes import Planes
from fringeflow_postprocess import beam as beams
from fringeflow_postprocess import kelvin, primary_beam, trim
from fringeflow_postprocess.beam import Beam
from fringeflow_postprocess.convolve import Edges, to_round_beam

KelvinRule = Literal["channel", "constant"]

_GRID_CARDS = ("CTYPE{0}", "CRVAL{0}", "CDELT{0}", "CRPIX{0}")


@dataclass(frozen=True)
class Settings:
    """What may be chosen. See the functions that take these for their meaning.

    `round_beam` "reference" does as the reference does throughout, for comparison: its beam, and blanks counted as zero
    when convolving. `cut_coarse_edges` leaves out the outermost channels if their beams are much larger.
    """

    pblimit: float
    round_beam: beams.RoundRule = "smallest"
    force_beam_arcsec: float | None = None
    kelvin: KelvinRule = "channel"
    min_pixels_per_beam: int = 3
    rind_pixels: int = 1
    cut_coarse_edges: bool = False

    @property
    def edges(self) -> Edges:
        """What blank pixels count for in convolution."""
        return "zero" if self.round_beam == "reference" else "normalised"


@dataclass(frozen=True)
class Plan:
    """What is the same for all planes of one field, and where the final grid lies.

    `staged` is the box round the valid pixels on the input grid, `trimmed` the same after rebinning, counted from the
    first pixel of `staged`; `planes` is the range of planes kept. One box serves image and primary beam (W-02). `beams`
    are those of the input's planes, None for a plane that is blank.
    """

    settings: Settings
    beams: tuple[Beam | None, ...]
    round_arcsec: float
    increments_arcsec: tuple[float, float]
    staged: trim.Box
    factor: int
    trimmed: trim.Box
    planes: tuple[int, int]
    frequencies_hz: NDArray[np.float64]
    header: fits.Header

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the final cube: (planes, y, x)."""
        box = self.trimmed
        return self.planes[1] - self.planes[0], box.y[1] - box.y[0], box.x[1] - box.x[0]

    @property
    def beam(self) -> Beam:
        """The restoring beam of the result."""
        return Beam(self.round_arcsec, self.round_arcsec)

    @property
    def mean_frequency_hz(self) -> float:
        """Mean over the planes kept."""
        return float(self.frequencies_hz.mean())

    @property
    def kelvin_per_jansky(self) -> float:
        """The conversion factor at the mean frequency."""
        return float(kelvin.kelvin_per_jansky(np.array(self.mean_frequency_hz), self.beam))

    def factors(self) -> NDArray[np.float64]:
        """Return K per (Jy/beam) of each plane kept."""
        if self.settings.kelvin == "constant":
            return np.full(self.shape[0], self.kelvin_per_jansky)
        return kelvin.kelvin_per_jansky(self.frequencies_hz, self.beam)

    def on_final_grid(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an input plane cropped, rebinned and cropped again."""
        return self.trimmed.of(trim.rebinned(self.staged.of(plane), self.factor))

    def record(self) -> dict[str, Any]:
        """Return the settings and what came of them, as JSON, for provenance."""
        used = [item for item in self.beams if item]
        widest = max(used, key=lambda item: item.major_arcsec)
        return {
            "pblimit": self.settings.pblimit,
            "round_beam": self.settings.round_beam,
            "edges": self.settings.edges,
            "beam_in_arcsec": [widest.major_arcsec, widest.minor_arcsec, widest.pa_deg],
            "beam_arcsec": [self.round_arcsec, self.round_arcsec, 0.0],
            "convolved_planes": sum(not item.is_about(self.round_arcsec) for item in used),
            "rebin_factor": self.factor,
            "staged_box": [*self.staged.x, *self.staged.y],
            "trimmed_box": [*self.trimmed.x, *self.trimmed.y],
            "planes": list(self.planes),
            "rind_pixels": self.settings.rind_pixels,
            "kelvin": self.settings.kelvin,
            "jytok": self.kelvin_per_jansky,
            "jytok_frequency_hz": self.mean_frequency_hz,
        }


def settle(image: Planes, response: Planes | None, settings: Settings, *, frequency_hz: float | None = None) -> Plan:
    """Return the plan for `image`, in Jy/beam, and the primary beam's `response`; reads both once.

    Parameters
    ----------
    response
        None if `image` is corrected already.
    frequency_hz
        Of an image that has no spectral axis to read it from.

    Raises
    ------
    DataError
        Nothing is valid; the two are not on one grid; no frequency is known; the beam cannot be reached.
    """
    _check(image, response)
    footprint, filled = _footprint(image, response, settings.pblimit)
    every = beams.beams_of(image.hdus, image.header, len(image))
    planes = trim.extent(filled)
    if settings.cut_coarse_edges:
        low, high = beams.without_coarse_edges(
            [item if full else None for item, full in zip(every, filled, strict=True)]
        )
        filled[:low] = filled[high:] = False
        planes = max(planes[0], low), min(planes[1], high)
    per_plane = tuple(item if full else None for item, full in zip(every, filled, strict=True))
    increments = (image.header["CDELT1"] * 3600, image.header["CDELT2"] * 3600)
    pixel = abs(increments[0])
    round_arcsec = beams.round_beam_arcsec(
        [item for item in per_plane if item],
        pixel,
        rule=settings.round_beam,
        force_arcsec=settings.force_beam_arcsec,
    )
    staged = trim.bounding_box(footprint)
    factor = trim.rebin_factor(round_arcsec, pixel, settings.min_pixels_per_beam)
    coarse = trim.rebinned_footprint(footprint[slice(*staged.y), slice(*staged.x)], factor)
    if not coarse.any():
        raise _empty(image)
    trimmed = trim.bounding_box(coarse)
    first = (planes[0],) if image.is_cube else ()
    header = trim.rebinned_header(trim.cropped_header(image.header, (staged.x[0], staged.y[0], *first)), factor)
    return Plan(
        settings=settings,
        beams=per_plane,
        round_arcsec=round_arcsec,
        increments_arcsec=increments,
        staged=staged,
        factor=factor,
        trimmed=trimmed,
        planes=planes,
        frequencies_hz=_frequencies(image, frequency_hz)[slice(*planes)],
        header=trim.cropped_header(header, (trimmed.x[0], trimmed.y[0])),
    )


def kelvin_planes(image: Planes, response: Planes | None, plan: Plan) -> Iterator[NDArray[np.float32]]:
    """Yield the planes of the final cube: corrected, convolved, trimmed, in kelvin.

    Raises
    ------
    DataError
        At the end, if erosion left nothing.
    """
    settings, left = plan.settings, 0
    for index, factor in zip(range(*plan.planes), plan.factors(), strict=True):
        plane = primary_beam.corrected(image.plane(index), response_of(image, response, index), settings.pblimit)
        own = plan.beams[index]
        if own:
            plane = to_round_beam(plane, own, plan.round_arcsec, plan.increments_arcsec, edges=settings.edges)
        plane = trim.without_rind(plan.on_final_grid(plane), settings.rind_pixels)
        left += int(np.isfinite(plane).sum())
        yield plane * np.float32(factor)
    if not left:
        raise _empty(image)


def response_planes(image: Planes, response: Planes, plan: Plan) -> Iterator[NDArray[np.float32]]:
    """Yield the planes of the primary beam on the final grid, rebinned as the data are (W-14), not eroded."""
    for index in range(*plan.planes):
        pb = response_of(image, response, index)
        valid = primary_beam.usable(image.plane(index), pb, plan.settings.pblimit)
        yield plan.on_final_grid(np.where(valid, pb, np.float32(np.nan)))


def relative_response_planes(image: Planes, weight: Planes, plan: Plan) -> Iterator[NDArray[np.float32]]:
    """Yield, on the final grid, the response that the `weight` of a corrected image stands for (W-14).

    That is the root of the weight relative to the plane's largest: the noise is inversely proportional to it, as it is
    to a single field's primary beam.
    """
    for index in range(*plan.planes):
        own = np.where(np.isfinite(image.plane(index)), weight.plane(index), np.float32(np.nan))
        largest = np.nanmax(own) if np.isfinite(own).any() else np.float32(1)
        yield plan.on_final_grid(np.sqrt(own / largest))


def spectral_index(alpha: Planes, image: Planes, response: Planes, plan: Plan) -> NDArray[np.float32]:
    """Return a continuum image's spectral index on the final grid, where the image is valid (W-22)."""
    if alpha.shape != image.shape:
        raise DataError(f"{alpha.path} and {image.path} differ in shape", remedy="image them again")
    valid = primary_beam.usable(image.plane(0), response_of(image, response, 0), plan.settings.pblimit)
    found = plan.on_final_grid(np.where(valid, alpha.plane(0), np.float32(np.nan)))
    inside = np.isfinite(trim.without_rind(plan.on_final_grid(np.where(valid, 1, np.nan)), plan.settings.rind_pixels))
    return np.where(inside, found, np.float32(np.nan))


def _check(image: Planes, response: Planes | None) -> None:
    unit = str(image.header.get("BUNIT", "")).strip()
    if unit.lower() != "jy/beam":
        raise DataError(f"{image.path} is in {unit or 'no unit'}, not in Jy/beam", remedy="image it again")
    if response is None:
        return
    same = response.shape[1:] == image.shape[1:] and len(response) in {1, len(image)}
    axes = (1, 2, 3) if image.is_cube and response.is_cube and len(response) == len(image) else (1, 2)
    cards = [name.format(axis) for axis in axes for name in _GRID_CARDS]
    if not (same and all(_agree(image.header.get(card), response.header.get(card)) for card in cards)):
        raise DataError(f"{image.path} and {response.path} are not on one grid", remedy="image them again")


def _agree(ours: object, theirs: object) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)
    return ours == theirs


def _footprint(image: Planes, response: Planes | None, cutoff: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where any plane is valid, shape (y, x), and which planes hold anything."""
    footprint = np.zeros(image.shape[1:], dtype=bool)
    filled = np.zeros(len(image), dtype=bool)
    for index, plane in enumerate(image):
        valid = primary_beam.usable(plane, response_of(image, response, index), cutoff)
        footprint |= valid
        filled[index] = valid.any()
    if not filled.any():
        raise _empty(image)
    return footprint, filled


def response_of(image: Planes, response: Planes | None, index: int) -> NDArray[np.float32]:
    """Return the primary beam's response in a plane of `image`: one where the image is corrected already (None)."""
    if response is None:
        return np.ones(image.shape[1:], np.float32)
    return response.plane(index if len(response) > 1 else 0)


def _frequencies(image: Planes, frequency_hz: float | None) -> NDArray[np.float64]:
    if image.is_cube:
        return kelvin.frequencies_hz(image.header, len(image))
    if frequency_hz is None:
        raise DataError(f"{image.path} says nothing of its frequency", remedy="image it again")
    return np.array([frequency_hz])


def _empty(image: Planes) -> DataError:
    return DataError(
        f"{image.path} is empty: no pixel is valid within the primary beam",
        remedy="look at the flags of the visibilities, or lower pblimit",
    )
