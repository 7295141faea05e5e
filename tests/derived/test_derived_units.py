from __future__ import annotations

import inspect
import shutil
import warnings
from copy import copy
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from fringeflow import drops, fitsio, names
from fringeflow.errors import DataError
from fringeflow.graph import derived
from fringeflow.graph.derived_maps import HYBRID, OF_CUBES
from fringeflow.graph.model import Graph, Unit, UnitId
from fringeflow.jobs.order import Job, Order
from fringeflow.keys.derived_options import MAP_ARGUMENTS, MOMENT_OPTIONS, PRODUCT_OPTIONS
from fringeflow.keys.model import ContProduct, Derived, InterfConfig, LineProduct, Moment, Project, Roots, Target
from fringeflow_derived import prior, stage
from fringeflow_derived.convolved import ConvolveOptions
from fringeflow_derived.kinds import KINDS
from fringeflow_derived.masks import StrictOptions
from fringeflow_derived.noise import NoiseOptions
from fringeflow_derived.products import BroadOptions
from fringeflow_derived.shuffle import ShuffleOptions
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


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path / "work")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A runner that has made everything, to be looked at only."""
    found = Runner(tmp_path_factory.mktemp("finished") / "work")
    found.run(project())
    return found


@pytest.fixture
def made(finished, tmp_path):
    """A copy of it to go on with."""
    found = copy(finished)
    found.folder = shutil.copytree(finished.folder, tmp_path / "work")
    found.facts, found.jobs = dict(finished.facts), list(finished.jobs)
    found.files = {unit: {name: found.folder / name for name in files} for unit, files in finished.files.items()}
    return found


def test_units_before_and_after_the_beam_is_known(runner):
    graph, notes = graph_of(project(), {})
    assert "cube@3as" in steps(graph)
    runner.postprocessed(graph)
    graph, notes = graph_of(project(), runner.facts)
    masks = ("strictmask", "flatstrictmask", "flatbroadmask")
    assert steps(graph) == {
        *(f"{name}{tag}" for name in ("cube", "noise", *masks, *MOMENTS) for tag in TAGS),
        *("broadmask", "vfield", "shuffled"),
    }
    assert steps(graph, product="cont") == {"cube", "noise", "cube@8as", "noise@8as"}
    assert any("3as" in note for note in notes)
    assert not any("left out:" in note for note in notes if "cont" not in note)


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


def test_all_files_with_their_provenance(finished):
    root = "gal_a_co21"
    for tag in ("", "_8as", "_500pc"):
        for ext in ("", "_noise", "_strictmask", "_strict_mom0", "_strict_emom1", "_broad_tpeak", "_broad_etpeak"):
            assert (finished.folder / f"{root}{tag}{ext}.fits").is_file()
        assert (finished.folder / f"{root}{tag}_coverage2d.fits").is_file() == bool(tag)
    native = finished.folder / f"{root}.fits"
    assert native.read_bytes() == (finished.folder / f"{root}_pbcorr_trimmed_k.fits").read_bytes()
    head = fits.getheader(finished.folder / f"{root}_8as_strict_mom0.fits")
    found = fitsio.read_provenance(head)
    assert found["inputs"] == {"incoming/gal.ms": "a" * 64}
    assert found["software"]["casa"] == "6.7"
    assert "fringeflow-derived" in found["software"]
    assert found["parameters"]["parents"][f"{root}_8as.fits"] == "derived/gal/a/co21/cube@8as"
    assert found["parameters"]["algorithm"] == "mom0"
    assert head["FFUNIT"] == "derived/gal/a/co21/strictmom0@8as"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fits.open(finished.folder / f"{root}_8as_strict_mom0.fits", checksum=True).close()
    assert fits.getheader(finished.folder / "gal_a_co21_500pc.fits")["DIST_MPC"] == 10.0
    strict, broad = (fits.getdata(finished.folder / f"{root}_{name}.fits") for name in ("strictmask", "broadmask"))
    assert strict.any()
    assert (broad >= strict).all()
    assert fits.getdata(finished.folder / "gal_a_cont_noise.fits").shape == SHAPE[1:]
    assert len(ROUND_1) in finished.jobs
    for tag in ("", "_8as", "_500pc"):
        for ext in ("_mom1wprior", "_emom1wprior", "_flatstrictmask", "_flatbroadmask", "_flat_mom0", "_flat_emom0"):
            assert (finished.folder / f"{root}{tag}{ext}.fits").is_file()
    for ext in ("", "_noise", "_strictmask", "_broadmask"):
        assert fits.getheader(finished.folder / f"{root}_shuffled{ext}.fits")["CRVAL3"] == 0


def test_only_what_changed_is_made_again(made):
    assert made.run(project()) == []
    broad = MOMENTS["broadtpeak"].model_copy(update={"kwargs": {"window": "10km/s"}})
    assert set(made.run(project(moments={"broadtpeak": broad}))) == {
        f"a/co21/broadtpeak{tag}" for tag in ("", "@8as", "@500pc")
    }
    thresholds = {"noise_kw": {"spec_box": 5, "iterations": 2}, "strictmask_kw": {"hi_thresh": 6.0}}
    made = set(made.run(project(settings={"kwargs": thresholds})))
    assert "a/co21/strictmask" in made
    assert not any("noise" in step or "cube" in step for step in made)
    # The other config has no velocity field of its own: its flat masks go by this one's.
    assert {step for step in made if step.startswith("b/")} == {
        f"b/co21/{step}"
        for step in ("shuffled", *(f"flat{kind}mask{tag}" for kind in ("strict", "broad") for tag in ("", "@8as")))
    }


def test_a_map_alone_is_the_map_made_with_others(made):
    names = [f"gal_a_co21{tag}_strict_mom1.fits" for tag in ("", "_8as")]
    before = [fits.getdata(made.folder / name) for name in names]
    made.facts = {key: value for key, value in made.facts.items() if "a/co21/strictmom1" not in key[0]}
    assert set(made.run(project())) == {f"a/co21/strictmom1{tag}" for tag in ("", "@8as", "@500pc")}
    for name, data in zip(names, before, strict=True):
        assert fits.getdata(made.folder / name).tobytes() == data.tobytes()


def test_an_option_that_does_not_exist_is_named(runner):
    with pytest.raises(DataError, match="noise_kw has no option itrations"):
        runner.run(project(settings={"kwargs": {"noise_kw": {"itrations": 3}}}))


def needs(graph, step, config="a"):
    return [str(need.unit) for need in graph[UnitId.parse(f"derived/gal/{config}/co21/{step}")].needs]


def test_maps_come_after_the_maps_they_are_made_of():
    """Rounds follow from what a map needs, not from the numbers of the moment key, and no map is lost without a second.

    W5, section 9.1: the reference runs the distinct rounds that are present in its three stages.
    """
    graph, _ = graph_of(project(), {})
    expected = [f"derived/gal/a/co21/{name}@8as" for name in ("strictmom1", "broadmom1", "broadmom0")]
    assert needs(graph, "prior@8as") == [*expected, "derived/gal/b/co21/strictmom1@8as"]
    layers = [
        f"derived/gal/{config}/co21/prior{tag}"
        for config, tag in (("a", ""), ("a", "@8as"), ("a", "@3as"), ("a", "@500pc"))
    ]
    assert needs(graph, "vfield") == layers
    assert needs(graph, "flat@8as")[-1] == "derived/gal/a/co21/flatstrictmask@8as"
    graph, _ = graph_of(
        project(settings={"moments": ("strictmom0", "flat")}, vfield_file="v.fits", vfield_root=(Path("/v"),)),
        {},
        leaves={"vfield/v.fits": "f" * 64},
    )
    assert "flat@8as" in steps(graph)


@pytest.mark.parametrize(
    ("exts", "expected"),
    [
        ("_b_co21_8as_strict_mom1.fits", "derived/gal/b/co21/strictmom1@8as"),
        (("_c_co21_strict_mom1.fits", "_b_co21_strict_mom1.fits"), "derived/gal/b/co21/strictmom1"),
        (("_c_co21_strict_mom1.fits",), None),
    ],
)
def test_the_first_prior_that_there_is_counts_and_none_is_needed(exts, expected):
    """Section 10: the reference skips the map of a target without the one prior."""
    prior = MOMENTS["prior"].model_copy(update={"other_exts": {"vfield_prior": exts}})
    graph, _ = graph_of(project(moments={"prior": prior}), {})
    unit = graph[UnitId.parse("derived/gal/a/co21/prior")]
    assert ("vfield_prior" in unit.recipe["files"]) == (expected is not None)
    assert needs(graph, "prior")[-1] == (expected or "derived/gal/a/co21/broadmom0")


def test_a_hybrid_field_without_its_maps_is_noted():
    graph, notes = graph_of(project(settings={"moments": ("strictmom1", "prior")}), {})
    assert "prior" not in steps(graph)
    assert any("prior left out" in note and "gal_a_co21_broad_mom1.fits" in note for note in notes)
    assert any("no velocity field" in note for note in notes)
    assert not steps(graph) & {"shuffled", "flatstrictmask", "vfield"}


def test_maps_that_need_each_other_are_noted():
    circle = MOMENTS["prior"].model_copy(update={"other_exts": {"strict_emom1": "_a_co21_mom1wprior.fits"}})
    graph, notes = graph_of(project(moments={"prior": circle}), {})
    assert "prior" not in steps(graph)
    assert any("prior left out" in note for note in notes)


def test_a_dropped_velocity_field_goes_before_ours_and_is_never_written():
    """W5: the reference's master switch overwrites it."""
    wanted = project(vfield_file="v.fits", vfield_root=(Path("/v"),))
    without, _ = graph_of(wanted, {})
    assert needs(without, "shuffled")[-1] == "derived/gal/a/co21/vfield"
    assert "vfield/v.fits" in drops.names(without)
    dropped, _ = graph_of(wanted, {}, leaves={"vfield/v.fits": "f" * 64})
    for step in ("shuffled", "flatstrictmask@8as", "flatbroadmask"):
        unit = dropped[UnitId.parse(f"derived/gal/a/co21/{step}")]
        assert unit.leaves == ("vfield/v.fits",)
        assert not any(str(need.unit).endswith("vfield") for need in unit.needs)
    ours = dropped[UnitId.parse("derived/gal/a/co21/vfield")]
    assert ours.outputs == tuple(f"gal_a_co21_combined_velocity_field{end}.fits" for end in ("", "_source"))


