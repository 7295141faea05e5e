from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from fringeflow.cli.keys_json import project_as_data
from fringeflow.keys.model import Project
from fringeflow.keys.problems import Problem
from fringeflow.keys.project import check_data, load, load_or_raise
from fringeflow.keys.queries import mosaics, whole_targets

INTENDED: dict[str, str] = {}
"""Path in the data -> why ours differs on purpose from what the reference answers."""

EXTRA = {
    f"configs/{name}/feather_configs": "all feather configs, not the last only (K28)"
    for name in ("12m", "12m+7m", "7m")
}
"""Path in the data -> why ours has more."""


@pytest.fixture(scope="module")
def phangs(reference: Path) -> tuple[Project, list[Problem]]:
    return load(reference / "data/phangs-alma_keys/master_key.txt")


def differences(theirs: Any, ours: Any, path: str = "") -> set[str]:
    if not (isinstance(theirs, dict) and isinstance(ours, dict)):
        return set() if theirs == ours else {path}
    found = {f"{path}/{key}".lstrip("/") for key in theirs.keys() ^ ours.keys()}
    for key in theirs.keys() & ours.keys():
        found |= differences(theirs[key], ours[key], f"{path}/{key}".lstrip("/"))
    return found


def test_the_project_as_data_is_the_references_answer(reference: Path, phangs) -> None:
    theirs = json.loads((reference / "reference/keys/phangs_alma_keys.json").read_text())
    ours = json.loads(json.dumps(project_as_data(phangs[0])))
    assert differences(theirs, ours) == {*INTENDED, *EXTRA}


