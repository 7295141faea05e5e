"""Turns an order for CASA's joint deconvolution into a cube, or into the interferometer's own where the task fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fringeflow import fitsio, names
from fringeflow.errors import DataError
from fringeflow.fitsplanes import Planes
from fringeflow.graph.imaging_recipes import CleanRecipe
from fringeflow.jobs.order import Job, Order
from fringeflow_imaging import deliver, gridding, orders, sdint
from fringeflow_imaging.beam import common_beam
from fringeflow_imaging.cube import Block
from fringeflow_imaging.export import append_weights


def make_sdint(job: Job, order: Order) -> None:
    """Clean a cube with CASA's sdintimaging.

    Where the task fails the interferometer's cube takes the place: what follows feathers it with the single dish, so
    that nothing is missing. The facts and headers say so.
    """
    plan, clock = orders.plan_of(order), orders.Clock(job)
    block = Block(job.scratch / "joint", 0, int(plan["channels"]) - 1)
    found = orders.dish_of(order, plan, block.channels)
    if found is None:
        raise DataError(f"{order.unit.id} has no single dish", remedy="add it to the single dish key")
    parameters = orders.block_parameters(order, plan, block)
    grid, shape = orders.sky_of(order, plan)
    allowed = orders.clean_mask(order, plan, block.channels)
    mask = np.ones((len(block.channels), *shape), dtype=bool) if allowed is None else allowed
    clean = {**_told(order, plan), "sdgain": found[1]}
    try:
        clock("sdintimaging", lambda: sdint.make(block, parameters, found[0], grid, mask, clean))
    except (RuntimeError, DataError) as error:
        made, facts = _interferometer(job, order, str(error))
    else:
        beams = gridding.beams(block.path("psf"))
        signal = mask & block.valid()
        stops = {"sdintimaging": str(len(beams))}
        made, facts = deliver.write_cube(job, order, plan, ([block], [block]), signal, common_beam(beams), stops)
        facts["mask_pixels"] = int(signal.sum())
    job.finish(order, made, facts | {"seconds": clock.seconds})


def _told(order: Order, plan: orders.Facts) -> dict[str, Any]:
    """Return what the task is told of the clean: the multiscale stage's, with a budget for all channels together."""
    recipe = CleanRecipe.model_validate(order.unit.recipe["multiscale"])
    stage = orders.clean_stage(order.unit.recipe["multiscale"], plan, signal_only=False)
    return {
        "niter": recipe.max_components * int(plan["channels"]),
        "nmajor": recipe.max_cycles,
        "nsigma": recipe.snr,
        "scales": list(stage.scales.pixels),
        "smallscalebias": recipe.smallscalebias,
        "gain": recipe.gain,
        "cycleniter": recipe.cycleniter,
        "cyclefactor": recipe.cyclefactor,
        "minpsffraction": recipe.minpsffraction,
        "maxpsffraction": recipe.maxpsffraction,
    }


def _interferometer(job: Job, order: Order, why: str) -> tuple[dict[str, Path], dict[str, Any]]:
    """Return the files and facts of the interferometer's own cube, under the names of this order's."""
    image = orders.image_of(order)
    source = image._replace(config=order.unit.recipe["joint"]["visibilities"])
    made: dict[str, Path] = {}
    for name in order.unit.outputs:
        ext = name.removeprefix(names.cube(image.target, image.config, image.product, suffix=""))
        with Planes(order.the_input(names.cube(source.target, source.config, source.product, suffix="") + ext)) as old:
            header = old.header.copy()
            orders.sign(header, order, {"sdintimaging": f"failed: {why}"})
            made[name] = job.scratch / name
            fitsio.write_cube(made[name], header, old, old.shape)
    facts = order.facts[str(source)]
    if "sum_of_weights" in facts:  # cubes of earlier versions have none
        append_weights(made[names.cube(image.target, image.config, image.product, "psf")], facts["sum_of_weights"])
    return made, {**facts, "joint_failed": why}
