"""Turns orders for the steps that put images together into calls of the science; knows units and recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from numpy.typing import NDArray

from fringeflow import fitsio
from fringeflow.fitsplanes import Planes
from fringeflow.graph.combining import (
    FEATHER,
    IMAGE,
    MOSAIC,
    ROUND,
    SINGLEDISH,
    WEIGHT,
    FeatherRecipe,
    MosaicRecipe,
    RoundRecipe,
)
from fringeflow.jobs.order import Job, Order
from fringeflow_postprocess import export, feather, mosaic, rounded, single_field
from fringeflow_postprocess.beam import Beam, beams_of, round_beam_arcsec
from fringeflow_postprocess.feathering import Feathering
from fringeflow_postprocess.signing import input_of, name_of, signed
from fringeflow_postprocess.singledish import Aligned, SingleDish, margin_pixels
from fringeflow_postprocess.sky import Sky

Plane = NDArray[np.float32]


def make_round(job: Job, order: Order) -> None:
    """Make a field corrected and with a round beam, and its weight."""
    recipe = RoundRecipe.model_validate(order.unit.recipe)
    recorded = order.facts.get(str(order.unit.needs[0].unit), {})
    settings = single_field.Settings(
        pblimit=recorded.get("pblimit", recipe.pblimit),
        round_beam=recipe.round_beam,
        cut_coarse_edges=recipe.cut_coarse_edges,
    )
    sigmas: list[float] = []
    with Planes(input_of(order, "")) as image, Planes(input_of(order, "pb")) as response:
        job.progress("grid and beam")
        plan = single_field.settle(image, response, settings, frequency_hz=recorded.get("frequency_hz"))
        grid, shape = rounded.grid(image, plan)
        cube = image.is_cube and recipe.kind == "line"
        record = {**_part_of(plan.record()), "frequency_hz": plan.mean_frequency_hz}
        header = signed(order, grid, image, record, cube=cube)
        path, weight = _outputs(job, order)
        job.progress("round beam")
        planes = rounded.planes(image, response, plan, sigmas)
        fitsio.write_cube(path, export.in_jansky(header, plan.beam), planes, shape if cube else shape[1:])
        job.progress("weight")
        with Planes(path) as made:
            planes = rounded.weight_planes(made, image, response, plan, sigmas)
            fitsio.write_cube(weight, export.of_weight(header), planes, shape if cube else shape[1:])
    noise = [sigma if np.isfinite(sigma) else None for sigma in sigmas]
    job.finish(order, {path.name: path, weight.name: weight}, {**record, "noise": noise})


def make_singledish(job: Job, order: Order) -> None:
    """Make the single dish's image on the grid of an interferometer's, or of the parts' of a mosaic."""
    template = order.unit.needs[0].unit
    path = job.scratch / name_of(order.unit.id, SINGLEDISH)
    with Planes(input_of(order, IMAGE, template)) as like:
        if not order.leaves:
            record = _singledish_of_parts(job, order, like, path)
        else:
            (source,) = order.leaves.values()
            with Planes(source) as image:
                job.progress("align")
                dish = SingleDish(image)
                aligned = Aligned(dish, like)
                layout = mosaic.layout_of(like, dish.beam, aligned.sky)
                header = signed(
                    order, layout.header(like.header), like, {"single_dish": source.name}, cube=like.is_cube
                )
                fitsio.write_cube(path, export.in_jansky(header, dish.beam), aligned, _shape_of(layout))
                record = aligned.record()
    job.finish(order, {path.name: path}, record)


def make_feather(job: Job, order: Order) -> None:
    """Make the feather of an interferometer's and a single dish's image of one grid."""
    recipe = FeatherRecipe.model_validate(order.unit.recipe)
    settings = feather.Settings(
        factor=recipe.feather_factor,
        dish_m=recipe.feather_dish_m,
        low_pass=recipe.feather_low_pass,
        rounds=recipe.feather_rounds,
        taper=recipe.feather_apodize,
    )
    source, dish = (need.unit for need in order.unit.needs)
    made = order.facts.get(str(source), {})
    with (
        Planes(input_of(order, IMAGE, source)) as image,
        Planes(input_of(order, WEIGHT, source)) as weight,
        Planes(input_of(order, SINGLEDISH, dish)) as low,
    ):
        job.progress("feather")
        work = Feathering(image, weight, low, settings, frequency_hz=made.get("frequency_hz"))
        header = signed(order, image.header, image, recipe.model_dump(mode="json"), cube=image.is_cube)
        outputs = _write_pairs(job, order, header, work.beam, work.planes(), _shape(image))
        record = work.record()
    known = {name: made[name] for name in ("frequency_hz", "parts") if name in made}
    covered = {"single_dish_coverage": order.facts.get(str(dish), {}).get("coverage")}
    job.finish(order, outputs, {**record, **known, **covered})


