from __future__ import annotations

import string
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fringeflow.errors import CorruptInputError, MissingInputError
from fringeflow.keys.problems import Findings
from fringeflow.keys.syntax import column_rows, comma_rows, literal, read_text, recipe_rows, split_columns

FILE = Path("/keys/file.txt")
WORDS = st.text(string.ascii_letters + string.digits + "+-_./:", min_size=1, max_size=12)
PLAIN = st.text(string.ascii_letters + " ,#{}[]()=\"'\\", max_size=12)
LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ("a b # hello", ("a", "b")),
        ("a\tb", ("a", "b")),
        ("  # hello there you", ()),
        ("#", ()),
        ("   ", ()),
        ("a #b", ("a",)),
        ("a b#c", ("a", "b#c")),
        ("a 'b # c'", ("a", "b # c")),
        ("a O'Neil b", ("a", "O'Neil", "b")),
        ("x {'a': 1, 'b': [2, 3]}", ("x", "{'a': 1, 'b': [2, 3]}")),
        ("x {'a': '}'} # note", ("x", "{'a': '}'}")),
        ("x {'a': 1 # cut", ("x", "{'a': 1")),
        ("x {'a':1}}", ("x", "{'a':1}}")),
        (r"x {'a':'\'}'} y", ("x", r"{'a':'\'}'}", "y")),
    ],
)
def test_a_line_is_split_into_cells(line: str, cells: tuple[str, ...]) -> None:
    assert split_columns(line) == cells


@given(st.lists(WORDS, min_size=1, max_size=6), st.sampled_from([" ", "\t", "   \t"]), PLAIN)
def test_words_come_back_whatever_the_blanks_and_comments(words: list[str], blank: str, note: str) -> None:
    assert split_columns(f"{blank}{blank.join(words)}{blank}# {note}") == tuple(words)


@given(st.dictionaries(PLAIN, LITERALS, max_size=4) | st.lists(LITERALS, max_size=4), WORDS)
def test_a_literal_with_blanks_is_one_cell(value: object, word: str) -> None:
    cells = split_columns(f"{word} {value!r} {word} # 'note")
    assert (cells[0], cells[-1], len(cells)) == (word, word, 3)
    assert literal(cells[1]) == value


@given(st.text(max_size=40))
def test_no_text_breaks_a_reader(text: str) -> None:
    for read, columns in ((column_rows, ("a", "b")), (comma_rows, ("a", "b"))):
        findings = Findings()
        rows = list(read(text, FILE, findings, columns))
        assert all(len(row.cells) == 2 for row in rows)
        assert all(problem.line and problem.remedy for problem in findings.problems)
    list(recipe_rows(text, FILE, Findings()))
    with suppress(ValueError):
        literal(text)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_numbers_hold_for_every_line_ending(ending: str) -> None:
    findings = Findings()
    rows = list(column_rows(ending.join(["\ufeff# note", "", "a b", "c"]), FILE, findings, ("x", "y"), what="thing"))
    assert [(row.place.line, row.cells) for row in rows] == [(3, ("a", "b"))]
    [problem] = findings.problems
    assert (problem.file, problem.line) == (FILE, 4)
    assert problem.text == "thing with 1 column instead of 2: 'c'"
    assert problem.remedy.startswith("write: x y")


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ("g,10", [("g", "10")]),
        ("g ,11", [("g", "11")]),
        ("g,,11", [("g", "11")]),
        ("g , , 11 # note", [("g", "11")]),
        ("g,10,0.5", [("g", "10", "0.5")]),
        ("galaxy,dist", []),
        ("Target,dist,error", []),
        ("name,10", [("name", "10")]),
        ("# g,10", []),
    ],
)
def test_comma_lines(line: str, cells: list[tuple[str, ...]]) -> None:
    findings = Findings()
    assert [row.cells for row in comma_rows(line, FILE, findings, ("a", "b", "c"), optional=1)] == cells
    assert not findings.problems


@pytest.mark.parametrize("line", ["g 10", "g", "g,1,2,3", ",10"])
def test_malformed_comma_lines_are_told(line: str) -> None:
    findings = Findings()
    assert not list(comma_rows(line, FILE, findings, ("a", "b", "c"), optional=1))
    assert [problem.severity for problem in findings.problems] == ["error"]


def test_recipes_keep_blanks_in_texts_and_go_on_after_blank_lines() -> None:
    findings = Findings()
    text = "cell = '0.1 arcsec'  # note\n\n\t niter=5\n# mask = ''\nnonsense\na == 3\n"
    rows = {row.cells[0]: literal(row.cells[1]) for row in recipe_rows(text, FILE, findings)}
    assert rows == {"cell": "0.1 arcsec", "niter": 5}
    assert [problem.line for problem in findings.problems] == [5, 6]


@pytest.mark.parametrize("text", ["__import__('os')", "1+", "[x for x in y]", "{[]: 1}", "", "a", "(" * 5000])
def test_only_literals_are_values(text: str) -> None:
    with pytest.raises(ValueError, match="not a value"):
        literal(text)


def test_reading_files(tmp_path: Path) -> None:
    file = tmp_path / "key.txt"
    with pytest.raises(MissingInputError, match=r"key\.txt"):
        read_text(file, Findings())
    file.write_bytes(b"a\0b")
    with pytest.raises(CorruptInputError, match="not a text file"):
        read_text(file, Findings())
    file.write_bytes("\ufeffa b".encode())
    assert read_text(file, Findings()) == "a b"
    file.write_bytes(b"a b\n# caf\xe9\n")
    findings = Findings()
    assert read_text(file, findings) == "a b\n# caf\u00e9\n"
    assert [(problem.severity, problem.line) for problem in findings.problems] == [("warning", 2)]
