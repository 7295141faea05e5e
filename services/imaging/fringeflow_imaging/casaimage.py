"""Images that users give as CASA images rather than FITS files, made readable as FITS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fringeflow.errors import MissingInputError
from fringeflow_imaging.gridding import opened


@contextmanager
def as_fits(path: Path) -> Iterator[Path]:
    """Give the FITS file `path`, or one of what the CASA image `path` holds, masked pixels blank, that goes at the end.

    Raises
    ------
    MissingInputError
        There is nothing.
    DataError
        It is a folder and no CASA image.
    """
    if not path.is_dir():
        if not path.exists():
            raise MissingInputError(f"{path} is not there")
        yield path
        return
    with TemporaryDirectory(prefix="fringeflow-") as folder:
        written = Path(folder) / f"{path.name}.fits"
        with opened(path) as tool:
            tool.tofits(str(written), velocity=False, history=False)
        yield written
