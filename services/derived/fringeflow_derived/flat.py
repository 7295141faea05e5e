"""Flat masks: the same width of velocities round a velocity field everywhere, united with a signal mask.

Maps made with them have a uniform, well-defined noise and no bias against faint lines (derived specification,
section 13). `slab` works on arrays, `flat_mask` on FITS files, plane by plane.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from fringeflow.errors import DataError
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.headers import Stamp, no_stamp
from fringeflow_derived.products import write_mask
from fringeflow_derived.regrid import image_onto, onto_grid
from fringeflow_derived.sources import Array, CubeSource, Shape

_KMS = {"km/s": 1.0, "km s-1": 1.0, "kms": 1.0, "m/s": 1e-3, "m s-1": 1e-3}


def slab(velocity_kms: Array | float, field_kms: Array, window_kms: Array | float) -> Array:
    """Return where velocities lie within a window round a velocity field.

    Parameters
    ----------
    velocity_kms
        Of channel centres: one number, or (nchan,).
    field_kms
        (ny, nx), NaN where there is no slab.
    window_kms
        Full width: a number, or one per pixel (ny, nx).

    Returns
    -------
    Array
        Boolean, (ny, nx) or (nchan, ny, nx): ``|v - field| <= window / 2``.
    """
    velocity = np.asarray(velocity_kms, np.float64)
    velocity = velocity.reshape(*velocity.shape, *[1] * field_kms.ndim) if velocity.ndim else velocity
    inside: Array = np.abs(velocity - field_kms) <= np.asarray(window_kms) / 2  # NaN is never inside
    return inside


class Flat:
    """A slab united with a mask, made while it is read; a source of planes and rows.

    Parameters
    ----------
    velocity_kms
        (nchan,) of the channel centres.
    field_kms, window_kms
        See `slab`.
    mask
        On the same grid; None: the slab alone.
    """

    def __init__(
        self, velocity_kms: Array, field_kms: Array, window_kms: Array | float, mask: CubeSource | None = None
    ) -> None:
        self._velocity = velocity_kms
        self._field = field_kms
        self._window = np.broadcast_to(np.asarray(window_kms, np.float64), field_kms.shape)
        self._mask = mask
        self.shape: Shape = (len(velocity_kms), *field_kms.shape)

    def plane(self, channel: int) -> Array:
        """Return the image of one channel."""
        found = slab(float(self._velocity[channel]), self._field, self._window)
        return found if self._mask is None else found | (self._mask.plane(channel) > 0.5)

    def rows(self, start: int, stop: int) -> Array:
        """Return some rows of all channels."""
        found = slab(self._velocity, self._field[start:stop], self._window[start:stop])
        return found if self._mask is None else found | (self._mask.rows(start, stop) > 0.5)


def flat_mask(
    grid: Path,
    field: Path,
    out: Path,
    *,
    window_kms: float | Path,
    mask: Path | None = None,
    stamp: Stamp = no_stamp,
) -> dict[str, Any]:
    """Write a flat mask on the grid of a cube.

    Parameters
    ----------
    grid
        The cube, or a mask on its grid; its data are not read.
    field
        Image of velocities, on any grid: see `read_field`.
    out
        File to write.
    window_kms
        Full width of the slab, or an image of it in km/s.
    mask
        The signal mask to unite it with, on any grid; None: the slab alone (derived specification, W14).
    stamp
        Adds provenance to the header.

    Returns
    -------
    dict
        ``voxels`` and ``pixels`` that are true, and ``window_kms``, the number or the name of the image.
    """
    with ExitStack() as stack:
        cube = stack.enter_context(FitsCube(grid))
        signal = None if mask is None else onto_grid(stack.enter_context(FitsCube(mask)), cube)
        window = read_field(window_kms, cube) if isinstance(window_kms, Path) else window_kms
        flat = Flat(cube.velocity_kms, read_field(field, cube), window, signal)
        used = {
            "window_kms": window_kms.name if isinstance(window_kms, Path) else window_kms,
            "field": field.name,
            "mask": mask and mask.name,
        }
        return write_mask(out, cube, flat, (0, 0), used, stamp) | {"window_kms": used["window_kms"]}


def read_field(path: Path, grid: FitsCube) -> Array:
    """Return an image of velocities in km/s on the sky of `grid`, interpolated bilinearly, float32, NaN where unknown.

    Its unit is that of BUNIT or, if there is none, that of the spectral axis of `grid`.

    Raises
    ------
    DataError
        It is a cube of several channels, or not in a unit of velocity.
    """
    with FitsCube(path) as image:
        if image.shape[0] != 1:
            raise DataError(f"{path}: a velocity field is an image, not a cube of {image.shape[0]} channels")
        unit = str(image.header.get("BUNIT", "") or grid.header.get("CUNIT3", "m/s")).strip().lower()
        if unit not in _KMS:
            raise DataError(f"{path}: BUNIT is {unit!r}", remedy="give the velocity field in km/s or m/s")
        values = image_onto(image, grid)
        return values if _KMS[unit] == 1 else (values * np.float64(_KMS[unit])).astype(np.float32)
