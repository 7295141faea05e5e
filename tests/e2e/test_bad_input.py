"""Bad input: one clear message that names the cause and the remedy, a non-zero exit, and the rest goes on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.galaxy import KEYS, Galaxy, fringeflow, products, run

pytestmark = pytest.mark.xdist_group("e2e")


def refused(*arguments: object) -> str:
    """Return what the command said, all white space folded; it must have failed without a traceback."""
    done = fringeflow(*arguments)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0, said
    assert "Traceback" not in said
    return said


def test_a_typo_in_the_master_key(galaxy: Galaxy, tmp_path: Path) -> None:
    key = galaxy.copy_keys(tmp_path / "p", master_key=("target_key ", "target_kye "))
    said = refused("run", key, "--workdir", tmp_path / "work")
    assert "master_key.txt:4" in said
    assert "target_kye" in said
    assert "target_key" in said.replace("target_kye", "")


def test_a_missing_recipe(galaxy: Galaxy, tmp_path: Path) -> None:
    key = galaxy.copy_keys(tmp_path / "p")
    (key.parent / "cube.clean").unlink()
    said = refused("run", key, "--workdir", tmp_path / "work")
    assert "cube.clean" in said
    assert "imaging_key.txt:1" in said


def test_check_lists_every_problem(galaxy: Galaxy, tmp_path: Path) -> None:
    key = galaxy.copy_keys(
        tmp_path / "p", master_key=("target_key ", "target_kye "), distance_key=("disc,10.0", "disc,far")
    )
    said = refused("check", key)
    assert "master_key.txt:4" in said
    assert "distance_key.txt:1" in said


def test_a_missing_measurement_set_stops_only_its_target(galaxy: Galaxy, tmp_path: Path) -> None:
    key = two_targets(galaxy, tmp_path / "p", "other.ms")
    checked = fringeflow("check", key)
    assert "other.ms" in checked.stdout
    assert "ms_key.txt:2" in checked.stdout
    done = fringeflow("run", key, "--workdir", tmp_path / "work", "--until", "staging")
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1
    assert "incoming/other.ms" in said
    assert (tmp_path / "work" / "store" / "manifests" / "staging" / "disc").is_dir()


def test_a_measurement_set_without_the_line_stops_only_its_target(galaxy: Galaxy, tmp_path: Path) -> None:
    key = two_targets(galaxy, tmp_path / "p", "disc.ms", velocity="9000.0")
    summary = run(key, tmp_path / "work", "--until", "staging")
    assert summary["returncode"] == 1
    (failure,) = summary["failed"]
    assert failure["unit"] == "staging/other/12m/co21"
    assert failure["kind"] == "data"
    assert "disc.ms" in failure["message"]
    assert "km/s" in failure["message"]
    assert failure["remedy"]
    assert [item["unit"] for item in summary["made"]] == ["staging/disc/12m/co21"]


def test_a_corrupt_archive(galaxy: Galaxy, tmp_path: Path) -> None:
    key = two_targets(galaxy, tmp_path / "p", "other.ms")
    data = tmp_path / "p" / "data"
    data.unlink()
    data.mkdir()
    (data / "disc.ms").symlink_to(galaxy.root / "data" / "disc.ms")
    subprocess.run(["tar", "-cf", data / "other.ms.tar", "-C", galaxy.root / "data", "disc.ms"], check=True)
    whole = (data / "other.ms.tar").read_bytes()
    (data / "other.ms.tar").write_bytes(whole[: len(whole) // 3])
    summary = run(key, tmp_path / "work", "--until", "staging")
    (failure,) = summary["failed"]
    assert failure["unit"] == "staging/other/12m/co21"
    assert failure["kind"] == "data"
    assert "other.ms.tar" in failure["message"]
    assert failure["remedy"]
    assert [item["unit"] for item in summary["made"]] == ["staging/disc/12m/co21"]


def test_an_archive_is_as_good_as_a_folder(galaxy: Galaxy, tmp_path: Path) -> None:
    key = galaxy.copy_keys(tmp_path / "p")
    data = tmp_path / "p" / "data"
    data.unlink()
    data.mkdir()
    subprocess.run(["tar", "-czf", data / "disc.ms.tar.gz", "-C", galaxy.root / "data", "disc.ms"], check=True)
    assert run(key, tmp_path / "work", "--until", "staging")["complete"]


def test_an_unknown_target_is_refused(galaxy: Galaxy, tmp_path: Path) -> None:
    said = refused("run", galaxy.master_key, "--workdir", tmp_path / "work", "--target", "m31")
    assert "m31" in said
    assert "disc" in said


def test_a_master_key_that_is_not_there(tmp_path: Path) -> None:
    assert "nowhere.txt" in refused("check", tmp_path / "nowhere.txt")


def test_the_folder_of_no_run(tmp_path: Path) -> None:
    assert str(tmp_path) in refused("products", tmp_path).replace("\n", "")


def test_a_full_disk(galaxy: Galaxy, small_disk: Path) -> None:
    done = fringeflow("run", galaxy.master_key, "--workdir", small_disk / "work")
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1
    assert "Traceback" not in said
    assert "space" in said
    assert "remedy" in said
    assert products(small_disk / "work") == {}


def test_a_read_only_folder(galaxy: Galaxy, read_only_disk: Path) -> None:
    said = refused("run", galaxy.master_key, "--workdir", read_only_disk / "work")
    assert str(read_only_disk) in said
    assert "read-only" in said
    assert "remedy" in said


def two_targets(galaxy: Galaxy, folder: Path, path: str, velocity: str = "1000.0") -> Path:
    """Return the master key of a project with a second target, `other`, whose measurement set is `path`."""
    own = KEYS["ms_key.txt"], KEYS["target_key.txt"]
    return galaxy.copy_keys(
        folder,
        ms_key=(own[0], own[0] + f"other   p1   all   12m   1   {path}\n"),
        target_key=(own[1], own[1] + f"other   12h00m00.0s   -30d00m00.0s   {velocity}   70.0\n"),
    )
