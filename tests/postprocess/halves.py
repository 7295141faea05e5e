"""A galaxy in two halves whose sky is a sum of Gaussians, seen by an interferometer and a single dish, and its project.

A Gaussian seen with a Gaussian beam is a Gaussian, so every image is exact wherever on the sky it lies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits

from fringeflow import names
from fringeflow.embedded import EmbeddedRun, Outcome
from fringeflow.graph import postprocess
from fringeflow.graph.build import Selection
from fringeflow.graph.model import Graph, Lookup, Unit, UnitId
from fringeflow.keys.model import (
    IMAGING_STAGES,
    FeatherConfig,
    InterfConfig,
    LineProduct,
    Project,
    Recipe,
    Roots,
    Target,
)
from fringeflow.settings import JobSettings
from fringeflow.workdir import Workdir
from fringeflow.world import Observer
from fringeflow_postprocess.sky import Sky

REST = 230.538e9
PIXEL, BEAM, DISH = 0.5, 2.0, 12.0
LARGEST = 20.0
"""Scale (arcsec) beyond which the interferometer sees nothing."""

HALVES = ("gal_1", "gal_2")
SOURCES = ((0.0, 0.0, 10.0, 20.0), (90.0, 13.0, 0.0, 0.5), (270.0, 13.0, 0.0, 0.5), (0.0, 9.0, 0.0, 0.5))
"""Direction and distance (degrees, arcsec) from the middle, size (arcsec) and flux (Jy); the last is on the seam."""

SPECTRUM = np.array([0.0, 0.5, 1.0, 1.0, 0.25, 0.0])


def places(middle: SkyCoord) -> list[SkyCoord]:
    """Return where the sources are."""
    return [middle.directional_offset_by(a * units.deg, d * units.arcsec) for a, d, _, _ in SOURCES]


def seen(grid: Sky, middle: SkyCoord, beam: float, *, without: float | None = None) -> np.ndarray:
    """Return the sky in Jy/beam, without what is smooth on scales of `without` arcsec."""
    y, x = np.indices(grid.shape)
    points = grid.wcs.pixel_to_world(x, y)
    total = np.zeros(grid.shape)
    for place, (_, _, size, flux) in zip(places(middle), SOURCES, strict=True):
        apart = points.separation(place).arcsec
        for sign, extra in ((1, 0.0), (-1, without)):
            if extra is not None:
                width2 = size**2 + beam**2 + extra**2
                total += sign * flux * beam**2 / width2 * np.exp(-4 * math.log(2) * apart**2 / width2)
    return total


def header_at(place: SkyCoord, shape: Sequence[int], pixel: float, beam: float, unit: str) -> fits.Header:
    """Return the header of a cube about `place`, with channels of 2.5 km/s from 1000 km/s on."""
    header = fits.Header()
    for axis, kind, value, step, middle, name in (
        (1, "RA---SIN", place.ra.deg, -pixel / 3600, shape[2] // 2 + 1, "deg"),
        (2, "DEC--SIN", place.dec.deg, pixel / 3600, shape[1] // 2 + 1, "deg"),
        (3, "VRAD", 1e6, 2500.0, 1, "m/s"),
    ):
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = kind, value, step
        header[f"CRPIX{axis}"], header[f"CUNIT{axis}"] = float(middle), name
    header["RADESYS"], header["RESTFRQ"], header["SPECSYS"], header["BUNIT"] = "ICRS", REST, "LSRK", unit
    header["BMAJ"] = header["BMIN"] = beam / 3600
    header["BPA"] = 0.0
    return header


def drop_half(folder: Path, name: str, middle: SkyCoord, *, sigma: float = 0.002) -> None:
    """Write what imaging makes of one half: an image of even noise, and its primary beam."""
    number = HALVES.index(name)
    shape = (len(SPECTRUM), 90, 80)
    place = middle.directional_offset_by((90, 270)[number] * units.deg, 10 * units.arcsec)
    header = header_at(place, shape, PIXEL, BEAM, "Jy/beam")
    grid = Sky.of(header, shape)
    y, x = np.indices(grid.shape)
    response = np.exp(-4 * math.log(2) * ((x - 40) ** 2 + (y - 45) ** 2) / 90**2)
    truth = seen(grid, middle, BEAM, without=LARGEST)
    noise = sigma * np.random.default_rng(number).normal(size=shape)
    data = SPECTRUM[:, None, None] * truth * response + noise
    inside = response >= 0.25
    header["BUNIT"] = "Jy/beam"
    fits.writeto(folder / f"{name}.fits", np.where(inside, data, np.nan).astype(np.float32), header)
    cube = np.broadcast_to(np.where(inside, response, np.nan), shape).astype(np.float32)
    fits.writeto(folder / f"{name}_pb.fits", cube, header)


def drop_dish(folder: Path, middle: SkyCoord) -> None:
    """Write the single dish's cube: in K, on coarser pixels and half as wide channels, with a Stokes axis."""
    shape = (2 * len(SPECTRUM) + 4, 44, 40)
    header = header_at(middle, shape, 2.5, DISH, "K")
    header["CRVAL3"], header["CDELT3"] = 1e6 - 0.625e3 - 2500.0, 1250.0
    header.update({"CTYPE4": "STOKES", "CRVAL4": 1.0, "CDELT4": 1.0, "CRPIX4": 1.0})
    jansky = seen(Sky.of(header, shape), middle, DISH)
    velocity = header["CRVAL3"] + 1250.0 * np.arange(shape[0])
    sr = math.pi / (4 * math.log(2)) * (math.radians(DISH / 3600)) ** 2
    kelvin = 1e-26 * 299792458.0**2 / (2 * 1.380649e-23 * (REST * (1 - velocity / 299792458.0)) ** 2 * sr)
    spectrum = np.concatenate([[0, 0], np.repeat(SPECTRUM, 2), [0, 0]])
    data = (kelvin * spectrum)[:, None, None] * jansky
    fits.writeto(folder / "tp.fits", data[None].astype(np.float32), header)


