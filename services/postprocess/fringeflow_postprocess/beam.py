"""Restoring beams: reading them from an image, and the round beam that encloses them all. No pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fringeflow.errors import CorruptInputError, DataError
from fringeflow.fitsplanes import Planes

RoundRule = Literal["smallest", "reference"]

ROUND_TOLERANCE = 1e-3
"""Beams this close to the wanted one, relative to it, are left as they are: a flux error of at most 0.2 %."""

_COARSE = 3.0
_LEAST_SCATTER = 0.02


@dataclass(frozen=True)
class Beam:
    """An elliptical Gaussian beam: full widths at half maximum, and position angle from north through east."""

    major_arcsec: float
    minor_arcsec: float
    pa_deg: float = 0.0

    @property
    def solid_angle_sr(self) -> float:
        """Integral of the beam with peak one."""
        return (
            math.pi
            / (4 * math.log(2))
            * math.radians(self.major_arcsec / 3600)
            * math.radians(self.minor_arcsec / 3600)
        )

    def is_about(self, round_arcsec: float, tolerance: float = ROUND_TOLERANCE) -> bool:
        """Return whether this is the round beam of `round_arcsec` within the relative `tolerance`."""
        return all(abs(axis / round_arcsec - 1) <= tolerance for axis in (self.major_arcsec, self.minor_arcsec))


def beams_of(image: Planes) -> list[Beam]:
    """Return the beam of every plane: from CASA's table BEAMS if there is one, else the header's for all.

    Beams of blank planes may be zero; none is checked for sense here.

    Raises
    ------
    CorruptInputError
        There is no beam, or the table has other than one beam per plane.
    """
    rows, header = image.beam_rows(), image.header
    if rows is not None:
        if len(rows) != len(image):
            counts = f"{len(image)} planes but {len(rows)} beams"
            raise CorruptInputError(f"{image.path} has {counts}", remedy="image it again")
        return [Beam(float(row["BMAJ"]), float(row["BMIN"]), float(row["BPA"])) for row in rows]
    if "BMAJ" not in header or "BMIN" not in header:
        raise CorruptInputError(f"{image.path} says nothing of its restoring beam", remedy="image it again")
    return [Beam(header["BMAJ"] * 3600, header["BMIN"] * 3600, header.get("BPA", 0.0))] * len(image)


def round_beam_arcsec(
    beams: Iterable[Beam], pixel_arcsec: float, *, rule: RoundRule = "smallest", force_arcsec: float | None = None
) -> float:
    """Return the full width of the round beam to bring `beams` to (postprocess specification, 6.4 and W-05).

    Parameters
    ----------
    beams
        Those of all planes that hold something.
    pixel_arcsec
        Pixel size; only the reference's rule needs it.
    rule
        "smallest" is the largest major axis b: the smallest round beam that encloses all. "reference" is
        sqrt(b^2 + (2 pixels)^2).
    force_arcsec
        Wanted instead; must not be smaller than what the rule gives.

    Raises
    ------
    DataError
        The forced beam is too small, or a beam is no beam.
    """
    axes = [axis for beam in beams for axis in (beam.major_arcsec, beam.minor_arcsec)]
    if not all(math.isfinite(axis) and axis > 0 for axis in axes):
        raise DataError("a plane with valid pixels has no restoring beam", remedy="image it again")
    largest = max(axes)
    limit = largest if rule == "smallest" else math.hypot(largest, 2 * pixel_arcsec)
    if force_arcsec is None:
        return limit
    if force_arcsec < limit:
        raise DataError(
            f"a beam of {force_arcsec:g} arcsec cannot be reached from one of {largest:.4g} arcsec",
            remedy=f"set force_beam_arcsec to at least {math.ceil(limit * 1e4) / 1e4:g} or leave it out",
        )
    return force_arcsec


def without_coarse_edges(beams: Sequence[Beam | None]) -> tuple[int, int]:
    """Return the range of planes between the first and the last whose beam is about as small as most (6.2, W-03).

    That is at most the median of the major axes plus three times their scatter: 1.4826 times the median deviation, at
    least 2 % of the median. Channels between them stay whatever their beam.

    Parameters
    ----------
    beams
        Of all planes, None for those that are blank; not all may be.
    """
    axes = np.array([beam.major_arcsec if beam else np.nan for beam in beams])
    middle = np.nanmedian(axes)
    scatter = max(1.4826 * float(np.nanmedian(np.abs(axes - middle))), _LEAST_SCATTER * float(middle))
    usual = np.flatnonzero(axes <= middle + _COARSE * scatter)
    return int(usual[0]), int(usual[-1]) + 1
