"""Maps of one cube, from files to files (derived specification, section 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fringeflow.fitsio import write_cube
from fringeflow_derived import headers
from fringeflow_derived.collapse import Inputs, Wanted, blocks
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.headers import Stamp, no_stamp
from fringeflow_derived.kinds import KINDS, options_of
from fringeflow_derived.products import read_rho
from fringeflow_derived.regrid import onto_grid
from fringeflow_derived.sources import Array, ScratchCube

_PEAK_BIAS = "Where there is no emission, this is the largest value of the noise."


@dataclass(frozen=True)
class Request:
    """One map to make, and where it goes.

    `mask` names one of the masks given, or is None for all of the cube. `options` are those of the algorithm as the
    keys give them: velocity widths are texts with a unit or numbers in km/s.
    """

    algorithm: str
    mask: str | None
    out: Path
    out_error: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    stamp: Stamp = no_stamp


def write(
    cube: Path, noise: Path | None, masks: Mapping[str, Path], requests: Sequence[Request], *, cores: int = 1
) -> list[dict[str, Any]]:
    """Make maps of one cube and write them; return facts of each: ``pixels``, ``median``, ``total``.

    Parameters
    ----------
    cube
        In K or Jy/beam.
    noise
        Its noise, on the same grid; None: no maps of uncertainty.
    masks
        Name -> file; those on other grids are looked up.
    requests
        The maps.
    cores
        Blocks of rows worked on at once; the maps do not depend on it.

    Raises
    ------
    DataError
        An algorithm or an option is unknown, or a header lacks a card.
    """
    with ExitStack() as stack:
        source = stack.enter_context(FitsCube(cube))
        sigma = stack.enter_context(FitsCube(noise)) if noise else None
        opened = {name: stack.enter_context(FitsCube(path)) for name, path in masks.items()}
        inputs = Inputs(
            source,
            sigma,
            {name: onto_grid(mask, source) for name, mask in opened.items()},
            velocity_kms=source.velocity_kms,
            channel_kms=source.channel_kms,
            rho=read_rho(sigma) if sigma else (1.0,),
            scale=source.to_kelvin(),
        )
        wanted = [Wanted(item.algorithm, item.mask, options_of(item.algorithm, item.options)) for item in requests]
        # A map is written when all its rows are there; until then, many large ones would not fit into memory.
        shape = (2 * len(requests), *source.shape[1:])
        rows = stack.enter_context(ScratchCube(requests[0].out.with_suffix(".rows"), shape, np.float32))
        for start, pairs in blocks(inputs, wanted, cores=cores):
            for number, pair in enumerate(pairs):
                for side, part in enumerate(pair):
                    if part is not None:
                        rows.write_part(2 * number + side, start, part)
        return [
            _write_one(source, request, rows.plane(2 * number), rows.plane(2 * number + 1) if sigma else None)
            for number, request in enumerate(requests)
        ]


def _write_one(source: FitsCube, request: Request, values: Array, errors: Array | None) -> dict[str, Any]:
    kind = KINDS[request.algorithm]
    for path, image, suffix in ((request.out, values, ""), (request.out_error, errors, " Error")):
        if path is None or image is None:
            continue
        comments = (_PEAK_BIAS,) if request.algorithm == "tpeak" and not request.options.get("masked") else ()
        header = headers.of_moment(source, kind.btype + suffix, kind.bunit, comments)
        request.stamp(header, {"algorithm": request.algorithm, "mask": request.mask, "kwargs": dict(request.options)})
        write_cube(path, header, [image], image.shape)
    finite = values[np.isfinite(values)]
    return {
        "pixels": int(finite.size),
        "median": float(np.median(finite)) if finite.size else None,
        "total": float(finite.sum(dtype=np.float64)) if finite.size else None,
    }
