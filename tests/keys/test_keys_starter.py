"""Key files to start with: from what measurement sets hold, without and with CASA."""

from __future__ import annotations

import io
import math
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fringeflow.cli import init
from fringeflow.errors import DataError, UnitFailedError
from fringeflow.keys.lines import builtin
from fringeflow.keys.model import Project
from fringeflow.keys.project import check_data, load
from fringeflow.keys.starter import Described, Velocity, starter, target_name
from fringeflow.keys.writing import write
from tests import simulation

CO21_GHZ = 230.538


def window(low_kms: float, high_kms: float, channels: int = 100, restfreq_ghz: float = CO21_GHZ) -> dict[str, float]:
    """A window by the velocities of a line at its edges."""
    low, high = (restfreq_ghz * (1 - v / 299792.458) for v in (high_kms, low_kms))
    return {"low_ghz": low, "high_ghz": high, "width_ghz": (high - low) / channels}


def field(name: str, ra_deg: float, dec_deg: float, number: int = 0) -> dict[str, Any]:
    ra, dec = math.radians(ra_deg), math.radians(dec_deg)
    return {
        "id": number,
        "name": name,
        "direction": [math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)],
    }


def described(
    path: str, *fields: dict[str, Any], dish_m: float = 12.0, telescope: str = "ALMA", **members: Any
) -> Described:
    contents = {
        "telescope": telescope,
        "project": "2031.1.00042.S",
        "dish_m": dish_m,
        "baselines_m": (15.0, 300.0),
        "fields": list(fields) or [field("NGC 1", 10.0, -20.0)],
        "windows": [window(500, 1500)],
    }
    return Described(Path("/data") / path, contents | members)


def started(*sets: Described, vsys: float = 1000.0, vwidth: float = 400.0, **options: Any) -> Project:
    names = {name for item in sets for name in item.fields_of()}
    return starter(sets, dict.fromkeys(names, Velocity(vsys, vwidth)), builtin(), **options)


def test_arrays_are_told_by_their_dishes_and_combined_where_alma_has_both() -> None:
    both = started(described("a.ms"), described("b.ms", dish_m=7.0, baselines_m=(9.0, 45.0)))
    assert {name: config.array_tags for name, config in both.interf_configs.items()} == {
        "12m": ("12m",),
        "12m+7m": ("12m", "7m"),
        "7m": ("7m",),
    }
    assert both.configs_with_data("ngc_1") == ("12m", "12m+7m", "7m")
    vla = started(described("a.ms", dish_m=25.0, telescope="EVLA"))
    other = started(described("a.ms", dish_m=22.0, telescope="ATCA"))
    assert (*vla.interf_configs, *other.interf_configs) == ("vla", "22m")


def test_scales_grow_from_the_beam_to_what_the_shortest_baseline_sees() -> None:
    scales = started(described("a.ms")).interf_configs["12m"].clean_scales_arcsec
    beam = math.degrees(299792458 / 230.538e9 / 300) * 3600
    assert scales[0] == 0
    assert scales[1] == pytest.approx(beam, rel=0.1)
    assert scales[-1] <= 0.6 * beam * 300 / 15 * 1.1


def test_lines_are_those_that_one_window_holds_all_of() -> None:
    assert tuple(started(described("a.ms")).line_products) == ("co21",)
    halves = [window(500, 1000), window(1000, 1500)]
    with pytest.raises(DataError, match=r"no line is covered: a\.ms has 229\.") as told:
        started(described("a.ms", windows=halves))
    assert "--vwidth" in str(told.value.remedy)
    both = [window(500, 1500), window(500, 1500, restfreq_ghz=219.56035)]
    assert tuple(started(described("a.ms", windows=both)).line_products) == ("co21", "c18o21")
    assert tuple(started(described("a.ms", windows=both), only=("c18o",)).line_products) == ("c18o21",)
    with pytest.raises(DataError, match="no line or family"):
        started(described("a.ms"), only=("co2l",))


