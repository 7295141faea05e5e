"""Says in plain values what a measurement set holds, for whoever writes key files for it: fields, dishes, windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fringeflow.errors import CorruptInputError, MissingInputError
from fringeflow_staging.fields import unit_vectors
from fringeflow_staging.metadata import NOT_SCIENCE, TARGET_INTENT, read_contents
from fringeflow_staging.tables import open_table


def describe(path: Path) -> dict[str, Any]:
    """Return what a measurement set holds of its targets.

    Returns
    -------
    dict
        `telescope`; `project`; `dish_m`, the median diameter; `baselines_m`, the shortest and the longest, projected;
        `fields`, those observed as targets, each with `id`, `name` and `direction`, a unit vector (J2000);
        `windows`, each with `low_ghz` and `high_ghz`, the LSRK frequencies covered all through the track, and
        `width_ghz`, that of a channel.

    Raises
    ------
    MissingInputError, CorruptInputError
        There is no such measurement set, or it is none.
    NothingSelectedError
        Nothing in it was observed as a target.
    """
    if not path.exists():
        raise MissingInputError(f"{path}: there is no such measurement set", remedy="check the path")
    if not (path / "table.dat").is_file() or not (path / "SPECTRAL_WINDOW").is_dir():
        raise CorruptInputError(f"{path} is not a measurement set", remedy="give the folder of a measurement set")
    contents = read_contents(path, intent=TARGET_INTENT)
    windows = [
        {"low_ghz": window.always_ghz[0], "high_ghz": window.always_ghz[1], "width_ghz": window.width_ghz}
        for window in contents.windows
        if window.rows and window.n_channels > 1 and not any(word in window.name for word in NOT_SCIENCE)
    ]
    telescope, project = _observation(path)
    return {
        "telescope": telescope,
        "project": project,
        "dish_m": contents.dish_m,
        "baselines_m": (contents.shortest_m, contents.longest_m),
        "fields": _fields(path, contents.fields),
        "windows": windows,
    }


def _observation(path: Path) -> tuple[str, str]:
    with open_table(path / "OBSERVATION") as table:
        if not table.nrows():
            return "", ""
        return str(table.getcell("TELESCOPE_NAME", 0)), str(table.getcell("PROJECT", 0))


def _fields(path: Path, numbers: tuple[int, ...]) -> list[dict[str, Any]]:
    with open_table(path / "FIELD") as table:
        return [
            {
                "id": number,
                "name": str(table.getcell("NAME", number)),
                "direction": unit_vectors(np.asarray(table.getcell("PHASE_DIR", number))[:, :1].T)[0].tolist(),
            }
            for number in numbers
        ]
