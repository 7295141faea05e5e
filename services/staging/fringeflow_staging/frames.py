"""Converts the frequency frame of a measurement set to LSRK over the times and fields of a track (S1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow.errors import CorruptInputError
from fringeflow_staging.tables import open_table
from fringeflow_staging.windows import Range

# The Doppler shift along a track is smooth, and monotonic for hours: this many times find its extremes to 1 m/s.
SAMPLED_TIMES = 200


class LsrkFactors:
    """Factors between a stored frame and LSRK over the times and fields of the selection."""

    def __init__(self, path: Path, times: Mapping[int, NDArray[np.float64]]) -> None:
        self._path = path
        self._times = {field: found[_spread(len(found))] for field, found in times.items()}
        self._known: dict[str, Range] = {"LSRK": (1.0, 1.0)}

    def of(self, frame: str) -> Range:
        """Return the smallest and largest LSRK / stored frequency."""
        if frame not in self._known:
            self._known[frame] = self._measure(frame)
        return self._known[frame]

    def at(self, frame: str, field: int, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return LSRK / stored frequency of one field at `times` [n], in seconds as the main table has them."""
        if frame == "LSRK":
            return np.ones(len(times))
        return np.array(self._ratios(frame, {field: times}))

    def _measure(self, frame: str) -> Range:
        ratios = self._ratios(frame, self._times)
        return min(ratios), max(ratios)

    def _ratios(self, frame: str, times: Mapping[int, NDArray[np.float64]]) -> list[float]:
        from casatools import measures

        me = measures()
        try:
            me.doframe(self._position(me))
            ratios: list[float] = []
            for number, own in times.items():
                me.doframe(self._direction(me, number))
                for time in own:
                    me.doframe(me.epoch("UTC", f"{time:.3f}s"))
                    ratios.append(me.measure(me.frequency(frame, "1GHz"), "LSRK")["m0"]["value"] / 1e9)
        except (KeyError, RuntimeError) as error:
            raise CorruptInputError(
                f"{self._path.name}: its {frame} frequencies cannot be converted to LSRK", remedy="check its subtables"
            ) from error
        else:
            return ratios
        finally:
            me.done()

    def _position(self, me: Any) -> Any:
        with open_table(self._path / "ANTENNA") as antennas:
            x, y, z = antennas.getcol("POSITION").mean(axis=1)
        return me.position("ITRF", f"{x}m", f"{y}m", f"{z}m")

    def _direction(self, me: Any, field: int) -> Any:
        with open_table(self._path / "FIELD") as fields:
            frame = fields.getcolkeyword("PHASE_DIR", "MEASINFO").get("Ref", "J2000")
            longitude, latitude = fields.getcell("PHASE_DIR", field)[:, 0]
        return me.direction(frame, f"{longitude}rad", f"{latitude}rad")


def _spread(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, SAMPLED_TIMES)).astype(np.int64))
