"""Images of a few channels with one weighting after another, and what each is worth: to choose before production.

Works on a measurement set with explicit parameters; knows no units and no key files.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow_imaging import beam as beams
from fringeflow_imaging import cube, theory
from fringeflow_imaging.beam import Beam
from fringeflow_imaging.cube import Block, CleanStage
from fringeflow_imaging.noise import robust_sigma
from fringeflow_imaging.plan import describe, opened_table
from fringeflow_imaging.psf import Profile, shape_of
from fringeflow_imaging.psf import profile as psf_profile

Plane = NDArray[np.float32]

_IN_FIELD = 0.7  # of the primary beam: where figures are measured
_ROWS = 100_000  # of a measurement set, read at once
_COVERED = 0.9  # of the largest weight of a channel: those with less have lost data


@dataclass(frozen=True)
class Trial:
    """What one weighting gives.

    Parameters
    ----------
    beam
        FWHM (arcsec, arcsec) and position angle (degrees, north through east) of the Gaussian fitted to the PSF.
    image, psf
        (ny, nx), Jy/beam of the brightest channel; blank where the primary beam is too weak.
    quiet
        The image of the channel without signal.
    figures
        See `measure`, with the shape of the PSF, the seconds it took, and the noise that the weights predict.
    profile
        Of the PSF.
    """

    beam: Beam
    image: Plane
    psf: Plane
    quiet: Plane
    figures: Mapping[str, Any]
    profile: Profile


def choose_channels(ms: Path) -> tuple[int, int]:
    """Return the channel with the least signal and the one with the most, by the mean power of the visibilities.

    Channels that have lost data are passed over; with one channel it is both.
    """
    power, weight = _power(ms)
    good = weight >= _COVERED * weight.max()
    mean = np.where(good, power / np.where(weight > 0, weight, 1.0), np.nan)
    return int(np.nanargmin(mean)), int(np.nanargmax(mean))


def image(
    parameters: Mapping[str, Any], folder: Path, channels: tuple[int, int], cell_arcsec: float, stage: CleanStage | None
) -> Trial:
    """Make the images of a channel without signal and of one with, cleaned if `stage` is given, and measure them.

    Parameters
    ----------
    parameters
        tclean's, of a cube whose `start` is its first channel and whose channels are `width` Hz wide; of a continuum
        image if `specmode` is ``mfs``, where `channels` do not matter.
    """
    started = time.monotonic()
    made: dict[int, tuple[Block, Beam]] = {}
    for channel in dict.fromkeys(channels):
        block = Block(folder / f"{channel}", channel, channel)
        made[channel] = block, _make(block, {**parameters, **_at(parameters, block)}, stage)
    seconds = time.monotonic() - started
    (calm, _), (bright, beam) = (made[channel] for channel in channels)
    shown, quiet = _restored(bright, beam, cell_arcsec), _restored(calm, beam, cell_arcsec)
    plane = np.asarray(bright.pixels("psf")[0])
    found = psf_profile(plane, beam, cell_arcsec)
    if found is None:
        raise ValueError(f"the PSF of channel {channels[1]} is empty")
    shape = shape_of(found)
    figures = {
        **measure(shown, quiet, bright.pixels("pb")[0]),
        "predicted_rms": predicted_rms(parameters, channels[0]),
        "kappa": shape.kappa,
        "skirt_level": shape.skirt_level,
        "epsilon": shape.epsilon,
        "seconds": round(seconds, 2),
    }
    return Trial(beam, shown, plane, quiet, figures, found)


def measure(shown: Plane, quiet: Plane, response: Plane) -> dict[str, Any]:
    """Return largest and smallest value, mean and median of an image, and the noise of one without signal.

    All where the primary beam `response` is above 0.7, in Jy/beam; `rms` is robust, `plain_rms` takes in what signal
    the image has, `npts` counts its pixels.
    """
    field = (response > _IN_FIELD) & np.isfinite(shown)
    seen = np.asarray(shown[field], dtype=np.float64)
    return {
        "max": float(seen.max()),
        "min": float(seen.min()),
        "mean": float(seen.mean()),
        "median": float(np.median(seen)),
        "plain_rms": float(np.sqrt(np.mean(seen**2))),
        "rms": robust_sigma(quiet[(response > _IN_FIELD) & np.isfinite(quiet)]),
        "npts": int(field.sum()),
    }


def predicted_rms(parameters: Mapping[str, Any], channel: int) -> float:
    """Return the noise (Jy/beam) of the flat image that the visibilities' weights predict.

    That of the best place of all pointings with natural weights, times what the weighting loses.
    """
    from casatasks import apparentsens

    ms = Path(parameters["vis"])
    line = parameters["specmode"] != "mfs"
    names = ("imsize", "cell", "weighting", "robust", "uvtaper")
    own = {name: parameters[name] for name in names if parameters.get(name) not in (None, [])}
    loss = apparentsens(vis=str(ms), spw=f"*:{channel}" if line else "", specmode="mfs", **own)["relToNat"]
    pointings = theory.pointings_of(ms, channel if line else None)
    data = describe(ms, line=False)
    fwhm = theory.fwhm_arcsec(data.dish_m, data.frequency_hz / 1e9)
    grid, shape = theory.sky_box(pointings, fwhm)
    return float(loss) * float(np.nanmin(theory.noise_map(pointings, fwhm, grid, shape)))


def _at(parameters: Mapping[str, Any], block: Block) -> dict[str, Any]:
    """Return what differs from one channel to the next."""
    own: dict[str, Any] = {"imagename": str(block.root)}
    if parameters["specmode"] != "mfs":
        first, width = (float(str(parameters[name]).removesuffix("Hz")) for name in ("start", "width"))
        own |= {"start": f"{first + block.first * width!r}Hz", "nchan": 1}
    return own


def _make(block: Block, parameters: Mapping[str, Any], stage: CleanStage | None) -> Beam:
    found = cube.make_dirty(block, parameters, None)
    beam = beams.common_beam(found)
    if stage is not None:
        cube.clean_block(block, parameters, block.prior(), found, stage)
    return beam


def _restored(block: Block, beam: Beam, cell_arcsec: float) -> Plane:
    residual = block.pixels("residual")[0]
    model = block.pixels("model")[0] if block.path("model").exists() else np.zeros_like(residual)
    restored = beams.restore(model, residual, beam, cell_arcsec)
    return np.asarray(np.where(block.valid()[0], restored, np.float32(np.nan)))


def _power(ms: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted sum of the squared amplitudes, and the sum of the weights, channel by channel."""
    with opened_table(ms) as main:
        column = "CORRECTED_DATA" if "CORRECTED_DATA" in main.colnames() else "DATA"
        sums: list[NDArray[np.float64]] = []
        for start in range(0, int(main.nrows()), _ROWS):
            data, flags, weight = (main.getcol(name, start, _ROWS) for name in (column, "FLAG", "WEIGHT"))
            kept = np.where(flags, 0.0, weight[:, np.newaxis, :])
            new = ((kept * np.abs(data) ** 2).sum(axis=(0, 2)), kept.sum(axis=(0, 2)))
            sums = [one + other for one, other in zip(sums, new, strict=True)] if sums else list(new)
    return sums[0], sums[1]