def make_mosaic(job: Job, order: Order) -> None:
    """Make the linear mosaic of parts, and its weight."""
    recipe = MosaicRecipe.model_validate(order.unit.recipe)
    settings = mosaic.Settings(
        round_beam=recipe.round_beam,
        force_beam_arcsec=recipe.force_beam_arcsec,
        centre=SkyCoord(*recipe.centre, unit=("hourangle", "deg")) if recipe.centre else None,
        extent_arcsec=_extent(recipe),
        least_response=recipe.mosaic_least_response,
    )
    sources = [need.unit for need in order.unit.needs]
    with ExitStack() as opened:
        images, weights = (
            [opened.enter_context(Planes(input_of(order, ext, source))) for source in sources]
            for ext in (recipe.image, WEIGHT)
        )
        job.progress("common beam and grid")
        layout = mosaic.layout(images, settings)
        parts = [
            mosaic.Part(image, weight, layout, settings.edges) for image, weight in zip(images, weights, strict=True)
        ]
        facts = [order.facts.get(str(source), {}) for source in sources]
        record = {**mosaic.record(parts, layout), "parts": [source.target for source in sources], **_frequency(facts)}
        cube = layout.channels is not None
        header = signed(order, layout.header(images[0].header), images[0], record, cube=cube)
        job.progress("mosaic")
        planes = mosaic.planes(parts, layout, least_response=settings.least_response)
        outputs = _write_pairs(job, order, header, layout.beam, planes, _shape_of(layout))
    job.finish(order, outputs, record)


STEPS: Mapping[str, Callable[[Job, Order], None]] = {
    ROUND: make_round,
    SINGLEDISH: make_singledish,
    FEATHER: make_feather,
    MOSAIC: make_mosaic,
}


def _singledish_of_parts(job: Job, order: Order, like: Planes, path: Path) -> dict[str, Any]:
    """Put the single dish's images of the parts together on the mosaic's grid, with equal weights."""
    sources = [need.unit for need in order.unit.needs[1:]]
    with ExitStack() as opened:
        images = [opened.enter_context(Planes(input_of(order, SINGLEDISH, source))) for source in sources]
        inner = Sky.of(like.header, like.shape)
        beams = [beams_of(image.hdus, image.header, 1)[0] for image in images]
        beam = Beam(*[round_beam_arcsec(beams, inner.pixel_arcsec)] * 2)
        layout = mosaic.layout_of(like, beam, inner.wider(margin_pixels(beam, inner)))
        parts = [mosaic.Part(image, None, layout) for image in images]
        record = {**mosaic.record(parts, layout), "parts": [source.target for source in sources]}
        header = signed(order, layout.header(like.header), like, record, cube=like.is_cube)
        job.progress("mosaic of single-dish images")
        planes = (image for image, _ in mosaic.planes(parts, layout))
        fitsio.write_cube(path, export.in_jansky(header, layout.beam), planes, _shape_of(layout))
    return record


def _outputs(job: Job, order: Order) -> tuple[Path, Path]:
    return job.scratch / name_of(order.unit.id, IMAGE), job.scratch / name_of(order.unit.id, WEIGHT)


def _write_pairs(
    job: Job,
    order: Order,
    header: fits.Header,
    beam: Beam,
    pairs: Iterable[tuple[Plane, Plane]],
    shape: tuple[int, ...],
) -> dict[str, Path]:
    """Write an image and its weight, a plane of each at a time."""
    image, weight = _outputs(job, order)
    with (
        fitsio.cube_writer(image, export.in_jansky(header, beam), shape) as images,
        fitsio.cube_writer(weight, export.of_weight(header), shape) as weights,
    ):
        for plane, own in pairs:
            images.append(plane)
            weights.append(own)
    return {image.name: image, weight.name: weight}


def _shape(image: Planes) -> tuple[int, ...]:
    return image.shape if image.is_cube else image.shape[1:]


def _shape_of(layout: mosaic.Layout) -> tuple[int, ...]:
    return layout.shape if layout.channels else layout.shape[1:]


def _extent(recipe: MosaicRecipe) -> tuple[float, float] | None:
    if recipe.linearmosaic_deltara is None or recipe.linearmosaic_deltadec is None:
        return None
    return recipe.linearmosaic_deltara, recipe.linearmosaic_deltadec


def _frequency(facts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean frequency of parts that know theirs."""
    known = [float(each["frequency_hz"]) for each in facts if each.get("frequency_hz")]
    return {"frequency_hz": float(np.mean(known))} if known else {}


def _part_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a plan records of the beam and the box; the rest comes last."""
    names = (
        "pblimit",
        "round_beam",
        "edges",
        "beam_in_arcsec",
        "beam_arcsec",
        "convolved_planes",
        "staged_box",
        "planes",
    )
    return {name: record[name] for name in names}