def with_types(value: Any) -> Any:
    """Return data in which True is not 1 and a text no number; whole numbers are numbers."""
    if isinstance(value, dict):
        return {key: with_types(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_types(item) for item in value]
    return (float if isinstance(value, int) and not isinstance(value, bool) else type(value)).__name__, value


def test_every_value_of_the_answer_is_of_the_same_type(reference: Path, phangs) -> None:
    theirs = json.loads((reference / "reference/keys/phangs_alma_keys.json").read_text())
    ours = json.loads(json.dumps(project_as_data(phangs[0])))
    assert differences(with_types(theirs), with_types(ours)) == {*INTENDED, *EXTRA}


def test_the_survey_has_no_errors_and_loads_fast(reference: Path, phangs) -> None:
    assert [str(problem) for problem in phangs[1] if problem.severity == "error"] == []
    started = time.process_time()
    load(reference / "data/phangs-alma_keys/master_key.txt")
    assert time.process_time() - started < 1


def test_what_is_doubtful_in_the_survey_is_told(phangs) -> None:
    told = {(problem.file.name, problem.line) for problem in phangs[1]}
    overrides = {("overrides.txt", line) for line in (72, 74, 75, 78, 80, 81)}
    recipes = {("cube_mosaic.clean", 32), ("continuum_mosaic.clean", 32)}
    shadowed = ("imaging_recipes.txt", 49)  # "all co21 all": each config has a line of its own after it
    assert told == {("master_key.txt", 179), ("window_key.txt", None), shadowed, *overrides, *recipes}
    [window] = [problem.text for problem in phangs[1] if problem.file.name == "window_key.txt"]
    assert window.startswith("ngc1313 has no velocity window")


def test_acceptance_counts(phangs) -> None:
    project = phangs[0]
    assert len(project.targets) == 160
    assert len(mosaics(project)) == 26
    assert len(whole_targets(project)) == 90
    assert len(set(project.targets) - set(mosaics(project))) == 134
    sets = [item for target in project.targets.values() for item in target.measurements]
    assert len(sets) == 663
    assert sum(item.array_tag == "12m" for item in sets) == 184
    assert sum(item.array_tag == "7m" for item in sets) == 479
    assert {item.field for item in sets} == {"all"}
    assert list(project.interf_configs) == ["12m", "12m+7m", "7m"]
    assert list(project.feather_configs) == ["12m+7m+tp", "7m+tp"]
    assert project.products == ("13co21", "c18o21", "co21", "cont")
    assert not project.singledish_configs
    assert set(project.timebins.values()) == {"0s"}


def test_acceptance_values(phangs) -> None:
    project = phangs[0]
    assert project.recipe_files["12m"]["co21"] == ("cube_mosaic.clean",) * 3
    assert project.targets["ngc7793_1"].distance_mpc == 3.62
    assert project.targets["ngc7793_1"].window == "30.0km/s"
    assert [name for name, target in project.targets.items() if target.window is None] == [
        "ngc1313",
        "ngc1313_1",
        "ngc1313_2",
        "ngc1313_3",
    ]
    assert project.derived["12m"]["co21"].mask_configs == ("12m+7m", "12m+7m+tp", "7m", "7m+tp")
    strict = {"hi_thresh": 4.0, "hi_nchan": 2, "lo_thresh": 2.0, "lo_nchan": 2}
    strict |= {"grow_xy": 0, "grow_v": 0, "min_pix": None, "min_area": None}
    for config in project.derived.values():
        assert config["co21"].kwargs["strictmask_kw"] == strict
        assert config["co21"].kwargs["noise_kw"] == {"spec_box": 5, "iterations": 3}
    assert project.overrides["ngc7793"] == {"linearmosaic_deltara": "600", "linearmosaic_deltadec": "400"}
    assert project.override("linearmosaic_deltara", "ngc3627", "12m", "co21") == "240"
    assert project.override("nothing", "ngc3627", "12m", "co21") is None
    assert "target" not in project.targets


def test_recipes_hold_every_line_of_their_file(reference: Path, phangs) -> None:
    text = (reference / "data/phangs-alma_keys/cube_mosaic.clean").read_text()
    written = {line.split("=")[0].strip() for line in text.splitlines()}
    recipes = phangs[0].recipes["7m"]
    assert recipes["co21"]["singlescale"].files == ("cube_mosaic.clean",)
    for stage in ("dirty", "multiscale", "singlescale"):
        assert set(recipes["co21"][stage].parameters) == written - {"chanchunks"}
        assert recipes["co21"][stage].parameters["threshold"] == "0.0mJy/beam"
        assert recipes["cont"][stage].parameters["deconvolver"] == "mtmfs"


@pytest.mark.parametrize("name", ["ngc5921", "simgal"])
def test_other_surveys_have_nothing_to_complain_about(reference: Path, name: str) -> None:
    project, problems = load(reference / "reference" / name / "keys/master_key.txt")
    assert problems == []
    assert project.roots.ms == (reference / "reference" / name / "inputs",)
    assert name in project.targets


def test_the_keys_of_ngc5921(reference: Path) -> None:
    project = load_or_raise(reference / "reference/ngc5921/keys/master_key.txt")
    product = project.line_products["hi21cm"]
    assert (product.restfreq_ghz, product.channel_kms, product.statwt_edge_kms) == (1.420405751, 10.5, 30.0)
    assert project.interf_configs["vla"].clean_scales_arcsec == (0, 60, 150)
    assert project.moments["mom1wprior"].mask is None
    assert project.derived["vla"]["hi21cm"].moments[-3:] == ("mom1wprior", "flatstrictmom0", "flatbroadmom0")
    assert project.override("cell", "ngc5921", "vla", "hi21cm") == "11.0"


def test_missing_data_of_the_survey_is_listed_once(phangs) -> None:
    problems = check_data(phangs[0])
    assert {problem.severity for problem in problems} == {"warning"}
    sets = [problem for problem in problems if problem.text.startswith("measurement set")]
    files = {item.path for target in phangs[0].targets.values() for item in target.measurements}
    assert len(sets) == len(files)
    assert all(problem.file.name == "ms_file_key.txt" and problem.line for problem in sets)
