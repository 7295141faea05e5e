"""Reads orders: what the units of imaging promise each other, as paths and parameters. Makes nothing itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from math import floor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from fringeflow import fitsio, names, software
from fringeflow.graph.imaging import block_name, prior_mask_name
from fringeflow.graph.imaging_recipes import CleanRecipe, Sizing
from fringeflow.graph.model import UnitId
from fringeflow.jobs.order import Job, Order
from fringeflow_imaging import sizes
from fringeflow_imaging.align import align_mask, sky_grid
from fringeflow_imaging.automask import Thresholds
from fringeflow_imaging.beam import Beam
from fringeflow_imaging.casaimage import as_fits
from fringeflow_imaging.cube import Block, Bools, CleanStage
from fringeflow_imaging.dish import Dish, on_grid
from fringeflow_imaging.minor import CycleControl, Scales
from fringeflow_imaging.plan import Visibilities
from fringeflow_imaging.stopping import Stopping

Facts = Mapping[str, Any]
Result = TypeVar("Result")

_SOFTWARE = ("fringeflow", "fringeflow-imaging", "casatasks", "casatools", "numpy", "scipy")
_LIGHT_KMS = 299792.458
_LARGEST_PART = 0.5  # of the image: no scale may be wider than that


class Clock:
    """Says which step is running and remembers how long each took."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.seconds: dict[str, float] = {}

    def __call__(self, step: str, work: Callable[[], Result]) -> Result:
        """Run `work` as `step`."""
        self._job.progress(step)
        started = time.monotonic()
        result = work()
        self.seconds[step] = round(time.monotonic() - started, 3)
        return result


def image_of(order: Order) -> UnitId:
    """Return the unit of the whole image."""
    return order.unit.id.at("")


def visibilities(order: Order) -> Path:
    """Return the measurement set."""
    unit = order.unit.id
    config = order.unit.recipe.get("joint", {}).get("visibilities", unit.config)
    return order.the_input(names.visibilities(unit.target, config, unit.product))


def plan_of(order: Order) -> Facts:
    """Return what the plan fixed."""
    return order.facts[str(order.unit.id.at("plan"))]


def grid_of(data: Visibilities, sizing: Sizing, pblimit: float) -> sizes.Grid:
    """Return cell and image size, with what the user overrides."""
    chosen = sizes.choose_grid(
        baseline_m=data.baseline_m,
        frequency_hz=data.frequency_hz,
        dish_m=data.dish_m,
        offsets_arcsec=data.offsets_arcsec,
        oversamp=sizing.oversamp,
        pb_level=min(sizing.pb_level, pblimit) if pblimit > 0 else sizing.pb_level,
        force_square=sizing.force_square,
    )
    asked = [None if value is None else Decimal(str(value)) for value in (sizing.cell, sizing.deltara, sizing.deltadec)]
    return sizes.overridden_grid(
        chosen, cell_arcsec=asked[0], width_arcsec=asked[1], height_arcsec=asked[2], pixels=sizing.imsize
    )


def own_block(job: Job, order: Order, stage: str) -> Block:
    """Return the block that `order` is to make, in the job's scratch."""
    first, last = order.unit.recipe["block"]
    return Block(job.scratch / block_name(image_of(order), stage, first, last), first, last)


def made_blocks(order: Order, stage: str, plan: Facts) -> list[Block]:
    """Return the blocks of a stage that `order` was given, in channel order."""
    image = image_of(order)
    return [
        Block(order.the_input(block_name(image, stage, first, last)), first, last)
        for first, last in plan["blocks"]
        if str(image.at(f"{stage}.{first}-{last}")) in order.inputs
    ]


def made_facts(order: Order, stage: str, plan: Facts) -> list[Facts]:
    """Return the facts of those blocks."""
    steps = [str(image_of(order).at(f"{stage}.{first}-{last}")) for first, last in plan["blocks"]]
    return [order.facts[step] for step in steps if step in order.facts]


