"""Weightings and tapers to be tried: what people write, tclean's parameters, and which of several serves best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from fringeflow.errors import DataError

_KNOWN = ("natural", "uniform", "superuniform", "radial", "briggs", "briggsabs", "briggsbwtaper")
_LARGEST_ROBUST = 2.0


@dataclass(frozen=True)
class Weighting:
    """One way to weight visibilities; a taper of 0 is none."""

    weighting: str = "briggs"
    robust: float | None = 0.5
    taper_arcsec: float = 0.0

    @property
    def name(self) -> str:
        """What files and tables call it, e.g. ``briggs_r0.5_t2``."""
        robust = "" if self.robust is None else f"_r{self.robust:g}"
        taper = f"_t{self.taper_arcsec:g}" if self.taper_arcsec else ""
        return f"{self.weighting}{robust}{taper}"

    def parameters(self) -> dict[str, Any]:
        """Return tclean's parameters."""
        width = f"{self.taper_arcsec!r}arcsec"
        return {
            "weighting": self.weighting,
            "uvtaper": [width, width, "0deg"] if self.taper_arcsec else [],
            **({} if self.robust is None else {"robust": self.robust}),
            **({"perchanweightdensity": True} if self.weighting == "briggsbwtaper" else {}),
        }


def read(text: str, taper_arcsec: float = 0.0) -> Weighting:
    """Return the weighting that ``natural``, ``uniform`` or ``briggs:0.5`` stands for.

    Raises
    ------
    DataError
        No such weighting, or a robustness that is none.
    """
    word, _, number = text.partition(":")
    if word not in _KNOWN or taper_arcsec < 0:
        raise DataError(f"no weighting is called {text!r}", remedy=f"known: {', '.join(_KNOWN)}; briggs:0.5")
    if not word.startswith("briggs"):
        if number:
            raise DataError(f"{word} weighting has no robustness", remedy=f"write {word}")
        return Weighting(word, None, taper_arcsec)
    try:
        robust = float(number or 0.5)
    except ValueError:
        robust = float("nan")
    if not abs(robust) <= _LARGEST_ROBUST:
        raise DataError(f"{number!r} is no robustness", remedy="give a number from -2 to 2, as in briggs:0.5")
    return Weighting(word, robust, taper_arcsec)


def grid(weightings: Sequence[str], tapers_arcsec: Sequence[float]) -> list[Weighting]:
    """Return every weighting with every taper, each once."""
    return list(dict.fromkeys(read(text, taper) for text, taper in product(weightings, tapers_arcsec)))


def suggestion(rows: Sequence[Mapping[str, Any]], resolution_arcsec: float | None) -> str | None:
    """Return the name of the set that serves best, of those that were made; None if none was.

    The one whose major axis is closest to the wanted resolution, else the one with the lowest noise, else the finest.
    """
    made = [row for row in rows if row["status"] != "failed"]
    if not made:
        return None
    if resolution_arcsec is not None:
        best = min(made, key=lambda row: abs(row["bmaj_arcsec"] - resolution_arcsec))
    elif all(row["rms"] > 0 for row in made):
        best = min(made, key=lambda row: row["rms"])
    else:
        best = min(made, key=lambda row: row["bmaj_arcsec"])
    return str(best["test_name"])
