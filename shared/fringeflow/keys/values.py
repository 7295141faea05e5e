"""Checks that turn what a key file holds into a value of the wanted type, or say what was wanted. No file is known."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], Any]

_NUMBER_WITH_UNIT = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z].*)?")
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)\s*(s|min|h)?")
_VELOCITY_UNITS = {"km/s": 1.0, "kms": 1.0, "km s-1": 1.0, "m/s": 1e-3}


def refusal(wanted: str, value: object) -> ValueError:
    """Return the error that says what was wanted instead of `value`."""
    return ValueError(f"{wanted} is wanted, not {value!r}")


def number(value: Any) -> float:
    """Return a finite float; an int will do, a bool will not."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise refusal("a number", value)
    return float(value)


def positive(value: Any) -> float:
    """Return a finite float above zero."""
    found = number(value)
    if found <= 0:
        raise refusal("a number above zero", value)
    return found


def not_negative(value: Any) -> float:
    """Return a finite float of zero or more."""
    found = number(value)
    if found < 0:
        raise refusal("a number of zero or more", value)
    return found


def whole(value: Any) -> int:
    """Return an int; a float without fraction will do."""
    found = number(value)
    if found != int(found):
        raise refusal("a whole number", value)
    return int(found)


def flag(value: Any) -> bool:
    """Return a bool."""
    if not isinstance(value, bool):
        raise refusal("True or False", value)
    return value


def text(value: Any) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise refusal("a text", value)
    return value.strip()


def between(low: float, high: float, *, inclusive: bool = False) -> Check:
    """Return a check for a float of at least `low` and below (or at most) `high`."""

    def check(value: Any) -> float:
        found = number(value)
        if not (low <= found < high or (inclusive and found == high)):
            raise refusal(f"a number from {low:g} {'to' if inclusive else 'to below'} {high:g}", value)
        return found

    return check


def one_of(*words: str) -> Check:
    """Return a check for one of some words."""

    def checked(value: Any) -> str:
        if value not in words:
            raise refusal(f"one of {', '.join(words)}", value)
        return str(value)

    return checked


def list_of(check: Check, *, empty: bool = True) -> Check:
    """Return a check for a list (a tuple will do) whose items pass `check`."""

    def checked(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise refusal("a list", value)
        if not value and not empty:
            raise ValueError("the list is empty")
        return tuple(check(item) for item in value)

    return checked


def mapping_of(check: Check) -> Check:
    """Return a check for a dictionary from texts to what passes `check`."""

    def checked(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise refusal("a dictionary", value)
        return {text(key): check(item) for key, item in value.items()}

    return checked


def either(*checks: Check) -> Check:
    """Return a check that what passes any of `checks` passes."""

    def checked(value: Any) -> Any:
        refusals = []
        for check in checks:
            try:
                return check(value)
            except ValueError as error:
                refusals.append(str(error))
        raise ValueError(refusals[0])

    return checked


def nothing(value: Any) -> None:
    """Return None for None."""
    if value is not None:
        raise refusal("None", value)


def plain(value: Any) -> Any:
    """Return a value that JSON can hold: tuples become lists, keys are texts, numbers are finite."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return mapping_of(plain)(value)
    raise ValueError(f"{value!r} cannot be used here")


def freq_range(value: Any) -> tuple[float, float]:
    """Return (low, high) of a frequency range in GHz, whichever way round it was written."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise refusal("a range [low,high]", value)
    low, high = sorted(positive(item) for item in value)
    if low == high:
        raise ValueError(f"the range {value!r} is empty")
    return low, high


def duration(value: Any) -> str:
    """Return a time span as CASA reads it, e.g. ``30s``."""
    match = _DURATION.fullmatch(text(value))
    if not match:
        raise refusal("a time such as '30s'", value)
    return f"{match[1]}{match[2] or 's'}"


def velocity_text(value: str) -> str:
    """Return a velocity width above zero as text with its unit: ``50`` and ``50 km/s`` give ``50km/s``."""
    match = _NUMBER_WITH_UNIT.fullmatch(value.strip())
    unit = (match[2] or "km/s").strip() if match else ""
    if not match or unit not in _VELOCITY_UNITS or float(match[1]) <= 0 or not math.isfinite(float(match[1])):
        raise refusal("a velocity width such as 50km/s", value)
    scale = _VELOCITY_UNITS[unit]
    return f"{match[1]}km/s" if scale == 1 else f"{float(match[1]) * scale:g}km/s"


def arcsec(value: Any) -> float:
    """Return an angle above zero in arcsec, from a number or a text with ``arcsec``."""
    if isinstance(value, str):
        match = _NUMBER_WITH_UNIT.fullmatch(value.strip())
        if not match or (match[2] or "arcsec").strip() not in ("arcsec", '"'):
            raise refusal("an angle in arcsec", value)
        return positive(abs(float(match[1])))
    return positive(abs(number(value)))


_SEXAGESIMAL = re.compile(r"([+-]?)(\d+)[hd:. ]+(\d+)[m:. ]+(\d+(?:\.\d+)?)s?")


def corner(value: Any) -> tuple[float, float]:
    """Return (right ascension, declination) in degrees: two numbers of degrees, or a text of hours and degrees.

    A text is like ``10:43:59.3 -00:30:00`` or ``J2000 10h43m59.3s -00d30m00s``.
    """
    if isinstance(value, str):
        found = list(_SEXAGESIMAL.finditer(value.strip().removeprefix("J2000")))
        if len(found) == 2:
            hours, degrees = (_from_sexagesimal(match) for match in found)
            return corner((hours * 15, degrees))
    elif isinstance(value, (list, tuple)) and len(value) == 2:
        right_ascension, declination = number(value[0]), number(value[1])
        if -90 <= declination <= 90:
            return right_ascension, declination
    raise refusal("a corner [right ascension, declination] in degrees, or 'HH:MM:SS.S +DD:MM:SS'", value)


def _from_sexagesimal(match: re.Match[str]) -> float:
    sign, whole_part, minutes, seconds = match.groups()
    size = int(whole_part) + int(minutes) / 60 + float(seconds) / 3600
    return -size if sign == "-" else size
