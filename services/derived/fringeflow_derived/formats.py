"""Cubes that are not plain FITS files - compressed FITS, CASA images, files in a bucket - made plain, plane by plane.

A plain file can be read by planes and by rows alike; what is read here is copied once and never held in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from fringeflow import casaimage
from fringeflow.errors import MissingInputError
from fringeflow.fitsio import write_cube
from fringeflow.fitsplanes import Planes


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
        casaimage.to_fits(path, out)
        return out
    with Planes(path, stokes="I") as planes:
        write_cube(out, planes.cards, planes, planes.shape if planes.is_cube else planes.shape[1:])
        rows = planes.beam_rows()
        if rows is not None:
            from astropy.io import fits

            fits.append(out, rows, planes.hdus["BEAMS"].header)
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
