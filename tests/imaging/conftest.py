"""Runs imaging's units one after the other in this process, as the service would in many."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from astropy.coordinates import SkyCoord

from fringeflow import names
from fringeflow.graph import imaging
from fringeflow.graph.model import Graph, Unit, UnitId
from fringeflow.jobs.order import Job, Order
from fringeflow.keys.model import (
    IMAGING_STAGES,
    ContProduct,
    InterfConfig,
    LineProduct,
    Project,
    Recipe,
    Roots,
    Target,
)
from fringeflow_imaging.stage import make

RECIPE = {
    "datacolumn": "corrected",
    "gridder": "standard",
    "pblimit": 0.2,
    "weighting": "briggs",
    "robust": 0.5,
    "perchanweightdensity": True,
    "gain": 0.1,
    "cyclefactor": 1.5,
    "minpsffraction": 0.2,
    "maxpsffraction": 0.8,
    "smallscalebias": 0.6,
}


def project(ra_deg=180.0, dec_deg=-30.0, overrides=None, cleanmask=None, recipe=None, **stages):
    """A project of one target `disc` with a line product `co` and a continuum product `cont`."""
    place = SkyCoord(ra_deg, dec_deg, unit="deg").to_string("hmsdms").split()
    base = RECIPE | (recipe or {})
    layers = {stage: Recipe(files=("all.clean",), parameters=base | stages.get(stage, {})) for stage in IMAGING_STAGES}
    return Project(
        master_key=Path("/keys/master_key.txt"),
        roots=Roots(key_dir=Path("/keys")),
        targets={
            "disc": Target(
                name="disc", ra=place[0], dec=place[1], vsys_kms=1000.0, vwidth_kms=80.0, directory="disc",
                cleanmask=cleanmask or {},
            )
        },
        interf_configs={"7m": InterfConfig(name="7m", array_tags=("7m",), clean_scales_arcsec=(0.0, 2.0, 4.0))},
        line_products={"co": LineProduct(name="co", line_tag="co21", restfreq_ghz=230.538, channel_kms=5.0)},
        cont_products={"cont": ContProduct(name="cont")},
        recipes={"7m": {product: dict(layers) for product in ("co", "cont")}},
        overrides={"disc": {name: str(value) for name, value in (overrides or {}).items()}},
    )  # fmt: skip


def graph_of(wanted: Project, products=("co",), made=None, leaves=None) -> Graph:
    """The imaging graph of products that are staged, with what has been made: work key -> facts."""
    graph = Graph(leaves or {}, lambda unit, key: (made or {}).get(key))
    for product in products:
        unit = UnitId(stage="staging", target="disc", config="7m", product=product)
        graph.add(Unit(id=unit, revision=1, recipe={}, outputs=(names.visibilities("disc", "7m", product),)))
    imaging.add_units(wanted, "disc", graph)
    return graph


class Run:
    """What was made: facts and files by unit."""

    def __init__(self) -> None:
        self.facts: dict[str, Mapping[str, Any]] = {}
        self.files: dict[str, Mapping[str, Path]] = {}

    def image(self, product="co") -> tuple[Mapping[str, Any], Mapping[str, Path]]:
        unit = f"imaging/disc/7m/{product}"
        return self.facts[unit], {
            name.removeprefix(f"disc_7m_{product}").strip("_").removesuffix(".fits").strip("."): path
            for name, path in self.files[unit].items()
        }


def run_imaging(
    wanted: Project, ms: Path, scratch: Path, product="co", leaves: Mapping[str, Path] | None = None
) -> Run:
    """Make everything of one product."""
    scratch.mkdir(parents=True, exist_ok=True)
    done, keys = Run(), dict.fromkeys(leaves or {}, "digest")
    made: dict[str, Any] = {}
    while True:
        graph = graph_of(wanted, (product,), made, keys)
        ready = graph.ready()
        if not ready:
            return done
        for unit in ready:
            name, key = str(unit.id), graph.key(unit.id)
            if unit.id.stage == "staging":
                made[key], done.files[name] = {}, {names.visibilities("disc", "7m", product): ms}
                continue
            place = scratch / name.replace("/", "_")
            place.mkdir()
            order = Order(
                unit,
                key,
                {str(need.unit): done.files[str(need.unit)] for need in unit.needs if need.fetch},
                {leaf: (leaves or {})[leaf] for leaf in unit.leaves},
                {str(need.unit): graph.facts(need.unit) for need in unit.needs},
            )
            job = Job((order,), place)
            make(job)
            facts = json.loads(json.dumps(job.made[name].facts))  # as they come back from a manifest
            made[key], done.facts[name], done.files[name] = facts, facts, job.made[name].outputs


@pytest.fixture(scope="session")
def make_project():
    return project


@pytest.fixture(scope="session")
def make_graph():
    return graph_of


@pytest.fixture(scope="session")
def run_all():
    return run_imaging


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a job has one: CASA names files in the current folder by rows and frequencies, the same in every process."""
    monkeypatch.chdir(tmp_path)
