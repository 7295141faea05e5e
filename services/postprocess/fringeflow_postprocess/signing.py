"""What the files that a unit makes are called, and their headers with provenance: shared by all steps of the stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astropy.io import fits

from fringeflow import fitsio, names, software
from fringeflow.fitsplanes import Planes
from fringeflow.graph.model import UnitId
from fringeflow.jobs.order import Order
from fringeflow_postprocess import export

_SOFTWARE = ("fringeflow", "fringeflow-postprocess", "astropy", "numpy", "scipy")


def name_of(unit: UnitId, ext: str) -> str:
    """Return the name of a file of a cube, whichever step makes it."""
    return names.cube(unit.target, unit.config, unit.product, ext)


def input_of(order: Order, ext: str, unit: UnitId | None = None) -> Path:
    """Return the path of an input of `order`, of the cube of `unit` or of its own."""
    return order.the_input(name_of(unit or order.unit.id, ext))


def opened(order: Order, ext: str, unit: UnitId | None = None) -> Planes:
    """Open an input of `order` (see `input_of`) with all its Stokes parameters."""
    return Planes(input_of(order, ext, unit), stokes="all")


def signed(order: Order, grid: fits.Header, like: Planes, parameters: Mapping[str, Any], *, cube: bool) -> fits.Header:
    """Return the header of a product of `order`: the cards of `grid`, its object, and what it was made of and how.

    Parameters
    ----------
    like
        An image that it was made of; the software that took part in that is named too.
    parameters
        As JSON.
    cube
        Whether there is a spectral axis.
    """
    own = software.versions(_SOFTWARE)
    header = export.delivered(grid, order.unit.id.target.upper(), cube=cube, software=f"fringeflow {own['fringeflow']}")
    fitsio.provenance(
        header,
        unit=str(order.unit.id),
        work_key=order.work_key,
        parameters=parameters,
        software=fitsio.read_provenance(like.header)["software"] | own,
        inputs=order.ancestors,
    )
    return header
