"""Header cards as text do what astropy's header does."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from fringeflow.fitscards import Cards, read_primary

_REMARKS = {"COMMENT", "HISTORY", "CONTINUE", "END"}
_KEYWORDS = st.from_regex(r"[A-Z][A-Z0-9_]{0,7}", fullmatch=True).filter(lambda word: word not in _REMARKS)
_TEXT = st.text(string.digits + string.ascii_letters + " '/.&()=+-:", max_size=75)
_VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats(allow_nan=False, allow_infinity=False, width=64),
    _TEXT,
)
_CHANGES = st.lists(
    st.tuples(_KEYWORDS, _VALUES, st.one_of(st.none(), st.text(string.ascii_letters + " /:", max_size=30)))
)


@given(_CHANGES, _CHANGES, st.lists(_TEXT, max_size=3))
def test_changes_are_those_of_astropy(
    first: list[tuple[str, object, str | None]], then: list[tuple[str, object, str | None]], lines: list[str]
) -> None:
    header = fits.Header()
    for keyword, value, comment in first:
        header[keyword] = value if comment is None else (value, comment)
    cards = Cards.of(header)
    for keyword, value, comment in then:
        header[keyword] = value if comment is None else (value, comment)
        cards[keyword] = value if comment is None else (value, comment)
    header.extend([("HISTORY", line) for line in lines], end=True)
    cards.extend([("HISTORY", line) for line in lines])
    for keyword, _, _ in first[::2]:
        header.remove(keyword, ignore_missing=True)
        cards.remove(keyword, ignore_missing=True)

    assert cards.text() == header.tostring(sep="", endcard=False, padding=False)
    assert list(cards) == list(header)
    written = fits.Header.fromstring(cards.text())
    for keyword in written:
        if keyword != "HISTORY":
            assert (cards[keyword], type(cards[keyword])) == (written[keyword], type(written[keyword]))
            assert cards.comment(keyword) == written.comments[keyword]
    assert cards.get("HISTORY", []) == list(written.get("HISTORY", []))


@pytest.mark.parametrize(
    "text",
    [
        "BMAJ    = 1.5D-3",
        "BMAJ    =               -.5E+02 / no digit before the point",
        "OBJECT  = 'it''s    '           / with / and 'quotes'",
        "OBJECT  =                        / nothing",
        "N       = +00012",
        "FLAG    =                    T / yes",
        "COMPLEX = (1.0, 2.0)",
        "EMPTY   = ''",
        "BLANKS  = '   '",
    ],
)
def test_values_are_read_as_astropy_reads_them(text: str) -> None:
    header = fits.Header.fromstring(text.ljust(80))
    keyword = next(iter(header))

    found, wanted = Cards([text.ljust(80)])[keyword], header[keyword]

    assert type(found) is type(wanted)
    assert found == wanted


def test_long_texts_stay_with_their_continuation(tmp_path: Path) -> None:
    header = fits.Header([("LONG", "x" * 150), ("AFTER", 1)])
    header.add_comment("first")
    fits.PrimaryHDU(np.zeros((2, 3), np.float32), header).writeto(tmp_path / "a.fits")

    cards, offset = read_primary(tmp_path / "a.fits") or (Cards(), 0)
    cards.add_comment("y" * 100)

    assert offset == 2880
    assert cards["LONG"] == "x" * 150
    assert cards.only(lambda keyword: keyword != "LONG").get("AFTER") == 1
    assert "CONTINUE" not in cards.only(lambda keyword: keyword != "LONG").text()
    assert cards["COMMENT"] == ["first", "y" * 72, "y" * 28]


def test_a_card_that_is_missing_is_said() -> None:
    with pytest.raises(KeyError, match="BMAJ"):
        Cards()["BMAJ"]
    with pytest.raises(KeyError, match="BMAJ"):
        Cards().remove("BMAJ")
    assert "BMAJ" not in Cards()


@pytest.mark.parametrize("content", [b"", b"SIMPLE  =" + b" " * 2000, b"\x1f\x8b" * 3000, b"SIMPLE  =".ljust(2880)])
def test_what_does_not_begin_with_a_header_has_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)

    assert read_primary(tmp_path / "a") is None