def test_a_velocity_field_is_looked_for_before_anything_could_read_it():
    wanted = project(settings={"moments": ()}, other_moments=(), vfield_file="v.fits", vfield_root=(Path("/v"),))
    graph, notes = graph_of(wanted, {})
    assert drops.names(graph) == ["vfield/v.fits"]
    assert sum("no velocity field" in note for note in notes) == 2
    graph, notes = graph_of(wanted, {}, leaves={"vfield/v.fits": "f" * 64})
    assert {"shuffled", "flatbroadmask@8as"} <= steps(graph, "b")
    assert drops.roots_for("vfield/v.fits", wanted.roots) == ((Path("/v"),), "v.fits")


def test_no_window_no_flat_masks():
    """W5: a target that is missing from the window key crashes the reference's stages 7 to 9."""
    graph, notes = graph_of(project(window=None), {})
    assert not any("flat" in step for step in steps(graph))
    assert any("no velocity window, so flatstrictmask" in note for note in notes)
    assert "shuffled" in steps(graph)


def test_the_window_of_the_key_goes_into_both_flat_masks():
    """W1b: the reference hands it to the strict one under a wrong name; a number without a unit fails (section 13)."""
    graph, _ = graph_of(project(settings={"kwargs": {"flatbroadmask_kw": {"window": 30}}}), {})
    recipes = [graph[UnitId.parse(f"derived/gal/a/co21/flat{kind}mask@8as")].recipe for kind in ("strict", "broad")]
    assert [recipe["window_kms"] for recipe in recipes] == [20.0, 30.0]