def test_channels_are_as_wide_as_the_widest_that_cover_a_line() -> None:
    project = started(described("a.ms"), described("b.ms", windows=[window(400, 1600, channels=40)]))
    assert 30.0 < project.line_products["co21"].channel_kms < 30.2


@pytest.mark.parametrize(
    ("pointings", "ra", "dec"),
    [
        ([(359.5, 10.0), (0.5, 10.0)], "00h00m00.0000s", "+10d"),
        ([(150.0, -0.5)], "10h00m00.0000s", "-00d30m00.000s"),
        ([(359.99999999, -89.0)], "00h00m00.0000s", "-89d00m00.000s"),
        ([(20.0, 30.0), (20.0, 32.0)], "01h20m00.0000s", "+31d00m00.000s"),
    ],
)
def test_fields_of_one_name_are_one_target_about_their_middle(
    pointings: list[tuple[float, float]], ra: str, dec: str
) -> None:
    fields = [field("Big One", *place, number) for number, place in enumerate(pointings)]
    project = started(described("a.ms", *fields))
    target = project.targets["big_one"]
    assert target.ra == ra
    assert target.dec.startswith(dec)
    assert [item.field for item in target.measurements] == ["all"]
    gridder = "mosaic" if len(fields) > 1 else "standard"
    assert {recipe.parameters["gridder"] for recipe in project.recipes["12m"]["co21"].values()} == {gridder}


def test_executions_are_numbered_and_found_below_one_root() -> None:
    two = [field("A", 10, 0, 0), field("B", 11, 0, 1), field("A", 10.01, 0, 2)]
    project = started(described("x/a.ms", *two), described("y/a.ms", field("A", 10, 0)))
    assert project.roots.ms == (Path("/data"),)
    assert [(item.path, item.obsnum, item.field) for item in project.targets["a"].measurements] == [
        ("x/a.ms", "1", "0,2"),
        ("y/a.ms", "2", "all"),
    ]
    assert [item.field for item in project.targets["b"].measurements] == ["1"]


@pytest.mark.parametrize(
    ("said", "name"), [("NGC 5921", "ngc_5921"), ("all", "field_all"), ("-~", "field_"), ("M51+N'", "m51+n")]
)
def test_names_of_fields_become_names_of_targets(said: str, name: str) -> None:
    assert target_name(said) == name


def test_what_is_written_has_no_problems(tmp_path: Path) -> None:
    project = started(described("a.ms"), described("b.ms", dish_m=7.0))
    again, problems = load(write(project, tmp_path / "keys"))
    assert [str(problem) for problem in problems] == []
    assert (
        again.digest
        == project.model_copy(
            update={"recipes": again.recipes, "recipe_files": again.recipe_files, "timebins": again.timebins}
        ).digest
    )


def test_velocities_come_from_a_table_before_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "velocities.txt"
    table.write_text("# field vsys vwidth distance\n'Big One' 1234.5 300 10\nsmall -50\n")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    request = init.Request(table=table, vwidth=400)
    found = init._velocities(["big_one", "small"], request)
    assert found == {"big_one": Velocity(1234.5, 300, 10), "small": Velocity(-50, 400)}
    assert init._velocities(["other"], init.Request(vsys=7, table=table)) == {"other": Velocity(7, 500)}
    with pytest.raises(DataError, match="no systemic velocity of other") as told:
        init._velocities(["other"], request)
    assert "--velocities" in str(told.value.remedy)
    table.write_text("big ten\n")
    with pytest.raises(DataError, match=r"velocities\.txt:1.*vsys of big"):
        init._velocities(["big"], request)


