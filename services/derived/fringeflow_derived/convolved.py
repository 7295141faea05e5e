"""Convolved FITS cubes and images, made plane by plane from the native one (derived specification, section 5)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fringeflow.errors import DataError
from fringeflow.fitsio import cube_writer, write_cube
from fringeflow_derived import headers
from fringeflow_derived.beams import Beam, kernel, kernel_fwhm_arcsec, reach
from fringeflow_derived.convolution import Convolver, NanTreatment
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.headers import Stamp, no_stamp
from fringeflow_derived.parallel import ordered
from fringeflow_derived.peaks import box_weights
from fringeflow_derived.sources import Array
from fringeflow_derived.thinning import smoothed, stride, thin_header, thinned


@dataclass(frozen=True)
class ConvolveOptions:
    """How cubes are convolved.

    `tol` is the fraction within which a beam is left as it is; `nan_treatment` says what blanks count as. Spectra are
    smoothed with a box of `spec_smooth` km/s if that is wider than a channel. With `pixels_per_beam`, only as many
    pixels are kept as leave the beam that many across.
    """

    tol: float = 0.1
    nan_treatment: NanTreatment = "interpolate"
    spec_smooth: float | None = None
    pixels_per_beam: float | None = None


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
    cores: int = 1,
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
    cores
        Planes convolved at once; the result does not depend on it.

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
    with FitsCube(cube) as source, ExitStack() as stack:
        job = _Job(source, fwhm_arcsec, options)
        used = job.record() | ({} if distance_mpc is None else {"distance_mpc": distance_mpc})
        header = headers.with_beam(headers.of_cube(source), source.beam, job.beam)
        if distance_mpc is not None:
            header["DIST_MPC"] = (distance_mpc, "used in convolution")
        thin_header(header, job.step)
        stamp(header, used)
        planes = job.shape if source.is_cube else job.shape[1:]
        smooth = stack.enter_context(cube_writer(out, header, planes))
        header = header.copy()
        header["BTYPE"], header["BUNIT"] = "Coverage", " "
        covered = stack.enter_context(cube_writer(coverage, header, planes))
        mean = np.zeros(job.shape[1:])

        def results() -> Iterator[Array]:
            for result, share in ordered(job.plane, range(source.shape[0]), cores):
                covered.append(share)
                np.add(mean, share, out=mean)
                yield result

        for result in smoothed(results(), job.box):
            smooth.append(result)
        flat = headers.of_image(source, "Coverage", " ")
        flat = headers.with_beam(flat, source.beam, job.beam)
        thin_header(flat, job.step)
        stamp(flat, used)
        write_cube(coverage_map, flat, [mean / source.shape[0]], mean.shape)
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
        self.step = stride(self.beam.minor_arcsec / source.cell_arcsec, options.pixels_per_beam)
        height, width = (len(range(self.step // 2, size, self.step)) for size in source.shape[1:])
        self.shape = (source.shape[0], height, width)
        wide = options.spec_smooth is not None and source.is_cube
        self.box = box_weights((options.spec_smooth or 0.0) / source.channel_kms if wide else 1.0)

    def record(self) -> dict[str, Any]:
        """Return what is done, as JSON."""
        return {
            "target_fwhm_arcsec": self._fwhm,
            "convolved": self._convolves,
            "beam_arcsec": _listed(self.beam),
            "kernel_fwhm_arcsec": list(kernel_fwhm_arcsec(self._source.beam, self._fwhm)) if self._convolves else None,
            "tol": self._options.tol,
            "nan_treatment": self._options.nan_treatment,
            "spec_smooth_kms": self._options.spec_smooth if len(self.box) > 1 else None,
            "every_nth_pixel": self.step,
            "shape": list(self.shape),
        }

    def plane(self, channel: int) -> tuple[Array, Array]:
        """Return one plane of the result and its coverage; several may be asked for at once."""
        image = self._source.plane(channel)
        if not self._convolves:
            return thinned(image, self.step), thinned(np.isfinite(image).astype(np.float32), self.step)
        convolver = self._convolver(channel) if self._source.beams else self._one
        result, coverage = convolver(image, self._options.nan_treatment)
        return thinned(result, self.step) * np.float32(self._rescale(channel)), thinned(coverage, self.step)

    @cached_property
    def _one(self) -> Convolver:
        return self._convolver(0)

    def _old(self, channel: int) -> Beam:
        return self._source.beams[channel] if self._source.beams else self._source.beam

    def _convolver(self, channel: int) -> Convolver:
        source = self._source
        image = kernel(self._old(channel), self._fwhm, source.cells_arcsec, east_is_left=source.east_is_left)
        return Convolver(source.shape[1:], image)

    def _rescale(self, channel: int) -> float:
        """Return what goes with the beam's area: Jy/beam do, K do not."""
        if "beam" not in self._source.unit.lower():
            return 1.0
        old = self._old(channel)
        return self._fwhm**2 / (old.major_arcsec * old.minor_arcsec)


def _listed(beam: Beam) -> list[float]:
    return [round(value, 9) for value in (beam.major_arcsec, beam.minor_arcsec, math.fmod(beam.angle_deg, 360))]
