"""The headers of what post-processing delivers: which cards stay, which go, which are set. No pixels, no files."""

from __future__ import annotations

import re

from astropy.io import fits

from fringeflow_postprocess.beam import Beam

_REMOVED = (
    # as the reference does (postprocess specification, 9.4)
    *("BLANK", "DATE-OBS", "OBSERVER", "O_BLANK", "O_BSCALE", "O_BZERO", "OBSRA", "OBSDEC"),
    *("OBSGEO-X", "OBSGEO-Y", "OBSGEO-Z", "DISTANCE", "HISTORY"),
    # what depends on when, where and by how many processes imaging was done
    *("DATE", "MPIPROCS", "CHNCHNKS", "MEMREQ", "MEMAVAIL", "USEWEIGH"),
    # CASA's sign of a beam per plane: there is one for all now
    "CASAMBM",
)
_BEAM = ("BMAJ", "BMIN", "BPA")
_SPECTRAL = re.compile(r"(CTYPE|CRVAL|CDELT|CRPIX|CUNIT|CROTA)3|(PC|CD)(3_\d|\d_3)|PV3_\d+|ALTRVAL|ALTRPIX|VELREF")


def delivered(header: fits.Header, object_name: str, *, cube: bool, software: str) -> fits.Header:
    """Return the cards of `header` that every product keeps, with its object and the software named.

    Parameters
    ----------
    header
        The final grid's, with up to three axes.
    object_name
        Goes into OBJECT.
    cube
        Whether the spectral axis stays.
    software
        Name and version, for ORIGIN and a COMMENT.
    """
    result = header.copy(strip=True)
    for card in _REMOVED:
        result.remove(card, ignore_missing=True, remove_all=True)
    if not cube:
        for card in [card for card in result if _SPECTRAL.fullmatch(card)]:
            del result[card]
        if "WCSAXES" in result:
            result["WCSAXES"] = 2
    result["OBJECT"] = object_name
    result["ORIGIN"] = software
    result.add_comment(f"Produced with {software}")
    return result


def with_beam(header: fits.Header, beam: Beam) -> fits.Header:
    """Return `header` with `beam` as its restoring beam."""
    result = header.copy()
    for name, value in zip(_BEAM, (beam.major_arcsec / 3600, beam.minor_arcsec / 3600, beam.pa_deg), strict=True):
        result[name] = value
    return result


def in_kelvin(header: fits.Header, kelvin_per_jansky: float, frequency_hz: float, rule: str) -> fits.Header:
    """Return `header` for pixels in kelvin; JYTOK is the factor at `frequency_hz` (postprocess specification, W-21)."""
    result = header.copy()
    result["BUNIT"] = ("K", "Rayleigh-Jeans brightness temperature")
    result["JYTOK"] = (kelvin_per_jansky, "K per (Jy/beam) at JYTOKFRQ")
    result["JYTOKFRQ"] = (frequency_hz, "Hz: mean frequency")
    result["JYTOKRUL"] = (rule, "one factor per channel, or constant")
    return result


def in_jansky(header: fits.Header, beam: Beam) -> fits.Header:
    """Return `header` for pixels in Jy per `beam`."""
    result = with_beam(header, beam)
    result["BUNIT"] = ("Jy/beam", "brightness (pixel) unit")
    return result


def of_weight(header: fits.Header) -> fits.Header:
    """Return `header` for weights, 1 / noise^2."""
    result = _unitless(header, "Weight", keep_beam=False)
    result["BUNIT"] = "beam2 Jy-2"
    return result


def of_response(header: fits.Header) -> fits.Header:
    """Return `header` for a primary-beam response: without unit and restoring beam."""
    return _unitless(header, "Primary beam", keep_beam=False)


def of_spectral_index(header: fits.Header, *, error: bool = False) -> fits.Header:
    """Return `header` for a spectral index or its uncertainty."""
    return _unitless(header, "Spectral index error" if error else "Spectral index", keep_beam=True)


def _unitless(header: fits.Header, kind: str, *, keep_beam: bool) -> fits.Header:
    result = header.copy()
    for card in () if keep_beam else _BEAM:
        result.remove(card, ignore_missing=True)
    result["BUNIT"] = ""
    result["BTYPE"] = kind
    return result
