"""Which units post-processing has, what they are called and where their parameters come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fringeflow import names
from fringeflow.errors import DataError
from fringeflow.graph import postprocess
from fringeflow.graph.model import Graph, Unit, UnitId
from fringeflow.keys.model import ContProduct, LineProduct, Project, Recipe, Roots, Target


def project_with(overrides: dict[str, dict[str, str]], **limits: float) -> Project:
    """A galaxy with one line and one continuum product; `limits` are the recipes' pblimit by imaging stage."""
    recipes: Any = {stage: Recipe(files=(), parameters={"pblimit": value}) for stage, value in limits.items()}
    return Project(
        master_key=Path("/keys/master_key.txt"),
        roots=Roots(key_dir=Path("/keys")),
        targets={"galx": Target(name="galx", ra="0", dec="0", vsys_kms=0, vwidth_kms=1, directory="galx")},
        interf_configs={},
        line_products={"co21": LineProduct(name="co21", line_tag="co21", restfreq_ghz=230.538, channel_kms=2.5)},
        cont_products={"cont": ContProduct(name="cont")},
        recipes={"7m": {"co21": recipes}},
        overrides=overrides,
    )


def graph_with(*products: str, exts: tuple[str, ...] = ()) -> Graph:
    graph = Graph({}, lambda unit, key: None)
    for product in products:
        main = UnitId(stage="imaging", target="galx", config="7m", product=product)
        graph.add(Unit(id=main.at("plan"), revision=1, recipe={}))
        outputs = tuple(names.cube("galx", "7m", product, ext) for ext in ("", "pb", *exts))
        graph.add(Unit(id=main, revision=1, recipe={}, outputs=outputs))
    return graph


def recipe_of(project: Project, product: str = "co21") -> dict[str, Any]:
    graph = graph_with(product)
    (unit,) = postprocess.add_units(project, "galx", graph)
    return dict(graph[unit].recipe)


def test_one_unit_for_everything_imaged() -> None:
    graph = graph_with("co21", "cont")
    units = postprocess.add_units(project_with({}), "galx", graph)
    assert [str(unit) for unit in units] == ["postprocess/galx/7m/co21", "postprocess/galx/7m/cont"]
    unit = graph[units[0]]
    assert [str(need.unit) for need in unit.needs] == ["imaging/galx/7m/co21"]
    assert unit.outputs == ("galx_7m_co21_pbcorr_trimmed_k.fits", "galx_7m_co21_trimmed_pb.fits")
    assert unit.fact == "cube.postprocessed"
    assert (unit.recipe["kind"], graph[units[1]].recipe["kind"]) == ("line", "continuum")


def test_nothing_imaged_nothing_to_do() -> None:
    graph = graph_with("co21")
    assert postprocess.add_units(project_with({}), "galy", graph) == ()
    assert postprocess.add_units(project_with({}), "galx", graph_with()) == ()


def test_spectral_index_where_imaging_makes_one() -> None:
    graph = graph_with("cont", exts=("alpha",))
    (unit,) = postprocess.add_units(project_with({}), "galx", graph)
    assert graph[unit].outputs[2:] == ("galx_7m_cont_trimmed_alpha.fits",)


def test_pblimit_of_the_last_stage_that_sets_it() -> None:
    assert recipe_of(project_with({}))["pblimit"] == 0.2
    assert recipe_of(project_with({}, dirty=0.3, multiscale=0.5))["pblimit"] == 0.5


def test_overrides_reach_the_recipe_and_the_work_key() -> None:
    overrides = {
        "galx_7m_co21": {"pblimit": "0.25", "force_beam_arcsec": "7.5arcsec"},
        "all": {"round_beam": "reference"},
    }
    project = project_with(overrides, dirty=0.3)
    recipe = recipe_of(project)
    assert (recipe["pblimit"], recipe["force_beam_arcsec"], recipe["round_beam"]) == (0.25, 7.5, "reference")
    assert recipe_of(project, "cont")["round_beam"] == "reference"
    assert recipe_of(project, "cont")["force_beam_arcsec"] is None
    keys = set()
    for each in (project, project_with({}, dirty=0.3)):
        graph = graph_with("co21")
        (unit,) = postprocess.add_units(each, "galx", graph)
        keys.add(graph.key(unit))
    assert len(keys) == 2


@pytest.mark.parametrize(
    "wrong", [{"kelvin": "celsius"}, {"force_beam_arcsec": "wide"}, {"pblimit": "much"}, {"pblimit": "2.5"}]
)
def test_a_wrong_override_is_named(wrong: dict[str, str]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(DataError, match=rf"galx 7m co21: {name} = '?{value}'?: .+overrides"):
        recipe_of(project_with({"galx": wrong}))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("galx", "7m", "co21", "pbcorr_trimmed_k"), "galx_7m_co21_pbcorr_trimmed_k.fits"),
        (("galx", "7m", "co21", "trimmed_pb"), "galx_7m_co21_trimmed_pb.fits"),
        (("galx", "7m", "co21", "pbcorr_trimmed_k_apod"), "galx_7m_co21_pbcorr_trimmed_k_apod.fits"),
        (("galx", "7m", "co21", "pbcorr_trimmed_k_res5p00"), "galx_7m_co21_pbcorr_trimmed_k_res5p00.fits"),
        (("galx_", "7m", "co21", "_pbcorr_round_", ".image"), "galx_7m_co21_pbcorr_round.image"),
    ],
)
def test_names(parts: tuple[str, ...], expected: str) -> None:
    assert names.cube(*parts) == expected


def test_resolution_tags() -> None:
    assert names.resolution_tag(arcsec=5.0) == "5p00"
    assert names.resolution_tag(parsec=80.0) == "80pc"
