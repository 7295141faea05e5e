"""The steps of a cube's imaging on files: blocks are imaged and cleaned, masked together, and put together.

Knows CASA images and arrays with explicit parameters; nothing of units, recipes or workers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow_imaging import beam as beams
from fringeflow_imaging import gridding
from fringeflow_imaging.automask import AutoMask, Thresholds
from fringeflow_imaging.beam import Beam
from fringeflow_imaging.checkpoint import Checkpoint
from fringeflow_imaging.dish import Dish
from fringeflow_imaging.joint import Joint
from fringeflow_imaging.loop import Outcome, clean
from fringeflow_imaging.mask import grown, signal_mask
from fringeflow_imaging.minor import CycleControl, Scales
from fringeflow_imaging.noise import robust_sigma
from fringeflow_imaging.stopping import Stopping

Bools = NDArray[np.bool_]
Cube = NDArray[np.float32]

_PRIOR = "clean_mask.npy"


@dataclass(frozen=True)
class Block:
    """The CASA images of some neighbouring channels, in one folder.

    `first` and `last` count from the start of the cube, both included.
    """

    folder: Path
    first: int
    last: int

    @property
    def root(self) -> Path:
        """What tclean calls `imagename`."""
        return self.folder / "block"

    @property
    def channels(self) -> range:
        """The channels of the cube that it holds."""
        return range(self.first, self.last + 1)

    def path(self, kind: str) -> Path:
        """Return the path of one image: psf, pb, residual, model, weight."""
        return Path(f"{self.root}.{kind}")

    def pixels(self, kind: str) -> Cube:
        """Return the pixels of one image, (channels, ny, nx)."""
        return gridding.read_pixels(self.path(kind))

    def valid(self) -> Bools:
        """Return where the primary beam is strong enough and there are data, (channels, ny, nx)."""
        blank = np.array([not plane.any() for plane in self.pixels("psf")])
        valid = gridding.read_valid(self.path("pb"))
        valid[blank] = False
        return valid

    def prior(self) -> Bools:
        """Return where cleaning was allowed in the first stage."""
        return np.asarray(np.load(self.folder / _PRIOR))


@dataclass(frozen=True)
class CleanStage:
    """Parameters of one clean stage; with `automask` each channel's mask follows its residual."""

    scales: Scales
    control: CycleControl
    stopping: Stopping
    automask: Thresholds | None = None


def make_dirty(block: Block, parameters: Mapping[str, Any], clean_mask: Bools | None) -> list[Beam | None]:
    """Make the dirty images of a block and note where it may be cleaned: in `clean_mask`, or wherever it is valid.

    Returns
    -------
    list
        The beam of every channel; None for one without data.
    """
    block.folder.mkdir(parents=True, exist_ok=True)
    gridding.dirty(parameters)
    valid = block.valid()
    np.save(block.folder / _PRIOR, valid if clean_mask is None else valid & clean_mask)
    return gridding.beams(block.path("psf"))


def channel_noise(block: Block) -> list[float]:
    """Return the noise of every channel's residual (Jy/beam), whatever signal is left in it; 0 without data."""
    pairs = zip(block.pixels("residual"), block.valid(), strict=True)
    return [robust_sigma(residual[valid]) for residual, valid in pairs]


def sidelobes(psf: Cube, found: Sequence[Beam | None], cell_arcsec: float) -> list[float]:
    """Return the largest sidelobe of every channel's PSF; 0 where there are no data."""
    return [
        0.0 if one is None else beams.sidelobe(plane, one, cell_arcsec) for plane, one in zip(psf, found, strict=True)
    ]


