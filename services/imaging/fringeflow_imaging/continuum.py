"""Continuum images by multi-term multi-frequency synthesis: dirty, multiscale, mask, single-scale, restored.

The minor cycle is CASA's (mtmfs); thresholds, convergence and roll-back are decided here after every call.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow_imaging import gridding
from fringeflow_imaging.automask import AutoMask
from fringeflow_imaging.beam import Beam, beam_area_pixels, restore, sidelobe
from fringeflow_imaging.cube import CleanStage
from fringeflow_imaging.mask import grown, signal_mask
from fringeflow_imaging.minor import Mask, Plane
from fringeflow_imaging.noise import robust_sigma
from fringeflow_imaging.stopping import Reason, Row, Stopping, verdict

# Components that one call of tclean may take, doubled every time (imaging specification, section 9.2).
_FIRST_BUDGET, _GROWTH = 100, 2
_MIN_CALLS, _MAX_CALLS = 4, 12


@dataclass(frozen=True)
class Image:
    """A multi-term image on disk, named as tclean names it."""

    root: Path
    terms: int

    def part(self, kind: str, term: int = 0) -> Path:
        """Return the path of one CASA image; the mask has no terms."""
        return Path(f"{self.root}.{kind}") if kind == "mask" else Path(f"{self.root}.{kind}.tt{term}")

    def pixels(self, kind: str) -> Plane:
        """Return the plane of the first term."""
        return np.asarray(gridding.read_pixels(self.part(kind))[0])


def clean(
    image: Image, parameters: Mapping[str, Any], mask: Mask, stage: CleanStage, automask: AutoMask | None = None
) -> tuple[list[Row], Reason]:
    """Clean inside `mask` until converged; an image that diverges is taken back to its lowest residual peak.

    Parameters
    ----------
    automask
        Finds the mask before every call, within what it allows; None where `mask` is it.

    Returns
    -------
    tuple
        One row per call of tclean, the first before any, and why it ended.
    """
    valid = gridding.read_valid(image.part("residual"))[0]
    rows: list[Row] = []
    since = components = 0  # peaks are compared from the row on from which the mask has been what it is
    while True:
        before = mask
        if automask is not None:
            residual = image.pixels("residual")
            mask = automask.follow(residual, robust_sigma(residual[valid]))
        if not mask.any():
            return [], "empty mask"
        if not rows or (mask != before).any():
            _put_mask(image, mask)
            since = len(rows)
        quiet = valid & ~mask if stage.stopping.exclude_mask else valid
        rows.append(_look(image, mask, quiet, stage.stopping, rows, components))
        reason = verdict(rows[since:], stage.stopping) or _settled(rows, stage.stopping)
        if reason == "diverged":
            _take_back(image)
        if reason:
            return rows, reason
        if rows[-1].peak <= min(row.peak for row in rows[since:]):
            _keep(image)
        budget = min(_FIRST_BUDGET * _GROWTH ** (len(rows) - 1), stage.stopping.max_components - components)
        components += _call(parameters, stage, rows[-1].threshold, budget)


def signal(
    image: Image,
    beam: Beam,
    cell_arcsec: float,
    prior: Mask,
    *,
    high_snr: float,
    low_snr: float,
    absolute: bool,
    min_beams: float,
    grow_beams: float = 0.0,
) -> NDArray[np.bool_]:
    """Return the mask of what is significant in the restored image, within `prior`; see `cube.mask_signal`."""
    residual, valid = image.pixels("residual"), gridding.read_valid(image.part("residual"))[0]
    model = image.pixels("model") if image.part("model").exists() else np.zeros_like(residual)
    restored = np.where(valid, restore(model, residual, beam, cell_arcsec), np.nan)
    sigma = robust_sigma(residual[valid])
    planes = signal_mask(
        lambda _: restored / sigma if sigma else np.zeros_like(restored),
        (1, *restored.shape),
        high_snr=high_snr,
        low_snr=low_snr,
        absolute=absolute,
        roll=False,
        min_pixels=min_beams * beam_area_pixels(beam, cell_arcsec),
    )
    return grown(next(planes), grow_beams * float(np.sqrt(beam[0] * beam[1])) / cell_arcsec) & prior


def automask(image: Image, allowed: Mask, stage: CleanStage, beam: Beam, cell_arcsec: float) -> AutoMask | None:
    """Return what finds the mask cycle by cycle, within `allowed`, if that is what the stage wants."""
    if stage.automask is None:
        return None
    lobe = sidelobe(image.pixels("psf"), beam, cell_arcsec)
    return AutoMask(allowed, stage.automask, lobe, beam, cell_arcsec)


def finish(parameters: Mapping[str, Any]) -> None:
    """Make the restored image and the spectral index of the model and residual as they are."""
    gridding.tclean(
        parameters, niter=0, calcres=False, calcpsf=False, restoration=True, restoringbeam=[], deconvolver="mtmfs"
    )


def _settled(rows: list[Row], stopping: Stopping) -> Reason | None:
    """Return why to stop though peaks are left: noise is cleaned by components of both signs, which add no flux."""
    if len(rows) > _MAX_CALLS:
        return "cycles"
    change = abs(rows[-1].model_flux - rows[-2].model_flux) if len(rows) > _MIN_CALLS else np.inf
    return "flux" if change < stopping.fracflux * abs(rows[-1].model_flux) else None


def _call(parameters: Mapping[str, Any], stage: CleanStage, threshold: float, budget: int) -> int:
    summary = gridding.tclean(
        parameters,
        niter=budget,
        cycleniter=stage.control.cycleniter,
        threshold=f"{stage.stopping.margin * threshold}Jy",
        gain=stage.control.gain,
        cyclefactor=stage.control.cyclefactor,
        minpsffraction=stage.control.minpsffraction,
        maxpsffraction=stage.control.maxpsffraction,
        scales=list(stage.scales.pixels) if stage.scales.pixels != (0,) else [],
        smallscalebias=stage.scales.small_scale_bias,
        nmajor=stage.stopping.max_cycles,
        calcres=False,
        calcpsf=False,
        restoration=False,
        usemask="user",
        mask="",
        fullsummary=False,
    )
    return int(summary.get("iterdone", 0))


def _look(
    image: Image, mask: Mask, quiet: NDArray[np.bool_], stopping: Stopping, rows: list[Row], components: int
) -> Row:
    residual = image.pixels("residual")
    noise = robust_sigma(residual[quiet])
    flux = float(image.pixels("model").sum(dtype=np.float64)) if image.part("model").exists() else 0.0
    peak = float(np.abs(residual[mask]).max())
    return Row(0, len(rows), components, stopping.snr * noise, noise, peak, flux)


def _put_mask(image: Image, mask: Mask) -> None:
    path = image.part("mask")
    if not path.exists():
        shutil.copytree(image.part("residual"), path)
        with gridding.opened(path) as tool:
            tool.maskhandler("set", "")
    gridding.write_pixels(path, mask[np.newaxis])


def _keep(image: Image) -> None:
    for source, copy in _states(image):
        if source.exists():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(source, copy)


def _take_back(image: Image) -> None:
    for source, copy in _states(image):
        if copy.exists():
            shutil.rmtree(source)
            shutil.copytree(copy, source)
        elif source.exists() and ".model" in source.name:
            gridding.write_pixels(source, np.zeros_like(gridding.read_pixels(source)))


def _states(image: Image) -> list[tuple[Path, Path]]:
    parts = [image.part(kind, term) for kind in ("model", "residual") for term in range(image.terms)]
    return [(part, part.with_name(f"{part.name}.kept")) for part in parts]
