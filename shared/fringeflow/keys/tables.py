"""Small helpers shared by the readers of key files: values with their place, duplicates, names and checked values."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fringeflow.keys.parameters import nearest
from fringeflow.keys.problems import Findings, Place
from fringeflow.keys.syntax import literal
from fringeflow.keys.values import Check

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

_NAME = re.compile(r"[^\s/\\'\"*?\[\]{}()<>|&;$`~]+")
_RESERVED = frozenset(("all", "all_line", "all_cont"))


@dataclass(frozen=True, slots=True)
class Placed(Generic[T]):
    """A value and where it was read."""

    value: T
    place: Place


def put(table: dict[K, Placed[T]], key: K, value: T, place: Place, what: str, findings: Findings) -> None:
    """Enter a value; where there is one already, say so and let the last one count."""
    if key in table:
        earlier = table[key].place
        findings.warning(place, f"{what} is given again: this line counts, not {earlier}", "keep one of the two")
    table[key] = Placed(value, place)


def checked(text: str, check: Check, place: Place, what: str, findings: Findings) -> Any | None:
    """Return the value of a literal that passes `check`, or None after noting why not."""
    try:
        value = literal(text)
    except ValueError as error:
        findings.error(place, f"{what}: {error}", "write a number, a list such as ['a','b'] or a dictionary: {'a':1}")
        return None
    try:
        return check(value)
    except ValueError as error:
        findings.error(place, f"{what}: {error}", "correct the value")
        return None


def number_in(text: str, check: Check, place: Place, what: str, findings: Findings) -> float | None:
    """Return the number that a cell holds, or None after noting why not."""
    try:
        return float(check(float(text)))
    except ValueError as error:
        told = str(error) if "wanted" in str(error) else f"a number is wanted, not {text!r}"
        findings.error(place, f"{what}: {told}", "correct the value")
        return None


def is_name(name: str, place: Place, what: str, findings: Findings) -> bool:
    """Return whether `name` can be a part of file names, noting it if not."""
    if name.lower() in _RESERVED:
        findings.error(
            place, f"a {what} cannot be called {name!r}", "that word stands for several: choose another name"
        )
        return False
    if not _NAME.fullmatch(name) or name.startswith((".", "-")):
        findings.error(place, f"{name!r} cannot be the name of a {what}", "use letters, digits and + - . _")
        return False
    return True


def is_known(name: str, known: Collection[str], place: Place, what: str, findings: Findings) -> bool:
    """Return whether `name` is one of `known`, noting an error if not."""
    if name in known:
        return True
    findings.error(place, f"unknown {what} {name!r}", nearest(name, known) if known else f"no {what} is defined")
    return False
