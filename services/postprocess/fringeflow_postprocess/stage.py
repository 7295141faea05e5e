"""Turns orders for post-processing into calls of the science: the only room here that knows units and recipes."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from astropy.io import fits

from fringeflow import fitsio, names
from fringeflow.fitsplanes import Planes
from fringeflow.graph.postprocess import PostprocessRecipe
from fringeflow.jobs.order import Job, Order
from fringeflow_postprocess import export, single_field
from fringeflow_postprocess.single_field import Plan, Settings

_SOFTWARE = ("fringeflow", "fringeflow-postprocess", "astropy", "numpy", "scipy")


def make(job: Job) -> None:
    """Make every order of `job`: the final cube in kelvin, its primary beam and, for continuum, its spectral index."""
    for order in job.orders:
        with Planes(_imaged(order, "")) as image, Planes(_imaged(order, "pb")) as response:
            job.progress("grid and beam")
            plan = _plan(order, image, response)
            outputs = {name: job.scratch / name for name in order.unit.outputs}
            _write(job, order, outputs, image, response, plan)
        job.finish(order, outputs, plan.record())


def _imaged(order: Order, ext: str) -> Path:
    return order.the_input(_name(order, ext))


def _name(order: Order, ext: str) -> str:
    return names.cube(order.unit.id.target, order.unit.id.config, order.unit.id.product, ext)


def _plan(order: Order, image: Planes, response: Planes) -> Plan:
    """Return the plan; what imaging recorded of itself goes before what the recipe says it should have done (W-20)."""
    recipe = PostprocessRecipe.model_validate(order.unit.recipe)
    recorded = order.facts.get(str(order.unit.needs[0].unit), {})
    settings = Settings(
        pblimit=recorded.get("pblimit", recipe.pblimit),
        round_beam=recipe.round_beam,
        force_beam_arcsec=recipe.force_beam_arcsec,
        kelvin=recipe.kelvin,
        min_pixels_per_beam=recipe.min_pixels_per_beam,
        rind_pixels=recipe.rind_pixels,
    )
    return single_field.settle(image, response, settings, frequency_hz=recorded.get("frequency_hz"))


def _write(job: Job, order: Order, outputs: dict[str, Path], image: Planes, response: Planes, plan: Plan) -> None:
    cube = image.is_cube and order.unit.recipe["kind"] == "line"
    shape = plan.shape if cube else plan.shape[1:]
    header = _header(order, plan, image, cube=cube)
    with_beam = export.with_beam(header, plan.beam)

    job.progress("kelvin cube")
    in_kelvin = export.in_kelvin(with_beam, plan.kelvin_per_jansky, plan.mean_frequency_hz, plan.settings.kelvin)
    planes = single_field.kelvin_planes(image, response, plan)
    fitsio.write_cube(outputs[_name(order, "pbcorr_trimmed_k")], in_kelvin, planes, shape)

    job.progress("primary beam")
    planes = single_field.response_planes(image, response, plan)
    fitsio.write_cube(outputs[_name(order, "trimmed_pb")], export.of_response(header), planes, shape)

    index_file = outputs.get(_name(order, "trimmed_alpha"))
    if index_file:
        job.progress("spectral index")
        with Planes(_imaged(order, "alpha")) as alpha:
            plane = single_field.spectral_index(alpha, image, response, plan)
        fitsio.write_cube(index_file, export.of_spectral_index(with_beam), [plane], shape)


def _header(order: Order, plan: Plan, image: Planes, *, cube: bool) -> fits.Header:
    own = {name: version(name) for name in _SOFTWARE}
    header = export.delivered(
        plan.header,
        order.unit.id.target.upper(),
        cube=cube,
        software=f"fringeflow {own['fringeflow']}",
    )
    fitsio.provenance(
        header,
        unit=str(order.unit.id),
        work_key=order.work_key,
        parameters=plan.record(),
        software=fitsio.read_provenance(image.header)["software"] | own,
        inputs=order.ancestors,
    )
    return header
