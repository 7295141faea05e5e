"""Regrids single windows to a common grid, puts their channels exactly there, joins them, and measures their weights.

Knows grids and measurement sets, not lines or targets.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fringeflow.errors import BugError, NothingSelectedError
from fringeflow_staging import tasks
from fringeflow_staging.scheme import SAME_CHANNEL, Grid, Regrid
from fringeflow_staging.tables import flagged_fraction, open_table
from fringeflow_staging.windows import C_KMS, Range

# A power of two that a double holds exactly beside any radio frequency
QUANTUM_HZ = 2.0**-10


def regrid(
    vis: Path, output: Path, way: Regrid, grid: Grid, *, column: str, field: str = "", intent: str = ""
) -> float:
    """Write one window of `vis`, brought to LSRK channels by interpolation and averaging, to `output` (section 6.3).

    Flagged channels stay flagged, channels outside the window are flagged. The native channels are never wider than
    those that CASA's cubic interpolation makes, and the binning averages them.

    Returns
    -------
    float
        The share of flagged samples. When it is 1 no output is left.
    """
    steps = _steps(way, grid) or [{}]
    channels = "" if way.native is None else f":{way.native[0]}~{way.native[1]}"
    selection: dict[str, Any] = {
        "spw": f"{way.window}{channels}",
        "field": field,
        "intent": intent,
        "keepflags": False,
    }
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        made = output if last else output.with_name(f"{output.name}.step{number}")
        try:
            tasks.run("mstransform", vis, outputvis=str(made), datacolumn=column, **selection, **step)
        except NothingSelectedError:
            return 1.0
        if number == 0:
            tasks.drop_pointing(made)
        else:
            tasks.remove(vis)
        vis, column, selection = made, "data", {}
    settle(output, way, grid)
    return remaining(output)


def _steps(way: Regrid, grid: Grid) -> list[dict[str, Any]]:
    """Return the parameters of the calls of mstransform, one after the other, that bring a window to the grid."""
    steps: list[dict[str, Any]] = []
    if way.before > 1:
        steps.append({"chanaverage": True, "chanbin": way.before})
    if way.native is None:
        steps.append(
            {
                "regridms": True,
                "mode": "velocity",
                "interpolation": "cubic",
                "outframe": "lsrk",
                "veltype": "radio",
                "restfreq": f"{grid.restfreq_ghz:.12f}GHz",
                "start": f"{way.start_kms:.8f}km/s",
                "width": f"{way.width_kms:.8f}km/s",
                "nchan": way.n_channels,
            }
        )
    if way.factor > 1:
        steps.append({"chanaverage": True, "chanbin": way.factor})
    return steps


def remaining(vis: Path) -> float:
    """Return the share of flagged samples of `vis`, which is deleted when it is 1."""
    flagged = flagged_fraction(vis)
    if flagged == 1.0:
        tasks.remove(vis)
    return flagged


def settle(vis: Path, way: Regrid, grid: Grid) -> None:
    """Give the channels of `vis` exactly the frequencies planned, from which they differ by rounding only.

    CASA computes its channels anew for every input, each with its own rounding. Frequencies and width are set to
    multiples of `QUANTUM_HZ`, whose sums are exact: sets on one grid then agree to the last bit, and an imager that
    steps from the first to the last channel does not end a rounding error outside the data and leave them blank.

    Raises
    ------
    BugError
        The channels are not where `way` was to bring them.
    """
    velocities = way.first_output_kms + np.arange(grid.n_channels) * grid.width_kms
    wanted = np.sort(grid.restfreq_ghz * 1e9 * (1 - velocities / C_KMS))
    width = _rounded(grid.restfreq_ghz * 1e9 * grid.width_kms / C_KMS)
    exact = _rounded(wanted[0]) + width * np.arange(grid.n_channels)
    with open_table(vis / "SPECTRAL_WINDOW", writable=True) as table:
        for row in range(table.nrows()):
            found = table.getcell("CHAN_FREQ", row)
            if len(found) != len(wanted) or np.abs(np.sort(found) - wanted).max() > SAME_CHANNEL * width:
                raise BugError(
                    f"{vis.name}: {len(found)} channels from {found.min():.1f} Hz, "
                    f"planned were {len(wanted)} from {wanted[0]:.1f} Hz"
                )
            rises = found[-1] >= found[0]
            table.putcell("CHAN_FREQ", row, exact if rises else exact[::-1])
            # Signs and the end that is the reference stay: by them CASA knows which sets to turn round on joining.
            for column in ("CHAN_WIDTH", "EFFECTIVE_BW", "RESOLUTION"):
                table.putcell(column, row, np.copysign(width, table.getcell(column, row)))
            table.putcell("TOTAL_BANDWIDTH", row, width * len(exact))
            nearest = np.abs(exact - table.getcell("REF_FREQUENCY", row)).argmin()
            table.putcell("REF_FREQUENCY", row, exact[nearest])


def _rounded(frequency_hz: float) -> float:
    return float(np.round(frequency_hz / QUANTUM_HZ) * QUANTUM_HZ)


def join(parts: Sequence[Path], output: Path) -> None:
    """Make one measurement set `output` of `parts`, which are used up; windows on the same grid become one."""
    if len(parts) == 1:
        shutil.move(parts[0], output)
        return
    tasks.run("concat", parts, concatvis=str(output), freqtol=f"{QUANTUM_HZ}Hz", copypointing=False)
    tasks.remove(*parts)


def reweigh(vis: Path, line: Range | None = None) -> None:
    """Measure the weights of `vis` on the scatter of the data in each integration, channels `line` left out.

    Parameters
    ----------
    line
        First and last channel (of all windows) that hold line; None: all channels that are not flagged are free of it.
    """
    chosen = {} if line is None else {"fitspw": f"*:{line[0]}~{line[1]}", "excludechans": True}
    tasks.run(
        "statwt",
        vis,
        timebin="0.001s",
        slidetimebin=False,
        chanbin="spw",
        statalg="classic",
        datacolumn="data",
        flagbackup=False,
        **chosen,
    )
