"""Noise cubes, strict masks and broad masks as FITS files, streamed from and to disk.

Knows FITS files; what they hold is made by `signalfree` and `masks`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fringeflow.errors import DataError
from fringeflow.fitscards import Cards
from fringeflow.fitsio import write_cube
from fringeflow_derived import headers, packed
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.headers import Stamp, no_stamp
from fringeflow_derived.masks import StrictOptions, grow_planes, strict_blocks, union_planes
from fringeflow_derived.noise import NoiseModel, NoiseOptions
from fringeflow_derived.parallel import ordered
from fringeflow_derived.regrid import onto_grid
from fringeflow_derived.signalfree import measure
from fringeflow_derived.sources import Array, CubeSource, MaskStore, ScratchMask, Shape

RHO_CARD = "RHO"


@dataclass(frozen=True)
class BroadOptions:
    """How strict masks are combined (derived specification, section 8.4)."""

    recipe: Literal["anyscale", "somescales"] = "anyscale"
    fraction_of_scales: float = 0.25
    grow_xy: int = 0
    grow_v: int = 0


def noise(
    cube: Path,
    out: Path,
    scratch: Path,
    *,
    options: NoiseOptions | None = None,
    stamp: Stamp = no_stamp,
    cores: int = 1,
) -> dict[str, Any]:
    """Write the noise of a cube or image, in its unit; the channels' correlation goes into cards RHO1, RHO2, ...

    Parameters
    ----------
    cube
        FITS cube or image.
    out
        File to write.
    scratch
        Folder for masks of signal.
    options
        See `NoiseOptions`.
    stamp
        Adds provenance to the header.
    cores
        Blocks worked on at once; the noise does not depend on it.

    Returns
    -------
    dict
        ``rms`` (median over the footprint), ``rho``, and the parameters.
    """
    options = options or NoiseOptions()
    with FitsCube(cube) as source, _scratch_masks(scratch) as store:
        measured = measure(source, source.pixels_per_beam, options, store=store, cores=cores)
        facts = {"rms": _typical(measured.model), "unit": source.unit, "rho": list(measured.rho)}
        header = headers.of_cube(source, bunit=source.unit)
        write_rho(header, measured.rho)
        stamp(header, asdict(options) | {"rho": list(measured.rho), "pixels_per_beam": source.pixels_per_beam})
        planes = ordered(measured.model.plane, range(source.shape[0]), cores)
        write_cube(out, header, planes, source.shape if source.is_cube else source.shape[1:])
    return facts


def write_rho(header: Cards, rho: Sequence[float]) -> None:
    """Say in the header of a noise cube how its channels are correlated, in place of what it says."""
    for name in list(header):
        if name.startswith(RHO_CARD):
            header.remove(name)
    for lag, value in enumerate(rho):
        if lag:
            header[f"{RHO_CARD}{lag}"] = (value, f"noise correlation of channels {lag} apart")


def read_rho(noise_cube: FitsCube) -> tuple[float, ...]:
    """Return the channels' correlation that `noise` wrote."""
    found = [1.0]
    while (card := f"{RHO_CARD}{len(found)}") in noise_cube.header:
        found.append(float(noise_cube.header[card]))
    return tuple(found)


def strict_mask(
    cube: Path,
    noise_cube: Path,
    out: Path,
    scratch: Path,
    *,
    coverage: Path | None = None,
    options: StrictOptions | None = None,
    stamp: Stamp = no_stamp,
    cores: int = 1,
) -> dict[str, Any]:
    """Write the strict mask of a cube (derived specification, section 7).

    Parameters
    ----------
    cube, noise_cube
        FITS cubes in the same unit and on the same grid.
    out
        File to write.
    scratch
        Folder for the mask before growth.
    coverage
        Share of each beam that rests on data; None where all does.
    options
        See `StrictOptions`.
    stamp
        Adds provenance to the header.
    cores
        Blocks worked on at once; the mask does not depend on it.

    Returns
    -------
    dict
        ``voxels`` and ``pixels``: how many are true.
    """
    options = options or StrictOptions()
    with ExitStack() as stack:
        data, sigma = stack.enter_context(FitsCube(cube)), stack.enter_context(FitsCube(noise_cube))
        covered = stack.enter_context(FitsCube(coverage)) if coverage else None
        store = stack.enter_context(_scratch_masks(scratch))(data.shape)
        ppb = data.pixels_per_beam
        for start, block in strict_blocks(data, sigma, options, coverage=covered, pixels_per_beam=ppb, cores=cores):
            store.write_rows(start, block)
        return write_mask(out, data, store, (options.grow_xy, options.grow_v), asdict(options), stamp)


