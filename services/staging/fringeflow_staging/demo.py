"""The calibration of NGC 5921 as a tool of the command line, from the observation in CASA's data package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fringeflow_staging.ngc5921 import calibrate, find_uvfits


def make(measurement_set: Path, scratch: Path, progress: Callable[[str, float | None], None]) -> None:
    """Write the calibrated `measurement_set`, working in `scratch`."""
    calibrate(find_uvfits(), measurement_set, scratch / "calibration", progress)
