"""Which units a joint clean of visibilities and a single dish adds, and what they take the place of (W-27)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fringeflow.errors import DataError
from fringeflow.graph.model import Graph, UnitId
from tests.postprocess.test_combining_graph import graph_of, needs, project


def joint_graph(method: str = "residuals", target: str = "gal", **more: str) -> Graph:
    return graph_of(project({"all": {"joint_deconvolution": method, **more}}), target)


def units(graph: Graph, config: str) -> set[str]:
    return {str(unit.id) for unit in graph if unit.id.config == config and unit.id.stage != "derived"}


def test_nothing_changes_unless_it_is_asked_for() -> None:
    plain = graph_of(project())
    assert not [unit for unit in units(plain, "7m+tp") if unit.startswith("imaging/")]
    assert {str(unit.id) for unit in joint_graph("none")} == {str(unit.id) for unit in plain}


def test_a_joint_image_has_the_feathers_name_from_the_start_and_goes_into_it() -> None:
    graph = joint_graph()
    for part in ("gal_1", "gal_2"):
        image = graph[UnitId.parse(f"imaging/{part}/7m+tp/co21")]
        assert image.leaves[-1:] == ("singledish/tp.fits",)
        assert f"{part}_7m+tp_co21.fits" in image.outputs
        assert needs(graph, f"imaging/{part}/7m+tp/co21/plan") == [f"staging/{part}/7m/co21"]
        assert needs(graph, f"postprocess/{part}/7m+tp/co21/round") == [f"imaging/{part}/7m+tp/co21"]
    rounds = ["postprocess/gal_1/7m+tp/co21/round", "postprocess/gal_2/7m+tp/co21/round"]
    assert needs(graph, "postprocess/gal/7m+tp/co21/mosaic") == rounds
    both = ["postprocess/gal/7m+tp/co21/mosaic", "postprocess/gal/7m+tp/co21/singledish"]
    assert needs(graph, "postprocess/gal/7m+tp/co21/feather") == both
    assert needs(graph, "postprocess/gal/7m+tp/co21") == ["postprocess/gal/7m+tp/co21/feather"]


def test_the_interferometers_own_products_stay_what_they_are() -> None:
    plain, graph = graph_of(project()), joint_graph()
    own = {unit for unit in units(plain, "7m") if not unit.endswith("/singledish")}
    assert own <= units(graph, "7m")
    for unit in own:
        one, other = plain[UnitId.parse(unit)], graph[UnitId.parse(unit)]
        assert (one.recipe, one.needs, one.leaves) == (other.recipe, other.needs, other.leaves)


def test_feathered_parts_are_mosaicked_if_asked_for() -> None:
    graph = joint_graph(feather_before_mosaic="True")
    parts = ["postprocess/gal_1/7m+tp/co21/feather", "postprocess/gal_2/7m+tp/co21/feather"]
    assert needs(graph, "postprocess/gal/7m+tp/co21/mosaic") == parts
    assert needs(graph, parts[0])[0] == "postprocess/gal_1/7m+tp/co21/round"
    assert needs(graph, "postprocess/gal/7m+tp/co21") == ["postprocess/gal/7m+tp/co21/mosaic"]


def test_casas_task_needs_the_interferometers_cube_to_fall_back_on() -> None:
    graph = joint_graph("sdintimaging")
    assert needs(graph, "imaging/gal_1/7m+tp/co21") == [
        "imaging/gal_1/7m+tp/co21/plan",
        "staging/gal_1/7m/co21",
        "imaging/gal_1/7m/co21",
    ]
    recipe = graph[UnitId.parse("imaging/gal_1/7m+tp/co21")].recipe
    assert recipe["joint"] == {
        "joint_deconvolution": "sdintimaging",
        "joint_dish_weight": 1.0,
        "visibilities": "7m",
    }


def test_without_a_single_dish_there_is_no_joint_image() -> None:
    nothing: Mapping[str, Any] = {"singledish": {}}
    bare = graph_of(project({"all": {"joint_deconvolution": "residuals"}}, gal=nothing, gal_1=nothing, gal_2=nothing))
    assert not units(bare, "7m+tp")
    mosaics = graph_of(project({"all": {"joint_deconvolution": "residuals"}}, gal_1=nothing, gal_2=nothing))
    assert mosaics[UnitId.parse("imaging/gal_1/7m+tp/co21")].leaves[-1:] == ("singledish/tp.fits",)


def test_a_part_may_choose_and_a_method_must_exist() -> None:
    one = graph_of(project({"gal_1": {"joint_deconvolution": "residuals"}}))
    assert UnitId.parse("imaging/gal_1/7m+tp/co21") in one
    assert UnitId.parse("imaging/gal_2/7m+tp/co21") not in one
    both = ["postprocess/gal/7m/co21/mosaic", "postprocess/gal/7m/co21/singledish"]
    assert needs(one, "postprocess/gal/7m+tp/co21/feather") == both  # a mosaic is joint where all its parts are
    with pytest.raises(DataError, match="joint_deconvolution"):
        joint_graph("magic")
