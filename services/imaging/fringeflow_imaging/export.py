"""FITS files of images, written plane by plane and the same to the last bit for the same planes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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


def finished_header(
    header: fits.Header,
    *,
    channels: int | None,
    unit: str,
    beam: Beam | None = None,
    provenance: Mapping[str, Any],
) -> fits.Header:
    """Return a copy of `header` for one product, with its unit, beam and where it comes from (W23).

    Parameters
    ----------
    channels
        Length of the spectral axis; None for an image without.
    provenance
        Lines of the history, name by name.
    """
    own = header.copy()
    if channels is not None:
        own["NAXIS3"] = channels
    own["BUNIT"] = (unit, "brightness (pixel) unit")
    if beam is not None:
        own["BMAJ"], own["BMIN"], own["BPA"] = beam[0] / 3600.0, beam[1] / 3600.0, beam[2]
    for name, value in provenance.items():
        own.add_history(f"{name}: {value}")
    return own


def write_planes(path: Path, header: fits.Header, planes: Iterable[np.ndarray[Any, Any]]) -> None:
    """Write `planes` to `path` as 32-bit floats; as many as the header says must come."""
    stream = fits.StreamingHDU(path, header)
    try:
        for plane in planes:
            stream.write(np.ascontiguousarray(plane, dtype=">f4"))
        if not stream.writecomplete:
            raise ValueError(f"{path.name} got fewer planes than its header says")
    finally:
        stream.close()