def test_flat_masks_carry_their_resolution(finished):
    """W1: in the reference each resolution overwrites the one before."""
    found = [fits.getdata(finished.folder / f"gal_a_co21{tag}_flatstrictmask.fits") for tag in ("", "_8as")]
    assert (found[0] != found[1]).any()
    for tag, flat in zip(("", "_8as"), found, strict=True):
        strict = fits.getdata(finished.folder / f"gal_a_co21{tag}_strictmask.fits")
        assert (flat >= strict).all()
        beams = [
            fits.getheader(finished.folder / f"gal_a_co21{tag}{ext}.fits")["BMAJ"] for ext in ("", "_flatstrictmask")
        ]
        assert beams[0] == beams[1]


def test_an_empty_list_of_maps_stops_nothing(runner):
    """W7b: the reference's moment stage aborts."""
    none = {"moments": (), "ang_res_arcsec": {}, "phys_res_pc": {}}
    assert "a/co21/broadmask" in runner.run(project(settings=none, other_moments=()))


def test_an_image_of_noise_for_continuum(finished):
    """W7: the reference aborts for continuum and for cubes of 15 channels or fewer."""
    noise = fits.getdata(finished.folder / "gal_a_cont_noise.fits")
    assert noise.shape == SHAPE[1:]
    assert np.isfinite(noise[2:]).all()
    assert 0.05 < np.median(noise[2:]) < 0.2


