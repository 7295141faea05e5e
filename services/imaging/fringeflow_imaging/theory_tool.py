"""The theoretical noise as a tool of the command line: pointings or a measurement set in, a FITS image out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fringeflow import fitsio
from fringeflow.errors import DataError
from fringeflow_imaging import plan, theory

_FREQUENCY_GHZ, _DISH_M = 230.538, 12.0


def make(
    sources: Sequence[Path],
    out: Path,
    *,
    dish_m: float | None,
    frequency_ghz: float | None,
    fwhm_arcsec: float | None,
    pixel_arcsec: float | None,
    channel: int | None,
    normalise: bool,
    scratch: Path,
) -> dict[str, Any]:
    """Write the map `out` and return its figures: pointings, FWHM, pixels, and the lowest noise.

    Parameters
    ----------
    sources
        One measurement set, whose weights give Jy/beam, or CSV files, which give relative noise.
    dish_m, frequency_ghz, fwhm_arcsec
        Of the primary beam; what is not said comes from the measurement set, else 12 m and 230.538 GHz.
    channel
        Of the measurement set; all together if None.
    """
    absolute = sources[0].is_dir()
    if absolute:
        from fringeflow.jobs import casa

        if len(sources) > 1:
            raise DataError("one measurement set at a time", remedy="or several tables of pointings")
        casa.enable(scratch / "casa")
        casa.log_to(scratch / "casa.log")
        data = plan.describe(sources[0], line=False)
        pointings = theory.pointings_of(sources[0], channel)
        dish_m, frequency_ghz = dish_m or data.dish_m, frequency_ghz or data.frequency_hz / 1e9
    else:
        pointings = theory.read_tables(sources)
    fwhm = fwhm_arcsec or theory.fwhm_arcsec(dish_m or _DISH_M, frequency_ghz or _FREQUENCY_GHZ)
    grid, shape = theory.sky_box(pointings, fwhm, pixel_arcsec=pixel_arcsec)
    noise = theory.noise_map(pointings, fwhm, grid, shape)
    lowest = float(np.nanmin(noise))
    header = grid.to_header()
    header["BUNIT"] = "Jy/beam" if absolute and not normalise else ""
    fitsio.write_cube(out, header, [theory.normalised(noise) if normalise else noise], shape)
    return {
        "map": str(out),
        "pointings": len(pointings.ra_deg),
        "fwhm_arcsec": fwhm,
        "pixels": [shape[1], shape[0]],
        "lowest": lowest,
        "unit": "Jy/beam" if absolute else "relative",
    }
