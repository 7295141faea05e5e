from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fringeflow.keys.lines import LIGHT_KMS, Line, UnknownLineError, builtin, merged, table_of

RANGES = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)).map(lambda pair: (pair[0], pair[0] + pair[1])))


def test_the_table_is_whole() -> None:
    table = builtin()
    assert len(table.lines) == 159
    assert len(table.families) == 22
    assert sorted(tag for tags in table.families.values() for tag in tags) == sorted(table.lines)
    assert len({line.restfreq_ghz for line in table.lines.values()}) == 159


@pytest.mark.parametrize(
    ("tag", "freq"),
    [
        ("co21", 230.538),
        ("hi21cm", 1.420405751),
        ("c18o21", 219.56035),
        ("cch10_21", 87.316925),
        ("cn10lo", 113.1912787),
    ],
)
def test_frequencies(tag: str, freq: float) -> None:
    assert builtin().find(tag).restfreq_ghz == freq


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("CO21", "co21"),
        ("CO(2-1)", "co21"),
        ("13CO 2-1", "13co21"),
        ("HCO+ 1-0", "hcop10"),
        ("N2H+(1-0)", "n2hp10"),
        ("CCH10-21", "cch10_21"),
        ("H30-alpha", "h30alpha"),
    ],
)
def test_names_are_found_in_any_spelling(name: str, tag: str) -> None:
    assert builtin().find(name).tag == tag


def test_every_tag_is_found_in_capitals_with_marks() -> None:
    for tag in builtin().lines:
        assert builtin().find(" ".join(tag.upper())).tag == tag


def test_families_and_lines_expand_once_each() -> None:
    tags = [line.tag for line in builtin().expand(["HCO+", "co21", "CO"])]
    assert tags[:7] == ["hcop10", "hcop21", "hcop32", "hcop43", "hcop54", "hcop65", "hcop76"]
    assert tags[7:] == ["co21", "co10", "co32", "co43", "co54", "co65"]
    assert builtin().expand([]) == ()


def test_unknown_names_come_with_a_remedy() -> None:
    with pytest.raises(UnknownLineError, match=r"'co12'.*co21") as caught:
        builtin().expand("co12")
    assert "line or family" in caught.value.message
    with pytest.raises(UnknownLineError, match="line_key"):
        builtin().find("zzzzzzz")


def test_sky_frequencies() -> None:
    [(low, high)] = builtin().ranges_ghz("co21", vsys_kms=1000, vwidth_kms=500)
    assert (round(low, 7), round(high, 7)) == (229.5767600, 229.9612560)
    assert LIGHT_KMS == 299792.458
    assert builtin().ranges_ghz([], vsys_kms=1000, vwidth_kms=500) == ()
    padded = Line("x", 100.0, "x", padding_kms=LIGHT_KMS / 1000)
    assert padded.range_ghz(0, 0) == pytest.approx((99.9, 100.1))


def test_ranges_are_merged_where_they_touch() -> None:
    assert merged([(1, 2), (1.5, 3), (3, 4), (5, 6), (5.1, 5.2)]) == ((1, 4), (5, 6))


@given(RANGES)
def test_merging_keeps_what_is_covered_and_leaves_gaps(ranges: list[tuple[int, int]]) -> None:
    found = merged(ranges)
    covered = {cell for low, high in ranges for cell in range(low, high)}
    assert {cell for low, high in found for cell in range(int(low), int(high))} == covered
    assert all(earlier[1] < later[0] for earlier, later in pairwise(found))


def test_a_line_key_extends_and_replaces(survey) -> None:
    project, problems = survey({"lines.txt": "xyz10 100.5 XYZ 20\nco21 230.5 co\nbad -1 x\n"})
    assert [problem.line for problem in problems if problem.severity == "error"] == [3]
    table = table_of(project)
    assert table.find("XYZ(1-0)") == Line("xyz10", 100.5, "xyz", 20.0)
    assert table.find("co21").restfreq_ghz == project.line_products["co21"].restfreq_ghz == 230.5
    assert [line.tag for line in table.expand("xyz")] == ["xyz10"]
    assert len(table.lines) == 160
