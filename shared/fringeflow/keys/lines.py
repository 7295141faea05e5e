"""Rest frequencies of spectral lines, their names and families, and the frequencies they cover at a velocity.

The table is ``lines.txt`` beside this module, a line key like those users may add (keys specification, section 7).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from fringeflow.errors import DataError
from fringeflow.keys.model import Project

LIGHT_KMS = 299792.458
"""The speed of light in km/s."""


class UnknownLineError(DataError):
    """A name is neither a line nor a family of lines."""


@dataclass(frozen=True, slots=True)
class Line:
    """One spectral line."""

    tag: str
    restfreq_ghz: float
    family: str
    padding_kms: float = 0.0

    def range_ghz(self, vlow_kms: float, vhigh_kms: float) -> tuple[float, float]:
        """Return (low, high) sky frequency between two radio velocities: f = f0 (1 - v/c).

        The line's own padding, for hyperfine groups listed at one frequency, widens both sides.
        """
        low, high = sorted((vlow_kms, vhigh_kms))
        at_low = self.restfreq_ghz * (1 - (low - self.padding_kms) / LIGHT_KMS)
        at_high = self.restfreq_ghz * (1 - (high + self.padding_kms) / LIGHT_KMS)
        return min(at_low, at_high), max(at_low, at_high)


@dataclass(frozen=True)
class LineTable:
    """Lines by tag, found by any usual spelling."""

    lines: Mapping[str, Line]
    _spellings: Mapping[str, str] = field(init=False, repr=False)
    _families: Mapping[str, tuple[str, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        families: dict[str, list[str]] = {}
        for line in self.lines.values():
            families.setdefault(line.family, []).append(line.tag)
        spellings: dict[str, str] = {}
        for tag in self.lines:
            spellings.setdefault(plain_name(tag), tag)
        object.__setattr__(self, "_spellings", MappingProxyType(spellings))
        object.__setattr__(self, "_families", MappingProxyType({name: tuple(tags) for name, tags in families.items()}))

    @property
    def families(self) -> Mapping[str, tuple[str, ...]]:
        """Family name -> tags of its lines."""
        return self._families

    def extended(self, lines: Iterable[Line]) -> LineTable:
        """Return a table that also holds `lines`; a tag already there is replaced."""
        return LineTable(MappingProxyType({**self.lines, **{line.tag: line for line in lines}}))

    def find(self, name: str) -> Line:
        """Return the line called `name` in any spelling: ``co21``, ``CO(2-1)``, ``HCO+ 1-0``.

        Raises
        ------
        UnknownLineError
            No line is called so.
        """
        tag = name if name in self.lines else self._spellings.get(plain_name(name))
        if tag is None:
            raise self._unknown(name, "line")
        return self.lines[tag]

    def expand(self, names: str | Sequence[str]) -> tuple[Line, ...]:
        """Return the lines that `names` (lines or families, one or several) stand for, each once, in order.

        Raises
        ------
        UnknownLineError
            A name is neither a line nor a family.
        """
        found: dict[str, Line] = {}
        for name in [names] if isinstance(names, str) else names:
            family = self._family(name)
            tags = self._families[family] if family else (self._line_or_raise(name).tag,)
            found.update({tag: self.lines[tag] for tag in tags})
        return tuple(found.values())

    def ranges_ghz(
        self, names: str | Sequence[str], *, vsys_kms: float, vwidth_kms: float
    ) -> tuple[tuple[float, float], ...]:
        """Return the sky frequencies of `names` from vsys - vwidth/2 to vsys + vwidth/2, merged and sorted."""
        low, high = vsys_kms - vwidth_kms / 2, vsys_kms + vwidth_kms / 2
        return merged(line.range_ghz(low, high) for line in self.expand(names))

    def _family(self, name: str) -> str | None:
        if name in self.lines:
            return None
        return next((known for known in self._families if plain_name(known) == plain_name(name)), None)

    def _line_or_raise(self, name: str) -> Line:
        try:
            return self.find(name)
        except UnknownLineError:
            raise self._unknown(name, "line or family") from None

    def _unknown(self, name: str, what: str) -> UnknownLineError:
        near = get_close_matches(plain_name(name), [*self._spellings, *self._families], n=3)
        hint = f"perhaps {', '.join(near)} is meant" if near else "add it with a line_key: tag frequency_ghz family"
        return UnknownLineError(f"no {what} is called {name!r}", remedy=hint)


def merged(ranges: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return `ranges` sorted, with those that overlap or touch made one; none give none."""
    found: list[tuple[float, float]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def plain_name(name: str) -> str:
    """Return a name in lower case with only letters and digits; an ion's ``+`` becomes ``p``."""
    return re.sub(r"[^0-9a-z]", "", name.lower().replace("+", "p"))


@lru_cache(maxsize=1)
def builtin() -> LineTable:
    """Return the table of the lines that are known without a line key."""
    text = Path(__file__).with_name("lines.txt").read_text("utf-8")
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return LineTable(MappingProxyType({tag: Line(tag, float(freq), family) for tag, freq, family in rows}))


def table_of(project: Project) -> LineTable:
    """Return the lines a project knows: the built-in ones and those of its line keys."""
    return LineTable(MappingProxyType({line.tag: line for line in _lines_of(project)}))


def known_to(project: Project) -> LineTable:
    """Return the built-in lines with those of a project."""
    return _with_builtin(tuple(_lines_of(project)))


def _lines_of(project: Project) -> Iterator[Line]:
    for family, tags in project.line_families.items():
        for tag in tags:
            yield Line(tag, project.line_frequencies_ghz[tag], family, project.line_padding_kms.get(tag, 0.0))


@lru_cache(maxsize=4)  # every unit of a survey asks for the same
def _with_builtin(lines: tuple[Line, ...]) -> LineTable:
    return builtin().extended(lines)
