"""Headers of the FITS files that imaging hands on: what CASA writes of an image, less what changes from run to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits

from fringeflow_imaging.beam import Beam
from fringeflow_imaging.gridding import opened

# What CASA writes of the hour, the machine and itself.
_NOT_REPRODUCIBLE = ("DATE", "ORIGIN", "HISTORY", "MEMAVAIL", "MEMREQ", "MPIPROCS", "CHNCHNKS", "USEWEIGH", "CASAMBM")


def header_of(image: Path, scratch: Path, *, cube: bool) -> fits.Header:
    """Return the FITS header of a CASA image, with a velocity axis and without Stokes.

    Parameters
    ----------
    scratch
        Where a file may be written for a moment.
    cube
        Whether to keep the spectral axis, even of a single channel.
    """
    draft = scratch / f"{image.name}.header.fits"
    with opened(image) as tool:
        axes = {"velocity": True, "optical": False, "dropstokes": True, "dropdeg": not cube}
        tool.tofits(str(draft), **axes, history=False, overwrite=True)
    header = fits.getheader(draft)
    draft.unlink()
    for card in (*_NOT_REPRODUCIBLE, "BMAJ", "BMIN", "BPA", "BUNIT"):
        header.remove(card, ignore_missing=True, remove_all=True)
    return header


def append_weights(path: Path, sums: Sequence[float]) -> None:
    """Add to the FITS file of a PSF the table SUMWT: the sum of the weights that were gridded in every channel."""
    columns = [
        fits.Column("CHANNEL", "J", array=np.arange(1, len(sums) + 1)),
        fits.Column("SUMWT", "D", array=np.array(sums)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="SUMWT")
    fits.append(path, table.data, table.header)


def finished_header(header: fits.Header, *, unit: str, beam: Beam | None = None) -> fits.Header:
    """Return a copy of `header` for one product, with its unit and, for what was restored, its beam."""
    own = header.copy()
    own["BUNIT"] = (unit, "brightness (pixel) unit")
    if beam is not None:
        own["BMAJ"], own["BMIN"], own["BPA"] = beam[0] / 3600.0, beam[1] / 3600.0, beam[2]
    return own
