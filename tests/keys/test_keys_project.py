from __future__ import annotations

import inspect
import json
import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from fringeflow.cli.inspect import keys
from fringeflow.cli.main import app
from fringeflow.errors import DataError
from fringeflow.graph import imaging_recipes, postprocess
from fringeflow.graph.build import build
from fringeflow.keys.explain import explain
from fringeflow.keys.locate import check_data, find_input
from fringeflow.keys.model import InterfConfig, Project
from fringeflow.keys.parameters import OVERRIDABLE, TCLEAN, override_value
from fringeflow.keys.queries import casa_path, download_restrictions, measurement_sets, select
from fringeflow.keys.values import velocity_text


@pytest.mark.parametrize(
    ("line", "tags"),
    [
        ("line_product co21 {'channel_kms':5}", 5.0),
        ("line_product co21 {'channel_kms': 5.0}  # with blanks and a note", 5.0),
    ],
)
def test_definitions_are_coerced(survey, line: str, tags: float) -> None:
    project, problems = survey(append={"configs.txt": line})
    assert not [problem for problem in problems if problem.severity == "error"]
    assert project.line_products["co21"].channel_kms == tags
    assert isinstance(project.line_products["co21"].channel_kms, float)


def test_tuples_are_lists_and_ranges_are_sorted(survey) -> None:
    configs = """\
line_product a {'line_tag': 'CO(1-0)', 'channel_kms': 5, 'exclude_freq_ranges_ghz': ((115.3, 115.2),)}
interf_config a {'array_tags': ('7m',), 'clean_scales_arcsec': (0, 5)}
singledish_config tp {'joint_imaging_dirs': ['x', 'y'], 'bl_order': 1}
"""
    plain = {"imaging.txt": "all a all cube.clean\n", "derived.txt": "", "tp.txt": "", "masks.txt": ""}
    project, problems = survey({"configs.txt": configs, **plain})
    assert not [problem for problem in problems if problem.severity == "error"]
    assert project.interf_configs["a"].array_tags == ("7m",)
    product = project.line_products["a"]
    assert product.line_tag == "co10"
    assert product.exclude_freq_ranges_ghz == ((115.2, 115.3),)
    assert (product.fitorder, product.combinespw, product.statwt_edge_kms, product.lines_to_flag) == (
        0,
        False,
        None,
        (),
    )
    assert project.singledish_configs["tp"].parameters == {"joint_imaging_dirs": ["x", "y"], "bl_order": 1}


def test_velocities_in_other_conventions_become_radio(survey) -> None:
    more = "opt 1h 1d 3000 100 {'convention':'optical'}\nred 1h 1d 0.5 90 {'convention':'redshift','frame':'lsrk'}\n"
    targets = survey(append={"targets.txt": more})[0].targets
    assert targets["opt"].vsys_kms == pytest.approx(2970.2767, abs=1e-3)
    assert targets["opt"].vwidth_kms == pytest.approx(98.028, abs=1e-3)
    assert targets["red"].vsys_kms == pytest.approx(299792.458 / 3)
    assert targets["red"].vwidth_kms == pytest.approx(40)


@pytest.mark.parametrize(
    ("written", "text"), [("30.0", "30.0km/s"), ("50km/s", "50km/s"), ("50 km/s", "50km/s"), ("2500m/s", "2.5km/s")]
)
def test_windows_take_a_unit(written: str, text: str) -> None:
    assert velocity_text(written) == text