def as_beam(numbers: Sequence[float]) -> Beam:
    """Return a beam that went through JSON."""
    major, minor, angle = numbers
    return float(major), float(minor), float(angle)


def image_parameters(order: Order, plan: Facts, root: Path) -> dict[str, Any]:
    """Return tclean's parameters of an image: the recipe's, with the plan's cell and size."""
    return tclean_parameters(order.unit.recipe, plan, visibilities(order), root)


def block_parameters(order: Order, plan: Facts, block: Block) -> dict[str, Any]:
    """Return tclean's parameters of a block."""
    return cube_parameters(order.unit.recipe, plan, visibilities(order), block)


def tclean_parameters(recipe: Mapping[str, Any], plan: Facts, ms: Path, root: Path) -> dict[str, Any]:
    """Return tclean's parameters of an image called `root` of `ms`, whatever is asked for in `recipe` and `plan`."""
    nx, ny = plan["imsize"]
    return {
        **recipe["tclean"],
        "vis": str(ms),
        "imagename": str(root),
        "imsize": [nx, ny],
        "cell": f"{plan['cell_arcsec']}arcsec",
        "phasecenter": recipe["phasecenter"],
        "savemodel": "none",
    }


def cube_parameters(recipe: Mapping[str, Any], plan: Facts, ms: Path, block: Block) -> dict[str, Any]:
    """Return tclean's parameters of some channels of a cube.

    Channels are given by frequency, so that all blocks share one grid. It is the visibilities' own: nothing is left to
    interpolate, and taking the nearest keeps the first and last channel, which a rounding error can cost otherwise.
    """
    return {
        **tclean_parameters(recipe, plan, ms, block.root),
        "specmode": "cube",
        "deconvolver": "hogbom",
        "interpolation": "nearest",
        "outframe": "LSRK",
        "veltype": "radio",
        "restfreq": f"{recipe['restfreq_ghz']}GHz",
        "start": f"{plan['first_hz'] + block.first * plan['width_hz']!r}Hz",
        "width": f"{plan['width_hz']!r}Hz",
        "nchan": len(block.channels),
    }


def clean_stage(content: Mapping[str, Any], plan: Facts, *, signal_only: bool) -> CleanStage:
    """Return the parameters of a clean stage.

    Parameters
    ----------
    signal_only
        Whether the clean mask holds just the signal, so that noise is measured outside it.
    """
    recipe = CleanRecipe.model_validate(content)
    cell, largest = float(plan["cell_arcsec"]), _LARGEST_PART * min(plan["imsize"]) / 2
    whole = floor if recipe.scale_rounding == "down" else round
    pixels = {whole(scale / cell) for scale in recipe.scales_arcsec}
    return CleanStage(
        scales=Scales(
            tuple(sorted(size for size in pixels if size <= largest)) or (0,),
            recipe.smallscalebias,
            alike=recipe.scale_threshold == "alike",
        ),
        control=CycleControl(
            gain=recipe.gain,
            cyclefactor=recipe.cyclefactor,
            minpsffraction=recipe.minpsffraction,
            maxpsffraction=recipe.maxpsffraction,
            cycleniter=recipe.cycleniter,
        ),
        stopping=Stopping(
            snr=recipe.snr,
            max_cycles=recipe.max_cycles,
            max_components=recipe.max_components,
            fracflux=recipe.convergence_fracflux,
            margin=recipe.threshold_margin,
            stop_at_negative=recipe.stop_at_negative,
            exclude_mask=signal_only,
            totalflux=recipe.convergence_totalflux,
            fluxpercomponent=recipe.convergence_fluxperniter,
            noise_z=recipe.convergence_noise_z_threshold,
        ),
        automask=Thresholds(**recipe.automask.model_dump()) if recipe.automask else None,
    )