@pytest.mark.usefixtures("casa_ready")
def test_a_measurement_set_gives_keys_that_pass_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide = simulation.Window(n_channels=40, channel_kms=5.0)
    (tmp_path / "data").mkdir()
    truth = simulation.simulate_disc(tmp_path / "data" / "a.ms", windows=(wide,), calibrator_jy=1.0)
    table = tmp_path / "velocities.txt"
    table.write_text(f"{truth.field_name} {truth.vsys_kms} 100\n")
    assert init.init([tmp_path / "data" / "a.ms"], tmp_path / "keys", init.Request(table=table)) == 0
    assert "next: fringeflow check" in capsys.readouterr().out
    project, problems = load(tmp_path / "keys" / "master_key.txt")
    assert [*problems, *check_data(project)] == []
    [target] = project.targets.values()
    assert target.name == target_name(truth.field_name)  # and not the calibrator
    assert target.measurements[0].array_tag == "12m"
    assert project.products == ("co21", "cont")
    assert 5.0 < project.line_products["co21"].channel_kms < 5.05
    hours, minutes, seconds = (
        float(part) for part in target.ra.replace("h", " ").replace("m", " ").rstrip("s").split()
    )
    assert (hours + minutes / 60 + seconds / 3600) * 15 == pytest.approx(truth.ra_deg, abs=1e-4)


class Terminal(io.StringIO):
    """A terminal at which somebody types."""

    def isatty(self) -> bool:
        return True


def test_velocities_that_nothing_gives_are_asked_for_until_they_are_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "velocities.txt"
    table.write_text("known 70 200\n")
    monkeypatch.setattr("sys.stdin", Terminal("fast\n-21.5\n1480\n"))
    found = init._velocities(["a", "b", "known"], init.Request(table=table, vwidth=300))
    assert found == {"a": Velocity(-21.5, 300), "b": Velocity(1480, 300), "known": Velocity(70, 200)}
    said = capsys.readouterr().out
    assert said.count("systemic velocity of a (km/s, LSRK, radio)") == 2
    assert "known" not in said


@pytest.mark.usefixtures("casa_ready")
def test_two_arrays_and_an_answer_at_the_terminal_give_keys(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    sets = []
    for name, dish, channel in (("large", 12.0, 5.0), ("small", 7.0, 2.5)):
        watch = simulation.Observation(n_times=2, n_antennas=5, dish_m=dish, longest_m=dish * 8)
        band = (simulation.Window(n_channels=round(200 / channel), channel_kms=channel),)
        sets.append(simulation.simulate_disc(tmp_path / "data" / f"{name}.ms", windows=band, observation=watch).path)
    ours, theirs = pty.openpty()
    try:
        options = ["--out", str(tmp_path / "keys"), "--vwidth", "100"]
        command = [sys.executable, "-m", "fringeflow", "init", *map(str, sets), *options]
        with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            os.write(ours, b"1000\n")
            said, _ = process.communicate(timeout=120)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 0, said
    assert b"systemic velocity of disc (km/s, LSRK, radio):" in said
    project, problems = load(tmp_path / "keys" / "master_key.txt")
    assert [*problems, *check_data(project)] == []
    assert {name: config.array_tags for name, config in project.interf_configs.items()} == {
        "12m": ("12m",),
        "12m+7m": ("12m", "7m"),
        "7m": ("7m",),
    }
    assert {item.path: item.array_tag for item in project.targets["disc"].measurements} == {
        "large.ms": "12m",
        "small.ms": "7m",
    }
    assert (project.targets["disc"].vsys_kms, project.targets["disc"].vwidth_kms) == (1000.0, 100.0)
    assert project.configs_with_data("disc") == ("12m", "12m+7m", "7m")


@pytest.mark.usefixtures("casa_ready")
def test_what_is_no_measurement_set_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnitFailedError, match="folder is not a measurement set"):
        init.init([tmp_path / "folder"], tmp_path / "keys", init.Request(vsys=1))
    with pytest.raises(UnitFailedError, match="no such measurement set"):
        init.init([tmp_path / "absent.ms"], tmp_path / "keys", init.Request(vsys=1))
    assert not (tmp_path / "keys").exists()
