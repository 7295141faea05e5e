"""CASA's joint deconvolution of visibilities and a single dish's cube (sdintimaging), on its files; decides nothing.

The stock task is called once, for all channels and all scales. It reports trouble by a line in its log: here that is an
error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from fringeflow.errors import DataError
from fringeflow_imaging import gridding
from fringeflow_imaging.cube import Block, Bools
from fringeflow_imaging.dish import Dish

_ILLUMINATED = 1.13  # beam (rad) of a dish in wavelengths over its diameter
_LIGHT_M_S = 299792458.0
_PARTS = {
    "image": "joint.cube.image", "residual": "joint.cube.residual", "model": "joint.cube.model",
    "psf": "joint.cube.psf", "pb": "int.cube.pb", "weight": "int.cube.weight",
    "sumwt": "int.cube.sumwt",
}  # fmt: skip


def make(
    block: Block, parameters: Mapping[str, Any], dish: Dish, grid: WCS, mask: Bools, clean: Mapping[str, Any]
) -> None:
    """Make the images of `block`, which holds the whole cube, with those of its names that a clean leaves.

    Parameters
    ----------
    parameters
        tclean's, of a cube whose channels are given by frequency.
    dish
        The single dish's cube on `grid` and these channels.
    mask
        Where components may lie, (channels, ny, nx).
    clean
        What the task is told beyond how to grid: niter, nsigma, scales, sdgain and the like.

    Raises
    ------
    DataError
        The task made no image.
    """
    from casatasks import sdintimaging as task

    block.folder.mkdir(parents=True, exist_ok=True)
    axis = [float(str(parameters[name]).removesuffix("Hz")) for name in ("start", "width")]
    rest_hz = float(str(parameters["restfreq"]).removesuffix("GHz")) * 1e9
    sky, allowed = block.folder / "dish.image", block.folder / "allowed.image"
    _write_image(sky, np.nan_to_num(dish.cube), grid, (axis[0], axis[1], rest_hz), dish)
    _write_image(allowed, mask.astype(np.float32), grid, (axis[0], axis[1], rest_hz), None)
    middle = axis[0] + axis[1] * (len(dish.cube) - 1) / 2
    known = gridding.task_parameters(task)
    given = {
        **parameters,
        "usedata": "sdint",
        "sdimage": str(sky),
        "sdpsf": "",
        "dishdia": diameter_m(dish, middle),
        "usemask": "user",
        "mask": str(allowed),
        "deconvolver": "multiscale",
        "restoringbeam": "common",
        "calcpsf": True,
        "calcres": True,
        "restoration": True,
        **clean,
    }
    task(**{name: value for name, value in given.items() if name in known})
    for kind, name in _PARTS.items():
        made = Path(f"{block.root}.{name}")
        if made.is_dir():
            made.rename(block.path(kind))
    if not block.path("image").is_dir():
        raise DataError(f"sdintimaging made no image of {parameters['vis']}", remedy="see the job's casa.log")


def diameter_m(dish: Dish, frequency_hz: float) -> float:
    """Return the diameter of an aperture that has the dish's beam."""
    fwhm = np.radians(np.sqrt(dish.beam[0] * dish.beam[1]) / 3600)
    return float(_ILLUMINATED * _LIGHT_M_S / frequency_hz / fwhm)


def _write_image(
    path: Path, cube: gridding.Cube, grid: WCS, axis_hz: tuple[float, float, float], dish: Dish | None
) -> None:
    """Write a CASA image with axes right ascension, declination, Stokes and frequency, in the order the task wants."""
    from casatasks import importfits

    header = grid.to_header()
    first, width, rest = axis_hz
    header["CTYPE3"], header["CRVAL3"], header["CDELT3"], header["CRPIX3"] = "STOKES", 1.0, 1.0, 1.0
    header["CTYPE4"], header["CRVAL4"], header["CDELT4"], header["CRPIX4"] = "FREQ", first, width, 1.0
    header["CUNIT4"], header["RESTFRQ"], header["SPECSYS"] = "Hz", rest, "LSRK"
    header["BUNIT"] = "Jy/beam" if dish else ""
    if dish:
        header["BMAJ"], header["BMIN"], header["BPA"] = dish.beam[0] / 3600, dish.beam[1] / 3600, dish.beam[2]
    source = path.with_suffix(".fits")
    fits.writeto(source, cube[:, np.newaxis].astype(np.float32), fits.Header(header), overwrite=True)
    importfits(fitsimage=str(source), imagename=str(path), overwrite=True)
    if dish:
        with gridding.opened(path) as tool:
            tool.setrestoringbeam(remove=True)
            one = {
                name: {"value": size, "unit": "arcsec"}
                for name, size in zip(("major", "minor"), dish.beam[:2], strict=True)
            }
            for channel in range(len(cube)):
                beam = {**one, "positionangle": {"value": dish.beam[2], "unit": "deg"}}
                tool.setrestoringbeam(beam=beam, channel=channel, polarization=0)
