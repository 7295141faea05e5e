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

from fringeflow import casaimage, fitsio, fitsstokes
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
    TermsRecipe,
)
from fringeflow.graph.taylor import TERM
from fringeflow.jobs.order import Job, Order
from fringeflow_postprocess import export, feather, mosaic, planning, rounded
from fringeflow_postprocess.beam import Beam, beams_of, round_beam_arcsec
from fringeflow_postprocess.feathering import Feathering
from fringeflow_postprocess.signing import name_of, opened, signed
from fringeflow_postprocess.singledish import Aligned, SingleDish, margin_pixels
from fringeflow_postprocess.sky import Sky

Plane = NDArray[np.float32]


def make_round(job: Job, order: Order) -> None:
    """Make a field corrected and with a round beam, its weight and, of continuum for a mosaic, its Taylor term."""
    recipe = TermsRecipe.model_validate(order.unit.recipe)
    recorded = order.facts.get(str(order.unit.needs[0].unit), {})
    settings = planning.Settings(
        pblimit=recorded.get("pblimit", recipe.pblimit),
        round_beam=recipe.round_beam,
        cut_coarse_edges=recipe.cut_coarse_edges,
    )
    sigmas: list[float] = []
    with opened(order, "") as image, opened(order, "pb") as response:
        job.progress("grid and beam")
        plan = planning.settle(image, response, settings, frequency_hz=recorded.get("frequency_hz"))
        grid, shape = rounded.grid(image, plan)
        cube = image.is_cube and recipe.kind == "line"
        record = {**_part_of(plan.record()), "frequency_hz": plan.mean_frequency_hz}
        header = signed(order, grid, image, record, cube=cube)
        path, weight = _outputs(job, order)
        job.progress("round beam")
        planes = rounded.planes(image, response, plan, sigmas)
        sides = shape if cube else shape[1:]
        fitsio.write_cube(path, export.in_jansky(header, plan.beam), planes, sides, stokes=image.stokes)
        job.progress("weight")
        with Planes(path, stokes="all") as made:
            planes = rounded.weight_planes(made, image, response, plan, sigmas)
            fitsio.write_cube(weight, export.of_weight(header), planes, sides, stokes=image.stokes)
        outputs = {path.name: path, weight.name: weight}
        if _term_of(order) in order.unit.outputs:
            with opened(order, "tt1") as term:
                planes = rounded.term_planes(term, image, response, plan, recipe.beam_slope)
                own = signed(order, grid, image, {**record, "beam_slope": recipe.beam_slope}, cube=cube)
                in_jansky = export.in_jansky(own, plan.beam)
                outputs |= _write_term(job, order, in_jansky, planes, sides, image.stokes)
    noise = [sigma if np.isfinite(sigma) else None for sigma in sigmas]
    job.finish(order, outputs, {**record, "noise": noise})


def make_singledish(job: Job, order: Order) -> None:
    """Make the single dish's image on the grid of an interferometer's, or of the parts' of a mosaic."""
    template = order.unit.needs[0].unit
    path = job.scratch / name_of(order.unit.id, SINGLEDISH)
    with opened(order, IMAGE, template) as like:
        if not order.leaves:
            record = _singledish_of_parts(job, order, like, path)
        else:
            (source,) = order.leaves.values()
            with Planes(_as_fits(source, job), stokes="all") as image:
                job.progress("align")
                dish = SingleDish(image)
                aligned = Aligned(dish, like)
                layout = mosaic.layout_of(like, dish.beam, aligned.sky, aligned.stokes)
                header = signed(
                    order, layout.header(like.header), like, {"single_dish": source.name}, cube=like.is_cube
                )
                in_jansky = export.in_jansky(header, dish.beam)
                fitsio.write_cube(path, in_jansky, aligned, _shape_of(layout), stokes=layout.stokes)
                record = aligned.record()
    job.finish(order, {path.name: path}, record)


