"""A small project of two configs, the graph of what is derived of it, and a runner that makes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fringeflow import fitsio, names
from fringeflow.graph import derived
from fringeflow.graph.model import Graph, Unit, UnitId
from fringeflow.jobs.order import Job, Order
from fringeflow.keys.model import ContProduct, Derived, InterfConfig, LineProduct, Moment, Project, Roots, Target
from fringeflow_derived import stage
from tests.derived.derived_support import beam_noise, galaxy, header, write

SHAPE = (20, 40, 40)
MOMENTS = {
    "strictmom0": Moment(
        name="strictmom0", algorithm="mom0", mask="strictmask", ext="_strict_mom0", ext_error="_strict_emom0"
    ),
    "strictmom1": Moment(
        name="strictmom1", algorithm="mom1", mask="strictmask", ext="_strict_mom1", ext_error="_strict_emom1"
    ),
    "broadtpeak": Moment(
        name="broadtpeak",
        algorithm="tpeak",
        mask="broadmask",
        ext="_broad_tpeak",
        ext_error="_broad_etpeak",
        kwargs={"window": "12.5km/s"},
    ),
    "broadmom0": Moment(
        name="broadmom0", algorithm="mom0", mask="broadmask", ext="_broad_mom0", ext_error="_broad_emom0"
    ),
    "broadmom1": Moment(
        name="broadmom1", algorithm="mom1", mask="broadmask", ext="_broad_mom1", ext_error="_broad_emom1"
    ),
    "prior": Moment(
        name="prior",
        algorithm="mom1wprior",
        ext="_mom1wprior",
        ext_error="_emom1wprior",
        round=2,
        maps_to_pass=("strict_mom1", "strict_emom1", "broad_mom1", "broad_emom1", "broad_mom0", "broad_emom0"),
        other_exts={"vfield_prior": "_b_co21_8as_strict_mom1.fits"},
        kwargs={"vfield_reject_thresh": "20km/s", "mom0_thresh": 2.0},
    ),
    "flat": Moment(name="flat", algorithm="mom0", mask="flatstrictmask", ext="_flat_mom0", ext_error="_flat_emom0"),
}
ROUND_1 = ("strictmom0", "strictmom1", "broadtpeak", "broadmom0", "broadmom1")
TAGS = ("", "@8as", "@500pc")


def project(**changes):
    target = Target(
        name="gal",
        ra="0",
        dec="0",
        vsys_kms=125,
        vwidth_kms=50,
        directory="gal",
        distance_mpc=changes.pop("distance", 10.0),
        window=changes.pop("window", "20km/s"),
        vfield_file=changes.pop("vfield_file", None),
    )
    settings = {
        "ang_res_arcsec": {"8as": 8.0, "3as": 3.0},
        "phys_res_pc": {"500pc": 500.0},
        "mask_configs": ("b",),
        "moments": tuple(MOMENTS),
        "kwargs": {"noise_kw": {"spec_box": 5, "iterations": 2}, "strictmask_kw": {"hi_thresh": 4.0}},
    }
    line = Derived(**(settings | changes.pop("settings", {})))
    other = Derived(ang_res_arcsec={"8as": 8.0}, moments=changes.pop("other_moments", ("strictmom1",)))
    configs = {name: InterfConfig(name=name, array_tags=(name,), clean_scales_arcsec=(0,)) for name in "ab"}
    return Project(
        master_key=Path("/keys/master_key.txt"),
        roots=Roots(key_dir=Path("/keys"), vfield=changes.pop("vfield_root", ())),
        targets={"gal": target},
        interf_configs=configs,
        line_products={"co21": LineProduct(name="co21", line_tag="co21", restfreq_ghz=230.538, channel_kms=2.5)},
        cont_products={"cont": ContProduct(name="cont")},
        derived={"a": {"co21": line, "cont": Derived(ang_res_arcsec={"8as": 8.0})}, "b": {"co21": other}},
        moments=MOMENTS | changes.pop("moments", {}),
    )


def graph_of(project, facts, sources=("a/co21", "a/cont", "b/co21"), leaves=None):
    graph = Graph(leaves or {}, lambda unit, key: facts.get((str(unit), key)))
    for source in sources:
        config, product = source.split("/")
        name = names.cube("gal", config, product, "pbcorr_trimmed_k")
        unit = UnitId(stage="postprocess", target="gal", config=config, product=product)
        graph.add(Unit(id=unit, revision=1, recipe={}, outputs=(name, "other.fits")))
    return graph, derived.add_units(project, "gal", graph)


def steps(graph, config="a", product="co21"):
    return {
        unit.id.step
        for unit in graph
        if (unit.id.stage, unit.id.config, unit.id.product) == ("derived", config, product)
    }


class Runner:
    """Makes units in a folder, remembering what was made by work key."""

    def __init__(self, folder):
        self.folder = folder
        self.facts, self.files, self.made, self.jobs = {}, {}, [], []
        self.leaves = {}
        folder.mkdir()
        rng = np.random.default_rng(1)
        for number, (config, product) in enumerate((("a", "co21"), ("a", "cont"), ("b", "co21"))):
            unit = f"postprocess/gal/{config}/{product}"
            shape = SHAPE if product == "co21" else SHAPE[1:]
            data = beam_noise(rng, (20, *SHAPE[1:]), 5.0) * 0.1
            data = data + galaxy(SHAPE, 100 + 2.5 * np.arange(20), peak=2 - number / 2)
            data[:, :2] = np.nan
            data = data if len(shape) == 3 else data[0]
            head = header(beam=(5.0, 4.5, 20.0), axis="VRAD" if len(shape) == 3 else "")
            fitsio.provenance(head, unit=unit, work_key="p" * 64, parameters={}, software={"casa": "6.7"}, inputs={})
            path = write(folder / names.cube("gal", config, product, "pbcorr_trimmed_k"), data, head)
            self.files[unit] = {path.name: path}

    def postprocessed(self, graph):
        for unit in graph:
            if unit.id.stage == "postprocess":
                self.facts[str(unit.id), graph.key(unit.id)] = {"beam_arcsec": [5.0, 4.5, 20.0], "shape": list(SHAPE)}

    def run(self, project):
        """Make all that is not made; return the steps made, as config/step."""
        done = []
        digests = dict.fromkeys(self.leaves, "d" * 64)
        graph, _ = graph_of(project, self.facts)
        self.postprocessed(graph)
        while ready := (graph := graph_of(project, self.facts, leaves=digests)[0]).ready():
            group = ready[0].group
            chosen = [unit for unit in ready if group and unit.group == group] or ready[:1]
            orders = tuple(self.order(graph, unit) for unit in chosen)
            job = Job(orders, self.folder)
            stage.make(job)
            for unit in chosen:
                made = job.made[str(unit.id)]
                self.facts[str(unit.id), graph.key(unit.id)] = made.facts
                self.files[str(unit.id)] = made.outputs
                done.append(f"{unit.id.config}/{unit.id.product}/{unit.id.step}")
            self.jobs.append(len(chosen))
        assert all(graph.made(unit.id) for unit in graph)
        return done

    def order(self, graph, unit):
        needs = [str(need.unit) for need in unit.needs]
        return Order(
            unit=unit,
            work_key=graph.key(unit.id),
            inputs={need: self.files[need] for need in needs},
            ancestors={"incoming/gal.ms": "a" * 64},
            leaves={name: self.leaves[name] for name in unit.leaves},
        )


def needs(graph, step, config="a"):
    return [str(need.unit) for need in graph[UnitId.parse(f"derived/gal/{config}/co21/{step}")].needs]
