"""What each step does: one call of the science on files of one folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fringeflow.errors import NothingSelectedError
from fringeflow.fitsio import write_cube
from fringeflow_derived import convolved as convolution
from fringeflow_derived import headers, products
from fringeflow_derived import maps as moment_maps
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.headers import Stamp
from fringeflow_derived.masks import StrictOptions
from fringeflow_derived.quick.adopt import adopt
from fringeflow_derived.quick.wanted import Resolution
from fringeflow_derived.regrid import onto_grid
from fringeflow_derived.sources import Array, CubeSource

Stamps = Mapping[str, Stamp]
Facts = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Room:
    """Where a step works: the folder of the products, one for scratch that is gone afterwards, and how many cores."""

    folder: Path
    scratch: Path
    cores: int = 1


def native(room: Room, stamps: Stamps, *, cube: Path) -> Facts:
    """Take in the cube.

    Raises
    ------
    NothingSelectedError
        All of it is blank.
    """
    (name,) = stamps
    facts = adopt(cube, room.folder / name, stamp=stamps[name])
    if not facts["finite"]:
        (room.folder / name).unlink()
        raise NothingSelectedError(f"{cube}: every value is blank", remedy="look at the cube: there is nothing in it")
    return {name: facts}


def convolved(room: Room, stamps: Stamps, *, native: str, resolution: Resolution) -> Facts:
    """Bring the cube to another beam."""
    files = [room.folder / name for name in stamps]
    facts = convolution.convolve(
        room.folder / native,
        *files,
        fwhm_arcsec=resolution.fwhm_arcsec,
        distance_mpc=resolution.distance_mpc,
        stamp=next(iter(stamps.values())),
        cores=room.cores,
    )
    return dict.fromkeys(stamps, facts)


def noise(room: Room, stamps: Stamps, *, cube: str) -> Facts:
    """Measure the noise."""
    (name,) = stamps
    return {
        name: products.noise(room.folder / cube, room.folder / name, room.scratch, stamp=stamps[name], cores=room.cores)
    }


def strict(room: Room, stamps: Stamps, *, cube: str, noise: str, coverage: str | None, channels: int) -> Facts:
    """Find what stands out; in a single channel nothing can stand out in two."""
    (name,) = stamps
    run = min(2, channels)
    facts = products.strict_mask(
        room.folder / cube,
        room.folder / noise,
        room.folder / name,
        room.scratch,
        coverage=room.folder / coverage if coverage else None,
        options=StrictOptions(hi_nchan=run, lo_nchan=run),
        stamp=stamps[name],
        cores=room.cores,
    )
    return {name: facts}


def broad(room: Room, stamps: Stamps, *, masks: Sequence[str]) -> Facts:
    """Combine the strict masks of all resolutions."""
    (name,) = stamps
    first, *others = (room.folder / mask for mask in masks)
    return {name: products.broad_mask(first, others, room.folder / name, stamp=stamps[name])}


def given_mask(room: Room, stamps: Stamps, *, cube: str, mask: Path) -> Facts:
    """Bring a mask that was given onto the cube's grid; an image counts in every channel.

    Raises
    ------
    NothingSelectedError
        Nothing of it lies in the cube.
    """
    (name,) = stamps
    voxels, seen = 0, np.zeros(0, bool)

    def planes(looked_up: CubeSource) -> Iterator[Array]:
        nonlocal voxels, seen
        for channel in range(looked_up.shape[0]):
            plane = np.asarray(looked_up.plane(channel) > 0.5)
            voxels += int(np.count_nonzero(plane))
            seen = plane if not channel else seen | plane
            yield plane

    with FitsCube(room.folder / cube) as grid, FitsCube(mask) as given:
        header = headers.of_mask(grid)
        stamps[name](header, {"mask": mask.name})
        write_cube(room.folder / name, header, planes(onto_grid(given, grid)), grid.shape, dtype="uint8")
    if not voxels:
        (room.folder / name).unlink()
        raise NothingSelectedError(f"{mask}: nothing of this mask lies in the cube", remedy="check where it lies")
    return {name: {"voxels": voxels, "pixels": int(np.count_nonzero(seen))}}


def maps(
    room: Room,
    stamps: Stamps,
    *,
    cube: str,
    noise: str,
    masks: Mapping[str, str],
    pairs: Sequence[tuple[str, str, tuple[str, str], Mapping[str, Any]]],
) -> Facts:
    """Make the maps and their uncertainties that are wanted, in one pass over the cube."""
    chosen = [pair for pair in pairs if pair[2][0] in stamps or pair[2][1] in stamps]
    requests = [
        moment_maps.Request(algorithm, mask, room.folder / files[0], room.folder / files[1], options, stamps[files[0]])
        for mask, algorithm, files, options in chosen
    ]
    used = {mask: room.folder / masks[mask] for mask in dict.fromkeys(mask for mask, *_ in chosen)}
    facts = moment_maps.write(room.folder / cube, room.folder / noise, used, requests, cores=room.cores)
    return {name: one for (_, _, files, _), one in zip(chosen, facts, strict=True) for name in files}
