"""Clean masks below several roots: which of two is meant is not guessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fringeflow import drops
from fringeflow.cli import inspect
from fringeflow.graph.build import Selection
from fringeflow.keys.locate import check_data, find_mask
from fringeflow.keys.problems import KeysError
from fringeflow.workdir import Passage

TWO_ROOTS = {"master.txt": "cleanmask_root ../more\n"}


@pytest.fixture
def masks(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of clean masks; `own.fits` is in both, `any.fits` in the first."""
    folders = (tmp_path / "masks", tmp_path / "more")
    for number, folder in enumerate(folders):
        folder.mkdir()
        (folder / "own.fits").write_bytes(bytes([number]))
    (folders[0] / "any.fits").touch()
    return folders


def test_w26_a_clean_mask_in_two_roots_is_an_error_where_it_is_named(survey, masks) -> None:
    project = survey(append=TWO_ROOTS)[0]
    [found] = [problem for problem in check_data(project) if problem.severity == "error"]
    assert (found.file.name, found.line) == ("masks.txt", 2)
    assert f"{masks[0] / 'own.fits'}, {masks[1] / 'own.fits'}" in found.text
    assert "keep one" in found.remedy
    with pytest.raises(KeysError, match=r"masks\.txt:2: clean mask own\.fits is there 2 times") as told:
        find_mask(project, "own.fits")
    assert told.value.problems == (found,)
    assert find_mask(project, "any.fits") == masks[0] / "any.fits"
    assert find_mask(project, "none.fits") is None


def test_w26_check_says_so_and_fails_but_for_old_key_sets(survey, masks, tmp_path, capsys) -> None:
    survey(append=TWO_ROOTS)
    key = tmp_path / "keys" / "master.txt"
    assert inspect.check(key, as_json=True, lenient=False) == 1
    told = [problem for problem in json.loads(capsys.readouterr().out) if "own.fits" in problem["text"]]
    assert [problem["severity"] for problem in told] == ["error"]
    assert inspect.check(key, as_json=True, lenient=True) == 0
    told = [problem for problem in json.loads(capsys.readouterr().out) if "own.fits" in problem["text"]]
    assert [problem["severity"] for problem in told] == ["warning"]


def test_w26_nothing_is_planned_with_it(survey, masks) -> None:
    project = survey(append=TWO_ROOTS)[0]
    with pytest.raises(KeysError, match=r"own\.fits is there 2 times"):
        list(Passage(project, Selection(), None).units("gal_1"))
    (masks[1] / "own.fits").unlink()
    assert list(Passage(project, Selection(), None).units("gal_1"))


@pytest.mark.parametrize("how", ["the same root", "a link to the root", "a link to the file"])
def test_roots_that_lead_to_one_file_are_no_duplicates(survey, masks, how) -> None:
    more = masks[1]
    (more / "own.fits").unlink()
    if how == "a link to the root":
        more.rmdir()
        more.symlink_to(masks[0])
    elif how == "a link to the file":
        (more / "own.fits").symlink_to(masks[0] / "own.fits")
    project = survey(
        append={
            "master.txt": "cleanmask_root ../keys/../masks\n" if how == "the same root" else TWO_ROOTS["master.txt"]
        }
    )[0]
    assert not [problem for problem in check_data(project) if "own.fits" in problem.text]
    assert find_mask(project, "own.fits") == masks[0] / "own.fits"
    [drop] = drops.scan(project, ["cleanmask/own.fits"], None)
    assert drop.key == (masks[0] / "own.fits").as_uri()


def test_of_other_inputs_the_first_still_counts(survey, tmp_path) -> None:
    for folder in ("data", "more"):
        (tmp_path / folder / "a.ms").mkdir(parents=True)
        (tmp_path / folder / "a.ms" / "table.dat").touch()
    project = survey(append={"master.txt": "ms_root ../more\n"})[0]
    [drop] = drops.scan(project, ["incoming/a.ms"], None)
    assert drop.key == (tmp_path / "data" / "a.ms").as_uri()
    assert not [problem for problem in check_data(project) if problem.severity == "error"]
