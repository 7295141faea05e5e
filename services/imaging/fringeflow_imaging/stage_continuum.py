"""Turns an order for a continuum image into one; see `stage`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow import fitsio, names
from fringeflow.jobs.order import Job, Order
from fringeflow_imaging import continuum, gridding, orders, quality
from fringeflow_imaging.beam import Beam, common_beam
from fringeflow_imaging.cube import CleanStage
from fringeflow_imaging.export import append_weights, finished_header, header_of
from fringeflow_imaging.minor import Mask

_UNITS = {"image": "Jy/beam", "residual": "Jy/beam", "model": "Jy/pixel"}


def make_continuum(job: Job, order: Order) -> None:
    """Image, clean and write a continuum image."""
    facts, recipe, cell = orders.plan_of(order), order.unit.recipe, float(orders.plan_of(order)["cell_arcsec"])
    terms = int(recipe["tclean"].get("nterms", 2))
    image = continuum.Image(job.scratch / "image", terms)
    own = {"specmode": "mfs", "deconvolver": "mtmfs", "nterms": terms}
    parameters = orders.image_parameters(order, facts, image.root) | own
    clock = orders.Clock(job)
    clock("dirty image", lambda: gridding.dirty(parameters))
    beam = common_beam(gridding.beams(image.part("psf")))
    valid = gridding.read_valid(image.part("pb"))[0]
    given = orders.clean_mask(order, facts, None)
    limits, record = recipe["mask"], {}
    stage = orders.clean_stage(recipe["multiscale"], facts, signal_only=False)
    if given is None and "prior" in recipe:
        first = continuum.Image(job.scratch / "lowres", terms)
        given = clock("low resolution", lambda: _found_mask(first, parameters, recipe["prior"], stage, cell))
    prior = valid if given is None else valid & given[0]
    follows = continuum.automask(image, prior, stage, beam, cell)
    record["multiscale"] = clock("multiscale clean", lambda: continuum.clean(image, parameters, prior, stage, follows))
    prior = prior if follows is None else follows.mask
    mask = continuum.signal(
        image,
        beam,
        cell,
        prior,
        high_snr=limits["singlescale_mask_high_snr"],
        low_snr=limits["singlescale_mask_low_snr"],
        absolute=limits["singlescale_mask_absolute"],
        min_beams=limits["mask_min_beams"],
        grow_beams=limits.get("mask_grow_beams", 0.0),
    )
    last = orders.clean_stage(recipe["singlescale"], facts, signal_only=False)
    record["singlescale"] = clock("single-scale clean", lambda: continuum.clean(image, parameters, mask, last))
    clock("restoring", lambda: continuum.finish(parameters))
    figures = quality.CubeQuality()
    figures.add(_blanked(image.part("residual"), image), mask)
    stops: dict[str, str] = {name: reason for name, (_, reason) in record.items()}
    overlap = {} if given is None else {"clean_mask_overlap": float((valid & given[0]).sum() / max(1, given.sum()))}
    if overlap.get("clean_mask_overlap") == 0:
        stops["clean mask"] = "no pixel of it lies on the image"
    made = _write(job, order, image, mask, beam, stops)
    sums = gridding.sums_of_weights(image.part("sumwt"))
    append_weights(made[names.cube(order.unit.id.target, order.unit.id.config, order.unit.id.product, "psf")], sums)
    done = {
        "beam_arcsec": list(beam),
        "cell_arcsec": cell,
        "frequency_hz": gridding.frequency_hz(image.part("residual")),
        "pblimit": float(recipe["tclean"].get("pblimit", 0.2)),
        "stop": stops,
        "mask_pixels": int(mask.sum()),
        "sum_of_weights": sums,
        "record": {name: [asdict(row) for row in rows] for name, (rows, _) in record.items()},
        "seconds": clock.seconds,
    }
    job.finish(order, made, done | overlap | figures.report())


def _found_mask(
    image: continuum.Image, parameters: Mapping[str, Any], recipe: Mapping[str, Any], stage: CleanStage, cell: float
) -> NDArray[np.bool_]:
    """Return the clean mask, (1, ny, nx), of what is significant at low resolution."""
    own = orders.tapered(parameters, recipe) | {"imagename": str(image.root)}
    gridding.dirty(own)
    beam = common_beam(gridding.beams(image.part("psf")))
    everywhere = gridding.read_valid(image.part("pb"))[0]
    continuum.clean(image, own, everywhere, stage)
    found = continuum.signal(
        image,
        beam,
        cell,
        everywhere,
        high_snr=recipe["prior_mask_high_snr"],
        low_snr=recipe["prior_mask_low_snr"],
        absolute=False,
        min_beams=1.0,
        grow_beams=recipe["prior_mask_grow_beams"],
    )
    return found[np.newaxis]


def _write(
    job: Job, order: Order, image: continuum.Image, mask: Mask, beam: Beam, stops: Mapping[str, str]
) -> dict[str, Path]:
    unit = order.unit.id
    template = header_of(image.part("residual"), job.scratch, cube=False)
    orders.sign(template, order, stops)
    made: dict[str, Path] = {}
    for ext, (kind, term) in _products(image.terms).items():
        name = names.cube(unit.target, unit.config, unit.product, ext)
        if name not in order.unit.outputs:
            continue
        own_beam = beam if kind in ("image", "alpha", "alpha.error") else None
        header = finished_header(template, unit=_UNITS.get(kind, ""), beam=own_beam)
        made[name] = job.scratch / name
        plane = mask.astype(np.float32) if kind == "mask" else _plane(image, kind, term)
        fitsio.write_cube(made[name], header, [plane], plane.shape)
    return made


def _products(terms: int) -> dict[str, tuple[str, int]]:
    """Return extension -> (kind of CASA image, term)."""
    found = {
        f"{ext}_tt{term}".strip("_") if term else ext: (kind, term)
        for ext, kind in (("", "image"), ("residual", "residual"), ("model", "model"))
        for term in range(terms)
    }
    alone = {"mask": "mask", "pb": "pb", "psf": "psf", "weight": "weight", "alpha": "alpha"}
    return found | {ext: (kind, 0) for ext, kind in alone.items()} | {"alpha_error": ("alpha.error", 0)}


def _plane(image: continuum.Image, kind: str, term: int) -> NDArray[np.float32]:
    if kind in ("alpha", "alpha.error"):
        return _blanked(Path(f"{image.root}.{kind}"), image)
    if kind in ("model", "psf", "weight"):
        return np.asarray(gridding.read_pixels(image.part(kind, term))[0])
    return _blanked(image.part(kind, term), image)


def _blanked(path: Path, image: continuum.Image) -> NDArray[np.float32]:
    good = gridding.read_valid(path)[0] & gridding.read_valid(image.part("pb"))[0]
    return np.where(good, gridding.read_pixels(path)[0], np.float32(np.nan))