def test_roots_are_relative_to_the_master_key_and_expanded(survey, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SURVEY", "/surveys/co")
    monkeypatch.setenv("HOME", "/home/astronomer")
    more = 'ms_root $SURVEY/uv\nms_root ~/uv\nms_root "/with blanks/uv"\nrelease_root /r\n'
    project, problems = survey(append={"master.txt": more})
    assert not problems
    assert [str(root) for root in project.roots.ms] == [
        str(tmp_path / "data"),
        "/surveys/co/uv",
        "/home/astronomer/uv",
        "/with blanks/uv",
    ]
    monkeypatch.chdir("/")
    assert survey(lenient=True)[0].roots.ms == (Path("/data"),)


def test_files_of_one_kind_are_read_as_one(survey) -> None:
    more = {"master.txt": "config_key more.txt\n"}
    project, problems = survey({"more.txt": "line_product co21 {'fitorder':1}\n"}, append=more)
    assert not problems
    assert (project.line_products["co21"].fitorder, project.line_products["co21"].channel_kms) == (1, 2.6)


def test_recipes_are_a_base_and_what_a_stage_adds(survey) -> None:
    lines = "7m co21 SingleScale deep.clean\n12m+7m co21 all cube.clean,deep.clean\n"
    project, problems = survey(append={"imaging.txt": lines})
    assert not problems
    recipes = project.recipes["7m"]["co21"]
    assert recipes["multiscale"].parameters == {"specmode": "cube", "pblimit": 0.25, "cell": "0.1 arcsec"}
    assert recipes["singlescale"].files == ("cube.clean", "deep.clean")
    assert recipes["singlescale"].parameters == {**recipes["multiscale"].parameters, "cyclefactor": 5.0}
    assert project.recipes["12m+7m"]["co21"]["dirty"].files == ("cube.clean", "deep.clean")
    assert project.recipe_files["7m"]["co21"] == ("cube.clean", "cube.clean", "deep.clean")


def test_a_later_line_for_all_stages_replaces_those_before(survey) -> None:
    lines = "7m co21 dirty deep.clean\nALL co21 ALL cube.clean\n"
    assert survey(append={"imaging.txt": lines})[0].recipe_files["7m"]["co21"] == ("cube.clean",) * 3


def test_without_a_base_the_dirty_recipe_is_it(survey) -> None:
    lines = "all co21 dirty cube.clean\nall co21 multiscale deep.clean\nall co21 singlescale cube.clean\n"
    recipes = survey({"imaging.txt": lines + "all cont all cont.clean\n"})[0].recipes["7m"]["co21"]
    assert [recipe.files for recipe in recipes.values()] == [
        ("cube.clean",),
        ("cube.clean", "deep.clean"),
        ("cube.clean",),
    ]


def test_the_most_specific_override_counts(survey) -> None:
    lines = "all robust 0\nsolo robust 1\nsolo_7m robust -1\nsolo_7m_co21 robust 2\nsolo_7m_co21_dirty robust -2\n"
    project, problems = survey(append={"overrides.txt": lines})
    assert not problems
    found = [
        project.override("robust", *cube, stage=stage)
        for cube, stage in (
            (("gal", "7m", "co21"), ""),
            (("solo", "12m+7m", "co21"), ""),
            (("solo", "7m", "cont"), "dirty"),
            (("solo", "7m", "co21"), "multiscale"),
            (("solo", "7m", "co21"), "dirty"),
        )
    ]
    assert found == ["0", "1", "-1", "2", "-2"]


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        ("pblimit", "0.5", 0.5),
        ("niter", "100", 100),
        ("cell", "0.5arcsec", 0.5),
        ("deltara", "-240", 240.0),
        ("uvtaper", "['1arcsec']", ["1arcsec"]),
        ("gridder", "mosaic", "mosaic"),
        ("restoringbeam", "common", "common"),
        ("dogrowprune", "False", False),
        ("linearmosaic_deltadec", "380", 380.0),
        ("multiscale_threshold_value", "3", 3.0),
        ("kelvin", "constant", "constant"),
        ("max_cycles", "12", 12),
    ],
)
def test_overrides_have_the_type_of_their_parameter(parameter: str, text: str, value: object) -> None:
    found = override_value(parameter, text)
    assert found == value
    assert type(found) is type(value)


def test_sizes_lose_their_unit_and_other_texts_stay(survey) -> None:
    lines = "gal cell 0.30arcsec\ngal deltara 240\ngal pblimit 0.50\n"
    assert survey(append={"overrides.txt": lines})[0].overrides["gal"] == {
        "cell": "0.3",
        "deltara": "240",
        "pblimit": "0.50",
    }


def test_all_that_units_take_from_overrides_can_be_overridden() -> None:
    recipes = (imaging_recipes.Sizing, imaging_recipes.Splitting, imaging_recipes.MaskRecipe)
    names = {name for recipe in recipes for name in recipe.model_fields}
    finished = {"pblimit", "round_beam", "force_beam_arcsec", "kelvin"}
    assert finished <= set(postprocess.PostprocessRecipe.model_fields)
    assert {*names, *finished} <= set(OVERRIDABLE)


@pytest.mark.usefixtures("casa_ready")
def test_the_known_parameters_are_those_of_tclean() -> None:
    import casatasks

    taken = set(inspect.signature(casatasks.tclean).parameters)
    assert set(TCLEAN) <= taken
    if casatasks.version_string().startswith("6.7.0"):
        assert set(TCLEAN) == taken


