"""The units of staging in a project, and the stage that makes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fringeflow.errors import DataError
from fringeflow.graph.model import Graph
from fringeflow.graph.staging import ContinuumRecipe, LineRecipe, add_units, read_recipe, unit_id
from fringeflow.jobs.order import Job, Order
from fringeflow.keys.model import ContProduct, InterfConfig, LineProduct, Measurement, Project, Roots, Target
from fringeflow_staging.stage import make
from tests.simulation import Observation, Truth, Window, simulate_disc

CO21 = 230.538


def measurement(array_tag, obsnum="1"):
    return Measurement(
        target="disc_1",
        project="p",
        array_tag=array_tag,
        obsnum=obsnum,
        field="disc",
        path=f"night/{array_tag}_{obsnum}.ms",
    )


def project(*measurements, **line):
    whole = Target(name="disc", ra="12h", dec="-30d", vsys_kms=1000.0, vwidth_kms=90.0, directory="disc")
    part = whole.model_copy(
        update={"name": "disc_1", "vwidth_kms": 80.0, "mosaic_parent": "disc", "measurements": measurements}
    )
    return Project(
        master_key=Path("/nowhere/master_key.txt"),
        roots=Roots(key_dir=Path("/nowhere")),
        targets={"disc": whole, "disc_1": part},
        interf_configs={
            "12m": InterfConfig(name="12m", array_tags=("12m",), clean_scales_arcsec=(0.0,)),
            "12m+7m": InterfConfig(name="12m+7m", array_tags=("12m", "7m"), clean_scales_arcsec=(0.0,)),
        },
        line_products={
            "co21": LineProduct(name="co21", line_tag="co21", restfreq_ghz=CO21, **{"channel_kms": 2.6, **line})
        },
        cont_products={"cont": ContProduct(name="cont", lines_to_flag=("co21", "13co21"))},
        timebins={"7m": "10s"},
    )


def graph(of):
    found = Graph({f"incoming/{item.path}": "0" * 64 for item in of.targets["disc_1"].measurements}, lambda *_: None)
    add_units(of, "disc_1", found)
    return found


def test_units_are_those_configs_that_have_all_their_arrays():
    one = graph(project(measurement("12m")))
    assert sorted(str(unit.id) for unit in one) == ["staging/disc_1/12m/co21", "staging/disc_1/12m/cont"]
    both = graph(project(measurement("12m"), measurement("7m")))
    assert len(both) == 4
    unit = both[unit_id("disc_1", "12m+7m", "co21")]
    assert unit.outputs == ("disc_1_12m+7m_co21.ms",)
    assert unit.leaves == ("incoming/night/12m_1.ms", "incoming/night/7m_1.ms")
    assert unit.fact == "visibilities.staged"
    assert both.is_ready(unit.id)
    assert list(graph(project())) == []


def test_a_recipe_holds_what_matters_and_no_path_of_this_machine():
    unit = graph(project(measurement("12m"), measurement("7m")))[unit_id("disc_1", "12m+7m", "co21")]
    recipe = read_recipe(unit.recipe)
    assert isinstance(recipe, LineRecipe)
    assert (recipe.vwidth_kms, recipe.exclude_vwidth_kms) == (80.0, 90.0)
    assert [item.timebin for item in recipe.inputs] == ["0s", "10s"]
    assert recipe.array_groups == (("12m",), ("7m",))
    assert [line.restfreq_ghz for line in recipe.exclude_lines] == [CO21]
    assert not recipe.corrections_off
    assert "/nowhere" not in json.dumps(unit.recipe)
    assert read_recipe(json.loads(json.dumps(unit.recipe))) == recipe


def test_continuum_recipes_name_every_line_to_flag():
    unit = graph(project(measurement("12m")))[unit_id("disc_1", "12m", "cont")]
    recipe = read_recipe(unit.recipe)
    assert isinstance(recipe, ContinuumRecipe)
    assert [line.restfreq_ghz for line in recipe.exclude_lines] == pytest.approx([CO21, 220.39868], abs=1e-5)


def test_a_change_of_one_product_leaves_the_others_alone():
    before, after = graph(project(measurement("12m"))), graph(project(measurement("12m"), fitorder=1))
    line, continuum = unit_id("disc_1", "12m", "co21"), unit_id("disc_1", "12m", "cont")
    assert before.key(line) != after.key(line)
    assert before.key(continuum) == after.key(continuum)


@pytest.mark.usefixtures("casa_ready")
def test_the_stage_hands_in_what_its_units_promise(tmp_path):
    watch = Observation(n_times=2, n_antennas=5)
    truth = simulate_disc(tmp_path / "a.ms", Truth(continuum_jy=1.0), windows=(Window(48, 2.5),), observation=watch)
    units = graph(project(measurement("12m")))
    orders = tuple(Order(unit, units.key(unit.id), leaves={"incoming/night/12m_1.ms": truth.path}) for unit in units)
    job = Job(orders, tmp_path / "scratch")
    make(job)
    assert set(job.made) == {str(unit.id) for unit in units}
    for unit in units:
        made = job.made[str(unit.id)]
        assert (made.outputs[unit.outputs[0]] / "table.dat").is_file()
        facts = json.loads(json.dumps(made.facts, allow_nan=False))
        assert facts["inputs"][0]["name"] == "a.ms"
        assert facts["flagged_fraction"] < 0.5


@pytest.mark.usefixtures("casa_ready")
def test_an_array_that_contributes_nothing_is_an_error(tmp_path):
    watch = Observation(n_times=2, n_antennas=5)
    near = simulate_disc(tmp_path / "near.ms", windows=(Window(48, 2.5),), observation=watch)
    far = simulate_disc(tmp_path / "far.ms", windows=(Window(16, 2.5, centre_kms=3000.0),), observation=watch)
    units = graph(project(measurement("12m"), measurement("7m")))
    leaves = {"incoming/night/12m_1.ms": near.path, "incoming/night/7m_1.ms": far.path}
    order = Order(units[unit_id("disc_1", "12m+7m", "co21")], "key", leaves=leaves)
    with pytest.raises(DataError, match=r"no data of array 7m could be used: far\.ms does not hold the line"):
        make(Job((order,), tmp_path / "scratch"))
