"""Chooses the pointings of a large mosaic that see an area of the sky (staging specification, section 10, S28).

Knows directions and dishes, no lines. The area and its margin are measured on the plane that touches the sky in the
middle of the area, where great circles are straight: nothing happens at a right ascension of 0h or near a pole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fringeflow.errors import DataError, NothingSelectedError
from fringeflow_staging.tables import open_table

# Full width at half power of a dish of ALMA, in wavelengths over diameters
BEAM_FACTOR = 1.14 * 1.22
BEAMS = 1.6
LIGHT_M_S = 299792458.0
_WIDEST_DEG = 60.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Area:
    """An area of the sky, and how far about it pointings are taken.

    Parameters
    ----------
    corners
        (right ascension, declination), J2000 degrees: two opposite corners of a rectangle along these axes, by the
        shorter way round in right ascension, or three and more of a polygon in order.
    beams
        How far from it a pointing may be, in halves of the primary beam's full width at half power.
    """

    corners: tuple[tuple[float, float], ...]
    beams: float = BEAMS

    def polygon(self) -> tuple[tuple[float, float], ...]:
        """Return the corners in order, those of a rectangle completed."""
        if len(self.corners) != 2:
            return self.corners
        (ra, dec), (other_ra, other_dec) = self.corners
        other_ra = ra + (other_ra - ra + 180.0) % 360.0 - 180.0
        return (ra, dec), (other_ra, dec), (other_ra, other_dec), (ra, other_dec)

    def distances_deg(self, directions_deg: Floats) -> Floats:
        """Return how far directions [n, 2] (right ascension, declination) are from the area: 0 inside, inf behind."""
        corners = unit_vectors(np.radians(self.polygon()))
        middle = corners.sum(axis=0)
        if np.linalg.norm(middle) == 0 or (corners @ middle).min() < np.cos(np.radians(_WIDEST_DEG)) * np.linalg.norm(
            middle
        ):
            raise DataError(
                f"the area {self.corners} is wider than {2 * _WIDEST_DEG:g} degrees", remedy="make staging_area smaller"
            )
        middle /= np.linalg.norm(middle)
        outline, _ = _flat(corners, middle)
        places, before = _flat(unit_vectors(np.radians(np.atleast_2d(directions_deg))), middle)
        distances = np.where(_inside(places, outline), 0.0, _to_outline(places, outline))
        return np.where(before, np.degrees(np.arctan(distances)), np.inf)

    def pointings(self, path: Path, among: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return the ids of the fields of a measurement set (of those `among` them) whose beam reaches the area.

        The beam is that of the smallest dish at the lowest frequency.

        Raises
        ------
        NothingSelectedError
            None does.
        """
        with open_table(path / "FIELD") as table:
            directions = np.array([table.getcell("PHASE_DIR", row)[:, 0] for row in range(table.nrows())])
        near = self.distances_deg(np.degrees(directions)) <= self.beams * _beam_deg(path) / 2
        chosen = np.flatnonzero(near)
        if among is not None:
            chosen = np.intersect1d(chosen, among)
        if not chosen.size:
            raise NothingSelectedError(
                f"{path.name}: none of its {len(directions)} pointings sees {self.corners}", remedy="check staging_area"
            )
        return chosen


def beam_deg(dish_m: float, frequency_ghz: float) -> float:
    """Return the full width at half power of a dish's primary beam."""
    return float(np.degrees(BEAM_FACTOR * LIGHT_M_S / (frequency_ghz * 1e9) / dish_m))


def _beam_deg(path: Path) -> float:
    with open_table(path / "ANTENNA") as antennas:
        dishes = antennas.getcol("DISH_DIAMETER")
    with open_table(path / "SPECTRAL_WINDOW") as windows:
        lowest = min(float(windows.getcell("CHAN_FREQ", row).min()) for row in range(windows.nrows()))
    if not (dishes > 0).any():
        raise DataError(f"{path.name} does not say how large its dishes are", remedy="deliver a complete ANTENNA table")
    return beam_deg(float(dishes[dishes > 0].min()), lowest / 1e9)


def unit_vectors(directions: Floats) -> Floats:
    """Return (x, y, z) [n, 3] of directions [n, 2], right ascension and declination in radians."""
    right_ascension, declination = directions.T
    flat = np.cos(declination)
    return np.stack([flat * np.cos(right_ascension), flat * np.sin(right_ascension), np.sin(declination)], axis=1)


def _flat(vectors: Floats, middle: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return places [n, 2] on the plane that touches the sphere at `middle`, and which are before it."""
    pole = np.array([0.0, 0.0, 1.0]) if abs(middle[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    east = np.cross(pole, middle)
    east /= np.linalg.norm(east)
    along = vectors @ middle
    before = along > 1e-6
    depth = np.where(before, along, 1.0)[:, None]
    return np.stack([vectors @ east, vectors @ np.cross(middle, east)], axis=1) / depth, before


def _inside(places: Floats, outline: Floats) -> NDArray[np.bool_]:
    """Return which places lie in a polygon: a ray from them crosses its outline an odd number of times."""
    x, y = places.T[:, :, None]
    x0, y0 = outline.T[:, None, :]
    x1, y1 = np.roll(outline, -1, axis=0).T[:, None, :]
    crosses = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
    return np.asarray((crosses & (x < at)).sum(axis=1) % 2 == 1)


def _to_outline(places: Floats, outline: Floats) -> Floats:
    """Return the distances [n] of places to the nearest point of a polygon's outline."""
    ends = np.roll(outline, -1, axis=0)
    sides = ends - outline
    lengths = np.maximum((sides**2).sum(axis=1), 1e-300)
    offsets = places[:, None, :] - outline[None]
    share = np.clip((offsets * sides).sum(axis=2) / lengths, 0.0, 1.0)
    return np.asarray(np.linalg.norm(offsets - share[..., None] * sides, axis=2).min(axis=1))
