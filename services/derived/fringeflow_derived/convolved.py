"""Convolved FITS cubes and images, made plane by plane from the native one (derived specification, section 5)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fringeflow.errors import DataError
from fringeflow.fitsio import write_cube
from fringeflow_derived import headers
from fringeflow_derived.beams import Beam, kernel, kernel_fwhm_arcsec, reach
from fringeflow_derived.convolution import Convolver, NanTreatment
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.headers import Stamp, no_stamp
from fringeflow_derived.sources import Array, ScratchPlanes


@dataclass(frozen=True)
class ConvolveOptions:
    """How cubes are convolved: `tol`, the fraction within which a beam is left as it is, and what blanks count as."""

    tol: float = 0.1
    nan_treatment: NanTreatment = "interpolate"


def copy(cube: Path, out: Path) -> dict[str, Any]:
    """Write the cube at its native resolution, byte by byte; return its beam."""
    with FitsCube(cube) as source:
        facts = {"beam_arcsec": _listed(source.beam), "shape": list(source.shape)}
    shutil.copyfile(cube, out)
    return facts


def convolve(
    cube: Path,
    out: Path,
    coverage: Path,
    coverage_map: Path,
    *,
    fwhm_arcsec: float,
    distance_mpc: float | None = None,
    options: ConvolveOptions | None = None,
    stamp: Stamp = no_stamp,
) -> dict[str, Any]:
    """Write a cube at a round beam, with the share of each beam that rests on data as a cube and as a map.

    Parameters
    ----------
    cube
        The native cube, with one beam or a table of one beam per channel.
    out, coverage, coverage_map
        Files to write.
    fwhm_arcsec
        The beam wanted.
    distance_mpc
        With which the beam follows from a length, for the header.
    options
        See `ConvolveOptions`.
    stamp
        Adds provenance to the headers.

    Returns
    -------
    dict
        What was done: ``convolved``, the true ``beam_arcsec``, ``kernel_fwhm_arcsec``.

    Raises
    ------
    DataError
        The beam wanted is finer than the cube's.
    """
    options = options or ConvolveOptions()
    with FitsCube(cube) as source, ScratchPlanes(coverage.with_suffix(".raw"), source.shape) as covered:
        job = _Job(source, fwhm_arcsec, options)
        used = job.record() | ({} if distance_mpc is None else {"distance_mpc": distance_mpc})
        header = headers.with_beam(headers.of_cube(source), source.beam, job.beam)
        if distance_mpc is not None:
            header["DIST_MPC"] = (distance_mpc, "used in convolution")
        stamp(header, used)
        planes = source.shape if source.is_cube else source.shape[1:]
        mean = np.zeros(source.shape[1:])
        write_cube(out, header, job.planes(covered, mean), planes)
        header["BTYPE"], header["BUNIT"] = "Coverage", " "
        write_cube(coverage, header, (covered.plane(channel) for channel in range(source.shape[0])), planes)
        flat = headers.of_image(source, "Coverage", " ")
        flat = headers.with_beam(flat, source.beam, job.beam)
        stamp(flat, used)
        write_cube(coverage_map, flat, [mean / source.shape[0]], source.shape[1:])
    return used


class _Job:
    """One cube and the round beam it is to have."""

    def __init__(self, source: FitsCube, fwhm_arcsec: float, options: ConvolveOptions) -> None:
        self._source = source
        self._fwhm = fwhm_arcsec
        self._options = options
        differing = len(set(source.beams)) > 1
        way = reach(source.beam, fwhm_arcsec, 0.0 if differing else options.tol)
        if way == "unreachable" or (way == "copy" and differing and fwhm_arcsec <= source.beam.major_arcsec):
            raise DataError(
                f"{source.path}: a beam of {fwhm_arcsec:g} arcsec is finer than its {source.beam.major_arcsec:.4g}",
                remedy="take this resolution out of the derived key for this config",
            )
        self._convolves = way == "convolve"
        self.beam = Beam(fwhm_arcsec, fwhm_arcsec) if self._convolves else source.beam

    def record(self) -> dict[str, Any]:
        """Return what is done, as JSON."""
        return {
            "target_fwhm_arcsec": self._fwhm,
            "convolved": self._convolves,
            "beam_arcsec": _listed(self.beam),
            "kernel_fwhm_arcsec": list(kernel_fwhm_arcsec(self._source.beam, self._fwhm)) if self._convolves else None,
            "tol": self._options.tol,
            "nan_treatment": self._options.nan_treatment,
            "shape": list(self._source.shape),
        }

    def planes(self, covered: ScratchPlanes, total: Array) -> Iterator[Array]:
        """Yield the planes of the result, keeping their coverage in `covered` and adding it up in `total`."""
        convolver: Convolver | None = None
        for channel in range(self._source.shape[0]):
            image = self._source.plane(channel)
            if not self._convolves:
                result, coverage = image, np.isfinite(image).astype(np.float64)
            else:
                if convolver is None or self._source.beams:
                    convolver = self._convolver(channel)
                result, coverage = convolver(image, self._options.nan_treatment)
                result *= self._rescale(channel)
            total += coverage
            covered.append(coverage)
            yield result.astype(np.float32)

    def _old(self, channel: int) -> Beam:
        return self._source.beams[channel] if self._source.beams else self._source.beam

    def _convolver(self, channel: int) -> Convolver:
        source = self._source
        image = kernel(self._old(channel), self._fwhm, source.cell_arcsec, east_is_left=source.east_is_left)
        return Convolver(source.shape[1:], image)

    def _rescale(self, channel: int) -> float:
        """Return what goes with the beam's area: Jy/beam do, K do not."""
        if "beam" not in self._source.unit.lower():
            return 1.0
        old = self._old(channel)
        return self._fwhm**2 / (old.major_arcsec * old.minor_arcsec)


def _listed(beam: Beam) -> list[float]:
    return [round(value, 9) for value in (beam.major_arcsec, beam.minor_arcsec, math.fmod(beam.angle_deg, 360))]
