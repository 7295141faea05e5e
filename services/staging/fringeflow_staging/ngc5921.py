"""Calibrates the demonstration data: the VLA's HI observation of NGC 5921 that comes with CASA's data package.

A plain run of CASA's calibration tasks, complete in itself; staging knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fringeflow.errors import MissingInputError
from fringeflow_staging import tasks

FLUX_CALIBRATOR = "1331+305*"
FLUX_CALIBRATOR_NAME = "1331+30500002_0"
PHASE_CALIBRATOR_NAME = "1445+09900002_0"
TARGET = "N5921_2*"
# Channels away from the edges of the band, for the gains
INNER_CHANNELS = "0:6~56"
REFERENCE_ANTENNA = "15"


def find_uvfits() -> Path:
    """Return where CASA's data package keeps the observation."""
    import casadata

    path = Path(casadata.datapath) / "demo" / "NGC5921.fits"
    if not path.is_file():
        raise MissingInputError(
            f"{path}: the demonstration data are not there", remedy="install the package casadata again"
        )
    return path


def calibrate(
    uvfits: Path, measurement_set: Path, scratch: Path, progress: Callable[[str, float | None], None]
) -> None:
    """Calibrate bandpass, gains and flux scale of `uvfits` and write the target's corrected data.

    Parameters
    ----------
    uvfits
        The observation, see `find_uvfits`.
    measurement_set
        What to write; must not exist.
    scratch
        A folder for the calibration tables and the uncalibrated measurement set, both deleted at the end.
    progress
        Told of each step and the fraction done.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    vis = scratch / "uncalibrated.ms"
    bandpass, gains, fluxes = (scratch / f"calibration.{kind}" for kind in ("bandpass", "gains", "fluxes"))
    tasks.remove(vis, bandpass, gains, fluxes)

    progress("reading the UVFITS file", 0.0)
    tasks.run("importuvfits", vis, fitsfile=str(uvfits))
    progress("flagging autocorrelations", 0.2)
    tasks.run("flagdata", vis, mode="manual", autocorr=True, flagbackup=False)
    progress("setting the flux scale", 0.3)
    tasks.run("setjy", vis, field=FLUX_CALIBRATOR, standard="Perley-Butler 2017", usescratch=False)
    progress("bandpass", 0.4)
    tasks.run(
        "bandpass", vis, caltable=str(bandpass), field="0", refant=REFERENCE_ANTENNA, solint="inf", combine="scan"
    )
    progress("gains", 0.5)
    tasks.run(
        "gaincal",
        vis,
        caltable=str(gains),
        field="0,1",
        spw=INNER_CHANNELS,
        solint="inf",
        gaintype="G",
        calmode="ap",
        refant=REFERENCE_ANTENNA,
        gaintable=[str(bandpass)],
    )
    progress("flux of the phase calibrator", 0.6)
    tasks.run(
        "fluxscale",
        vis,
        caltable=str(gains),
        fluxtable=str(fluxes),
        reference=[FLUX_CALIBRATOR_NAME],
        transfer=[PHASE_CALIBRATOR_NAME],
    )
    progress("applying the calibration", 0.7)
    tasks.run("applycal", vis, gaintable=[str(fluxes), str(bandpass)], flagbackup=False)
    progress("splitting off the target", 0.9)
    tasks.run("split", vis, outputvis=str(measurement_set), field=TARGET, datacolumn="corrected")
    tasks.remove(vis, bandpass, gains, fluxes)
    progress("calibrated", 1.0)
