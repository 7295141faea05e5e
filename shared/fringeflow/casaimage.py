"""CASA images, read without CASA and written as plain FITS files, plane by plane."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fringeflow.errors import CorruptInputError, DataError, MissingInputError
from fringeflow.fitsio import write_cube

if TYPE_CHECKING:
    from astropy.io import fits


def to_fits(path: Path, out: Path) -> None:
    """Write the CASA image `path` as the plain FITS file `out`: all its axes and beams, masked pixels blank.

    Raises
    ------
    MissingInputError, CorruptInputError, DataError
        It is not there, no CASA image, or has beams for each of several Stokes parameters.
    """
    from astropy import wcs
    from casa_formats_io import coordsys_to_astropy_wcs, getdesc, image_to_dask

    if not (path / "table.dat").is_file():
        raise MissingInputError(f"{path} is neither a FITS file nor a CASA image")
    try:
        keywords = getdesc(str(path))["_keywords_"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wcs.FITSFixedWarning)
            header = coordsys_to_astropy_wcs(keywords["coords"]).to_header()
        data = image_to_dask(str(path))
        valid = image_to_dask(str(path), mask=True) if keywords.get("masks") else None
    except (OSError, KeyError, NotImplementedError, ValueError) as error:
        raise CorruptInputError(
            f"{path} cannot be read as a CASA image: {error}", remedy="export it as FITS"
        ) from error
    header["BUNIT"] = str(keywords.get("units", ""))
    info = keywords.get("imageinfo", {})
    if info.get("objectname"):
        header["OBJECT"] = info["objectname"]
    _put_beam(header, info.get("restoringbeam"))

    def planes() -> Iterator[NDArray[np.float32]]:
        for place in np.ndindex(*data.shape[:-2]):
            plane = np.asarray(data[place].compute(scheduler="synchronous"), np.float32)
            if valid is not None:
                plane = np.where(valid[place].compute(scheduler="synchronous"), plane, np.float32(np.nan))
            yield plane

    write_cube(out, header, planes(), data.shape)
    beams = info.get("perplanebeams")
    if beams:
        from astropy.io import fits

        fits.append(out, *_beam_table(beams, path))


def _put_beam(header: fits.Header, beam: Mapping[str, Any] | None) -> None:
    for card, name in (("BMAJ", "major"), ("BMIN", "minor"), ("BPA", "positionangle")):
        if beam and name in beam:
            header[card] = _in(beam[name], "deg")


def _beam_table(beams: Mapping[str, Any], path: Path) -> tuple[NDArray[Any], fits.Header]:
    """Return CASA's table of one beam per channel as it would stand in a FITS file."""
    channels = int(beams["nChannels"])
    if int(beams.get("nStokes", 1)) != 1:
        raise DataError(f"{path}: beams of {beams['nStokes']} Stokes parameters", remedy="select Stokes I")
    from astropy.io import fits

    rows = [beams[f"*{channel}"] for channel in range(channels)]
    columns = [
        fits.Column(card, "1E", unit=unit, array=[_in(row[name], unit) for row in rows])
        for card, name, unit in (
            ("BMAJ", "major", "arcsec"),
            ("BMIN", "minor", "arcsec"),
            ("BPA", "positionangle", "deg"),
        )
    ]
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    return table.data, table.header


def _in(quantity: Mapping[str, Any], unit: str) -> float:
    from astropy import units

    value = float(units.Quantity(quantity["value"], quantity["unit"]).to_value(unit))
    if not math.isfinite(value):
        raise ValueError(f"a beam of {value} {unit}")
    return value
