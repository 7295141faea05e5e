"""Turns orders into images; this and `orders` are the only files of imaging that know units and recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow.graph.imaging import prior_mask_name, signal_mask_name
from fringeflow.graph.imaging_recipes import Sizing, Splitting
from fringeflow.jobs import casa
from fringeflow.jobs.order import Job, Order
from fringeflow_imaging import cube, deliver, orders, plan, quality, sizes
from fringeflow_imaging.beam import common_beam
from fringeflow_imaging.checkpoint import Checkpoint
from fringeflow_imaging.cube import Block
from fringeflow_imaging.noise import one_for_all, smooth_channels
from fringeflow_imaging.stage_continuum import make_continuum
from fringeflow_imaging.stage_joint import make_sdint

Planes = Iterator[NDArray[Any]]


def make(job: Job) -> None:
    """Make every unit of `job`."""
    casa.log_to(job.scratch / "casa.log")
    for order in job.orders:
        step = order.unit.id.step.partition(".")[0]
        steps: Mapping[str, Callable[[Job, Order], None]] = {
            "plan": make_plan,
            "lowres": make_lowres,
            "prior": make_prior,
            "multiscale": make_multiscale,
            "mask": make_mask,
            "singlescale": make_singlescale,
            "": _maker_of(order.unit.recipe),
        }
        steps[step](job, order)


def _maker_of(recipe: Mapping[str, Any]) -> Callable[[Job, Order], None]:
    """Return what makes a whole image."""
    if recipe.get("kind") == "continuum":
        return make_continuum
    by_task = recipe.get("joint", {}).get("joint_deconvolution") == "sdintimaging"
    return make_sdint if by_task else make_cube


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
        "memory_mb": sizes.job_memory_mb(pixels, min(per_block, data.channels) if line else 4),
        "baseline_m": round(data.baseline_m, 3),
        "dish_m": data.dish_m,
        "visibility_rows": data.rows,
    }
    job.finish(order, {}, facts)


def make_lowres(job: Job, order: Order) -> None:
    """Image a block at low resolution, where extended emission stands out, and clean it."""
    _image_block(job, order, "lowres", lambda parameters: orders.tapered(parameters, order.unit.recipe["prior"]))


def make_multiscale(job: Job, order: Order) -> None:
    """Image a block and clean it with components of all scales."""
    _image_block(job, order, "multiscale", dict)


def _image_block(job: Job, order: Order, step: str, changed: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    facts, block = orders.plan_of(order), orders.own_block(job, order, step)
    parameters = changed(orders.block_parameters(order, facts, block))
    clock = orders.Clock(job)
    mask = orders.clean_mask(order, facts, block.channels)
    found = clock("dirty image", lambda: cube.make_dirty(block, parameters, mask))
    prior = block.prior()
    stage = orders.clean_stage(order.unit.recipe["multiscale"], facts, signal_only=False)
    dish = orders.dish_of(order, facts, block.channels)
    kept = _checkpoint(job, order)
    outcome = clock("multiscale clean", lambda: cube.clean_block(block, parameters, prior, found, stage, dish, kept))
    made = {
        "beams": found,
        "noise": cube.channel_noise(block),
        "clean_mask_pixels": int(block.prior().sum()),
        "clean_mask_overlap": None if mask is None else float(prior.sum() / max(1, mask.sum())),
        "scales_pixels": list(stage.scales.pixels),
        "record": outcome.report(block.first),
        "seconds": clock.seconds,
    }
    given = {} if mask is None else {"clean_mask_given": int(mask.sum()), "clean_mask_used": int(prior.sum())}
    job.finish(order, {block.folder.name: block.folder}, made | given)


def _checkpoint(job: Job, order: Order) -> Checkpoint | None:
    """Return where the state of a clean is kept until its unit is made; None where nothing is."""
    keeper = job.unfinished(order)
    return None if keeper is None else Checkpoint(job.scratch / "checkpoint.npz", keeper)


def make_prior(job: Job, order: Order) -> None:
    """Find the clean mask of the whole cube in its blocks at low resolution."""
    recipe = order.unit.recipe["prior"]
    _find_signal(
        job,
        order,
        "lowres",
        prior_mask_name(orders.image_of(order)),
        high_snr=recipe["prior_mask_high_snr"],
        low_snr=recipe["prior_mask_low_snr"],
        grow_beams=recipe["prior_mask_grow_beams"],
    )


def make_mask(job: Job, order: Order) -> None:
    """Find the signal of the whole cube in the restored image of all blocks."""
    recipe = order.unit.recipe["mask"]
    _find_signal(
        job,
        order,
        "multiscale",
        signal_mask_name(orders.image_of(order)),
        noise=recipe["mask_noise"],
        high_snr=recipe["singlescale_mask_high_snr"],
        low_snr=recipe["singlescale_mask_low_snr"],
        absolute=recipe["singlescale_mask_absolute"],
        min_beams=recipe["mask_min_beams"],
        min_channels=recipe["mask_min_channels"],
        seed_channels=recipe.get("mask_seed_channels", 1),
        grow_beams=recipe.get("mask_grow_beams", 0.0),
    )


def _find_signal(
    job: Job,
    order: Order,
    step: str,
    name: str,
    *,
    noise: str = "channel",
    absolute: bool = False,
    min_beams: float = 1.0,
    min_channels: int = 1,
    **limits: Any,
) -> None:
    """Write the mask `name` of what is significant in the blocks of `step`; see `cube.mask_signal`."""
    facts = orders.plan_of(order)
    earlier = orders.made_facts(order, step, facts)
    beam = common_beam([orders.as_beam(one) if one else None for part in earlier for one in part["beams"]])
    found = np.array([sigma for part in earlier for sigma in part["noise"]])
    levels = [float(x) for x in (one_for_all(found) if noise == "cube" else smooth_channels(found))]
    path = job.scratch / name
    counts = cube.mask_signal(
        orders.made_blocks(order, step, facts),
        path,
        beam=beam,
        cell_arcsec=float(facts["cell_arcsec"]),
        noise=levels,
        absolute=absolute,
        min_beams=min_beams,
        min_channels=min_channels,
        **limits,
    )
    job.finish(order, {path.name: path}, {"beam_arcsec": list(beam), "noise": levels, "pixels": counts})


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
        dish = orders.dish_of(order, facts, block.channels)
        kept = _checkpoint(job, order)
        outcome = clock(
            "single-scale clean", lambda: cube.clean_block(work, parameters, mask, found, stage, dish, kept)
        )
        record, source = outcome.report(block.first), work
    cube.copy_images(source, block, ("model", "residual"))
    job.finish(order, {block.folder.name: block.folder}, {"record": record, "seconds": clock.seconds})


def make_cube(job: Job, order: Order) -> None:
    """Write the FITS files of a cube from its blocks, plane by plane."""
    facts, image = orders.plan_of(order), orders.image_of(order)
    deep, final = (orders.made_blocks(order, stage, facts) for stage in ("multiscale", "singlescale"))
    masked = order.facts[str(image.at("mask"))]
    beam = orders.as_beam(masked["beam_arcsec"])
    signal = np.load(order.the_input(signal_mask_name(image)), mmap_mode="r")
    stops = quality.stop_counts([part["record"] for part in orders.made_facts(order, "singlescale", facts)])
    overlap = orders.mask_overlap(orders.made_facts(order, "multiscale", facts))
    if overlap == 0:
        stops["clean mask"] = "no pixel of it lies on the image"
    made, own = deliver.write_cube(job, order, facts, (final, deep), signal, beam, stops)
    own["mask_pixels"] = sum(masked["pixels"])
    own |= {} if overlap is None else {"clean_mask_overlap": overlap}
    job.finish(order, made, own)
