"""Turns orders for derived products into calls of the science: the only room here that knows units and recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from fringeflow import fitsio, names, software
from fringeflow.errors import DataError
from fringeflow.fitscards import Cards
from fringeflow.jobs.order import Job, Order
from fringeflow_derived import convolved, flat, kinds, maps, prior, products, shuffled, vfield
from fringeflow_derived.convolved import ConvolveOptions
from fringeflow_derived.headers import Stamp
from fringeflow_derived.masks import StrictOptions
from fringeflow_derived.noise import NoiseOptions
from fringeflow_derived.products import BroadOptions
from fringeflow_derived.shuffle import ShuffleOptions
from fringeflow_derived.vfield import Layer

_SOFTWARE = ("fringeflow", "fringeflow-derived", "astropy", "numpy", "scipy")
_Options = TypeVar("_Options")


def make(job: Job) -> None:
    """Make every order of `job`; orders of maps of one cube are made together, in one pass over it."""
    together: dict[str, list[Order]] = {}
    for order in job.orders:
        name, _, _ = order.unit.id.step.partition("@")
        maker = _hybrid if order.unit.recipe.get("algorithm") == "mom1wprior" else _MAKERS.get(name)
        if maker is not None:
            job.progress(order.unit.id.step)
            maker(job, order)
        else:
            together.setdefault(order.unit.group or str(order.unit.id), []).append(order)
    for orders in together.values():
        job.progress(f"{len(orders)} maps")
        _maps(job, orders)


def _cube(job: Job, order: Order) -> None:
    native = order.the_input(_name(order, "pbcorr_trimmed_k"))
    files = [job.scratch / name for name in order.unit.outputs]
    if len(files) == 1:
        job.finish(order, {files[0].name: files[0]}, convolved.copy(native, files[0]))
        return
    recipe = order.unit.recipe
    facts = convolved.convolve(
        native,
        *files,
        fwhm_arcsec=recipe["fwhm_arcsec"],
        distance_mpc=recipe.get("distance_mpc"),
        options=_options(ConvolveOptions, order, "convolve_kw"),
        stamp=_stamp(order),
        cores=job.cores,
    )
    job.finish(order, {path.name: path for path in files}, facts | {"reachable": True})


def _noise(job: Job, order: Order) -> None:
    out = job.scratch / order.unit.outputs[0]
    options = _options(NoiseOptions, order, "noise_kw")
    facts = products.noise(_resolved(order), out, job.scratch, options=options, stamp=_stamp(order), cores=job.cores)
    job.finish(order, {out.name: out}, facts)


def _strict_mask(job: Job, order: Order) -> None:
    out = job.scratch / order.unit.outputs[0]
    facts = products.strict_mask(
        _resolved(order),
        order.the_input(_name(order, "noise", _tag(order))),
        out,
        job.scratch,
        coverage=order.the_input(_name(order, "coverage", _tag(order))) if _tag(order) else None,
        options=_options(StrictOptions, order, "strictmask_kw"),
        stamp=_stamp(order),
        cores=job.cores,
    )
    job.finish(order, {out.name: out}, facts)


def _broad_mask(job: Job, order: Order) -> None:
    out = job.scratch / order.unit.outputs[0]
    template = order.the_input(_name(order, "strictmask"))
    masks = [path for files in order.inputs.values() for path in files.values()]
    options = _options(BroadOptions, order, "broadmask_kw")
    job.finish(order, {out.name: out}, products.broad_mask(template, masks, out, options=options, stamp=_stamp(order)))


def _velocity_field(job: Job, order: Order) -> None:
    files = [job.scratch / name for name in order.unit.outputs]
    layers = [Layer(order.the_input(name)) for name in order.unit.recipe["layers"]]
    job.finish(order, {path.name: path for path in files}, vfield.write(layers, *files, stamp=_stamp(order)))


def _flat_mask(job: Job, order: Order) -> None:
    out = job.scratch / order.unit.outputs[0]
    kind, _, tag = order.unit.id.step.partition("@")
    grid = order.the_input(_name(order, "strictmask", tag))
    facts = flat.flat_mask(
        grid,
        _field(order),
        out,
        window_kms=order.unit.recipe["window_kms"],
        mask=grid if kind == "flatstrictmask" else order.the_input(_name(order, "broadmask")),
        stamp=_stamp(order),
    )
    job.finish(order, {out.name: out}, facts)


def _shuffled(job: Job, order: Order) -> None:
    """Make the shuffled cube, and after it its noise and its masks."""
    files = [job.scratch / name for name in order.unit.outputs]
    masks = [order.the_input(_name(order, name)) for name in ("strictmask", "broadmask")]
    facts = shuffled.write(
        _resolved(order),
        _field(order),
        files[0],
        job.scratch,
        noise=(order.the_input(_name(order, "noise")), files[1]),
        masks=dict(zip(masks, files[2:], strict=True)),
        options=_options(ShuffleOptions, order, "shuffle_kw"),
        stamp=_stamp(order),
    )
    job.finish(order, {path.name: path for path in files}, facts)


def _hybrid(job: Job, order: Order) -> None:
    files = [job.scratch / name for name in order.unit.outputs]
    given = {argument: order.the_input(name) for argument, name in order.unit.recipe["files"].items()}
    options = kinds.keyword_arguments("mom1wprior", prior.OPTIONS, order.unit.recipe["options"])
    facts = prior.write(given, *files, options=options, stamp=_stamp(order))
    job.finish(order, {path.name: path for path in files}, facts)


def _maps(job: Job, orders: list[Order]) -> None:
    """Make maps of one cube; the orders have the cube and its noise in common."""
    first = orders[0]
    masks: dict[str, Path] = {}
    requests = []
    for order in orders:
        mask = order.unit.recipe["mask"]
        if mask:
            masks[mask] = order.the_input(_name(order, mask, "" if mask == "broadmask" else _tag(order)))
        files = [job.scratch / name for name in order.unit.outputs]
        requests.append(
            maps.Request(
                order.unit.recipe["algorithm"],
                mask,
                files[0],
                files[1] if len(files) > 1 else None,
                order.unit.recipe["options"],
                _stamp(order),
            )
        )
    noise = first.the_input(_name(first, "noise", _tag(first)))
    written = maps.write(_resolved(first), noise, masks, requests, cores=job.cores)
    for order, facts in zip(orders, written, strict=True):
        job.finish(order, {name: job.scratch / name for name in order.unit.outputs}, facts)


_MAKERS: Mapping[str, Callable[[Job, Order], None]] = {
    "cube": _cube,
    "noise": _noise,
    "strictmask": _strict_mask,
    "broadmask": _broad_mask,
    "flatstrictmask": _flat_mask,
    "flatbroadmask": _flat_mask,
    "shuffled": _shuffled,
    "vfield": _velocity_field,
}


def _tag(order: Order) -> str:
    """Return the resolution's tag, empty for the native one."""
    return order.unit.id.step.partition("@")[2]


