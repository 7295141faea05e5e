"""Units of the derived stage as they are made."""

from __future__ import annotations

import shutil
import warnings
from copy import copy

import numpy as np
import pytest
from astropy.io import fits

from fringeflow import fitsio
from fringeflow.errors import DataError
from tests.derived.derivation import MOMENTS, ROUND_1, SHAPE, TAGS, Runner, graph_of, project, steps
from tests.derived.derived_support import header, write


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
