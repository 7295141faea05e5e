"""Writes the FITS files of a cube from blocks of channels, plane by plane, however these were cleaned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow import fitsio, names
from fringeflow.jobs.order import Job, Order
from fringeflow_imaging import cube, orders, quality
from fringeflow_imaging.beam import Beam
from fringeflow_imaging.cube import Block
from fringeflow_imaging.export import append_weights, finished_header, header_of

Planes = Iterator[NDArray[Any]]


def write_cube(
    job: Job,
    order: Order,
    plan: orders.Facts,
    blocks: tuple[Sequence[Block], Sequence[Block]],
    signal: Iterable[NDArray[np.bool_]],
    beam: Beam,
    stops: Mapping[str, str],
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Write everything that a line cube delivers; return the files by name, and facts of beam, grid and quality.

    Parameters
    ----------
    blocks
        Those with the final models and residuals, and those with PSFs and primary beams.
    signal
        The mask of every channel; it is gone through more than once.
    stops
        Why cleaning stopped, for the headers.
    """
    (final, deep), cell, image = blocks, float(plan["cell_arcsec"]), orders.image_of(order)
    figures = quality.CubeQuality()
    streams: Mapping[str, tuple[str, Beam | None, Planes]] = {
        "": ("Jy/beam", beam, cube.restored_planes(final, deep, beam, cell)),
        "residual": ("Jy/beam", None, figures.watch(cube.planes("residual", final, deep), signal)),
        "model": ("Jy/pixel", None, cube.planes("model", final)),
        "mask": ("", None, iter(signal)),
        "pb": ("", None, cube.planes("pb", deep, deep)),
        "psf": ("", None, cube.planes("psf", deep)),
        "weight": ("", None, cube.planes("weight", deep)),
    }
    template = header_of(deep[0].path("residual"), job.scratch, cube=True)
    orders.sign(template, order, stops)
    shape = (int(plan["channels"]), *reversed(plan["imsize"]))
    made: dict[str, Path] = {}
    for ext, (unit, own_beam, stream) in streams.items():
        name = names.cube(image.target, image.config, image.product, ext)
        if name in order.unit.outputs:
            job.progress(f"writing {name}", len(made) / len(order.unit.outputs))
            made[name] = job.scratch / name
            fitsio.write_cube(made[name], finished_header(template, unit=unit, beam=own_beam), stream, shape)
    sums = cube.sums_of_weights(deep)
    append_weights(made[names.cube(image.target, image.config, image.product, "psf")], sums)
    pblimit = float(order.unit.recipe["tclean"].get("pblimit", 0.2))
    facts = {"beam_arcsec": list(beam), "cell_arcsec": cell, "pblimit": pblimit, "stop": dict(stops)}
    facts["sum_of_weights"] = sums
    return made, facts | figures.report()