def broad_mask(
    template: Path,
    masks: Sequence[Path],
    out: Path,
    *,
    options: BroadOptions | None = None,
    stamp: Stamp = no_stamp,
) -> dict[str, Any]:
    """Write the union of strict masks on the grid of one of them (derived specification, section 8).

    Parameters
    ----------
    template
        The native strict mask, one of `masks` or not; it counts once.
    masks
        All others, on whatever grids.
    out
        File to write.
    options
        See `BroadOptions`.
    stamp
        Adds provenance to the header.

    Returns
    -------
    dict
        ``voxels`` and ``pixels`` that are true, ``masks``: how many were combined.
    """
    options = options or BroadOptions()
    if options.recipe not in ("anyscale", "somescales"):
        raise DataError(
            f"broad masks have no recipe {options.recipe!r}", remedy="broadmask_kw: take anyscale or somescales"
        )
    with ExitStack() as stack:
        grid = stack.enter_context(FitsCube(template))
        others = [stack.enter_context(FitsCube(path)) for path in dict.fromkeys(masks) if path != template]
        sources: list[CubeSource] = [grid, *(onto_grid(other, grid) for other in others)]
        some = options.recipe == "somescales"
        union = union_planes(sources, options.fraction_of_scales if some else None)
        used = asdict(options) | {"masks": [path.name for path in (template, *(other.path for other in others))]}
        facts = write_mask(out, grid, union, (options.grow_xy, options.grow_v), used, stamp)
        return facts | {"masks": len(sources)}


def write_mask(
    out: Path, grid: FitsCube, mask: CubeSource, grow: tuple[int, int], parameters: dict[str, Any], stamp: Stamp
) -> dict[str, Any]:
    """Write `mask`, grown by pixels and channels, with the header of `grid`; return how much of it is true."""
    header = headers.of_mask(grid)
    stamp(header, parameters)
    counted = _Counted(grid.shape)
    planes = counted(grow_planes(mask, *grow))
    write_cube(out, header, planes, grid.shape if grid.is_cube else grid.shape[1:], dtype="uint8")
    return {"voxels": counted.voxels, "pixels": int(np.count_nonzero(counted.seen))}


class _Counted:
    """Counts what is true in the planes that pass."""

    def __init__(self, shape: Shape) -> None:
        self.voxels = 0
        self.seen = np.zeros(shape[1:], bool)

    def __call__(self, planes: Iterator[Array]) -> Iterator[Array]:
        for plane in planes:
            self.voxels += int(np.count_nonzero(plane))
            self.seen |= plane
            yield plane


@contextmanager
def _scratch_masks(folder: Path) -> Iterator[Callable[[Shape], MaskStore]]:
    """Give a function that makes room for a mask, in `folder` if it is large; all of it is gone at the end."""
    made: list[ScratchMask] = []

    def store(shape: Shape) -> MaskStore:
        if math.prod(shape) <= packed.MOST_VOXELS:
            return packed.PackedMask(shape)
        made.append(ScratchMask(folder / f".mask{len(made)}.raw", shape))
        return made[-1]

    try:
        yield store
    finally:
        for mask in made:
            mask.close()
            mask.path.unlink(missing_ok=True)


def _typical(model: NoiseModel) -> float | None:
    """Return the median noise of the footprint, None if there is none."""
    finite = model.image[np.isfinite(model.image)]
    return float(np.median(finite) * np.median(model.spectrum)) if finite.size else None