def project(
    folder: Path,
    middle: SkyCoord,
    overrides: Mapping[str, Mapping[str, str]] | None = None,
    dish: str = "tp.fits",
) -> Project:
    """Return the project of the two halves, their mosaic, and a single dish, whose image is called `dish`."""
    place = {"ra": middle.ra.to_string(unit="hourangle"), "dec": middle.dec.to_string(unit="deg")}
    common = {**place, "vsys_kms": 1000, "vwidth_kms": 30, "directory": "gal", "singledish": {"co21": dish}}
    targets = {name: Target(name=name, mosaic_parent="gal", **common) for name in HALVES}
    targets["gal"] = Target(name="gal", mosaic_parts=HALVES, **common)
    return Project(
        master_key=folder / "master_key.txt",
        roots=Roots(key_dir=folder, ms=(folder,), singledish=(folder,)),
        targets=targets,
        interf_configs={
            "7m": InterfConfig(name="7m", array_tags=("7m",), clean_scales_arcsec=(0,), feather_configs=("7m+tp",))
        },
        feather_configs={"7m+tp": FeatherConfig(name="7m+tp", interf_config="7m")},
        line_products={"co21": LineProduct(name="co21", line_tag="co21", restfreq_ghz=REST / 1e9, channel_kms=2.5)},
        recipes={"7m": {"co21": {stage: Recipe(files=(), parameters={}) for stage in IMAGING_STAGES}}},
        overrides=overrides or {},
    )


def build(project: Project, target: str, leaves: Mapping[str, str], lookup: Lookup) -> Graph:
    """Return the graph of a target whose images are dropped ready-made, instead of measurement sets."""
    graph = Graph(leaves, lookup)
    for name in (*project.targets[target].mosaic_parts, target):
        if name in HALVES:
            unit = UnitId("imaging", name, "7m", "co21")
            outputs = tuple(names.cube(name, "7m", "co21", ext) for ext in ("", "pb"))
            files = tuple(f"incoming/{name}{ext}.fits" for ext in ("", "_pb"))
            graph.add(Unit(id=unit, revision=1, recipe={}, leaves=files, outputs=outputs, fact="cube.imaged"))
        postprocess.add_units(project, name, graph)
    return graph


def run(
    folder: Path,
    middle: SkyCoord,
    *,
    targets: tuple[str, ...] = (),
    of_parts: bool = False,
    dish: str = "tp.fits",
    **overrides: str,
) -> Outcome:
    """Make all that can be made of what lies in `folder`, in ``folder/work``.

    `of_parts`: only the parts have single-dish data, not the mosaic.
    """
    asked = project(folder, middle, {"all": overrides} if overrides else None, dish)
    if of_parts:
        mosaic = asked.targets["gal"].model_copy(update={"singledish": {}})
        asked = asked.model_copy(update={"targets": {**asked.targets, "gal": mosaic}})
    return EmbeddedRun(
        asked,
        Workdir(folder / "work"),
        Selection(targets=targets),
        Observer(),
        jobs=JobSettings(count=1),
        builder=build,
        make="tests.postprocess.halves_stage:make",
    ).run()
