"""Small synthetic fields for post-processing: an image in Jy/beam and its primary beam, as imaging exports them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

REST_HZ = 230.538e9
PIXEL_ARCSEC = 0.2


def field_header(beam: tuple[float, float, float] | None = (1.0, 0.8, 30.0), unit: str = "Jy/beam") -> fits.Header:
    """The header of a line cube as CASA exports it."""
    header = fits.Header()
    for axis, kind, value, step, name in (
        (1, "RA---SIN", 150.0, -PIXEL_ARCSEC / 3600, "deg"),
        (2, "DEC--SIN", 2.0, PIXEL_ARCSEC / 3600, "deg"),
        (3, "VRAD", 1e6, 2500.0, "m/s"),
    ):
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = kind, value, step
        header[f"CRPIX{axis}"], header[f"CUNIT{axis}"] = 1.0, name
        header[f"PC{axis}_{axis}"] = 1.0
    header["RESTFRQ"], header["SPECSYS"], header["BUNIT"] = REST_HZ, "LSRK", unit
    header["ALTRVAL"], header["ALTRPIX"] = REST_HZ * (1 - 1e6 / 299792458.0), 1.0
    header["OBSERVER"], header["DATE-OBS"], header["MEMAVAIL"] = "SOMEBODY", "2026-01-01", 17.2
    header.add_history("tclean said a lot")
    if beam:
        header["BMAJ"], header["BMIN"], header["BPA"] = beam[0] / 3600, beam[1] / 3600, beam[2]
    return header


@pytest.fixture
def header() -> Callable[..., fits.Header]:
    """Make the header of a line cube, of a given beam (arcsec, arcsec, degrees) and unit."""
    return field_header


@pytest.fixture
def point_source() -> Callable[..., np.ndarray]:
    """Show a point source of 1 Jy through an elliptical beam, on pixels of `PIXEL_ARCSEC`; east is left, north up."""

    def draw(shape: tuple[int, int], major: float, minor: float, pa_deg: float) -> np.ndarray:
        y, x = np.indices(shape, dtype=float)
        north, east = (y - shape[0] // 2) * PIXEL_ARCSEC, -(x - shape[1] // 2) * PIXEL_ARCSEC
        angle = math.radians(pa_deg)
        along = east * math.sin(angle) + north * math.cos(angle)
        across = east * math.cos(angle) - north * math.sin(angle)
        return np.exp(-4 * math.log(2) * ((along / major) ** 2 + (across / minor) ** 2)).astype(np.float32)

    return draw


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write an array and a header (of a cube; cut down to what the array needs) into the test's folder."""

    def write_file(
        name: str, data: np.ndarray, header: fits.Header, beams: list[tuple[float, ...]] | None = None
    ) -> Path:
        header = header.copy()
        if data.ndim == 2:
            for card in [card for card in header if card.endswith("3") or card in {"PC3_3", "RESTFRQ"}]:
                del header[card]
        hdus = fits.HDUList([fits.PrimaryHDU(data.astype(np.float32), header)])
        if beams:
            columns = [
                fits.Column(label, form, array=np.array([beam[place] for beam in beams]))
                for place, (label, form) in enumerate((("BMAJ", "E"), ("BMIN", "E"), ("BPA", "E")))
            ]
            columns += [fits.Column("CHAN", "J", array=np.arange(len(beams)))]
            hdus.append(fits.BinTableHDU.from_columns(columns, name="BEAMS"))
        path = tmp_path / name
        hdus.writeto(path, overwrite=True)
        return path

    return write_file
