"""The weaknesses of the reference's keys (keys specification, section 14): a test for every number, in their order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fringeflow.cli.keys_json import project_as_data
from fringeflow.keys import lines, queries
from fringeflow.keys.explain import explain
from fringeflow.keys.problems import Problem
from fringeflow.keys.syntax import split_columns


def errors(problems: list[Problem]) -> list[str]:
    return [problem.text for problem in problems if problem.severity == "error"]


def places(problems: list[Problem], word: str) -> list[tuple[str, int | None, str]]:
    """File, line and severity of the problems that say `word`."""
    return [(item.file.name, item.line, item.severity) for item in problems if word in item.text]


def lines_of(text: str) -> int:
    return len(text.splitlines())


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ("a b # note", ("a", "b")),
        ("  # indented", ()),
        ("a #b", ("a",)),
        ("x 'b # c'", ("x", "b # c")),
        ("a b#c", ("a", "b#c")),
    ],
)
def test_k1_comments_begin_at_a_blank_and_not_in_quotes(line: str, cells: tuple[str, ...]) -> None:
    assert split_columns(line) == cells


def test_k2_k3_tables_with_commas_are_stripped_checked_and_may_have_headers(survey, survey_files) -> None:
    text = "target,distance,error\n gal , 10 , 0.5\nsolo,nan\ngal_1 5\n"
    project, problems = survey({"distances.txt": text, "windows.txt": "galaxy,window\ngal,50 km/s,b.fits\n"})
    assert project.targets["gal"].distance_mpc == 10
    assert project.targets["gal"].window == "50km/s"
    assert places(problems, "distance of solo in Mpc") == [("distances.txt", 3, "error")]
    assert places(problems, "instead of 2 to 3") == [("distances.txt", 4, "error")]
    assert not {"target", "galaxy"} & set(project.targets)


def test_k4_a_part_counts_once(survey) -> None:
    project, problems = survey(append={"mosaics.txt": "gal gal_1\n"})
    assert project.targets["gal"].mosaic_parts == ("gal_1", "gal_2")
    assert places(problems, "is a part of gal already") == [("mosaics.txt", 3, "warning")]


def test_k5_a_repeated_restriction_warns_and_the_last_counts(survey) -> None:
    project, problems = survey(append={"download.txt": "all all 12m {'antenna':['CM']}\n"})
    assert project.download_restrictions["all"]["all"]["12m"]["antenna"] == ["CM"]
    assert places(problems, "antenna in the restriction") == [("download.txt", 3, "warning")]


def test_k6_what_is_wrong_in_the_master_key_is_an_error(survey, survey_files) -> None:
    _, problems = survey(append={"master.txt": "ms_rot /data\nms_root /data old\n"})
    first = lines_of(survey_files["master.txt"]) + 1
    assert places(problems, "unknown keyword 'ms_rot'") == [("master.txt", first, "error")]
    assert places(problems, "entry with 3 columns") == [("master.txt", first + 1, "error")]


def test_k7_variables_are_expanded_and_paths_start_at_the_master_key(survey, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("KEYS_TEST_DATA", "/some/where")
    monkeypatch.chdir("/")
    project, problems = survey(append={"master.txt": "ms_root $KEYS_TEST_DATA/x\nms_root $KEYS_TEST_ABSENT\n"})
    assert project.roots.ms[:2] == (tmp_path / "data", Path("/some/where/x"))
    assert places(problems, "no such environment variable")[0][2] == "error"


def test_k8_roots_that_are_not_given_are_none_at_all(survey, survey_files) -> None:
    bare = "\n".join(line for line in survey_files["master.txt"].splitlines() if "_root" not in line)
    project, _ = survey({"master.txt": f"{bare}\nms_root ../data\n"})
    assert (project.roots.vfield, project.roots.cleanmask, project.roots.singledish) == ((), (), ())


def test_k9_whole_numbers_and_tuples_will_do(survey) -> None:
    more = "line_product co21 {'channel_kms':5}\ninterf_config 7m {'array_tags':('7m',)}\n"
    project, problems = survey(append={"configs.txt": more})
    assert project.line_products["co21"].channel_kms == 5.0
    assert project.interf_configs["7m"].array_tags == ("7m",)
    assert errors(problems) == []


def test_k10_an_unknown_type_is_an_error_even_in_the_first_line(survey, survey_files) -> None:
    _, problems = survey({"configs.txt": "lineproduct x {}\n" + survey_files["configs.txt"]})
    assert places(problems, "unknown type 'lineproduct'") == [("configs.txt", 1, "error")]


def test_k11_what_is_left_out_takes_the_documented_value(survey) -> None:
    product = survey()[0].line_products["co21"]
    assert (product.statwt_edge_kms, product.fitorder, product.combinespw, product.flag_edge_fraction) == (
        None,
        0,
        False,
        0,
    )


@pytest.mark.parametrize("value", ["'one'", "['one','two']"])
def test_k12_folders_of_joint_imaging_can_be_given(survey, value: str) -> None:
    project, problems = survey(append={"configs.txt": f"singledish_config tp {{'joint_imaging_dirs':{value}}}\n"})
    assert project.singledish_configs["tp"].parameters["joint_imaging_dirs"]
    assert errors(problems) == []


@pytest.mark.parametrize("line", ["all co21 ang_res {'a':'wide'}", "all co21 moments 'm0'", "all co21 phys_res [1]"])
def test_k13_derived_values_of_a_wrong_kind_are_errors(survey, survey_files, line: str) -> None:
    _, problems = survey(append={"derived.txt": f"{line}\n"})
    [(file, number, severity)] = {(item.file.name, item.line, item.severity) for item in problems}
    assert (file, number, severity) == ("derived.txt", lines_of(survey_files["derived.txt"]) + 1, "error")


def test_k14_stages_are_found_in_any_case(survey) -> None:
    project, problems = survey(append={"imaging.txt": "7m co21 SingleScale deep.clean\n"})
    assert project.recipes["7m"]["co21"]["singlescale"].files == ("cube.clean", "deep.clean")
    assert errors(problems) == []


def test_k15_overrides_are_checked_and_told_if_nothing_uses_them(survey) -> None:
    project, problems = survey(append={"overrides.txt": "gal robust much\ngall robust 0.1\ngal pblmit 0.1\n"})
    assert places(problems, "robust of gal:") == [("overrides.txt", 3, "error")]
    assert places(problems, "'gall', which is no target") == [("overrides.txt", 4, "warning")]
    assert places(problems, "'pblmit' cannot be overridden") == [("overrides.txt", 5, "error")]
    assert project.override("pblimit", "gal_1", "12m+7m", "co21") == "0.5"


def test_k16_the_mask_of_the_product_goes_before_that_of_all(survey) -> None:
    target = survey()[0].targets["gal_1"]
    assert (target.cleanmask_for("co21"), target.cleanmask_for("cont")) == ("own.fits", "any.fits")


def test_k17_a_blank_line_ends_no_recipe(survey) -> None:
    assert survey()[0].recipes["7m"]["co21"]["dirty"].parameters["cell"] == "0.1 arcsec"


def test_k18_recipes_are_read_and_never_run(survey, tmp_path) -> None:
    spoiled = tmp_path / "spoiled"
    _, problems = survey({"cube.clean": f"cell = open({str(spoiled)!r}, 'w')\n"})
    assert places(problems, "cell: not a value") == [("cube.clean", 1, "error")]
    assert not spoiled.exists()


def test_k19_each_stage_has_its_own_recipe_over_the_base(survey) -> None:
    recipes = survey(append={"imaging.txt": "7m co21 multiscale deep.clean\n"})[0].recipes["7m"]["co21"]
    assert {stage: recipe.parameters.get("cyclefactor") for stage, recipe in recipes.items()} == {
        "dirty": None,
        "multiscale": 5.0,
        "singlescale": None,
    }


@pytest.mark.parametrize(("spelling", "tag"), [("HCO+ 1-0", "hcop10"), ("CO(2-1)", "co21"), ("N2H+10", "n2hp10")])
def test_k20_lines_are_found_in_any_usual_spelling(spelling: str, tag: str) -> None:
    assert lines.builtin().find(spelling).tag == tag


def test_k21_there_is_one_speed_of_light() -> None:
    assert lines.LIGHT_KMS == 299792.458


def test_k22_no_lines_give_no_ranges() -> None:
    assert lines.builtin().ranges_ghz([], vsys_kms=0, vwidth_kms=10) == ()


def test_k23_k24_an_empty_selection_is_empty_and_lists_may_be_combined(survey) -> None:
    project, _ = survey()
    everything = list(queries.measurement_sets(project))
    assert len(everything) == 5
    assert list(queries.measurement_sets(project, targets=[])) == []
    assert list(queries.measurement_sets(project, projects=[])) == []
    assert [item.target for item in queries.measurement_sets(project, projects=["p2", "p3"])] == ["solo"]


def test_k25_nobody_can_spoil_what_is_handed_out(survey) -> None:
    project, _ = survey()
    for table in (project.moments["m0"].kwargs, project.derived["7m"]["co21"].kwargs["noise_kw"], project.targets):
        with pytest.raises(TypeError, match="does not change"):
            table["new"] = 1


def test_k26_numbers_are_sorted_by_value_and_the_first_root_counts(survey, tmp_path) -> None:
    project, _ = survey()
    assert [item.obsnum for item in project.measurements("gal_1", "7m")] == ["2", "10"]


def test_k27_a_line_key_adds_lines_with_padding(survey) -> None:
    known = lines.known_to(survey()[0])
    assert (known.find("xyz10").restfreq_ghz, known.find("xyz10").padding_kms) == (100.5, 20.0)


def test_k28_all_feather_configs_are_known(survey) -> None:
    project, _ = survey(append={"configs.txt": "feather_config second {'interf_config':'12m+7m'}\n"})
    assert set(project.interf_configs["12m+7m"].feather_configs) == {"12m+7m+tp", "second"}


def test_k29_a_tag_cannot_be_an_angle_and_a_length(survey) -> None:
    _, problems = survey(append={"derived.txt": "12m+7m co21 phys_res {'2as':60}\n"})
    assert places(problems, "names an angular and a physical resolution") == [("derived.txt", 6, "error")]


@pytest.mark.parametrize(
    ("file", "line", "word", "severity"),
    [
        ("ms.txt", "solo p2 all ACA 1 f.ms", "array tag 'ACA' is in no interf_config", "warning"),
        ("imaging.txt", "7m co21 all none.clean", "does not exist", "error"),
        ("configs.txt", "feather_config x {'interf_config':'7n'}", "unknown interf_config", "error"),
        ("derived.txt", "7m co21 moments ['m9']", "unknown moment in moments: 'm9'", "error"),
        ("derived.txt", "7n co21 moments ['m0']", "unknown config '7n'", "error"),
        ("derived.txt", "7m co22 moments ['m0']", "unknown product 'co22'", "error"),
        ("ms.txt", "sol p2 all 7m 1 f.ms", "measurement set of sol, which is not a target", "warning"),
    ],
)
def test_k30_names_that_do_not_fit_are_found_where_they_are(survey, survey_files, file, line, word, severity) -> None:
    _, problems = survey(append={file: f"{line}\n"})
    assert places(problems, word) == [(file, lines_of(survey_files[file]) + 1, severity)]


def test_k31_loading_leaves_the_working_directory_alone(survey, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    survey()
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize(
    ("given", "vsys", "vwidth"),
    [
        (
            "1000 200 {'convention':'optical'}",
            299792.458 * (1 - 1 / (1 + 1000 / 299792.458)),
            200 / (1 + 1000 / 299792.458) ** 2,
        ),
        ("0.1 200 {'convention':'redshift'}", 299792.458 * (1 - 1 / 1.1), 200 / 1.21),
        ("1000 200 {'frame':'lsrk'}", 1000, 200),
    ],
)
def test_k32_velocities_in_other_conventions_are_converted(survey, given: str, vsys: float, vwidth: float) -> None:
    target = survey(append={"targets.txt": f"other 1h 1d {given}\n"})[0].targets["other"]
    assert (target.vsys_kms, target.vwidth_kms) == pytest.approx((vsys, vwidth))


def test_k33_a_mosaic_that_is_no_target_is_an_error(survey) -> None:
    _, problems = survey(append={"mosaics.txt": "big solo\n"})
    assert places(problems, "unknown mosaic target 'big'") == [("mosaics.txt", 3, "error")]


def test_k34_the_project_can_be_had_as_data_with_where_each_value_is_from(survey) -> None:
    project, _ = survey()
    assert json.loads(json.dumps(project_as_data(project)))["targets"]["solo"]["vsys_kms"] == 500
    told = explain(project, "gal_1", "12m+7m", "co21")
    assert told["target"]["vsys_kms"]["value"] == 990
    [place] = told["target"]["vsys_kms"]["from"]
    assert place.endswith("targets.txt:2")
