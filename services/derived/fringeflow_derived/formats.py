"""Cubes that are not plain FITS files - compressed FITS, CASA images, files in a bucket - made plain, plane by plane.

A plain file can be read by planes and by rows alike; what is read here is copied once and never held in memory.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np

from fringeflow.errors import CorruptInputError, DataError, MissingInputError
from fringeflow.fitsio import write_cube
from fringeflow.fitsplanes import Planes
from fringeflow_derived.sources import Array

if TYPE_CHECKING:
    from astropy.io import fits


def to_plain(path: Path, folder: Path) -> Path:
    """Write a compressed FITS file or a CASA image as a plain FITS file into `folder` and return its path.

    All Stokes parameters of a CASA image, Stokes I of a FITS file.

    Raises
    ------
    MissingInputError, CorruptInputError, DataError
        It is not there, or not a cube or an image.
    """
    out = folder / "plain.fits"
    if path.is_dir():
        _from_casa(path, out)
        return out
    with Planes(path, stokes="I") as planes:
        write_cube(out, planes.cards, planes, planes.shape if planes.is_cube else planes.shape[1:])
        rows = planes.beam_rows()
        if rows is not None:
            _append(out, rows, planes.hdus["BEAMS"].header)
    return out


@contextmanager
def local(where: str | Path, *, scratch: Path | None = None) -> Iterator[Path]:
    """Give the path of a file or CASA image that may lie in a bucket or behind a URL; what was fetched goes at the end.

    Parameters
    ----------
    where
        A path, or a URL: ``s3://bucket/path/cube.fits`` (as the AWS tools find endpoint, region and credentials in the
        environment), ``https://...``, ``gs://...``, ``file:///...``.
    scratch
        Folder for what is fetched, with room for it.

    Raises
    ------
    MissingInputError
        It is not there, or may not be read.
    """
    parts = urlsplit(str(where))
    if parts.scheme in ("", "file"):
        yield Path(unquote(parts.path) if parts.scheme else where)
        return
    with TemporaryDirectory(prefix="fringeflow-", dir=scratch) as folder:
        name = Path(unquote(parts.path)).name
        _fetch(f"{parts.scheme}://{parts.netloc}", unquote(parts.path).lstrip("/"), Path(folder) / name)
        yield Path(folder) / name


def _fetch(base: str, key: str, out: Path) -> None:
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    try:
        with out.open("wb") as file:
            for chunk in obstore.get(from_url(base), key):
                file.write(chunk)
    except (BaseError, OSError) as error:
        raise MissingInputError(f"{base}/{key} cannot be read: {error}") from error


def _from_casa(path: Path, out: Path) -> None:
    """Write a CASA image with all its axes."""
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

    def planes() -> Iterator[Array]:
        for place in np.ndindex(*data.shape[:-2]):
            plane = np.asarray(data[place].compute(scheduler="synchronous"), np.float32)
            if valid is not None:
                plane = np.where(valid[place].compute(scheduler="synchronous"), plane, np.float32(np.nan))
            yield plane

    write_cube(out, header, planes(), data.shape)
    beams = info.get("perplanebeams")
    if beams:
        _append(out, *_beam_table(beams, path))


def _append(out: Path, table: Array, header: fits.Header) -> None:
    from astropy.io import fits

    fits.append(out, table, header)


def _put_beam(header: fits.Header, beam: Mapping[str, Any] | None) -> None:
    for card, name in (("BMAJ", "major"), ("BMIN", "minor"), ("BPA", "positionangle")):
        if beam and name in beam:
            header[card] = _in(beam[name], "deg")


def _beam_table(beams: Mapping[str, Any], path: Path) -> tuple[Array, fits.Header]:
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