def test_no_key_is_changed_by_what_is_made(runner):
    """W21: the reference's key objects gather paths and names while it runs."""
    wanted = project(settings={"ang_res_arcsec": {}, "phys_res_pc": {}})
    before = wanted.digest
    assert runner.run(wanted)
    assert wanted.digest == before


def test_the_options_of_the_keys_are_those_of_the_science():
    """W19: every option that the keys know has an effect, and the other way round."""
    kinds = {
        "convolve_kw": ConvolveOptions,
        "noise_kw": NoiseOptions,
        "strictmask_kw": StrictOptions,
        "broadmask_kw": BroadOptions,
        "shuffle_kw": ShuffleOptions,
    }
    for name, kind in kinds.items():
        assert set(PRODUCT_OPTIONS[name]) == {field.name for field in fields(kind)}
    for algorithm, kind in KINDS.items():
        parameters = set(inspect.signature(kind.make).parameters) - {"spectra", "channels"}
        assert set(MOMENT_OPTIONS[algorithm]) == {name.removesuffix("_kms") for name in parameters}
    assert set(MOMENT_OPTIONS["mom1wprior"]) == {name.removesuffix("_kms") for name in prior.OPTIONS}
    arguments = set(inspect.signature(prior.hybrid).parameters) - set(prior.OPTIONS)
    assert set(MAP_ARGUMENTS["mom1wprior"]) == arguments
    assert set(MOMENT_OPTIONS) == {*OF_CUBES, HYBRID}


def test_a_resolution_that_is_out_of_reach_leaves_no_stale_file(finished):
    """W18: the reference goes on with the file of an earlier run; here it belongs to a work key that is no more."""
    made = {unit for unit, _ in finished.facts}
    assert "derived/gal/a/co21/cube@8as" in made
    tight = project(settings={"ang_res_arcsec": {"8as": 4.0}, "kwargs": {"convolve_kw": {"tol": 0.1}}})
    graph, notes = graph_of(tight, finished.facts)
    assert not any(step.endswith("@8as") for step in steps(graph))
    assert any("8as (4 arcsec) is finer than the beam" in note for note in notes)


def test_a_dropped_velocity_field_is_what_is_used(runner):
    """The files made with it say so."""
    field = write(runner.folder / "v.fits", np.full((30, 30), 125.0), header(axis="", unit="km s-1", cell_arcsec=2.0))
    none = {"moments": (), "ang_res_arcsec": {}, "phys_res_pc": {}}
    wanted = project(vfield_file="v.fits", vfield_root=(runner.folder,), settings=none, other_moments=())
    runner.leaves = {"vfield/v.fits": field}
    runner.run(wanted)
    flat = fits.getdata(runner.folder / "gal_b_co21_flatstrictmask.fits")
    strict = fits.getdata(runner.folder / "gal_b_co21_strictmask.fits")
    velocity = 100 + 2.5 * np.arange(20)
    assert (flat[:, 20, 20] == ((np.abs(velocity - 125) <= 10) | (strict[:, 20, 20] > 0))).all()
    cards = fits.getheader(runner.folder / "gal_b_co21_shuffled.fits")
    assert fitsio.read_provenance(cards)["parameters"]["field"] == "v.fits"
