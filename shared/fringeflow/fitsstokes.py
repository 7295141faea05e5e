"""Which Stokes parameters the planes of a FITS image are of, and the axis that says so; no files.

Their numbers are those of the FITS standard 4.0, table 29: 1 to 4 are I, Q, U, V.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fringeflow.errors import DataError
from fringeflow.fitscards import Cards

if TYPE_CHECKING:
    from astropy.io import fits

Stokes = tuple[int, ...]
Choice = Literal["only", "I", "all"]
"""Which are wanted: the only one there is, I if there are several, or all."""

TOTAL = 1
"""Stokes I."""

ALONE: Stokes = (TOTAL,)
"""What an image is of that does not say."""

_NAMES = dict(enumerate(("I", "Q", "U", "V"), start=1))
_NAMES |= {-number: name for number, name in enumerate(("RR", "LL", "RL", "LR", "XX", "YY", "XY", "YX"), start=1)}


def names(stokes: Sequence[int]) -> list[str]:
    """Return what the parameters are called."""
    return [_NAMES.get(number, str(number)) for number in stokes]


def axis_of(header: Mapping[str, Any]) -> int | None:
    """Return the number of the Stokes axis, also of length one; None if there is none."""
    kinds = {axis: str(header.get(f"CTYPE{axis}", "")).strip().upper() for axis in range(3, header["NAXIS"] + 1)}
    return next((axis for axis, kind in kinds.items() if kind == "STOKES"), None)


def numbers(header: Mapping[str, Any], path: Path) -> Stokes:
    """Return the parameters along the Stokes axis; I alone where there is no axis, or one plane of no known kind.

    Raises
    ------
    DataError
        The axis says the same of several planes.
    """
    axis = axis_of(header)
    if axis is None:
        return ALONE
    start, step, reference = (float(header.get(f"{card}{axis}", 1.0)) for card in ("CRVAL", "CDELT", "CRPIX"))
    count = int(header[f"NAXIS{axis}"])
    found = tuple(round(start + step * (place - reference)) for place in range(1, count + 1))
    if count == 1:
        return found if found[0] in _NAMES else ALONE
    if len(set(found)) != count:
        raise DataError(
            f"{path}: axis {axis} has {count} planes of Stokes {', '.join(names(found))}",
            remedy=f"correct CRVAL{axis}, CDELT{axis} and CRPIX{axis}",
        )
    return found


def chosen(there: Stokes, choice: Choice, path: Path) -> Stokes:
    """Return which of the parameters that are `there` are wanted.

    Raises
    ------
    DataError
        The only one is, and there are several; or I is, and is not among several.
    """
    if choice == "all" or len(there) == 1:
        return there
    if choice == "only":
        raise DataError(
            f"{path}: the Stokes axis has {len(there)} planes",
            remedy="only celestial and spectral axes may be longer than one; select Stokes I",
        )
    if TOTAL not in there:
        raise DataError(f"{path} has Stokes {', '.join(names(there))} and no I", remedy="add them up to Stokes I")
    return ALONE


def with_axis(header: fits.Header | Cards, axis: int, stokes: Stokes) -> Cards:
    """Return `header` with a Stokes axis, the `axis`-th.

    Raises
    ------
    DataError
        The parameters do not follow each other at one distance, as an axis of FITS must.
    """
    steps = {later - earlier for earlier, later in pairwise(stokes)} or {1}
    if len(steps) > 1:
        raise DataError(f"no FITS axis holds Stokes {', '.join(names(stokes))}", remedy="leave one of them out")
    cards = Cards.of(header)
    cards[f"CTYPE{axis}"] = "STOKES"
    for card, value in (("CRVAL", stokes[0]), ("CDELT", steps.pop()), ("CRPIX", 1)):
        cards[f"{card}{axis}"] = float(value)
    if "WCSAXES" in cards:
        cards["WCSAXES"] = axis
    return cards