def tapered(parameters: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return tclean's parameters for the low resolution at which a clean mask is looked for."""
    width = f"{recipe['prior_taper_arcsec']!r}arcsec"
    return {**parameters, "uvtaper": [width, width, "0deg"]}


def clean_mask(order: Order, plan: Facts, channels: range | None) -> Bools | None:
    """Return the clean mask of this image, on its grid, dropped or found at low resolution; None if there is none.

    Parameters
    ----------
    channels
        Of the cube; None for a continuum image.
    """
    path = _leaf(order, "cleanmask/")
    if path is None:
        return _found_mask(order, channels)
    recipe = order.unit.recipe
    velocities = None if channels is None else _velocities_kms(recipe, plan, channels)
    grow_pixels = (recipe["multiscale"].get("cleanmask_grow_arcsec") or 0.0) / float(plan["cell_arcsec"])
    with as_fits(path) as mask:
        return align_mask(mask, _grid(recipe, plan), tuple(plan["imsize"])[::-1], velocities, grow_pixels=grow_pixels)


def dish_of(order: Order, plan: Facts, channels: range) -> tuple[Dish, float] | None:
    """Return the single dish's cube on the grid of the image, and its weight; None if it has no part in the clean."""
    recipe, path = order.unit.recipe, _leaf(order, "singledish/")
    if path is None:
        return None
    rest_hz = recipe["restfreq_ghz"] * 1e9
    width_kms = abs(_LIGHT_KMS * plan["width_hz"] / rest_hz)
    velocities = _velocities_kms(recipe, plan, channels)
    with as_fits(path) as dish:
        found = on_grid(dish, _grid(recipe, plan), tuple(plan["imsize"])[::-1], velocities, width_kms, rest_hz)
    return found, float(recipe["joint"]["joint_dish_weight"])


def sky_of(order: Order, plan: Facts) -> tuple[WCS, tuple[int, int]]:
    """Return the celestial grid of the image, and (ny, nx)."""
    nx, ny = plan["imsize"]
    return _grid(order.unit.recipe, plan), (ny, nx)


def _leaf(order: Order, kind: str) -> Path | None:
    return next((path for name, path in order.leaves.items() if name.startswith(kind)), None)


def _grid(recipe: Mapping[str, Any], plan: Facts) -> WCS:
    nx, ny = plan["imsize"]
    projection = recipe["tclean"].get("projection", "SIN")
    return sky_grid(recipe["phasecenter"], float(plan["cell_arcsec"]), nx, ny, projection)


def _velocities_kms(recipe: Mapping[str, Any], plan: Facts, channels: range) -> list[float]:
    frequencies = plan["first_hz"] + np.array(channels) * plan["width_hz"]
    return [float(v) for v in _LIGHT_KMS * (1.0 - frequencies / (recipe["restfreq_ghz"] * 1e9))]


def _found_mask(order: Order, channels: range | None) -> Bools | None:
    source = str(image_of(order).at("prior"))
    if channels is None or source not in order.inputs:
        return None
    whole = np.load(order.inputs[source][prior_mask_name(image_of(order))], mmap_mode="r")
    return np.array(whole[channels.start : channels.stop])


def mask_overlap(earlier: Sequence[Facts]) -> float | None:
    """Return which part of the clean mask that was given lies on the image, from the facts of all blocks.

    None where no mask was given; 0 for one that nowhere meets the image.
    """
    parts = [part for part in earlier if "clean_mask_given" in part]
    given = sum(part["clean_mask_given"] for part in parts)
    used = sum(part["clean_mask_used"] for part in parts)
    return (float(used / given) if given else 0.0) if parts else None


def sign(header: fits.Header, order: Order, stops: Mapping[str, str]) -> None:
    """Say in `header` what a product comes from: its unit, recipe, ancestors, software and why cleaning stopped."""
    fitsio.provenance(
        header,
        unit=str(order.unit.id),
        work_key=order.work_key,
        parameters={"recipe": order.unit.recipe, "clean stopped": stops},
        software=software.versions(_SOFTWARE),
        inputs=order.ancestors,
    )