def test_inputs_are_found_in_the_first_root_packed_or_not(tmp_path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    for name in ("one/x", "two/x", "two/only.ms"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("two/packed.ms.tar.zst", "one/both.ms.tar", "two/plain.fits"):
        (tmp_path / name).touch()
    assert find_input(roots, "x") == tmp_path / "one/x"
    assert find_input(roots, "only.ms") == tmp_path / "two/only.ms"
    assert find_input(roots, "packed.ms") == tmp_path / "two/packed.ms.tar.zst"
    assert find_input(roots, "both.ms") == tmp_path / "one/both.ms.tar"
    assert find_input(roots, "nothing.ms") is None
    assert find_input([], "x") is None


def test_what_is_missing_on_disk_is_told(survey, tmp_path) -> None:
    for folder in ("data", "more", "tp", "masks", "fields"):
        (tmp_path / folder).mkdir()
    for name in ("data/a.ms", "more/a.ms", "data/c.ms", "data/d.ms"):
        (tmp_path / name).mkdir()
    for name in ("data/e.ms.tar", "masks/any.fits", "masks/own.fits", "fields/gal.fits"):
        (tmp_path / name).touch()
    project = survey(append={"master.txt": "ms_root ../more\nms_root ../nowhere\n"})[0]
    told = [(problem.file.name, problem.line, problem.text) for problem in check_data(project)]
    data, more, nowhere, tp = (tmp_path / name for name in ("data", "more", "nowhere", "tp"))
    assert told == [
        ("master.txt", None, f"ms_root {nowhere} does not exist"),
        ("ms.txt", 1, f"measurement set a.ms is there 2 times: {data}/a.ms is used, not {more}/a.ms"),
        ("ms.txt", 2, f"measurement set b.ms is not below {data} or {more} or {nowhere}"),
        ("tp.txt", 1, f"single-dish file gal_1_tp.fits is not below {tp}"),
    ]


def test_measurement_sets_are_chosen_and_sorted_by_number(survey) -> None:
    project = survey()[0]
    chosen = measurement_sets(project, targets=["gal"], with_parts=True)
    assert [item.path for item in chosen] == ["a.ms", "b.ms", "c.ms", "d.ms"]
    assert [item.path for item in project.measurements("gal_1", "7m")] == ["b.ms", "c.ms"]
    assert [item.path for item in measurement_sets(project, configs=["12m+7m"])] == ["a.ms", "b.ms", "c.ms"]
    assert [item.path for item in measurement_sets(project, configs=["12m+7m", "7m"])][-1] == "e.ms"
    assert [item.path for item in measurement_sets(project, projects=["p2"])] == ["e.ms"]
    assert len(measurement_sets(project)) == 5
    for nothing in ({"targets": []}, {"configs": []}, {"projects": []}):
        assert measurement_sets(project, **nothing) == ()


def test_selection_minds_no_case() -> None:
    names = ["b", "A", "d", "C"]
    assert select(names) == ("A", "b", "C", "d")
    assert select(names, first="B", last="cc") == ("b", "C")
    assert select(names, skip=["a"], only=["A", "D"]) == ("d",)
    assert select(names, only=[]) == ()


def test_requirements_of_a_config() -> None:
    config = InterfConfig(name="x", array_tags=("a", "b", "7m"), requires=("a|b",), clean_scales_arcsec=(0,))
    assert config.groups() == (frozenset("ab"), frozenset(["7m"]))
    assert config.has_data(frozenset(["a", "7m"]))
    assert not config.has_data(frozenset("ab"))


def test_tools_are_looked_up(survey) -> None:
    project = survey()[0]
    assert casa_path(project, "6.7.0-1") == "/opt/a"
    assert casa_path(project, "6.5.4-11") == "/opt/b"
    assert casa_path(project, "5.1") is None
    assert download_restrictions(project, "gal", "co21", "7m") == {"project": "p1"}
    assert download_restrictions(project, "solo", "co21", "12m") == {"antenna": ["DV", "DA"]}
    assert download_restrictions(project, "solo", "co21", "7m") == {}


def test_every_value_can_be_traced_to_its_line(survey) -> None:
    project = survey(append={"overrides.txt": "gal_1 robust 0.7\n", "imaging.txt": "7m co21 singlescale deep.clean\n"})[
        0
    ]
    told = explain(project, "gal_1", "12m+7m", "co21")

    def where(entry: dict) -> list[str]:
        return [text.rpartition("/")[2] for text in entry["from"]]

    assert where(told["target"]["vsys_kms"]) == ["targets.txt:2"]
    assert where(told["target"]["distance_mpc"]) == ["distances.txt:2"]
    assert [where(item) for item in told["inputs"]] == [["ms.txt:1"], ["ms.txt:2"], ["ms.txt:3"]]
    assert where(told["product"]["channel_kms"]) == ["configs.txt:1"]
    assert told["product"]["fitorder"] == {"value": 0, "from": []}
    assert where(told["config"]["array_tags"]) == ["configs.txt:3"]
    assert told["imaging"]["dirty"]["pblimit"]["value"] == "0.5"
    assert where(told["imaging"]["dirty"]["pblimit"]) == ["overrides.txt:1"]
    assert where(told["imaging"]["dirty"]["robust"]) == ["overrides.txt:3"]
    assert where(told["imaging"]["dirty"]["cell"]) == ["cube.clean:4"]
    assert where(told["derived"]["ang_res_arcsec"]) == ["derived.txt:3"]
    assert where(explain(project, "gal_1", "7m", "co21")["imaging"]["singlescale"]["cyclefactor"]) == ["deep.clean:1"]
    with pytest.raises(KeyError):
        explain(project, "gal_1", "8m", "co21")


def test_what_has_no_recipe_is_staged_and_goes_no_further(survey) -> None:
    project, _ = survey({"imaging.txt": "all co21 all cube.clean\n"})
    graph = build(project, "gal", {}, lambda _: None)
    stages: dict[str, set[str]] = {}
    for unit in graph:
        stages.setdefault(unit.id.product, set()).add(unit.id.stage)
    assert stages["cont"] == {"staging"}
    assert {"staging", "imaging", "postprocess"} <= stages["co21"]


def test_the_command_line_tells_where_values_come_from(survey) -> None:
    master = str(survey()[0].master_key)
    plain = CliRunner().invoke(app, ["keys", master, "--explain", "gal_1/7m/co21"])
    assert plain.exit_code == 0
    rows = [line.split("│") for line in plain.output.splitlines() if "│" in line]
    told = {what.strip(): (value.strip(), source.strip()) for _, what, value, source, _ in rows}
    assert told["product.channel_kms"][0] == "2.6"
    assert told["product.fitorder"] == ("0", "default")
    as_json = CliRunner().invoke(app, ["keys", master, "--explain", "gal_1/7m/co21", "--json"])
    assert json.loads(as_json.output)["product"]["channel_kms"]["from"][0].endswith("configs.txt:1")


@pytest.mark.parametrize(
    ("cube", "text"),
    [("gal_1/7m", "is not a cube"), ("gal_1/8m/co21", "unknown config '8m'"), ("gal_3/7m/co21", "unknown target")],
)
def test_a_cube_that_is_not_in_the_keys_is_refused(survey, cube: str, text: str) -> None:
    with pytest.raises(DataError, match=text):
        keys(survey()[0].master_key, as_json=False, lenient=False, explained=cube)


def test_the_digest_depends_on_what_is_said_not_where(survey) -> None:
    first = survey()[0].digest
    assert survey({"configs.txt": "# note\n"}, append={})[0].digest != first
    moved = survey(append={"overrides.txt": "# a note\n", "master.txt": "ms_root /elsewhere\n"})[0]
    assert moved.digest == first
    assert survey(append={"overrides.txt": "all robust 0.1\n"})[0].digest != first


def test_a_project_crosses_processes_and_files_whole(survey) -> None:
    project = survey()[0]
    for again in (pickle.loads(pickle.dumps(project)), Project.model_validate_json(project.model_dump_json())):
        assert again == project
        assert again.digest == project.digest


def test_nothing_in_a_project_can_be_changed(survey) -> None:
    project = survey()[0]
    parameters = project.recipes["7m"]["co21"]["dirty"].parameters
    for change in (
        lambda: parameters.update(niter=5),
        lambda: project.derived["7m"]["co21"].kwargs["noise_kw"].pop("spec_box"),
        lambda: project.targets.__setitem__("x", None),
        lambda: project.moments["m0"].kwargs.setdefault("x", 1),
    ):
        with pytest.raises(TypeError, match="does not change"):
            change()
    with pytest.raises(ValidationError):
        project.targets["gal"].vsys_kms = 5
    assert {**parameters, "niter": 5} == parameters | {"niter": 5}
    assert "niter" not in parameters