def _name(order: Order, ext: str, tag: str = "") -> str:
    unit = order.unit.id
    return names.cube(unit.target, unit.config, unit.product, "_".join(part for part in (tag, ext) if part))


def _resolved(order: Order) -> Path:
    """Return the cube at the order's resolution."""
    return order.the_input(_name(order, "", _tag(order)))


def _field(order: Order) -> Path:
    """Return the velocity field: a dropped input or one of ours."""
    name = order.unit.recipe["field"]
    return order.leaves[name] if name in order.leaves else order.the_input(name)


def _options(kind: type[_Options], order: Order, key: str) -> _Options:
    """Return the options of a recipe.

    Raises
    ------
    DataError
        The key gives one that does not exist.
    """
    given = dict(order.unit.recipe.get("options", {}))
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise DataError(
            f"{order.unit.id}: {key} has no option {', '.join(unknown)}", remedy=f"its options are {', '.join(known)}"
        )
    return kind(**given)


def _stamp(order: Order) -> Stamp:
    """Return what writes an order's provenance into a header (derived specification, section 15)."""

    def stamp(header: Cards, parameters: Mapping[str, Any]) -> None:
        own = software.versions(_SOFTWARE)
        parents = {name: unit for unit, files in order.inputs.items() for name in files}
        fitsio.provenance(
            header,
            unit=str(order.unit.id),
            work_key=order.work_key,
            parameters={**parameters, "parents": parents},
            software=fitsio.read_provenance(header)["software"] | own,
            inputs=order.ancestors,
        )
        header["ORIGIN"] = f"fringeflow {own['fringeflow']}"

    return stamp
