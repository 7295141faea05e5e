"""Which units there are of what is derived, and what they need."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import pytest

from fringeflow import drops
from fringeflow.graph import derived
from fringeflow.graph.derived_maps import HYBRID, OF_CUBES
from fringeflow.graph.model import Graph, UnitId
from fringeflow.keys.derived_options import MAP_ARGUMENTS, MOMENT_OPTIONS, PRODUCT_OPTIONS
from fringeflow_derived import prior
from fringeflow_derived.convolved import ConvolveOptions
from fringeflow_derived.kinds import KINDS
from fringeflow_derived.masks import StrictOptions
from fringeflow_derived.noise import NoiseOptions
from fringeflow_derived.products import BroadOptions
from fringeflow_derived.shuffle import ShuffleOptions
from tests.derived.derivation import MOMENTS, graph_of, needs, project, steps


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
