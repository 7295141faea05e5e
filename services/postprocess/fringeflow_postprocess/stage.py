"""Turns orders for post-processing into calls of the science: what is delivered; `stage_combining` has the steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fringeflow import fitsio
from fringeflow.fitsplanes import Planes
from fringeflow.graph.combining import IMAGE, WEIGHT
from fringeflow.graph.postprocess import FinishRecipe, SpectralIndexRecipe
from fringeflow.graph.taylor import ALPHA, ALPHA_ERROR, TERM
from fringeflow.jobs.order import Job, Order
from fringeflow_postprocess import export, planning, single_field, spectral_index, stage_combining
from fringeflow_postprocess.planning import Plan, Settings
from fringeflow_postprocess.signing import name_of, opened, signed


def make(job: Job) -> None:
    """Make every order of `job`: what is delivered of a field, a feather or a mosaic, or a step on the way."""
    for order in job.orders:
        if order.unit.id.step:
            stage_combining.STEPS[order.unit.id.step](job, order)
        elif order.unit.needs[0].unit.stage == "imaging":
            make_field(job, order)
        else:
            make_combined(job, order)


def make_field(job: Job, order: Order) -> None:
    """Make the final cube in kelvin, its primary beam and, for continuum, its spectral index."""
    with opened(order, "") as image, opened(order, "pb") as response:
        job.progress("grid and beam")
        plan = _plan(order, image, response)
        outputs = {name: job.scratch / name for name in order.unit.outputs}
        _write(job, order, outputs, image, response, plan)
    job.finish(order, outputs, plan.record())


def make_combined(job: Job, order: Order) -> None:
    """Make the final cube in kelvin of a feather or mosaic, and the response that its weight stands for (W-14)."""
    recipe = FinishRecipe.model_validate(order.unit.recipe)
    made: Mapping[str, Any] = order.facts[str(order.unit.needs[0].unit)]
    settings = Settings(
        pblimit=0.0,
        kelvin=recipe.kelvin,
        min_pixels_per_beam=recipe.min_pixels_per_beam,
        rind_pixels=recipe.rind_pixels,
    )
    with opened(order, IMAGE) as image, opened(order, WEIGHT) as weight:
        job.progress("grid")
        plan = planning.settle(image, None, settings, frequency_hz=made.get("frequency_hz"))
        record = {**plan.record(), "combined": dict(made)}
        del record["pblimit"]  # that of the parts
        outputs = {name: job.scratch / name for name in order.unit.outputs}
        _write_kelvin(job, order, outputs, image, None, plan, record)
        job.progress("response")
        header = signed(order, plan.header, image, record, cube=image.is_cube)
        planes = single_field.relative_response_planes(image, weight, plan)
        path = outputs[name_of(order.unit.id, "trimmed_pb")]
        fitsio.write_cube(path, export.of_response(header), planes, _shape(order, image, plan), stokes=image.stokes)
        if name_of(order.unit.id, ALPHA) in outputs:
            _write_index(job, order, outputs, image, weight, plan, record)
    job.finish(order, outputs, record)


def _plan(order: Order, image: Planes, response: Planes) -> Plan:
    """Return the plan; what imaging recorded of itself goes before what the recipe says it should have done (W-20)."""
    recipe = SpectralIndexRecipe.model_validate(order.unit.recipe)
    recorded = order.facts.get(str(order.unit.needs[0].unit), {})
    settings = Settings(
        pblimit=recorded.get("pblimit", recipe.pblimit),
        round_beam=recipe.round_beam,
        force_beam_arcsec=recipe.force_beam_arcsec,
        kelvin=recipe.kelvin,
        min_pixels_per_beam=recipe.min_pixels_per_beam,
        rind_pixels=recipe.rind_pixels,
        cut_coarse_edges=recipe.cut_coarse_edges,
    )
    return planning.settle(image, response, settings, frequency_hz=recorded.get("frequency_hz"))


def _write(job: Job, order: Order, outputs: dict[str, Path], image: Planes, response: Planes, plan: Plan) -> None:
    _write_kelvin(job, order, outputs, image, response, plan, plan.record())
    shape = _shape(order, image, plan)
    header = signed(order, plan.header, image, plan.record(), cube=len(shape) > 2)

    job.progress("primary beam")
    planes = single_field.response_planes(image, response, plan)
    path = outputs[name_of(order.unit.id, "trimmed_pb")]
    fitsio.write_cube(path, export.of_response(header), planes, shape, stokes=image.stokes)

    index_file = outputs.get(name_of(order.unit.id, ALPHA))
    if index_file:
        job.progress("spectral index")
        slope = SpectralIndexRecipe.model_validate(order.unit.recipe).beam_slope
        header = signed(order, plan.header, image, {**plan.record(), "beam_slope": slope}, cube=len(shape) > 2)
        with opened(order, "alpha") as alpha:
            planes = spectral_index.of_field(alpha, image, response, plan, beam_slope=slope)
            of_alpha = export.of_spectral_index(export.with_beam(header, plan.beam))
            fitsio.write_cube(index_file, of_alpha, planes, shape, stokes=image.stokes)


def _write_index(
    job: Job,
    order: Order,
    outputs: Mapping[str, Path],
    image: Planes,
    weight: Planes,
    plan: Plan,
    record: Mapping[str, Any],
) -> None:
    """Write a mosaic's spectral index and its uncertainty."""
    job.progress("spectral index")
    shape, least = _shape(order, image, plan), {"least_snr": spectral_index.LEAST_SNR}
    header = export.with_beam(signed(order, plan.header, image, {**record, **least}, cube=len(shape) > 2), plan.beam)
    alpha, error = (outputs[name_of(order.unit.id, ext)] for ext in (ALPHA, ALPHA_ERROR))
    with (
        opened(order, TERM) as term,
        fitsio.cube_writer(alpha, export.of_spectral_index(header), shape, stokes=image.stokes) as values,
        fitsio.cube_writer(error, export.of_spectral_index(header, error=True), shape, stokes=image.stokes) as errors,
    ):
        for plane, uncertainty in spectral_index.of_terms(image, term, weight, plan):
            values.append(plane)
            errors.append(uncertainty)


def _write_kelvin(
    job: Job,
    order: Order,
    outputs: dict[str, Path],
    image: Planes,
    response: Planes | None,
    plan: Plan,
    record: Mapping[str, Any],
) -> None:
    job.progress("kelvin cube")
    shape = _shape(order, image, plan)
    header = export.with_beam(signed(order, plan.header, image, record, cube=len(shape) > 2), plan.beam)
    in_kelvin = export.in_kelvin(header, plan.kelvin_per_jansky, plan.mean_frequency_hz, plan.settings.kelvin)
    planes = single_field.kelvin_planes(image, response, plan)
    path = outputs[name_of(order.unit.id, "pbcorr_trimmed_k")]
    fitsio.write_cube(path, in_kelvin, planes, shape, stokes=image.stokes)


def _shape(order: Order, image: Planes, plan: Plan) -> tuple[int, ...]:
    cube = image.is_cube and order.unit.recipe["kind"] == "line"
    return plan.shape if cube else plan.shape[1:]
