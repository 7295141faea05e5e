"""FITS header cards as the text they are on disk: read, sorted out, changed and written without parsing all of them.

A product's header is made of a hundred cards of another, of which a handful change. What `Cards` has of the methods of
`astropy.io.fits.Header` does what it does there, at a tenth of the time. Values and comments as nearly all cards have
them are read and formatted here, as astropy does it; whatever is unusual is left to astropy, which is loaded for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

if TYPE_CHECKING:
    from astropy.io import fits

BLOCK = 2880
_CARD = 80
_END = "END".ljust(_CARD)
_PLAIN = re.compile(
    r"[A-Z0-9_-]{1,8} *= +(?:(?P<truth>[TF])|(?P<whole>[+-]?\d+)|(?P<real>[+-]?\d+\.\d*(?:E[+-]?\d+)?)"
    r"|'(?P<text>(?:[^']|'')*)') *(?:/ *(?P<comment>.*))?"
)
_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")
_WRITABLE = re.compile(r"[ -~]*[!-~]")  # not empty; a colon may make a text a card of several values
_LONGEST_REAL = 20
_QUOTE = "'"
_REMARKS = frozenset({"COMMENT", "HISTORY", ""})
_NO_VALUE = _REMARKS | {"CONTINUE", "END"}

Value: TypeAlias = str | int | float | bool | None


class Cards(MutableMapping[str, Any]):
    """Keyword -> value of one header, in order; `texts` are the cards, each with its continuation lines."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts = list(texts)

    @classmethod
    def of(cls, header: fits.Header | Cards) -> Self:
        """Return the cards of a header, as a copy."""
        return cls(header.texts if isinstance(header, Cards) else (str(card) for card in header.cards))

    @classmethod
    def new(cls, *cards: tuple[str, Value] | tuple[str, Value, str]) -> Self:
        """Return cards given as keyword, value and, if there is one, comment."""
        return cls(_text(*card) for card in cards)

    def __iter__(self) -> Iterator[str]:
        return map(keyword_of, self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def __contains__(self, keyword: object) -> bool:
        return isinstance(keyword, str) and self._find(keyword) is not None

    def __getitem__(self, keyword: str) -> Any:
        """Return a value; of COMMENT and HISTORY all lines."""
        if keyword in _REMARKS:
            return [text[8:].rstrip() for text in self.texts if keyword_of(text) == keyword]
        place = self._find(keyword)
        if place is None:
            raise KeyError(f"the header has no {keyword}")
        return _value(self.texts[place])

    def comment(self, keyword: str) -> str:
        """Return the comment of a card; KeyError if there is none."""
        place = self._find(keyword)
        if place is None:
            raise KeyError(f"the header has no {keyword}")
        plain = _PLAIN.fullmatch(self.texts[place])
        if plain is not None:
            return (plain["comment"] or "").rstrip()
        return str(_card(self.texts[place]).comment)

    def __setitem__(self, keyword: str, value: Value | tuple[Value, str]) -> None:
        """Change a card, which keeps its comment unless another is given, or add one after the last."""
        given, comment = value if isinstance(value, tuple) else (value, None)
        place = self._find(keyword)
        if place is None:
            self.texts.append(_text(keyword, given, comment))
            return
        if comment is None:
            old = _value(self.texts[place])
            if type(old) is type(given) and old == given:
                return
            comment = self.comment(keyword)
        self.texts[place] = _text(keyword, given, comment)

    def __delitem__(self, keyword: str) -> None:
        self.remove(keyword, remove_all=True)

    def extend(self, cards: Iterable[tuple[str, str]], *, end: bool = True) -> None:
        """Add lines of COMMENT or HISTORY, at the end."""
        if not end:
            raise ValueError("lines are added at the end")
        self.texts += [line for keyword, text in cards for line in _remark(keyword, text)]

    def add_comment(self, text: str) -> None:
        """Add a line of COMMENT after the last one."""
        last = [place for place, card in enumerate(self.texts) if keyword_of(card) == "COMMENT"]
        place = last[-1] + 1 if last else len(self.texts)
        self.texts[place:place] = _remark("COMMENT", text)

    def remove(self, keyword: str, *, ignore_missing: bool = False, remove_all: bool = False) -> None:
        """Take the first card of a name away, or all."""
        if not ignore_missing and keyword not in self:
            raise KeyError(f"the header has no {keyword}")
        places = [place for place, text in enumerate(self.texts) if keyword_of(text) == keyword]
        for place in reversed(places if remove_all else places[:1]):
            del self.texts[place]

    def only(self, wanted: Callable[[str], bool]) -> Self:
        """Return the cards whose keywords are wanted."""
        return type(self)(text for text in self.texts if wanted(keyword_of(text)))

    def copy(self) -> Self:
        """Return a copy."""
        return type(self)(self.texts)

    def text(self) -> str:
        """Return all cards as they stand on disk, without END."""
        return "".join(self.texts)

    def header(self) -> fits.Header:
        """Return the cards as astropy's header."""
        from astropy.io import fits

        return fits.Header.fromstring(self.text())

    def _find(self, keyword: str) -> int | None:
        start = f"{keyword:<8}"
        return next((place for place, text in enumerate(self.texts) if text.startswith(start)), None)


def keyword_of(text: str) -> str:
    """Return the keyword of a card; that of a long one, ``HIERARCH``."""
    return text[:8].rstrip()


def is_remark(keyword: str) -> bool:
    """Return whether cards of this name are lines of text, not values."""
    return keyword in _REMARKS


def read_primary(path: Path) -> tuple[Cards, int] | None:
    """Return the cards of a file's first header and where its data begin; None if it does not begin with one."""
    lines: list[str] = []
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            if len(block) < BLOCK or not block.isascii() or not (lines or block.startswith(b"SIMPLE  =")):
                return None
            text = block.decode("ascii")
            lines += (text[start : start + _CARD] for start in range(0, BLOCK, _CARD))
            if _END in lines[-BLOCK // _CARD :]:
                return Cards(_whole(lines[: lines.index(_END)])), file.tell()
    return None


def _whole(lines: Iterable[str]) -> Iterator[str]:
    """Yield cards with their continuation lines; blank cards, which only keep room, are left out."""
    card = ""
    for line in lines:
        if line.startswith("CONTINUE"):
            card += line
            continue
        if card.strip():
            yield card
        card = line
    if card.strip():
        yield card


def _value(text: str) -> Any:
    plain = _PLAIN.fullmatch(text)
    if plain is None:
        value = _card(text).value
        return None if type(value).__name__ == "Undefined" else value
    truth, whole, real, words, _ = plain.groups()
    if words is not None:
        return words.replace("''", "'").rstrip()
    return truth == "T" if truth else int(whole) if whole else float(real)


@lru_cache(maxsize=1024, typed=True)
def _text(keyword: str, value: Value, comment: str | None = None) -> str:
    shown = _shown(value)
    text = f"{keyword:<8}= {shown}" + (f" / {comment}" if comment else "")
    is_plain = shown and _KEYWORD.fullmatch(keyword) and (not comment or _WRITABLE.fullmatch(comment))
    if is_plain and len(text) <= _CARD and keyword not in _NO_VALUE:
        return f"{text:<{_CARD}}"
    from astropy.io import fits  # takes a third of a second to load

    return str(fits.Card(keyword, value, comment))


def _shown(value: Value) -> str | None:
    """Return a value as it stands in a card (FITS standard 4.0, section 4.2), None for one that is left to astropy."""
    if type(value) is bool:
        return f"{'T' if value else 'F':>20}"
    if type(value) is int:
        return f"{value:>20d}"
    if type(value) is float and math.isfinite(value):
        digits = str(value).replace("e", "E")
        return f"{digits:>20}" if len(digits) <= _LONGEST_REAL else None
    if type(value) is str and _WRITABLE.fullmatch(value) and ":" not in value:
        quoted = f"{value.replace(_QUOTE, 2 * _QUOTE):<8}"
        return f"{_QUOTE + quoted + _QUOTE:<20}"
    return None


def _card(text: str) -> fits.Card:
    from astropy.io import fits

    return fits.Card.fromstring(text)


def _remark(keyword: str, text: str) -> list[str]:
    room = _CARD - 8
    return [f"{keyword:<8}{text[start : start + room]:<{room}}" for start in range(0, max(1, len(text)), room)]