def clean_block(
    block: Block,
    parameters: Mapping[str, Any],
    mask: Bools,
    found: Sequence[Beam | None],
    stage: CleanStage,
    dish: tuple[Dish, float] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Outcome:
    """Go on cleaning a block, in `mask` (channels, ny, nx); leave model and residual in its images.

    Where masks follow the residual (`stage.automask`) they stay within `mask`, and what they came to is the block's
    prior mask afterwards. With a single dish and its weight (`dish`) both are cleaned together, and the residual is
    that of both from then on. `checkpoint` keeps what has been reached; see `loop.clean`.
    """
    psf, residual, valid = block.pixels("psf"), block.pixels("residual"), block.valid()
    cell_arcsec = float(str(parameters["cell"]).removesuffix("arcsec"))
    lobes = sidelobes(psf, found, cell_arcsec)
    model = block.pixels("model") if block.path("model").exists() else np.zeros_like(residual)
    major = gridding.Residuals(parameters)
    residual_of: Callable[[Cube], Cube] = major
    if dish is not None:
        joint = Joint(dish[0], psf, block.pixels("pb"), valid, found, cell_arcsec=cell_arcsec, weight=dish[1])
        psf, residual_of = joint.psf, joint.major_cycle(major)
        residual = residual if model.any() else joint.residual(residual, model)
    try:
        outcome = clean(
            (model, residual),
            psf,
            mask & valid,
            valid,
            residual_of,
            scales=stage.scales,
            control=stage.control,
            sidelobes=lobes,
            stopping=stage.stopping,
            automasks=automasks(stage.automask, mask & valid, lobes, found, cell_arcsec),
            checkpoint=checkpoint,
        )
    finally:
        major.close()
    if stage.automask is not None:
        np.save(block.folder / _PRIOR, outcome.masks)
    gridding.write_pixels(block.path("model"), outcome.model)
    gridding.write_pixels(block.path("residual"), outcome.residual)
    return outcome


def automasks(
    thresholds: Thresholds | None,
    allowed: Bools,
    lobes: Sequence[float],
    found: Sequence[Beam | None],
    cell_arcsec: float,
) -> list[AutoMask | None]:
    """Return what finds the mask of every channel; nothing without thresholds, None for channels without data."""
    if thresholds is None:
        return []
    return [
        None if beam is None else AutoMask(plane, thresholds, lobe, beam, cell_arcsec)
        for plane, lobe, beam in zip(allowed, lobes, found, strict=True)
    ]


def copy_images(source: Block, target: Block, kinds: Sequence[str] | None = None) -> None:
    """Copy a block, or only its images of some kinds."""
    target.folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.folder.iterdir()):
        if path.is_dir() and (kinds is None or path.suffix.removeprefix(".") in kinds):
            shutil.copytree(path, target.folder / path.name)


def restored_planes(
    blocks: Sequence[Block], bases: Sequence[Block], beam: Beam, cell_arcsec: float
) -> Iterator[NDArray[np.float32]]:
    """Yield the restored image of every channel, blank where invalid.

    Models and residuals are those of `blocks`, PSFs and primary beams those of `bases`.
    """
    for block, base in zip(blocks, bases, strict=True):
        model, residual, valid = block.pixels("model"), block.pixels("residual"), base.valid()
        for i in range(len(model)):
            yield np.where(valid[i], beams.restore(model[i], residual[i], beam, cell_arcsec), np.float32(np.nan))


def sums_of_weights(blocks: Sequence[Block]) -> list[float]:
    """Return the sum of the gridded weights of every channel; see `gridding.sums_of_weights`."""
    return [value for block in blocks for value in gridding.sums_of_weights(block.path("sumwt"))]


def planes(kind: str, blocks: Sequence[Block], bases: Sequence[Block] = ()) -> Iterator[NDArray[np.float32]]:
    """Yield every channel of one kind of image, blank where `bases`, if given, are invalid."""
    for i, block in enumerate(blocks):
        pixels = block.pixels(kind)
        yield from np.where(bases[i].valid(), pixels, np.float32(np.nan)) if bases else pixels


def mask_signal(
    blocks: Sequence[Block],
    path: Path,
    *,
    beam: Beam,
    cell_arcsec: float,
    noise: Sequence[float],
    high_snr: float,
    low_snr: float,
    absolute: bool,
    min_beams: float,
    min_channels: int,
    seed_channels: int = 1,
    grow_beams: float = 0.0,
) -> list[int]:
    """Write the signal mask of a whole cube, within the clean mask, to `path` (.npy, bool, channels first).

    Parameters
    ----------
    noise
        Of every channel, Jy/beam; a channel with 0 has no data.
    high_snr, low_snr, absolute, min_channels, seed_channels
        See `mask.signal_mask`.
    min_beams
        Least area of a group in one channel, in areas of the beam.
    grow_beams
        The mask is grown on the sky by so many beam widths, in the clean mask.

    Returns
    -------
    list
        Pixels in the mask, channel by channel.
    """
    images = restored_planes(blocks, blocks, beam, cell_arcsec)

    def snr(channel: int) -> NDArray[np.floating[Any]]:
        plane = next(images)
        return plane / noise[channel] if noise[channel] > 0 else np.zeros_like(plane)

    _, ny, nx = blocks[0].pixels("pb").shape
    shape = (blocks[-1].last + 1, ny, nx)
    found = signal_mask(
        snr,
        shape,
        high_snr=high_snr,
        low_snr=low_snr,
        absolute=absolute,
        min_pixels=min_beams * beams.beam_area_pixels(beam, cell_arcsec),
        min_channels=min_channels,
        seed_channels=seed_channels,
    )
    radius = grow_beams * float(np.sqrt(beam[0] * beam[1])) / cell_arcsec
    out = np.lib.format.open_memmap(path, mode="w+", dtype=bool, shape=shape)
    counts = []
    for block in blocks:
        for channel, prior in zip(block.channels, block.prior(), strict=True):
            out[channel] = grown(next(found), radius) & prior
            counts.append(int(out[channel].sum()))
    out.flush()
    return counts
