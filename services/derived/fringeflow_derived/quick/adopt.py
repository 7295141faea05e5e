"""Brings a cube from any telescope into the form all else here works on: float32 in K, one beam, three plain axes.

Values are converted, never resampled; only cubes whose beam changes with the channel are convolved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fringeflow.errors import DataError
from fringeflow.fitscards import Cards
from fringeflow.fitsio import write_cube
from fringeflow_derived import spectral
from fringeflow_derived.beams import Beam, kelvin_per_jansky
from fringeflow_derived.convolved import ConvolveOptions, convolve
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.headers import Stamp, no_stamp
from fringeflow_derived.sources import Array

ROUNDING = 1e-4
"""A common beam is this fraction larger than the largest, so that rounding makes no channel finer than it."""

_CELESTIAL = {1: ("RA--", "GLON", "ELON"), 2: ("DEC-", "GLAT", "ELAT")}


def check(cube: FitsCube) -> None:
    """Raise `DataError` naming the card if a header does not say what maps need to know."""
    name = str(cube.path)
    if not cube.is_cube:
        raise DataError(
            f"{name} has no spectral axis", remedy="give a cube whose CTYPE3 is a velocity, frequency or wavelength"
        )
    for axis, kinds in _CELESTIAL.items():
        kind = str(cube.header.get(f"CTYPE{axis}", "")).upper()
        if not kind.startswith(kinds):
            raise DataError(
                f"{name}: CTYPE{axis} is {kind or 'missing'!r}, not a direction on the sky",
                remedy="put the axes in the order right ascension, declination, spectral",
            )
    for value in (cube.to_kelvin(), cube.cell_arcsec, cube.channel_kms, cube.beam.minor_arcsec):
        if not (math.isfinite(value) and value > 0):
            raise DataError(f"{name}: a beam, a pixel or a channel has no width", remedy="see BMAJ, CDELT1 and CDELT3")


def adopt(cube: Path, out: Path, *, stamp: Stamp = no_stamp) -> dict[str, Any]:
    """Write `cube` to `out` as float32 in K with one beam; return its ``beam_arcsec``, ``shape``, ``peak_k`` and more.

    Raises
    ------
    DataError
        A card is missing or says what this cannot work with; names the card.
    """
    with FitsCube(cube) as source:
        check(source)
        if len(set(source.beams)) < 2:
            return _converted(source, out, stamp)
    with TemporaryDirectory(prefix=".beam-", dir=out.parent) as folder:
        common = Path(folder) / "common.fits"
        with FitsCube(cube) as source:
            fwhm = source.beam.major_arcsec * (1 + ROUNDING)
        others = (common.with_name("coverage.fits"), common.with_name("coverage2d.fits"))
        convolve(cube, common, *others, fwhm_arcsec=fwhm, options=ConvolveOptions(tol=0.0))
        with FitsCube(common) as source:
            return _converted(source, out, stamp) | {"common_beam_arcsec": fwhm}


def _converted(source: FitsCube, out: Path, stamp: Stamp) -> dict[str, Any]:
    scale, seen = source.to_kelvin(), _Seen()
    header = _header(source)
    beam = source.beam
    facts: dict[str, Any] = {
        "beam_arcsec": [beam.major_arcsec, beam.minor_arcsec, beam.angle_deg],
        "shape": list(source.shape),
        "scale": scale,
    }
    stamp(header, facts)
    planes = (source.plane(channel) * np.float64(scale) for channel in range(source.shape[0]))
    write_cube(out, header, seen(planes), source.shape)
    return facts | {"finite": seen.finite, "peak_k": seen.peak if seen.finite else None}


def _header(source: FitsCube) -> Cards:
    """Return the cube's header with everything said that may be left unsaid."""
    header = source.header.copy()
    for name in ("BEAM", "CASAMBM", "DATE"):
        header.remove(name, ignore_missing=True, remove_all=True)
    beam: Beam = source.beam
    _plain_matrix(header)
    header["BUNIT"] = "K"
    header["BMAJ"], header["BMIN"], header["BPA"] = beam.major_arcsec / 3600, beam.minor_arcsec / 3600, beam.angle_deg
    if any(float(header.get(card, 0.0)) > 0 for card in spectral.REST_CARDS):
        rest = spectral.rest_hz(header, str(source.path))
        header["RESTFRQ"] = rest
        header.remove("RESTFREQ", ignore_missing=True)
        if "JYTOK" not in header:
            header["JYTOK"] = (kelvin_per_jansky(rest / 1e9, beam), "K per Jy/beam")
    return header


def _plain_matrix(header: Cards) -> None:
    """Put CDELT, and PC where axes are turned, in the place of a CD matrix."""
    entries = {(i, j): float(header.get(f"CD{i}_{j}", 0.0)) for i in (1, 2, 3) for j in (1, 2, 3)}
    if not any(entries.values()):
        return
    for axis in (1, 2, 3):
        row = [entries[axis, other] for other in (1, 2, 3)]
        step = math.copysign(math.hypot(*row), entries[axis, axis])
        header[f"CDELT{axis}"] = step
        for other, entry in enumerate(row, start=1):
            header.remove(f"CD{axis}_{other}", ignore_missing=True)
            if entry and entry != step:
                header[f"PC{axis}_{other}"] = entry / step


class _Seen:
    """Passes planes on as float32, counting what is finite in them."""

    def __init__(self) -> None:
        self.finite = 0
        self.peak = -math.inf

    def __call__(self, planes: Iterator[Array]) -> Iterator[Array]:
        for plane in planes:
            values = plane.astype(np.float32)
            values[~np.isfinite(values)] = np.nan
            count = int(np.count_nonzero(np.isfinite(values)))
            if count:
                self.finite += count
                self.peak = max(self.peak, float(np.nanmax(values)))
            yield values
