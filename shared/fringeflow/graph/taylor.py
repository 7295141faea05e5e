"""What post-processing makes of the Taylor terms of continuum images: names and what depends on the imaging. No I/O.

A field's spectral index is imaging's; that of a mosaic follows from the mosaics of the first two terms.
"""

from __future__ import annotations

from collections.abc import Iterable

from fringeflow import names
from fringeflow.graph.model import Unit

TERM = "pbcorr_round_tt1"
"""End of the name of the first-order term, in Jy/beam, that goes with a corrected image of round beam."""

ALPHA, ALPHA_ERROR = "trimmed_alpha", "trimmed_alpha_error"

_ADDS_POINTINGS = frozenset({"mosaic", "awproject", "awp2", "awphpg"})
_GAUSSIAN_BEAM = 2.0


def beam_slope(imaged: Unit) -> float:
    """Return s of the slope s ln P with frequency (both logarithmic) that the primary beam gives to what it shows.

    For one pointing s is 2: a Gaussian whose width is inverse to frequency is exp(-a nu^2). Of several pointings that
    were gridded together P does not tell the slope, and with conjugate beams there is none: 0.
    """
    gridder = imaged.recipe.get("tclean", {}).get("gridder", "standard")
    return 0.0 if gridder in _ADDS_POINTINGS else _GAUSSIAN_BEAM


def has(unit: Unit, ext: str) -> bool:
    """Return whether the unit makes the file of its cube that ends so."""
    return names.cube(unit.id.target, unit.id.config, unit.id.product, ext) in unit.outputs


def all_have(units: Iterable[Unit], ext: str) -> bool:
    """Return whether all units make the file of their cubes that ends so."""
    return all(has(unit, ext) for unit in units)
