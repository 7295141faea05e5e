"""What the user guide says is made again after a change is what gets another work key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from fringeflow.graph.build import build
from fringeflow.keys.project import load_or_raise
from tests.docs import pages

GUIDE = pages.read("user-guide.md")
KEY_SETS = pages.key_sets(GUIDE, "A worked key set")
WORKED = KEY_SETS["A worked key set"]

DATA = dict.fromkeys(("run1/x1.ms.split.cal", "run1/x2.ms.split.cal", "run2/x7.ms.split.cal", "run4/new.ms"), "d")
"""Measurement sets -> digest."""

ADDED = "\nngc1 2031.1.00042 all 12m 3 run4/new.ms"
RESOLUTION = "\nall all_line ang_res {'2as': 2.0}"
MOMENT = "\nm algorithm tpeak\nm mask strictmask\nm ext _strict_tpeak"
CASES: Mapping[str, tuple[str, tuple[str, str], set[str]]] = {
    "a map's definition, a moment added": (
        "moment_key.txt",
        ("'12.5km/s'", "'25km/s'"),
        {"derived 12m co21 broadtpeak", "derived 12m+7m co21 broadtpeak"},
    ),
    "`strictmask_kw`": ("derived_key.txt", ("'hi_thresh': 4", "'hi_thresh': 5"), {"derived * co21 *"}),
    "`noise_kw`": ("derived_key.txt", ("'spec_box': 5", "'spec_box': 7"), {"derived * * *"}),
    "a resolution added": ("derived_key.txt", ("", RESOLUTION), {"derived * co21 *"}),
    "a recipe or an override of imaging, such as `robust`": (
        "cube.clean",
        ("0.5\npblimit", "0.0\npblimit"),
        {"imaging * co21 *", "postprocess * co21 *", "derived * co21 *"},
    ),
    "the target's velocity window, `channel_kms`, a staging override": (
        "config_key.txt",
        ("2.5, 'lines", "3.5, 'lines"),
        {"* * co21 *"},
    ),
    "`lines_to_flag` of the continuum": ("config_key.txt", ("'13co', ", ""), {"* * cont *"}),
    "a measurement set added to the ms key": ("ms_key.txt", ("", ADDED), {"* * * *"}),
    "comments, folders": ("master_key.txt", ("../data", "../other  # a comment"), set()),
}
"""What is changed -> its file, what is put in place of what (or added), and what gets another work key."""

UNTOUCHED = {
    "`strictmask_kw`": {"cube", "noise"},
    "`noise_kw`": {"cube"},
    "a resolution added": {"cube", "noise", "strictmask", "strictmom0", "strictmom1"},
}
"""Steps of the derived stage that are kept although the cases above name the stage."""


def keys_of(folder: Path, texts: Mapping[str, str], digests: Mapping[str, str] | None = None) -> dict[str, str | None]:
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    project = load_or_raise(folder / "master_key.txt")
    leaves = {f"incoming/{name}": digest for name, digest in (digests or DATA).items()}
    graph = build(project, "ngc1", leaves, lambda unit, key: None)
    return {f"{unit.id.stage} {unit.id.config} {unit.id.product} {unit.id.step}": graph.key(unit.id) for unit in graph}


def expected(names: set[str], before: Mapping[str, object], kept: set[str]) -> Iterator[str]:
    for unit in before:
        words = unit.split(" ")
        for pattern in (name.split(" ") for name in names):
            same = all(mark in ("*", word) for mark, word in zip(pattern, words, strict=True))
            if same and not (words[0] == "derived" and words[3] in kept):
                yield unit


def test_every_line_of_the_table_that_concerns_keys_is_held() -> None:
    [table] = [table for table in pages.tables(GUIDE) if table.columns == ("changed", "made again")]
    told = {row[0] for row in table.rows}
    assert set(CASES) <= told
    other = {
        "an override of post-processing, such as `round_beam`",
        "a measurement set replaced by another of the same name",
    }
    assert told - set(CASES) == other


@pytest.mark.parametrize("what", CASES)
def test_what_is_made_again_is_what_the_guide_says(what: str, tmp_path: Path) -> None:
    file, (old, new), names = CASES[what]
    texts = WORKED
    assert texts[file].count(old) == 1 or not old
    changed = texts[file].replace(old, new) if old else texts[file] + new + "\n"
    before, after = keys_of(tmp_path / "a", texts), keys_of(tmp_path / "b", texts | {file: changed})
    assert all(before.values())
    differing = {unit for unit, key in before.items() if after.get(unit) != key}
    assert differing == set(expected(names, before, UNTOUCHED.get(what, set())))


def test_a_moment_that_is_added_makes_nothing_again(tmp_path: Path) -> None:
    texts = WORKED
    more = texts | {
        "moment_key.txt": texts["moment_key.txt"] + MOMENT + "\n",
        "derived_key.txt": texts["derived_key.txt"] + "\nall all_line moments ['m']\n",
    }
    before, after = keys_of(tmp_path / "a", texts), keys_of(tmp_path / "b", more)
    assert {unit: after[unit] for unit in before} == before
    assert after.keys() - before.keys() == {"derived 12m co21 m", "derived 12m+7m co21 m"}


@pytest.mark.parametrize("override", ["round_beam reference", "cut_coarse_edges True"])
def test_an_override_of_post_processing_makes_cube_and_products_again(override: str, tmp_path: Path) -> None:
    texts = WORKED
    master = texts["master_key.txt"] + "\noverride_key override_key.txt\n"
    more = texts | {"master_key.txt": master, "override_key.txt": f"all {override}\n"}
    before, after = keys_of(tmp_path / "a", texts), keys_of(tmp_path / "b", more)
    differing = {unit.split(" ")[0] for unit, key in before.items() if after[unit] != key}
    assert differing == {"postprocess", "derived"}


def test_another_measurement_set_of_the_same_name_makes_what_is_made_of_it_again(tmp_path: Path) -> None:
    before = keys_of(tmp_path / "a", WORKED)
    after = keys_of(tmp_path / "b", WORKED, {**DATA, "run2/x7.ms.split.cal": "e"})
    assert {unit.split(" ")[1] for unit, key in before.items() if after[unit] != key} == {"12m+7m"}
    assert all(after[unit] != key for unit, key in before.items() if "12m+7m" in unit)


def test_the_parts_of_a_mosaic_are_known(tmp_path: Path) -> None:
    for name, text in KEY_SETS["A mosaic in parts"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    project = load_or_raise(tmp_path / "master_key.txt")
    assert project.targets["big"].mosaic_parts == ("big_1", "big_2")
    assert {project.targets[name].directory for name in ("big", "big_1", "big_2")} == {"big"}
