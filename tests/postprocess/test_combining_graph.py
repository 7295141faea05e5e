"""Which units put images together, what they wait for, and what the overrides decide."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from astropy.coordinates import SkyCoord

from fringeflow.catalogue import Catalogue
from fringeflow.errors import DataError
from fringeflow.graph.build import Build, Selection
from fringeflow.graph.model import Graph, UnitId
from fringeflow.keys.model import Measurement, Project
from fringeflow.sources import NoManifests
from tests.postprocess import halves

HERE = SkyCoord(150.0, -30.0, unit="deg")


def project(overrides: Mapping[str, Mapping[str, str]] | None = None, **targets: Mapping[str, Any]) -> Project:
    """The halves with measurement sets; `targets` changes members of theirs."""
    made = halves.project(Path("/keys"), HERE, overrides)
    changed = {}
    for name, target in made.targets.items():
        row = Measurement(target=name, project="p", array_tag="7m", obsnum="1", field="all", path=f"{name}.ms")
        own: dict[str, Any] = {"measurements": () if name == "gal" else (row,), **targets.get(name, {})}
        changed[name] = target.model_copy(update=own)
    return made.model_copy(update={"targets": changed})


def graph_of(project: Project, target: str = "gal") -> Graph:
    return Build()(project, target, {}, lambda unit, key: None)


def needs(graph: Graph, unit: str) -> list[str]:
    return [str(need.unit) for need in graph[UnitId.parse(unit)].needs]


def test_a_mosaic_needs_its_parts_and_a_feather_both_images() -> None:
    graph = graph_of(project())
    rounds = ["postprocess/gal_1/7m/co21/round", "postprocess/gal_2/7m/co21/round"]
    assert needs(graph, rounds[0]) == ["imaging/gal_1/7m/co21"]
    assert needs(graph, "postprocess/gal/7m/co21/mosaic") == rounds
    assert needs(graph, "postprocess/gal/7m/co21") == ["postprocess/gal/7m/co21/mosaic"]
    both = ["postprocess/gal/7m/co21/mosaic", "postprocess/gal/7m/co21/singledish"]
    assert needs(graph, "postprocess/gal/7m+tp/co21/feather") == both
    aligned = graph[UnitId.parse("postprocess/gal/7m/co21/singledish")]
    assert aligned.leaves == ("singledish/tp.fits",)
    assert graph[UnitId.parse("postprocess/gal/7m+tp/co21")].fact == "cube.postprocessed"
    assert not graph.notes or not any("mosaic" in note for note in graph.notes)


def test_names_are_those_of_the_states() -> None:
    """(3.2): the feathered cube bears the feather config, aligned single dish the interferometric one."""
    graph = graph_of(project())
    outputs = {
        unit: graph[UnitId.parse(f"postprocess/gal{unit}")].outputs for unit in ("/7m/co21/mosaic", "_1/7m/co21/round")
    }
    assert outputs["/7m/co21/mosaic"] == ("gal_7m_co21_pbcorr_round.fits", "gal_7m_co21_weight.fits")
    assert outputs["_1/7m/co21/round"] == ("gal_1_7m_co21_pbcorr_round.fits", "gal_1_7m_co21_weight.fits")
    feather = graph[UnitId.parse("postprocess/gal/7m+tp/co21/feather")]
    assert feather.outputs == ("gal_7m+tp_co21_pbcorr_round.fits", "gal_7m+tp_co21_weight.fits")
    assert graph[UnitId.parse("postprocess/gal/7m/co21/singledish")].outputs == ("gal_7m_co21_singledish.fits",)


def test_a_field_by_itself_has_the_unit_it_always_had() -> None:
    """Neither a part nor with single-dish data: no steps; and a part's delivered cube is the same unit as a field's."""
    plain = project(gal_1={"singledish": {}, "mosaic_parent": None})
    alone, part = graph_of(plain, "gal_1"), graph_of(project(), "gal_1")
    made = [str(unit.id) for unit in alone if unit.id.stage == "postprocess"]
    assert made == ["postprocess/gal_1/7m/co21"]
    unit = UnitId.parse(made[0])
    assert (alone[unit].recipe, alone[unit].outputs) == (part[unit].recipe, part[unit].outputs)


def test_feathered_parts_can_be_mosaicked_instead() -> None:
    graph = graph_of(project({"gal": {"feather_before_mosaic": "True"}}))
    parts = ["postprocess/gal_1/7m+tp/co21/feather", "postprocess/gal_2/7m+tp/co21/feather"]
    assert needs(graph, "postprocess/gal/7m+tp/co21/mosaic") == parts
    assert needs(graph, "postprocess/gal/7m+tp/co21") == ["postprocess/gal/7m+tp/co21/mosaic"]
    assert UnitId.parse("postprocess/gal/7m/co21/singledish") not in graph


def test_single_dish_of_the_parts_where_the_mosaic_has_none() -> None:
    graph = graph_of(project(gal={"singledish": {}}))
    assert needs(graph, "postprocess/gal/7m/co21/singledish") == [
        "postprocess/gal/7m/co21/mosaic",
        "postprocess/gal_1/7m/co21/singledish",
        "postprocess/gal_2/7m/co21/singledish",
    ]
    nothing = {"singledish": {}}
    bare = graph_of(project(gal=nothing, gal_1=nothing, gal_2=nothing))
    assert not [unit for unit in bare if unit.id.config == "7m+tp"]
    assert UnitId.parse("postprocess/gal/7m/co21/mosaic") in bare


def test_a_missing_part_is_refused_unless_allowed() -> None:
    """(W-25)"""
    missing: Mapping[str, Any] = {"measurements": ()}
    graph = graph_of(project(gal_2=missing))
    assert UnitId.parse("postprocess/gal/7m/co21") not in graph
    assert [note for note in graph.notes if "gal 7m co21: no data of gal_2" in note and "mosaic_missing_parts" in note]
    allowed = graph_of(project({"gal": {"mosaic_missing_parts": "leave out"}}, gal_2=missing))
    mosaic = allowed[UnitId.parse("postprocess/gal/7m/co21/mosaic")]
    assert mosaic.recipe["parts"] == ["gal_1"]
    assert [note for note in allowed.notes if "lacks them" in note]
    without = graph_of(project({"gal": {"mosaic_without": "['gal_2']"}}))
    assert without[mosaic.id].recipe["parts"] == ["gal_1"]


def test_a_mosaic_with_measurement_sets_of_its_own_is_imaged() -> None:
    row = Measurement(target="gal", project="p", array_tag="7m", obsnum="1", field="all", path="gal.ms")
    graph = graph_of(project(gal={"measurements": (row,)}))
    assert needs(graph, "postprocess/gal/7m/co21") == ["imaging/gal/7m/co21"]
    assert any("of its own" in note for note in graph.notes)


def test_extents_and_beams_from_the_overrides() -> None:
    """(W-06, W-20); a wrong value is named with its place."""
    wanted = {"linearmosaic_deltara": "60", "linearmosaic_deltadec": "40arcsec", "force_beam_arcsec": "3"}
    recipe = graph_of(project({"gal": wanted}))[UnitId.parse("postprocess/gal/7m/co21/mosaic")].recipe
    assert (recipe["linearmosaic_deltara"], recipe["linearmosaic_deltadec"], recipe["force_beam_arcsec"]) == (60, 40, 3)
    assert recipe["centre"] == [project().targets["gal"].ra, project().targets["gal"].dec]
    with pytest.raises(DataError, match="only one extent"):
        graph_of(project({"gal": {"linearmosaic_deltara": "60"}}))
    with pytest.raises(DataError, match="feather_rounds = '0'"):
        graph_of(project({"gal": {"feather_rounds": "0"}}))


def test_only_what_an_override_concerns_gets_another_key() -> None:
    leaves = {"incoming/gal_1.ms": "1" * 64, "incoming/gal_2.ms": "2" * 64, "singledish/tp.fits": "3" * 64}
    keys = []
    for overrides in ({}, {"all": {"feather_rounds": "2"}}):
        graph = Build()(project(overrides), "gal", leaves, lambda unit, key: None)
        keys.append({str(unit.id): graph.key(unit.id) for unit in graph if unit.id.stage == "postprocess"})
    changed = {unit for unit in keys[0] if keys[0][unit] != keys[1][unit]}
    assert changed == {f"postprocess/{t}/7m+tp/co21{s}" for t in ("gal", *halves.HALVES) for s in ("", "/feather")}


def test_a_part_has_one_key_whichever_graph_it_is_asked_of() -> None:
    leaves = {"incoming/gal_1.ms": "1" * 64, "incoming/gal_2.ms": "2" * 64, "singledish/tp.fits": "3" * 64}
    whole, part = (Build()(project(), target, leaves, lambda unit, key: None) for target in ("gal", "gal_1"))
    shared = [unit.id for unit in part if unit.id in whole]
    assert UnitId.parse("postprocess/gal_1/7m/co21/round") in shared
    assert all(whole.key(unit) == part.key(unit) for unit in shared)
    assert not [unit for unit in whole if unit.id.stage == "derived" and unit.id.target != "gal"]


def test_every_unit_is_listed_once_and_under_its_own_target() -> None:
    seen = Catalogue(project(), Selection(), {}, NoManifests())
    units = [unit.id for unit in seen.all_units()]
    assert len(units) == len(set(units))
    assert all(unit.id.target == target for target in seen.targets for unit in seen.units(target))
    assert seen.concerned("gal_1") == ("gal_1", "gal")
    assert seen.counts()[1] == len(units)


def test_asked_for_a_mosaic_only_what_it_needs_of_its_parts_is_wanted() -> None:
    seen = Catalogue(project(), Selection(targets=("gal",)), {}, NoManifests())
    assert seen.targets == ("gal", "gal_1", "gal_2")
    wanted = {str(unit.id) for unit in seen.units("gal_1")}
    assert "postprocess/gal_1/7m/co21/round" in wanted
    assert "imaging/gal_1/7m/co21/plan" in wanted
    assert "postprocess/gal_1/7m/co21" not in wanted
    alone = Catalogue(project(), Selection(targets=("gal_1",)), {}, NoManifests())
    assert alone.targets == ("gal_1",)
