from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fringeflow import names
from fringeflow.keys.model import Measurement, natural_order
from fringeflow.keys.problems import Findings, Place
from fringeflow.keys.tables import is_name
from fringeflow.keys.values import velocity_text

HERE = Place(Path(__file__))
PARTS = st.text(string.ascii_lowercase + string.digits + "+_", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("ext", "name"),
    [
        ("", "gal_1_12m+7m_co21.fits"),
        ("pbcorr_trimmed_k", "gal_1_12m+7m_co21_pbcorr_trimmed_k.fits"),
        ("_x_", "gal_1_12m+7m_co21_x.fits"),
    ],
)
def test_names_of_cubes(ext: str, name: str) -> None:
    assert names.cube("gal_1", "12m+7m", "co21", ext) == name


def test_other_names() -> None:
    assert names.visibilities("gal", "7m", "co21") == "gal_7m_co21.ms"
    assert names.staged("gal__x", "2015.1", "7m", "1", "") == "gal__x_2015.1_7m_1.ms"
    assert names.resolution_tag(arcsec=7.5) == "7p50"
    assert names.resolution_tag(parsec=80) == "80pc"
    assert names.arcsec_of_parsec(150, 10) == pytest.approx(3.0939721)


@given(PARTS, PARTS, PARTS, st.sampled_from(["", "_x_", "trimmed"]))
def test_names_are_tidy_and_tidying_again_changes_nothing(target: str, config: str, product: str, ext: str) -> None:
    name = names.cube(target, config, product, ext)
    assert "__" not in name
    assert "_." not in name
    assert names.tidy(name) == name
    assert name.endswith(".fits")


@given(PARTS)
def test_what_may_be_a_name_makes_one_file_name(name: str) -> None:
    findings = Findings()
    assert is_name(name, HERE, "target", findings) != bool(findings.problems)
    assert name in ("all", "all_line", "all_cont") or not findings.problems


@pytest.mark.parametrize("name", ["a/b", "..", ".a", "-a", "a b", "a*", "all", "ALL_LINE", "", "a'b", "$x"])
def test_what_may_not_be_a_name(name: str) -> None:
    findings = Findings()
    assert not is_name(name, HERE, "target", findings)
    assert findings.problems[0].remedy


@given(st.lists(st.integers(0, 10**6)))
def test_obsnums_are_sorted_by_their_number(numbers: list[int]) -> None:
    items = [Measurement(target="t", project="p", array_tag="a", obsnum=str(n), field="all", path="x") for n in numbers]
    assert [int(item.obsnum) for item in sorted(items, key=natural_order)] == sorted(numbers)


def test_obsnums_of_every_kind_can_be_sorted() -> None:
    tags = ["b", "10", "2", "1b", "1a", "a10", "a2"]
    items = [Measurement(target="t", project="p", array_tag="a", obsnum=tag, field="all", path="x") for tag in tags]
    found = [item.obsnum for item in sorted(items, key=natural_order)]
    assert found == ["1a", "1b", "2", "10", "a2", "a10", "b"]


@given(st.floats(0.001, 1e6))
def test_velocity_widths_keep_their_number_and_are_read_again(width: float) -> None:
    text = velocity_text(f"{width} km/s")
    assert text == f"{width}km/s"
    assert velocity_text(text) == text


@pytest.mark.parametrize("text", ["", "fast", "-5", "0", "nan", "1e999", "5pc", "5km/s/s"])
def test_what_is_no_velocity_width(text: str) -> None:
    with pytest.raises(ValueError, match="a velocity width"):
        velocity_text(text)
