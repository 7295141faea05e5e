from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from fringeflow import fitsio, names
from fringeflow.errors import DataError
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
    "flat": Moment(name="flat", algorithm="mom0", mask="flatstrictmask", ext="_flat_mom0", round=3),
    "prior": Moment(name="prior", algorithm="mom1wprior", ext="_mom1wprior", round=2),
}


def project(**changes):
    target = Target(
        name="gal",
        ra="0",
        dec="0",
        vsys_kms=125,
        vwidth_kms=50,
        directory="gal",
        distance_mpc=changes.pop("distance", 10.0),
    )
    settings = {
        "ang_res_arcsec": {"8as": 8.0, "3as": 3.0},
        "phys_res_pc": {"500pc": 500.0},
        "mask_configs": ("b",),
        "moments": tuple(MOMENTS),
        "kwargs": {"noise_kw": {"spec_box": 5, "iterations": 2}, "strictmask_kw": {"hi_thresh": 4.0}},
    }
    line = Derived(**(settings | changes.pop("settings", {})))
    other = Derived(ang_res_arcsec={"8as": 8.0})
    configs = {name: InterfConfig(name=name, array_tags=(name,), clean_scales_arcsec=(0,)) for name in "ab"}
    return Project(
        master_key=Path("/keys/master_key.txt"),
        roots=Roots(key_dir=Path("/keys")),
        targets={"gal": target},
        interf_configs=configs,
        line_products={"co21": LineProduct(name="co21", line_tag="co21", restfreq_ghz=230.538, channel_kms=2.5)},
        cont_products={"cont": ContProduct(name="cont")},
        derived={"a": {"co21": line, "cont": Derived(ang_res_arcsec={"8as": 8.0})}, "b": {"co21": other}},
        moments=MOMENTS | changes.pop("moments", {}),
    )


def graph_of(project, facts, sources=("a/co21", "a/cont", "b/co21")):
    graph = Graph({}, lambda unit, key: facts.get((str(unit), key)))
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
        graph, _ = graph_of(project, self.facts)
        self.postprocessed(graph)
        while ready := (graph := graph_of(project, self.facts)[0]).ready():
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
        )


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path / "work")


def test_units_before_and_after_the_beam_is_known(runner):
    graph, notes = graph_of(project(), {})
    assert "cube@3as" in steps(graph)
    runner.postprocessed(graph)
    graph, notes = graph_of(project(), runner.facts)
    assert steps(graph) == {
        *(f"{name}{tag}" for name in ("cube", "noise", "strictmask") for tag in ("", "@8as", "@500pc")),
        *(f"{name}{tag}" for name in ("strictmom0", "strictmom1", "broadtpeak") for tag in ("", "@8as", "@500pc")),
        "broadmask",
    }
    assert steps(graph, product="cont") == {"cube", "noise", "cube@8as", "noise@8as"}
    text = "\n".join(notes)
    for word in ("3as", "flatstrictmask", "mom1wprior"):
        assert word in text


def test_no_distance_leaves_physical_resolutions_out():
    graph, notes = graph_of(project(distance=None), {})
    assert "cube@500pc" not in steps(graph)
    assert any("no distance" in note and "500pc" in note for note in notes)


def test_a_moment_that_is_not_in_the_key_and_nothing_to_derive():
    graph, notes = graph_of(project(settings={"moments": ("nosuch",)}), {})
    assert any("nosuch" in note for note in notes)
    assert "broadmask" in steps(graph)
    assert derived.add_units(project(), "gal", Graph({}, lambda unit, key: None)) == ()


def test_linked_configs_enter_the_broad_mask_once():
    graph, _ = graph_of(project(settings={"mask_configs": ("b", "a", "b", "absent")}), {})
    needs = [str(need.unit) for need in graph[UnitId.parse("derived/gal/a/co21/broadmask")].needs]
    assert len(needs) == len(set(needs)) == 4 + 2
    assert "derived/gal/b/co21/strictmask@8as" in needs


