"""Regrids single windows to a common grid, checks that they landed there, joins them, and measures their weights.

Knows grids and measurement sets, not lines or targets.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fringeflow.errors import BugError, NothingSelectedError

from fringeflow_staging import tasks
from fringeflow_staging.scheme import Grid, Regrid
from fringeflow_staging.tables import flagged_fraction, open_table
from fringeflow_staging.windows import C_KMS, Range

# Channels of sets that are joined agree to this share of their width (S12: far below 0.01).
SAME_CHANNEL = 1e-3


def regrid(
    vis: Path, output: Path, way: Regrid, grid: Grid, *, column: str, field: str = "", intent: str = ""
) -> float:
    """Write one window of `vis`, interpolated to LSRK channels and binned, to `output` (section 6.3).

    Flagged channels stay flagged, channels outside the window are flagged. The native channels are never wider than
    those that CASA's cubic interpolation makes, and the binning averages them.

    Returns
    -------
    float
        The share of flagged samples. When it is 1 no output is left.
    """
    fine = output if way.factor == 1 else output.with_name(output.name + ".fine")
    try:
        tasks.run(
            "mstransform",
            vis,
            outputvis=str(fine),
            spw=str(way.window),
            field=field,
            intent=intent,
            datacolumn=column,
            keepflags=False,
            regridms=True,
            mode="velocity",
            interpolation="cubic",
            outframe="lsrk",
            veltype="radio",
            restfreq=f"{grid.restfreq_ghz:.12f}GHz",
            start=f"{way.start_kms:.8f}km/s",
            width=f"{way.width_kms:.8f}km/s",
            nchan=way.n_channels,
        )
    except NothingSelectedError:
        return 1.0
    tasks.drop_pointing(fine)
    if way.factor > 1:
        tasks.run("mstransform", fine, outputvis=str(output), datacolumn="data", chanaverage=True, chanbin=way.factor)
        tasks.remove(fine)
    verify(output, way, grid)
    return remaining(output)


def remaining(vis: Path) -> float:
    """Return the share of flagged samples of `vis`, which is deleted when it is 1."""
    flagged = flagged_fraction(vis)
    if flagged == 1.0:
        tasks.remove(vis)
    return flagged


def verify(vis: Path, way: Regrid, grid: Grid) -> None:
    """Raise `BugError` unless the channels of `vis` are exactly where `way` was to bring them."""
    wanted = way.first_output_kms + np.arange(grid.n_channels) * grid.width_kms
    with open_table(vis / "SPECTRAL_WINDOW") as table:
        for number in range(table.nrows()):
            found = np.sort(C_KMS * (1 - table.getcell("CHAN_FREQ", number) / 1e9 / grid.restfreq_ghz))
            if found.shape != wanted.shape or np.abs(found - wanted).max() > SAME_CHANNEL * grid.width_kms:
                raise BugError(
                    f"{vis.name}: {len(found)} channels from {found[0]:.4f} km/s, "
                    f"planned were {grid.n_channels} from {wanted[0]:.4f} km/s"
                )


def join(parts: Sequence[Path], output: Path, *, channel_ghz: float) -> None:
    """Make one measurement set `output` of `parts`, which are used up; windows on the same grid become one."""
    if len(parts) == 1:
        shutil.move(parts[0], output)
        return
    freqtol = f"{SAME_CHANNEL * channel_ghz * 1e9:.3f}Hz"
    tasks.run("concat", parts, concatvis=str(output), freqtol=freqtol, copypointing=False)
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