def _as_fits(source: Path, job: Job) -> Path:
    """Return a FITS file of what the user has dropped, which may be a CASA image."""
    if not source.is_dir():
        return source
    job.progress("read the CASA image")
    written = job.scratch / f"{source.name}.fits"
    casaimage.to_fits(source, written)
    return written


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
        opened(order, IMAGE, source) as image,
        opened(order, WEIGHT, source) as weight,
        opened(order, SINGLEDISH, dish) as low,
    ):
        job.progress("feather")
        work = Feathering(image, weight, low, settings, frequency_hz=made.get("frequency_hz"))
        header = signed(order, image.header, image, recipe.model_dump(mode="json"), cube=image.is_cube)
        layout = mosaic.layout_of(image, work.beam, Sky.of(image.header, image.shape), image.stokes)
        outputs = _write_pairs(job, order, header, layout, work.planes())
        record = work.record()
    known = {name: made[name] for name in ("frequency_hz", "parts") if name in made}
    covered = {"single_dish_coverage": order.facts.get(str(dish), {}).get("coverage")}
    job.finish(order, outputs, {**record, **known, **covered})


def make_mosaic(job: Job, order: Order) -> None:
    """Make the linear mosaic of parts, its weight and, of continuum, its first-order Taylor term."""
    recipe = MosaicRecipe.model_validate(order.unit.recipe)
    settings = mosaic.Settings(
        round_beam=recipe.round_beam,
        force_beam_arcsec=recipe.force_beam_arcsec,
        centre=SkyCoord(*recipe.centre, unit=("hourangle", "deg")) if recipe.centre else None,
        extent_arcsec=_extent(recipe),
        least_response=recipe.mosaic_least_response,
    )
    sources = [need.unit for need in order.unit.needs]
    with ExitStack() as life:
        images, weights = (
            [life.enter_context(opened(order, ext, source)) for source in sources] for ext in (recipe.image, WEIGHT)
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
        outputs = _write_pairs(job, order, header, layout, planes)
        if _term_of(order) in order.unit.outputs:
            terms = [life.enter_context(opened(order, TERM, source)) for source in sources]
            same = [part.showing(term) for part, term in zip(parts, terms, strict=True)]
            first = (term for term, _ in mosaic.planes(same, layout, least_response=settings.least_response))
            in_jansky = export.in_jansky(header, layout.beam)
            outputs |= _write_term(job, order, in_jansky, first, _shape_of(layout), layout.stokes)
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
    with ExitStack() as life:
        images = [life.enter_context(opened(order, SINGLEDISH, source)) for source in sources]
        inner = Sky.of(like.header, like.shape)
        beams = [beams_of(image)[0] for image in images]
        beam = Beam(*[round_beam_arcsec(beams, inner.pixel_arcsec)] * 2)
        stokes = mosaic.common_stokes(images)
        layout = mosaic.layout_of(like, beam, inner.wider(margin_pixels(beam, inner)), stokes)
        parts = [mosaic.Part(image, None, layout) for image in images]
        record = {**mosaic.record(parts, layout), "parts": [source.target for source in sources]}
        header = signed(order, layout.header(like.header), like, record, cube=like.is_cube)
        job.progress("mosaic of single-dish images")
        planes = (image for image, _ in mosaic.planes(parts, layout))
        in_jansky = export.in_jansky(header, layout.beam)
        fitsio.write_cube(path, in_jansky, planes, _shape_of(layout), stokes=layout.stokes)
    return record


def _outputs(job: Job, order: Order) -> tuple[Path, Path]:
    return job.scratch / name_of(order.unit.id, IMAGE), job.scratch / name_of(order.unit.id, WEIGHT)


def _write_pairs(
    job: Job,
    order: Order,
    header: fits.Header,
    layout: mosaic.Layout,
    pairs: Iterable[tuple[Plane, Plane]],
) -> dict[str, Path]:
    """Write an image and its weight, a plane of each at a time."""
    image, weight = _outputs(job, order)
    shape, stokes = _shape_of(layout), layout.stokes
    with (
        fitsio.cube_writer(image, export.in_jansky(header, layout.beam), shape, stokes=stokes) as images,
        fitsio.cube_writer(weight, export.of_weight(header), shape, stokes=stokes) as weights,
    ):
        for plane, own in pairs:
            images.append(plane)
            weights.append(own)
    return {image.name: image, weight.name: weight}


def _term_of(order: Order) -> str:
    return name_of(order.unit.id, TERM)


def _write_term(
    job: Job,
    order: Order,
    header: fits.Header,
    planes: Iterable[Plane],
    shape: tuple[int, ...],
    stokes: fitsstokes.Stokes,
) -> dict[str, Path]:
    """Write the first-order Taylor term of an image."""
    job.progress("Taylor term")
    path = job.scratch / _term_of(order)
    fitsio.write_cube(path, header, planes, shape, stokes=stokes)
    return {path.name: path}


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