def test_maps_of_one_resolution_share_a_job():
    graph, _ = graph_of(project(), {})
    groups = {unit.id.step: unit.group for unit in graph if unit.group}
    assert groups["strictmom0@8as"] == groups["broadtpeak@8as"] == "derived/gal/a/co21/maps@8as"
    assert groups["strictmom0"] == "derived/gal/a/co21/maps"


def test_all_files_with_their_provenance(runner):
    runner.run(project())
    root = "gal_a_co21"
    for tag in ("", "_8as", "_500pc"):
        for ext in ("", "_noise", "_strictmask", "_strict_mom0", "_strict_emom1", "_broad_tpeak", "_broad_etpeak"):
            assert (runner.folder / f"{root}{tag}{ext}.fits").is_file()
        assert (runner.folder / f"{root}{tag}_coverage2d.fits").is_file() == bool(tag)
    native = runner.folder / f"{root}.fits"
    assert native.read_bytes() == (runner.folder / f"{root}_pbcorr_trimmed_k.fits").read_bytes()
    head = fits.getheader(runner.folder / f"{root}_8as_strict_mom0.fits")
    found = fitsio.read_provenance(head)
    assert found["inputs"] == {"incoming/gal.ms": "a" * 64}
    assert found["software"]["casa"] == "6.7"
    assert "fringeflow-derived" in found["software"]
    assert found["parameters"]["parents"][f"{root}_8as.fits"] == "derived/gal/a/co21/cube@8as"
    assert found["parameters"]["algorithm"] == "mom0"
    assert head["FFUNIT"] == "derived/gal/a/co21/strictmom0@8as"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fits.open(runner.folder / f"{root}_8as_strict_mom0.fits", checksum=True).close()
    assert fits.getheader(runner.folder / "gal_a_co21_500pc.fits")["DIST_MPC"] == 10.0
    strict, broad = (fits.getdata(runner.folder / f"{root}_{name}.fits") for name in ("strictmask", "broadmask"))
    assert strict.any()
    assert (broad >= strict).all()
    assert fits.getdata(runner.folder / "gal_a_cont_noise.fits").shape == SHAPE[1:]
    assert 3 in runner.jobs


def test_only_what_changed_is_made_again(runner):
    assert runner.run(project())
    assert runner.run(project()) == []
    broad = MOMENTS["broadtpeak"].model_copy(update={"kwargs": {"window": "10km/s"}})
    assert set(runner.run(project(moments={"broadtpeak": broad}))) == {
        f"a/co21/broadtpeak{tag}" for tag in ("", "@8as", "@500pc")
    }
    thresholds = {"noise_kw": {"spec_box": 5, "iterations": 2}, "strictmask_kw": {"hi_thresh": 6.0}}
    made = set(runner.run(project(settings={"kwargs": thresholds})))
    assert "a/co21/strictmask" in made
    assert not any("noise" in step or "cube" in step or step.startswith("b/") for step in made)


def test_a_map_alone_is_the_map_made_with_others(runner):
    runner.run(project())
    names = [f"gal_a_co21{tag}_strict_mom1.fits" for tag in ("", "_8as")]
    before = [fits.getdata(runner.folder / name) for name in names]
    runner.facts = {key: value for key, value in runner.facts.items() if "strictmom1" not in key[0]}
    assert set(runner.run(project())) == {f"a/co21/strictmom1{tag}" for tag in ("", "@8as", "@500pc")}
    for name, data in zip(names, before, strict=True):
        assert fits.getdata(runner.folder / name).tobytes() == data.tobytes()


def test_an_option_that_does_not_exist_is_named(runner):
    with pytest.raises(DataError, match="noise_kw has no option itrations"):
        runner.run(project(settings={"kwargs": {"noise_kw": {"itrations": 3}}}))
