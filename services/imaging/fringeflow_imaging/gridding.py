"""CASA's part of imaging: dirty images, PSFs, and the residuals of models, for a block of channels.

Knows measurement sets, CASA images and the names of tclean's parameters; decides nothing. CASA is loaded inside the
functions, since it may only live in a job's own process.

CASA keeps the density of the weights in the current folder, in a table named by numbers of rows and frequencies only:
two processes that image the same measurement set in one folder take it from each other, and one of them fails.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow.errors import DataError

Cube = NDArray[np.float32]

# tclean's names of what the tools below it call otherwise.
_TOOL_NAMES = {
    "vis": "msname", "timerange": "timestr", "uvrange": "uvdist", "observation": "obs", "intent": "state",
    "gain": "loopgain", "smallscalebias": "scalebias",
}  # fmt: skip


def tclean(parameters: Mapping[str, Any], **changes: Any) -> Mapping[str, Any]:
    """Run CASA's tclean with those of `parameters` that it knows, and return its summary."""
    from casatasks import tclean as task

    known = task_parameters(task)
    wanted = {**parameters, **changes}
    summary: Mapping[str, Any] = task(**{name: value for name, value in wanted.items() if name in known}) or {}
    return summary


def dirty(parameters: Mapping[str, Any]) -> None:
    """Make PSF, primary beam and dirty image; the dirty image is the residual of an empty model, not restored."""
    tclean(parameters, niter=0, calcpsf=True, calcres=True, restoration=False)


class Residuals:
    """The major cycle of one block: a model cube goes in, its residual cube comes out.

    The imager is set up once and kept, which saves the set-up of a tclean call in every cycle.

    Parameters
    ----------
    parameters
        tclean parameters of an image whose PSF, weights and residual exist already.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        from casatasks.private.imagerhelpers.imager_base import PySynthesisImager
        from casatasks.private.imagerhelpers.input_parameters import ImagerParameters

        root = str(parameters["imagename"])
        self.model, self.residual = Path(root + ".model"), Path(root + ".residual")
        if not self.model.exists():
            shutil.copytree(self.residual, self.model)
        tool = {_TOOL_NAMES.get(name, name): value for name, value in parameters.items()}
        tool["mosweight"] = tool.get("mosweight", False) and tool.get("gridder") in ("mosaic", "awp2")
        known = ImagerParameters.__init__.__code__.co_varnames
        self.imager = PySynthesisImager(
            params=ImagerParameters(**{name: value for name, value in tool.items() if name in known})
        )
        self.imager.initializeImagers()
        self.imager.initializeNormalizers()
        self.imager.setWeighting()

    def __call__(self, model: Cube) -> Cube:
        """Return the residual of `model`, both (channels, ny, nx)."""
        write_pixels(self.model, model)
        self.imager.runMajorCycle()
        return read_pixels(self.residual)

    def close(self) -> None:
        """End the tools."""
        self.imager.deleteTools()


@contextmanager
def opened(image: Path) -> Iterator[Any]:
    """Yield CASA's image tool with `image` open."""
    from casatools import image as image_tool

    tool = image_tool()
    try:
        found = image.is_dir() and tool.open(str(image))
    except RuntimeError:  # a folder of something else
        found = False
    if not found:
        raise DataError(f"{image} is not a CASA image", remedy="give one, or a FITS file")
    try:
        yield tool
    finally:
        tool.close()


def read_pixels(image: Path) -> Cube:
    """Return the pixels of a CASA image as (channels, ny, nx), the valid and the invalid."""
    with opened(image) as tool:
        return np.ascontiguousarray(tool.getchunk()[:, :, 0, :].T, dtype=np.float32)


def read_valid(image: Path) -> NDArray[np.bool_]:
    """Return where a CASA image is valid, (channels, ny, nx)."""
    with opened(image) as tool:
        return np.ascontiguousarray(tool.getchunk(getmask=True)[:, :, 0, :].T, dtype=bool)


def sums_of_weights(image: Path) -> list[float]:
    """Return the sum of the imaging weights that were gridded in every channel, from CASA's image of them.

    With natural weighting it is the sum of the weights of all visibilities and correlations; 0 without data.
    """
    with opened(image) as tool:
        return [float(value) for value in tool.getchunk()[0, 0, 0, :]]


def frequency_hz(image: Path) -> float:
    """Return the reference frequency of a CASA image."""
    with opened(image) as tool:
        system = tool.coordsys()
        try:
            return float(system.referencevalue(type="spectral")["numeric"][0])
        finally:
            system.done()


def write_pixels(image: Path, cube: NDArray[Any]) -> None:
    """Replace the pixels of a CASA image by `cube`, (channels, ny, nx)."""
    with opened(image) as tool:
        tool.putchunk(np.asarray(cube, dtype=np.float64).T[:, :, np.newaxis, :])


def beams(psf: Path) -> list[tuple[float, float, float] | None]:
    """Return the Gaussian fitted to the PSF of every channel: FWHM (arcsec, arcsec), position angle (deg).

    None for a channel without data.
    """
    planes = read_pixels(psf)
    with opened(psf) as tool:
        found = [_beam(tool.restoringbeam(channel=i)) if planes[i].any() else None for i in range(len(planes))]
    return [None if one is None or one[1] <= 0 else one for one in found]


def _beam(record: Mapping[str, Any]) -> tuple[float, float, float]:
    inner = record.get("beams", {}).get("*0", {}).get("*0", record)
    if "major" not in inner:
        return 0.0, 0.0, 0.0
    turn = inner["positionangle"]
    angle = np.degrees(turn["value"]) if turn["unit"] == "rad" else turn["value"]
    return float(inner["major"]["value"]), float(inner["minor"]["value"]), float(angle)


def task_parameters(task: Any) -> frozenset[str]:
    """Return the names of a CASA task's parameters."""
    call = task.__call__ if not hasattr(task, "__code__") else task
    return frozenset(call.__code__.co_varnames)
