"""What is wanted of a cube, read from words such as '100pc', '7.5arcsec' or 'strict_mom0'. Opens no file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fringeflow import names
from fringeflow.errors import DataError
from fringeflow_derived.kinds import KINDS

MASKS = ("strict", "broad")
DEFAULT_MOMENTS = (
    *("strict_mom0", "strict_mom1", "strict_mom2", "strict_ew", "strict_vpeak", "strict_vquad"),
    *("broad_mom0", "broad_mom1", "broad_tpeak"),
)

_ARCSEC = {"": 1.0, "arcsec": 1.0, '"': 1.0, "as": 1.0, "arcmin": 60.0, "'": 60.0, "deg": 3600.0}
_PARSEC = {"pc": 1.0, "kpc": 1e3, "mpc": 1e6}
_NUMBER = re.compile(r"\s*(?P<number>[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*(?P<unit>[A-Za-z'\"]*)\s*")


@dataclass(frozen=True)
class Resolution:
    """One beam wanted: its tag in file names, its width, and the distance with which that follows from a length."""

    tag: str
    fwhm_arcsec: float
    distance_mpc: float | None = None

    @classmethod
    def parse(cls, text: str, distance_mpc: float | None) -> Resolution:
        """Return the resolution `text` asks for: an angle ('7.5arcsec', '1arcmin', a number of arcsec) or a length.

        Raises
        ------
        DataError
            It is neither, or a length without a distance.
        """
        number, unit = _number(text, "a resolution", "7.5arcsec, 1arcmin, 100pc or 1.5kpc")
        if unit in _PARSEC:
            if distance_mpc is None:
                raise DataError(
                    f"the resolution {text} is a length, and the distance is not known",
                    remedy="give the distance, e.g. --distance 10Mpc",
                )
            arcsec = names.arcsec_of_parsec(number * _PARSEC[unit], distance_mpc)
            return cls(_tag(number, unit if unit != "mpc" else "Mpc"), arcsec, distance_mpc)
        if unit not in _ARCSEC:
            raise DataError(f"{text!r} is not a resolution", remedy="write it like 7.5arcsec, 1arcmin, 100pc or 1.5kpc")
        return cls(_tag(number * _ARCSEC[unit], "as"), number * _ARCSEC[unit])


@dataclass(frozen=True)
class Wanted:
    """Everything asked for: the resolutions besides the native one, and maps as (mask, algorithm)."""

    resolutions: tuple[Resolution, ...]
    moments: tuple[tuple[str, str], ...]
    window_kms: float | None = None

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of all resolutions, the native one's empty one first."""
        return ("", *(resolution.tag for resolution in self.resolutions))

    @classmethod
    def parse(
        cls,
        resolutions: Sequence[str] = (),
        moments: Sequence[str] = DEFAULT_MOMENTS,
        *,
        distance_mpc: float | None = None,
        window_kms: float | None = None,
    ) -> Wanted:
        """Return what words ask for.

        Raises
        ------
        DataError
            A word is not understood, or a length is given without a distance.
        """
        beams = {one.tag: one for one in (Resolution.parse(text, distance_mpc) for text in resolutions)}
        pairs = dict.fromkeys(pair for word in moments for pair in _maps(word.strip()))
        if not pairs:
            raise DataError("no map is asked for", remedy=f"choose from {', '.join(KINDS)}")
        if window_kms is not None and not window_kms > 0:
            raise DataError(f"a window of {window_kms:g} km/s has no width", remedy="give a positive one")
        return cls(tuple(beams.values()), tuple(pairs), window_kms)


def distance_mpc(text: str | float) -> float:
    """Return the distance `text` gives: '10Mpc', '800 kpc', or a number of Mpc.

    Raises
    ------
    DataError
        It is not a distance.
    """
    number, unit = _number(str(text), "a distance", "10Mpc")
    if unit and unit not in _PARSEC:
        raise DataError(f"{text!r} is not a distance", remedy="write it like 10Mpc")
    return number * _PARSEC[unit or "mpc"] / 1e6


def _maps(word: str) -> list[tuple[str, str]]:
    """Return (mask, algorithm) of a word: 'strict_mom0' is one map, 'mom0' one in each mask."""
    mask, _, algorithm = word.rpartition("_")
    if algorithm not in KINDS or mask not in ("", *MASKS):
        raise DataError(
            f"no map is called {word!r}",
            remedy=f"choose from {', '.join(KINDS)}, in both masks or, as in strict_mom0 and broad_mom0, in one",
        )
    return [(one, algorithm) for one in ((mask,) if mask else MASKS)]


def _number(text: str, what: str, example: str) -> tuple[float, str]:
    found = _NUMBER.fullmatch(text)
    if not found or not float(found["number"]) > 0:
        raise DataError(f"{text!r} is not {what}", remedy=f"write it like {example}")
    return float(found["number"]), found["unit"].lower()


def _tag(number: float, unit: str) -> str:
    """Return a tag in the style of the keys: 7p5as, 100pc, 1p5kpc."""
    return f"{number:.10g}{unit}".replace(".", "p")
