"""Every file name, in one place, after the reference's rules (keys specification, section 6; postprocess, section 3).

Names are built, never parsed back.
"""

from __future__ import annotations

import re


def tidy(name: str) -> str:
    """Return `name` with runs of underscores collapsed and no underscore before a dot."""
    return (re.sub(r"_+", "_", name) if "__" in name else name).replace("_.", ".")


def cube(target: str, config: str, product: str, ext: str = "", suffix: str = ".fits") -> str:
    """Return the name of a cube or image, e.g. ``ngc5921_vla_hi21cm_pbcorr_trimmed_k.fits``."""
    return tidy("_".join(part for part in (target, config, product, ext) if part) + suffix)


def visibilities(target: str, config: str, product: str, ext: str = "") -> str:
    """Return the name of the measurement set handed to imaging, e.g. ``ngc5921_vla_hi21cm.ms``."""
    return cube(target, config, product, ext, ".ms")


def staged(target: str, project: str, array_tag: str, obsnum: str, product: str, ext: str = "") -> str:
    """Return the name of one execution's staged measurement set; this one is not tidied."""
    return "_".join(part for part in (target, project, array_tag, obsnum, product, ext) if part) + ".ms"


def resolution_tag(*, arcsec: float | None = None, parsec: float | None = None) -> str:
    """Return the automatic tag of a resolution: ``7p50`` for 7.5 arcsec, ``80pc`` for 80 pc."""
    if (arcsec is None) == (parsec is None):
        raise ValueError("give either arcsec or parsec")
    return f"{arcsec:.2f}".replace(".", "p") if arcsec is not None else f"{parsec:.0f}pc"


def arcsec_of_parsec(parsec: float, distance_mpc: float) -> float:
    """Return the angle in arcsec that `parsec` subtends at `distance_mpc` (derived specification, section 4)."""
    return parsec / (distance_mpc * 1e6) * 206264.806
