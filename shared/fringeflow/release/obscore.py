"""Describes FITS products in the terms of the virtual observatory: one row of ObsCore 1.1 for each, as a VOTable.

Knows headers and nothing of units, stores or folders.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.io.votable.tree import Field, Resource, TableElement, VOTableFile
from astropy.wcs import WCS

from fringeflow import fitsstokes

Row = Mapping[str, Any]

_C_M_S = 299792458.0
_CHAR, _DOUBLE, _LONG, _INT = ("char", "*"), ("double", None), ("long", None), ("int", None)
# name -> (type, unit, UCD), in the order of the standard's table 1 (IVOA Recommendation ObsCore 1.1, section 3.2)
COLUMNS: Mapping[str, tuple[tuple[str, str | None], str | None, str]] = {
    "dataproduct_type": (_CHAR, None, "meta.code.class"),
    "dataproduct_subtype": (_CHAR, None, "meta.code.class"),
    "calib_level": (_INT, None, "meta.code;obs.calib"),
    "obs_collection": (_CHAR, None, "meta.id"),
    "obs_id": (_CHAR, None, "meta.id"),
    "obs_publisher_did": (_CHAR, None, "meta.ref.ivoid"),
    "access_url": (_CHAR, None, "meta.ref.url"),
    "access_format": (_CHAR, None, "meta.code.mime"),
    "access_estsize": (_LONG, "kbyte", "phys.size;meta.file"),
    "target_name": (_CHAR, None, "meta.id;src"),
    "s_ra": (_DOUBLE, "deg", "pos.eq.ra"),
    "s_dec": (_DOUBLE, "deg", "pos.eq.dec"),
    "s_fov": (_DOUBLE, "deg", "phys.angSize;instr.fov"),
    "s_region": (_CHAR, None, "pos.outline;obs.field"),
    "s_resolution": (_DOUBLE, "arcsec", "pos.angResolution"),
    "s_pixel_scale": (_DOUBLE, "arcsec", "phys.angSize;instr.pixel"),
    "s_xel1": (_LONG, None, "meta.number"),
    "s_xel2": (_LONG, None, "meta.number"),
    "t_min": (_DOUBLE, "d", "time.start;obs.exposure"),
    "t_max": (_DOUBLE, "d", "time.end;obs.exposure"),
    "t_exptime": (_DOUBLE, "s", "time.duration;obs.exposure"),
    "t_resolution": (_DOUBLE, "s", "time.resolution"),
    "t_xel": (_LONG, None, "meta.number"),
    "em_min": (_DOUBLE, "m", "em.wl;stat.min"),
    "em_max": (_DOUBLE, "m", "em.wl;stat.max"),
    "em_res_power": (_DOUBLE, None, "spect.resolution"),
    "em_xel": (_LONG, None, "meta.number"),
    "o_ucd": (_CHAR, None, "meta.ucd"),
    "pol_states": (_CHAR, None, "meta.code;phys.polarization"),
    "pol_xel": (_LONG, None, "meta.number"),
    "facility_name": (_CHAR, None, "meta.id;instr.tel"),
    "instrument_name": (_CHAR, None, "meta.id;instr"),
}
_UCDS = {
    "K km s-1": "phot.flux.density;stat.sum",
    "km s-1": "spect.dopplerVeloc",
    "K": "phot.antennaTemp",
    "Jy/beam": "phot.flux.density",
}


def row(path: Path, *, collection: str, obs_id: str, url: str, target: str, subtype: str, level: int) -> Row:
    """Return what ObsCore says of a FITS image or cube; what its header does not say is left out.

    Parameters
    ----------
    path
        The file.
    collection, obs_id, url
        What it belongs to, its name there, and where it can be had (relative to the table).
    target
        Name of the object.
    subtype
        What kind of product it is, e.g. ``moment map``.
    level
        2 for calibrated data, 3 for what is derived from them.
    """
    header = fits.getheader(path, 1 if path.suffix == ".fz" else 0)
    wcs = WCS(header)
    sky = _sky(wcs.celestial, header)
    spectral = _spectral(wcs, header)
    stokes = sorted(fitsstokes.numbers(header, path), key=lambda number: (number < 0, abs(number)))
    return {
        "dataproduct_type": "cube" if spectral.get("em_xel", 1) > 1 else "image",
        "dataproduct_subtype": subtype,
        "calib_level": level,
        "obs_collection": collection,
        "obs_id": obs_id,
        "obs_publisher_did": f"ivo://{collection}?{url}",
        "access_url": url,
        "access_format": "application/fits",
        "access_estsize": math.ceil(path.stat().st_size / 1000),
        "target_name": target,
        **sky,
        **_beam(header),
        **_time(header),
        **spectral,
        "o_ucd": _UCDS.get(str(header.get("BUNIT", "")).strip(), ""),
        "pol_states": f"/{'/'.join(fitsstokes.names(stokes))}/",
        "pol_xel": len(stokes),
        "facility_name": str(header.get("TELESCOP", "")).strip(),
        "instrument_name": str(header.get("INSTRUME", header.get("TELESCOP", ""))).strip(),
    }


def write(rows: Iterable[Row], path: Path) -> None:
    """Write rows as a VOTable."""
    content = list(rows)
    votable = VOTableFile(version="1.4")
    resource = Resource(type="results")
    votable.resources.append(resource)
    table = TableElement(votable, name="obscore")
    table.description = "ObsCore 1.1"
    resource.tables.append(table)
    for name, ((datatype, size), unit, ucd) in COLUMNS.items():
        more = {key: value for key, value in (("arraysize", size), ("unit", unit)) if value is not None}
        utype = f"obscore:{name}"
        table.fields.append(Field(votable, name=name, datatype=datatype, ucd=ucd, utype=utype, **more))
    table.create_arrays(len(content))
    for index, values in enumerate(content):
        present = tuple(values.get(name, "" if kind == _CHAR else 0) for name, (kind, _, _) in COLUMNS.items())
        absent = tuple(values.get(name) is None for name in COLUMNS)
        table.array[index] = present
        table.array.mask[index] = absent
    votable.to_xml(str(path))


def _sky(wcs: WCS, header: fits.Header) -> Row:
    width, height = int(header["NAXIS1"]), int(header["NAXIS2"])
    corners = wcs.wcs_pix2world(
        [[-0.5, -0.5], [-0.5, height - 0.5], [width - 0.5, height - 0.5], [width - 0.5, -0.5]], 0
    )
    centre = wcs.wcs_pix2world([[(width - 1) / 2, (height - 1) / 2]], 0)[0]
    scale = float(np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix))))
    outline = " ".join(f"{float(ra) % 360:.6f} {float(dec):.6f}" for ra, dec in corners)
    return {
        "s_ra": float(centre[0]) % 360,
        "s_dec": float(centre[1]),
        "s_fov": math.hypot(width, height) * scale,
        "s_region": f"POLYGON ICRS {outline}" if np.isfinite(corners).all() else None,
        "s_pixel_scale": scale * 3600,
        "s_xel1": width,
        "s_xel2": height,
    }


def _beam(header: fits.Header) -> Row:
    return {"s_resolution": math.sqrt(header["BMAJ"] * header["BMIN"]) * 3600} if "BMAJ" in header else {}


def _time(header: fits.Header) -> Row:
    found = {}
    for name, card in (("t_min", "MJD-BEG"), ("t_max", "MJD-END"), ("t_exptime", "EXPTIME")):
        if card in header:
            found[name] = float(header[card])
    if "t_min" not in found and "MJD-OBS" in header:
        found["t_min"] = float(header["MJD-OBS"])
    return found


def _spectral(wcs: WCS, header: fits.Header) -> dict[str, Any]:
    """Return the range of wavelengths: of the spectral axis, else of the rest frequency."""
    rest = float(header.get("RESTFRQ", header.get("RESTFREQ", 0.0)))
    axis = wcs.wcs.spec
    if axis < 0:
        return {"em_min": _C_M_S / rest, "em_max": _C_M_S / rest} if rest else {}
    count = int(header[f"NAXIS{axis + 1}"])
    pixels = np.array([-0.5, count - 0.5]) + 1 - wcs.wcs.crpix[axis]
    edges = wcs.wcs.crval[axis] + pixels * wcs.wcs.get_pc()[axis, axis] * wcs.wcs.get_cdelt()[axis]
    frequencies = _frequencies(edges * wcs.wcs.cunit[axis], str(wcs.wcs.ctype[axis])[:4], rest)
    if frequencies is None or not (frequencies > 0).all():
        return {"em_xel": count}
    low, high = sorted(frequencies)
    return {
        "em_min": _C_M_S / high,
        "em_max": _C_M_S / low,
        "em_res_power": 0.5 * (low + high) * count / (high - low) if high > low else None,
        "em_xel": count,
    }


def _frequencies(values: u.Quantity, kind: str, rest: float) -> np.ndarray | None:
    """Return frequencies in Hz of a frequency, radio or optical velocity, or wavelength axis; None if it is none."""
    if kind == "FREQ":
        return np.asarray(values.to_value(u.Hz))
    if kind == "WAVE":
        return np.asarray(_C_M_S / values.to_value(u.m))
    if not rest or kind not in ("VRAD", "VOPT", "VELO"):
        return None
    speed = np.asarray(values.to_value(u.m / u.s)) / _C_M_S
    return rest / (1 + speed) if kind == "VOPT" else rest * (1 - speed)
