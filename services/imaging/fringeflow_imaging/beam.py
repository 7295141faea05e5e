"""Gaussian beams: the one that all channels are restored with, the image it makes of a model, the PSF's sidelobes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fringeflow.errors import DataError
from fringeflow_imaging.minor import Plane, convolve

Beam = tuple[float, float, float]
"""FWHM of major and minor axis (arcsec), position angle (degrees, from north through east)."""

_TO_SIGMA = 1.0 / np.sqrt(8.0 * np.log(2.0))
_REACH = 5.5  # in units of sigma, where a Gaussian is a few 1e-7
_GROW = 1e-6


def common_beam(beams: Sequence[Beam | None]) -> Beam:
    """Return the smallest beam found that all `beams` can be convolved to; channels without one are passed over.

    The largest beam itself if it will do, else the smallest ellipse about all of them: of the shapes between the
    largest beam's and a circle, the one that needs the least area.
    """
    known = [beam for beam in beams if beam is not None and beam[1] > 0]
    if not known:
        raise DataError("no channel has a beam", remedy="all visibilities are flagged: check staging")
    shapes = np.array([_matrix(beam) for beam in known])
    largest = int(np.argmax(np.linalg.det(shapes)))
    candidates = [shapes[largest], *_blends(shapes)]
    best = min((_scaled(candidate, shapes) for candidate in candidates), key=np.linalg.det)
    return _beam(best)


def sidelobe(psf: Plane, beam: Beam, cell_arcsec: float) -> float:
    """Return the largest absolute value of `psf` with its Gaussian main lobe taken off."""
    kernel = gaussian(beam, cell_arcsec)
    rest = psf.copy()
    peak = np.unravel_index(int(np.argmax(psf)), psf.shape)
    target, source = [], []
    for at, size, extent in zip(peak, kernel.shape, psf.shape, strict=True):
        low, high = max(0, at - size // 2), min(extent, at + size // 2 + 1)
        target.append(slice(low, high))
        source.append(slice(low - at + size // 2, high - at + size // 2))
    rest[tuple(target)] -= kernel[tuple(source)]
    return float(np.abs(rest).max())


def gaussian(beam: Beam, cell_arcsec: float) -> Plane:
    """Return the beam as an odd-sized plane of peak 1, with north up and east to the left."""
    major, minor, angle = beam
    reach = int(np.ceil(_REACH * major * _TO_SIGMA / cell_arcsec))
    north, west = np.mgrid[-reach : reach + 1, -reach : reach + 1] * cell_arcsec
    turn = np.radians(angle)
    along = north * np.cos(turn) - west * np.sin(turn)
    across = north * np.sin(turn) + west * np.cos(turn)
    exponent = (along / (major * _TO_SIGMA)) ** 2 + (across / (minor * _TO_SIGMA)) ** 2
    return np.asarray(np.exp(-0.5 * exponent), dtype=np.float32)


def restore(model: Plane, residual: Plane, beam: Beam, cell_arcsec: float) -> Plane:
    """Return the restored image (Jy/beam): the model (Jy/pixel) as the beam sees it, plus the residual (Jy/beam)."""
    if not model.any():
        return residual.copy()
    return residual + convolve(model, gaussian(beam, cell_arcsec))


def beam_area_pixels(beam: Beam, cell_arcsec: float) -> float:
    """Return the area under the beam in pixels."""
    return float(2.0 * np.pi * beam[0] * beam[1] * _TO_SIGMA**2 / cell_arcsec**2)


def _matrix(beam: Beam) -> NDArray[np.float64]:
    turn = np.radians(beam[2])
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.asarray(axes.T @ np.diag([beam[0] ** 2, beam[1] ** 2]) @ axes)


def _beam(shape: NDArray[np.float64]) -> Beam:
    values, vectors = np.linalg.eigh(shape)
    angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
    angle = (angle + 90.0) % 180.0 - 90.0
    return round(float(np.sqrt(values[1])), 6), round(float(np.sqrt(values[0])), 6), round(angle, 6)


def _scaled(candidate: NDArray[np.float64], shapes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `candidate`, grown just enough to hold all `shapes`."""
    factor = max(float(np.linalg.eigvals(np.linalg.solve(candidate, shape)).real.max()) for shape in shapes)
    return candidate * (max(factor, 1.0) if factor <= 1.0 else factor * (1.0 + _GROW))


def _blends(shapes: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    mean = shapes.mean(axis=0)
    largest = shapes[int(np.argmax(np.linalg.det(shapes)))]
    round_one = np.eye(2) * np.linalg.eigvalsh(mean).max()
    parts = np.linspace(0.0, 1.0, 41)
    return [(1 - t) * start + t * round_one for start in (mean, largest) for t in parts]
