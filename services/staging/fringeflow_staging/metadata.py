"""Reads what a measurement set holds: windows in LSRK over the track, intents, fields, baselines, data column.

Our own reader of the tables (staging specification, S1, S30); knows nothing of what will be done with the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow.errors import DataError, MissingInputError, NothingSelectedError
from fringeflow_staging.fields import Area
from fringeflow_staging.frames import LsrkFactors
from fringeflow_staging.tables import BLOCK_ROWS, first_line, open_table
from fringeflow_staging.windows import Window

TARGET_INTENT = "OBSERVE_TARGET*"
# casacore's codes of MEAS_FREQ_REF
FREQUENCY_FRAMES = ("REST", "LSRK", "LSRD", "BARY", "GEO", "TOPO", "GALACTO", "LGROUP", "CMB")
# Windows of ALMA that measure water vapour or total power, or are averages of others
NOT_SCIENCE = ("WVR", "SQLD", "CH_AVG")
NEEDED_COLUMNS = (
    "UVW",
    "FLAG",
    "WEIGHT",
    "SIGMA",
    "ANTENNA1",
    "ANTENNA2",
    "TIME",
    "FIELD_ID",
    "DATA_DESC_ID",
    "STATE_ID",
)


@dataclass(frozen=True)
class Contents:
    """What a selection of a measurement set holds.

    `field` and `intent` are in CASA's selection syntax, '' meaning all; `longest_m` and `shortest_m` are projected
    baselines; `notes` say what a reader of the report should know; `fields` are the ids of those with selected rows.
    """

    path: Path
    field: str
    intent: str
    column: str
    windows: tuple[Window, ...]
    frame: str
    rows: int
    shortest_m: float
    longest_m: float
    dish_m: float
    notes: tuple[str, ...] = ()
    fields: tuple[int, ...] = ()

    @classmethod
    def empty(cls, path: Path, reason: str) -> Contents:
        """Return the contents of a measurement set of which nothing is selected, for the `reason` given."""
        return cls(path, "", "", "none", (), "", 0, 0.0, 0.0, 0.0, (reason,))

    def science_windows(self) -> tuple[Window, ...]:
        """Return the windows with selected rows that hold spectra of the sky (section 5.3)."""
        return tuple(
            window for window in self.windows if window.rows and not any(word in window.name for word in NOT_SCIENCE)
        )

    def lacks(self) -> str:
        """Return in words why it has no windows at all, or ''."""
        return "" if self.windows else "; ".join(self.notes)

    def coverage(self, restfreq_ghz: float) -> str:
        """Return in words which window covers which velocities of a line."""
        parts = []
        for window in self.windows:
            low, high = window.reach_kms(restfreq_ghz)
            width = window.width_kms(restfreq_ghz)
            empty = "" if window.rows else ", no rows selected"
            parts.append(f"window {window.number}: {low:.1f} to {high:.1f} km/s in channels of {width:.2f} km/s{empty}")
        return "; ".join(parts)


@dataclass(frozen=True)
class _Rows:
    """Of all selected rows: how many per window, when each field was seen, and the baselines."""

    per_description: dict[int, int]
    times: dict[int, NDArray[np.float64]]
    shortest_m: float
    longest_m: float


def read_contents(
    path: Path, *, field: str = "all", intent: str = TARGET_INTENT, area: Area | None = None, lsrk: bool = True
) -> Contents:
    """Return what the rows of `field` (CASA syntax or ``all``) with `intent` hold.

    A measurement set that tells no intents at all is taken whole, and a note says so.

    Parameters
    ----------
    area
        Take only the pointings that see it.
    lsrk
        False takes stored frequencies for LSRK ones, as the reference does (S1).

    Raises
    ------
    MissingInputError, CorruptInputError
        The measurement set is not there or cannot be read.
    DataError
        It lacks a column.
    NothingSelectedError
        No row has the field and intent asked for, or no pointing sees the area.
    """
    if not path.is_dir():
        raise MissingInputError(f"{path.name}: there is no such measurement set", remedy="check the ms key and ms_root")
    selected = "" if field in ("", "all") else field
    with open_table(path) as main:
        columns = set(main.colnames())
        column = _data_column(path, columns)
        states, used_intent, notes = _states(path, intent)
        fields = _field_numbers(path, selected)
        if area is not None:
            fields = area.pointings(path, fields)
            selected = ",".join(map(str, fields))
        rows = _scan(main, fields, states)
    if not rows.per_description:
        raise NothingSelectedError(
            f"{path.name}: no row has field {field!r} and intent {intent!r}",
            remedy=f"fields: {', '.join(_names(path, 'FIELD', 'NAME'))}; "
            f"intents: {', '.join(sorted(set(_names(path, 'STATE', 'OBS_MODE')))) or 'none'}",
        )
    factors = LsrkFactors(path, rows.times) if lsrk else None
    windows, frames = _windows(path, rows.per_description, factors)
    return Contents(
        path=path,
        field=selected,
        intent=used_intent,
        column=column,
        windows=windows,
        frame="/".join(sorted(frames)),
        rows=sum(rows.per_description.values()),
        shortest_m=rows.shortest_m,
        longest_m=rows.longest_m,
        dish_m=_dish(path),
        notes=notes,
        fields=tuple(rows.times),
    )


def _data_column(path: Path, columns: set[str]) -> str:
    missing = [name for name in NEEDED_COLUMNS if name not in columns]
    if missing:
        raise DataError(
            f"{path.name}: the main table has no column {', '.join(missing)}",
            remedy="deliver a complete measurement set",
        )
    if "CORRECTED_DATA" in columns:
        return "corrected"
    if "DATA" in columns:
        return "data"
    raise DataError(
        f"{path.name}: neither a CORRECTED_DATA nor a DATA column", remedy="deliver calibrated visibilities"
    )


def _states(path: Path, intent: str) -> tuple[NDArray[np.int64] | None, str, tuple[str, ...]]:
    """Return the state ids with `intent` (None: any), the intent to select with, and notes."""
    modes = _names(path, "STATE", "OBS_MODE")
    if not any(mode.strip() for mode in modes):
        return None, "", (f"{path.name} tells no intents: all rows of the field are taken as target",)
    chosen = [number for number, mode in enumerate(modes) if fnmatchcase(mode, intent)]
    return np.array(chosen, dtype=np.int64), intent, ()


def _names(path: Path, table: str, column: str) -> list[str]:
    with open_table(path / table) as sub:
        return [str(name) for name in sub.getcol(column)] if sub.nrows() else []


def _field_numbers(path: Path, selected: str) -> NDArray[np.int64] | None:
    """Return the field ids that CASA's selection `selected` means; '' means all (None)."""
    if not selected:
        return None
    from casatools import ms

    tool = ms()
    try:
        return np.asarray(tool.msseltoindex(str(path), field=selected)["field"], dtype=np.int64)
    except RuntimeError as error:
        raise NothingSelectedError(
            f"{path.name}: the field selection {selected!r} finds nothing: {first_line(error)}",
            remedy=f"fields: {', '.join(_names(path, 'FIELD', 'NAME'))}",
        ) from error
    finally:
        tool.done()


