"""Calls of CASA's tasks on measurement sets, with its errors told apart; knows no velocities and no products.

Measurement sets made here are scratch: pointing tables are dropped (staging specification, S26) and no flag backups
are left.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fringeflow.errors import CorruptInputError, NothingSelectedError
from fringeflow_staging.tables import open_table

# How CASA says that a selection holds no data
_NOTHING = ("no data", "empty", "zero rows", "null selection", "no match", "zero selected")


def run(task: str, vis: Path | Sequence[Path], **parameters: Any) -> Any:
    """Call the CASA task `task` on `vis` and return what it returns.

    Raises
    ------
    NothingSelectedError
        The selection holds no data that are not flagged.
    CorruptInputError
        CASA cannot work on the measurement set.
    """
    call = getattr(importlib.import_module("casatasks"), task)
    name = vis.name if isinstance(vis, Path) else ", ".join(path.name for path in vis)
    try:
        return call(vis=str(vis) if isinstance(vis, Path) else [str(path) for path in vis], **parameters)
    except RuntimeError as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if any(word in reason.lower() for word in _NOTHING):
            raise NothingSelectedError(f"{name}: {task} finds no data that are not flagged: {reason}") from error
        raise CorruptInputError(
            f"{name}: CASA's {task} fails: {reason}", remedy="check the measurement set with CASA's listobs"
        ) from error


def take(
    vis: Path,
    output: Path,
    *,
    windows: Sequence[int],
    column: str,
    field: str = "",
    intent: str = "",
    timebin: str = "0s",
) -> None:
    """Copy the selected windows of `vis`, averaged in time; windows keep their ids, flagged rows are left out."""
    averaging = {} if is_zero(timebin) else {"timeaverage": True, "timebin": timebin}
    run(
        "mstransform",
        vis,
        outputvis=str(output),
        spw=",".join(map(str, windows)),
        field=field,
        intent=intent,
        datacolumn=column,
        keepflags=False,
        reindex=False,
        **averaging,
    )
    drop_pointing(output)


def is_zero(timebin: str) -> bool:
    """Return whether a time bin such as ``0s`` means no averaging."""
    return not timebin.strip() or timebin.strip().rstrip("s").strip() in ("0", "0.0", "0.")


def drop_pointing(vis: Path) -> None:
    """Empty the pointing table, which no imaging here uses and which every copy would carry along."""
    if (vis / "POINTING").is_dir():
        with open_table(vis / "POINTING", writable=True) as pointing:
            if pointing.nrows():
                pointing.removerows(list(range(pointing.nrows())))


def remove(*paths: Path) -> None:
    """Delete scratch measurement sets with their flag backups."""
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(path.with_name(path.name + ".flagversions"), ignore_errors=True)
