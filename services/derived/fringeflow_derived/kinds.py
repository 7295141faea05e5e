"""The kinds of maps there are, and their options as the keys give them (derived specification, section 9)."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fringeflow.errors import DataError
from fringeflow_derived import moments, peaks
from fringeflow_derived.moments import MapPair


@dataclass(frozen=True)
class Kind:
    """One kind of map: what makes it, its unit and its name in headers."""

    make: Callable[..., MapPair]
    bunit: str
    btype: str


KINDS: Mapping[str, Kind] = {
    "mom0": Kind(moments.mom0, "K km s-1", "Moment0"),
    "mom1": Kind(moments.mom1, "km s-1", "Moment1"),
    "mom2": Kind(moments.mom2, "km s-1", "Moment2"),
    "ew": Kind(moments.ew, "km s-1", "VelDisp EW"),
    "tpeak": Kind(peaks.tpeak, "K", "Tpeak"),
    "vpeak": Kind(peaks.vpeak, "km s-1", "Vmax"),
    "vquad": Kind(peaks.vquad, "km s-1", "Vmax"),
}


def options_of(algorithm: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments of an algorithm from what the keys say.

    Raises
    ------
    DataError
        The algorithm or an option is unknown, or a width is not one.
    """
    if algorithm not in KINDS:
        raise DataError(f"no algorithm is called {algorithm!r}", remedy=f"choose from {', '.join(KINDS)}")
    parameters = inspect.signature(KINDS[algorithm].make).parameters
    return keyword_arguments(algorithm, [name for name in parameters if name not in ("spectra", "channels")], given)


def keyword_arguments(algorithm: str, known: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments out of `known` from what the keys say: ``window`` for ``window_kms`` and so on.

    Raises
    ------
    DataError
        An option is unknown, or a width is not one.
    """
    options = {}
    for name, value in given.items():
        with_unit = f"{name}_kms" in known
        if not with_unit and name not in known:
            raise DataError(
                f"{algorithm} has no option {name!r}", remedy=f"its options are {', '.join(known) or 'none'}"
            )
        options[f"{name}_kms" if with_unit else name] = width_kms(value) if with_unit and value is not None else value
    return options


def width_kms(value: float | str) -> float:
    """Return a velocity width: a number is in km/s, a text has a unit ('12.5km/s', '2500 m/s')."""
    if isinstance(value, int | float):
        return float(value)
    found = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(km/s|km s-1|m/s|m s-1)?\s*", value)
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        number = math.nan
    if not found or not number > 0:
        raise DataError(f"{value!r} is not a velocity width", remedy="write it like '12.5km/s'")
    return number * (1e-3 if (found[2] or "").startswith("m") else 1.0)
