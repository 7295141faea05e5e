"""Turns orders into images; this and `orders` are the only files of imaging that know units and recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow import fitsio, names
from fringeflow.graph.imaging import signal_mask_name
from fringeflow.graph.imaging_recipes import Sizing, Splitting
from fringeflow.jobs import casa
from fringeflow.jobs.order import Job, Order
from fringeflow_imaging import cube, orders, plan, quality, sizes
from fringeflow_imaging.beam import Beam, common_beam
from fringeflow_imaging.cube import Block
from fringeflow_imaging.export import finished_header, header_of
from fringeflow_imaging.noise import one_for_all, smooth_channels
from fringeflow_imaging.stage_continuum import make_continuum

Planes = Iterator[NDArray[Any]]


def make(job: Job) -> None:
    """Make every unit of `job`."""
    casa.log_to(job.scratch / "casa.log")
    for order in job.orders:
        step = order.unit.id.step.partition(".")[0]
        steps: Mapping[str, Callable[[Job, Order], None]] = {
            "plan": make_plan,
            "multiscale": make_multiscale,
            "mask": make_mask,
            "singlescale": make_singlescale,
            "": make_continuum if order.unit.recipe.get("kind") == "continuum" else make_cube,
        }
        steps[step](job, order)


def make_plan(job: Job, order: Order) -> None:
    """Fix for the whole cube what must not depend on how it is split."""
    recipe = order.unit.recipe
    line = recipe["kind"] == "line"
    data = plan.describe(orders.visibilities(order), line=line)
    splitting = Splitting.model_validate(recipe["splitting"])
    grid = orders.grid_of(data, Sizing.model_validate(recipe["sizing"]), recipe["tclean"].get("pblimit", 0.2))
    pixels = grid.nx * grid.ny
    per_block = splitting.block_channels or sizes.channels_per_block(
        pixels, block_pixels=splitting.block_pixels, memory_mb=splitting.block_memory_mb
    )
    facts = {
        "cell_arcsec": str(grid.cell_arcsec),
        "imsize": [grid.nx, grid.ny],
        "channels": data.channels if line else 1,
        "first_hz": data.first_hz,
        "width_hz": data.width_hz,
        "blocks": [list(block) for block in sizes.channel_blocks(data.channels, per_block)] if line else [],
        "memory_mb": sizes.memory_estimate_mb(pixels, min(per_block, data.channels) if line else 4),
        "baseline_m": round(data.baseline_m, 3),
        "dish_m": data.dish_m,
        "visibility_rows": data.rows,
    }
    job.finish(order, {}, facts)


def make_multiscale(job: Job, order: Order) -> None:
    """Image a block and clean it with components of all scales."""
    facts, block = orders.plan_of(order), orders.own_block(job, order, "multiscale")
    parameters = orders.block_parameters(order, facts, block)
    clock = orders.Clock(job)
    mask = orders.clean_mask(order, facts, block.channels)
    found = clock("dirty image", lambda: cube.make_dirty(block, parameters, mask))
    prior = block.prior()
    stage = orders.clean_stage(order.unit.recipe["multiscale"], facts, signal_only=False)
    outcome = clock("multiscale clean", lambda: cube.clean_block(block, parameters, prior, found, stage))
    made = {
        "beams": found,
        "noise": cube.channel_noise(block),
        "clean_mask_pixels": int(prior.sum()),
        "clean_mask_overlap": None if mask is None else float(prior.sum() / max(1, mask.sum())),
        "scales_pixels": list(stage.scales.pixels),
        "record": outcome.report(block.first),
        "seconds": clock.seconds,
    }
    job.finish(order, {block.folder.name: block.folder}, made)


def make_mask(job: Job, order: Order) -> None:
    """Find the signal of the whole cube in the restored image of all blocks."""
    facts, recipe = orders.plan_of(order), order.unit.recipe["mask"]
    earlier = orders.made_facts(order, "multiscale", facts)
    beam = common_beam([orders.as_beam(one) if one else None for part in earlier for one in part["beams"]])
    found = np.array([sigma for part in earlier for sigma in part["noise"]])
    noise = [float(x) for x in (one_for_all(found) if recipe["mask_noise"] == "cube" else smooth_channels(found))]
    path = job.scratch / signal_mask_name(orders.image_of(order))
    counts = cube.mask_signal(
        orders.made_blocks(order, "multiscale", facts),
        path,
        beam=beam,
        cell_arcsec=float(facts["cell_arcsec"]),
        noise=noise,
        high_snr=recipe["singlescale_mask_high_snr"],
        low_snr=recipe["singlescale_mask_low_snr"],
        absolute=recipe["singlescale_mask_absolute"],
        min_beams=recipe["mask_min_beams"],
        min_channels=recipe["mask_min_channels"],
    )
    job.finish(order, {path.name: path}, {"beam_arcsec": list(beam), "noise": noise, "pixels": counts})


def make_singlescale(job: Job, order: Order) -> None:
    """Clean a block with point components where there is signal; a block without any stays as it is."""
    facts, block = orders.plan_of(order), orders.own_block(job, order, "singlescale")
    (source,) = orders.made_blocks(order, "multiscale", facts)
    (earlier,) = orders.made_facts(order, "multiscale", facts)
    signal = np.load(order.the_input(signal_mask_name(orders.image_of(order))), mmap_mode="r")
    mask = np.array(signal[block.first : block.last + 1])
    clock = orders.Clock(job)
    record: dict[str, Any] = {"rows": [], "stop": {str(channel): "empty mask" for channel in block.channels}}
    if mask.any():
        work = Block(job.scratch / "work", block.first, block.last)
        cube.copy_images(source, work)
        parameters = orders.block_parameters(order, facts, work)
        stage = orders.clean_stage(order.unit.recipe["singlescale"], facts, signal_only=True)
        found = [orders.as_beam(one) if one else None for one in earlier["beams"]]
        outcome = clock("single-scale clean", lambda: cube.clean_block(work, parameters, mask, found, stage))
        record, source = outcome.report(block.first), work
    cube.copy_images(source, block, ("model", "residual"))
    job.finish(order, {block.folder.name: block.folder}, {"record": record, "seconds": clock.seconds})


def make_cube(job: Job, order: Order) -> None:
    """Write the FITS files of a cube from its blocks, plane by plane."""
    facts, image = orders.plan_of(order), orders.image_of(order)
    deep, final = (orders.made_blocks(order, stage, facts) for stage in ("multiscale", "singlescale"))
    masked = order.facts[str(image.at("mask"))]
    beam, cell = orders.as_beam(masked["beam_arcsec"]), float(facts["cell_arcsec"])
    signal = np.load(order.the_input(signal_mask_name(image)), mmap_mode="r")
    stops = orders.stop_counts([part["record"] for part in orders.made_facts(order, "singlescale", facts)])
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
    shape = (int(facts["channels"]), *reversed(facts["imsize"]))
    made: dict[str, Path] = {}
    for ext, (unit, own_beam, stream) in streams.items():
        name = names.cube(image.target, image.config, image.product, ext)
        if name in order.unit.outputs:
            job.progress(f"writing {name}", len(made) / len(order.unit.outputs))
            made[name] = job.scratch / name
            fitsio.write_cube(made[name], finished_header(template, unit=unit, beam=own_beam), stream, shape)
    pblimit = float(order.unit.recipe["tclean"].get("pblimit", 0.2))
    own = {"beam_arcsec": list(beam), "cell_arcsec": cell, "pblimit": pblimit, "mask_pixels": sum(masked["pixels"])}
    job.finish(order, made, own | {"stop": stops} | figures.report())
