"""What is settled of an image before its planes flow: beams, box, channels, final grid. Looks at all planes once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from fringeflow import fitsstokes
from fringeflow.errors import DataError
from fringeflow.fitsplanes import Planes
from fringeflow_postprocess import beam as beams
from fringeflow_postprocess import kelvin, primary_beam, trim
from fringeflow_postprocess.beam import Beam
from fringeflow_postprocess.convolve import Edges, edges_of, to_round_beam

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
        return edges_of(self.round_beam)


@dataclass(frozen=True)
class Plan:
    """What is the same for all planes of one field, and where the final grid lies.

    `staged` is the box round the valid pixels on the input grid, `trimmed` the same after rebinning, counted from the
    first pixel of `staged`; `planes` is the range of channels kept, of `channels`. One box serves image and primary
    beam (W-02) and all of `stokes` (W-17). `beams` are those of the input's planes, None for a plane that is blank.
    """

    settings: Settings
    beams: tuple[Beam | None, ...]
    round_arcsec: float
    increments_arcsec: tuple[float, float]
    staged: trim.Box
    factor: int
    trimmed: trim.Box
    stokes: fitsstokes.Stokes
    channels: int
    planes: tuple[int, int]
    frequencies_hz: NDArray[np.float64]
    header: fits.Header

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the final cube of one Stokes parameter: (planes, y, x)."""
        box = self.trimmed
        return self.planes[1] - self.planes[0], box.y[1] - box.y[0], box.x[1] - box.x[0]

    @property
    def beam(self) -> Beam:
        """The restoring beam of the result."""
        return Beam(self.round_arcsec, self.round_arcsec)

    @property
    def mean_frequency_hz(self) -> float:
        """Mean over the channels kept."""
        return float(self.frequencies_hz.mean())

    @property
    def kelvin_per_jansky(self) -> float:
        """The conversion factor at the mean frequency."""
        return float(kelvin.kelvin_per_jansky(np.array(self.mean_frequency_hz), self.beam))

    @property
    def kept(self) -> list[int]:
        """The planes of the input that are kept: some channels of every Stokes parameter."""
        firsts = range(0, len(self.stokes) * self.channels, self.channels)
        return [first + channel for first in firsts for channel in range(*self.planes)]

    def factors(self) -> NDArray[np.float64]:
        """Return K per (Jy/beam) of each plane kept."""
        if self.settings.kelvin == "constant":
            return np.full(len(self.kept), self.kelvin_per_jansky)
        return np.tile(kelvin.kelvin_per_jansky(self.frequencies_hz, self.beam), len(self.stokes))

    def at_round_beam(self, plane: NDArray[np.float32], index: int) -> NDArray[np.float32]:
        """Return a corrected plane of the input, the `index`-th, with the beam of the result."""
        own = self.beams[index]
        if own is None:
            return plane
        return to_round_beam(plane, own, self.round_arcsec, self.increments_arcsec, edges=self.settings.edges)

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
    every = beams.beams_of(image)
    by_channel = filled.reshape(-1, image.channels)
    planes = trim.extent(np.any(by_channel, axis=0))
    if settings.cut_coarse_edges:
        low, high = beams.without_coarse_edges(_coarsest(every, by_channel))
        by_channel[:, :low] = by_channel[:, high:] = False
        planes = max(planes[0], low), min(planes[1], high)
    per_plane = tuple(item if full else None for item, full in zip(every, by_channel.flat, strict=True))
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
        raise empty(image)
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
        stokes=image.stokes,
        channels=image.channels,
        planes=planes,
        frequencies_hz=_frequencies(image, frequency_hz)[slice(*planes)],
        header=trim.cropped_header(header, (trimmed.x[0], trimmed.y[0])),
    )


def _check(image: Planes, response: Planes | None) -> None:
    unit = str(image.header.get("BUNIT", "")).strip()
    if unit.lower() != "jy/beam":
        raise DataError(f"{image.path} is in {unit or 'no unit'}, not in Jy/beam", remedy="image it again")
    if response is None:
        return
    same = response.shape[1:] == image.shape[1:] and response.channels in {1, image.channels}
    same &= len(response.stokes) == 1 or set(response.stokes) == set(image.stokes)
    axes = (1, 2, 3) if image.is_cube and response.is_cube and response.channels == image.channels else (1, 2)
    cards = [name.format(axis) for axis in axes for name in _GRID_CARDS]
    if not (same and all(_agree(image.header.get(card), response.header.get(card)) for card in cards)):
        what = f"{image.path} and {response.path} are not on one grid or of one set of Stokes parameters"
        raise DataError(what, remedy="image them again")


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
        raise empty(image)
    return footprint, filled


def response_of(image: Planes, response: Planes | None, index: int) -> NDArray[np.float32]:
    """Return the primary beam's response in a plane of `image`: one where the image is corrected already (None)."""
    if response is None:
        return np.ones(image.shape[1:], np.float32)
    return response.beside(image, index)


def _coarsest(every: Sequence[Beam], filled: NDArray[np.bool_]) -> list[Beam | None]:
    """Return the largest beam of each channel, of the Stokes parameters that are `filled` (stokes, channels) there."""
    rows = np.array(every, dtype=object).reshape(filled.shape)
    found = [list(rows[full, channel]) for channel, full in enumerate(filled.T)]
    return [max(beams, key=lambda beam: beam.major_arcsec, default=None) for beams in found]


def _frequencies(image: Planes, frequency_hz: float | None) -> NDArray[np.float64]:
    if image.is_cube:
        return kelvin.frequencies_hz(image.header, image.channels)
    if frequency_hz is None:
        raise DataError(f"{image.path} says nothing of its frequency", remedy="image it again")
    return np.array([frequency_hz])


def empty(image: Planes) -> DataError:
    """Return the error that nothing of `image` is valid."""
    return DataError(
        f"{image.path} is empty: no pixel is valid within the primary beam",
        remedy="look at the flags of the visibilities, or lower pblimit",
    )