def _scan(main: Any, fields: NDArray[np.int64] | None, states: NDArray[np.int64] | None) -> _Rows:
    """Read the columns that index the main table, in blocks."""
    counts: dict[int, int] = {}
    times: dict[int, set[float]] = {}
    shortest, longest = np.inf, 0.0
    for start in range(0, main.nrows(), BLOCK_ROWS):
        count = min(BLOCK_ROWS, main.nrows() - start)
        number = main.getcol("FIELD_ID", start, count)
        use = np.ones(count, dtype=bool) if fields is None else np.isin(number, fields)
        if states is not None:
            use &= np.isin(main.getcol("STATE_ID", start, count), states)
        if not use.any():
            continue
        for description, rows in enumerate(np.bincount(main.getcol("DATA_DESC_ID", start, count)[use])):
            if rows:
                counts[description] = counts.get(description, 0) + int(rows)
        seen = np.unique(np.stack([number[use], main.getcol("TIME", start, count)[use]]), axis=1)
        for each, time in seen.T:
            times.setdefault(int(each), set()).add(float(time))
        lengths = np.hypot(*main.getcol("UVW", start, count)[:2, use])
        lengths = lengths[lengths > 0]
        if lengths.size:
            shortest, longest = min(shortest, float(lengths.min())), max(longest, float(lengths.max()))
    ordered = {each: np.array(sorted(found)) for each, found in times.items()}
    return _Rows(counts, ordered, shortest if longest else 0.0, longest)


def _windows(path: Path, rows: dict[int, int], factors: LsrkFactors | None) -> tuple[tuple[Window, ...], set[str]]:
    """Return all windows with their selected rows, and the frames of those that have any."""
    with open_table(path / "DATA_DESCRIPTION") as descriptions:
        of_description = descriptions.getcol("SPECTRAL_WINDOW_ID")
    per_window: dict[int, int] = {}
    for description, count in rows.items():
        number = int(of_description[description])
        per_window[number] = per_window.get(number, 0) + count
    found, frames = [], set()
    with open_table(path / "SPECTRAL_WINDOW") as table:
        for number in range(table.nrows()):
            frame = FREQUENCY_FRAMES[int(table.getcell("MEAS_FREQ_REF", number)) % 64]
            used = per_window.get(number, 0)
            if used:
                frames.add(frame)
            found.append(
                Window(
                    number=number,
                    centres_ghz=tuple(np.asarray(table.getcell("CHAN_FREQ", number) / 1e9).tolist()),
                    widths_ghz=tuple(np.abs(table.getcell("CHAN_WIDTH", number) / 1e9).tolist()),
                    to_lsrk=factors.of(frame) if used and factors else (1.0, 1.0),
                    rows=used,
                    name=str(table.getcell("NAME", number)),
                    frame=frame,
                )
            )
    return tuple(found), frames


def _dish(path: Path) -> float:
    with open_table(path / "ANTENNA") as antennas:
        return float(np.median(antennas.getcol("DISH_DIAMETER")))
