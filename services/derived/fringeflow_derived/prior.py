"""Hybrid velocity fields: reliable velocities, completed by fainter ones that pass two tests.

A faint velocity counts if its line is bright enough, and near to what a field of lower resolution says, where one is
given (derived specification, section 10). `hybrid` works on arrays, `write` on FITS files.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from fringeflow.fitsio import write_cube
from fringeflow_derived import headers
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.flat import read_field
from fringeflow_derived.headers import Stamp, no_stamp
from fringeflow_derived.moments import MapPair
from fringeflow_derived.regrid import image_onto
from fringeflow_derived.sources import Array

OPTIONS: tuple[str, ...] = ("vfield_reject_thresh_kms", "mom0_thresh")
"""Arguments of `hybrid` that are numbers."""

_VELOCITIES = ("strict_mom1", "strict_emom1", "broad_mom1", "broad_emom1", "vfield_prior")
_BTYPE = "Moment1"


def hybrid(
    strict_mom1: Array,
    broad_mom1: Array,
    broad_mom0: Array,
    *,
    strict_emom1: Array | None = None,
    broad_emom1: Array | None = None,
    broad_emom0: Array | None = None,
    vfield_prior: Array | None = None,
    vfield_reject_thresh_kms: float = 30.0,
    mom0_thresh: float = 2.0,
) -> MapPair:
    """Return a velocity field and its uncertainty, km/s.

    Parameters
    ----------
    strict_mom1, strict_emom1
        (ny, nx) velocities that are kept as they are, and their errors, km/s.
    broad_mom1, broad_emom1
        Velocities for where there are no others, and their errors, km/s.
    broad_mom0, broad_emom0
        Intensity that goes with them and its error, K km/s.
    vfield_prior
        A complete velocity field, km/s; where it is blank nothing is taken over. None: no such test.
    vfield_reject_thresh_kms
        Farther than this from the prior nothing is taken over.
    mom0_thresh
        Least intensity over its error; least intensity in K km/s where there is no error.

    Returns
    -------
    tuple
        Map and error; the error is None unless both errors of velocities are given.
    """
    with np.errstate(invalid="ignore"):
        bright = broad_mom0 > (mom0_thresh if broad_emom0 is None else mom0_thresh * broad_emom0)
        taken = np.isfinite(broad_mom1) & ~np.isfinite(strict_mom1) & bright
        if vfield_prior is not None:
            taken &= np.abs(broad_mom1 - vfield_prior) < vfield_reject_thresh_kms
    field = np.where(taken, broad_mom1, strict_mom1)
    if strict_emom1 is None or broad_emom1 is None:
        return field, None
    error = np.where(np.isfinite(strict_emom1), strict_emom1, broad_emom1)
    return field, np.where(np.isfinite(field), error, np.nan)


def write(
    files: Mapping[str, Path],
    out: Path,
    out_error: Path | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    stamp: Stamp = no_stamp,
) -> dict[str, Any]:
    """Write a hybrid velocity field on the grid of ``strict_mom1``, and its uncertainty if there is one.

    Parameters
    ----------
    files
        Argument of `hybrid` -> image, on any grid; velocities in km/s or m/s as BUNIT says.
    out, out_error
        Files to write.
    options
        `vfield_reject_thresh_kms` and `mom0_thresh`.
    stamp
        Adds provenance to the headers.

    Returns
    -------
    dict
        ``pixels``: how many have a velocity; ``taken_over``: how many of them are faint ones; ``median``.

    Raises
    ------
    DataError
        A map that is needed is not there, or not an image of velocities.
    """
    options = options or {}
    with ExitStack() as stack:
        grid = stack.enter_context(FitsCube(files["strict_mom1"]))
        maps: dict[str, Any] = {name: _read(name, path, grid, stack) for name, path in files.items()}
        field, error = hybrid(**{**maps, **options})
        used = {**options, "algorithm": "mom1wprior", "maps": {name: path.name for name, path in files.items()}}
        for path, values, suffix in ((out, field, ""), (out_error, error, " Error")):
            if path is not None:
                header = headers.of_map(grid, _BTYPE + suffix, "km s-1")
                stamp(header, used)
                blank = np.full(field.shape, np.nan)
                write_cube(path, header, [blank if values is None else values], field.shape)
    finite = field[np.isfinite(field)]
    known = int(np.isfinite(maps["strict_mom1"]).sum())
    median = float(np.median(finite)) if finite.size else None
    return {"pixels": int(finite.size), "taken_over": int(finite.size) - known, "median": median}


def _read(name: str, path: Path, grid: FitsCube, stack: ExitStack) -> Array:
    if name in _VELOCITIES:
        return read_field(path, grid)
    return image_onto(stack.enter_context(FitsCube(path)), grid)
