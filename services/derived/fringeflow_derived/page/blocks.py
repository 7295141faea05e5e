"""What a page is made of before it is HTML: chapters of sections of pictures, tables and notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fringeflow.errors import DataError


@dataclass(frozen=True)
class Picture:
    """A PNG with what it shows and the files it shows; `wide` ones take the page's whole width."""

    png: bytes
    caption: str
    files: tuple[Path, ...] = ()
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text; a Path in a cell becomes a link to the file. Without `head` the first column names the row."""

    rows: tuple[tuple[str | Path, ...], ...]
    head: tuple[str, ...] = ()
    caption: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Bars:
    """Named amounts drawn as bars, e.g. seconds of each step."""

    amounts: tuple[tuple[str, float], ...]
    unit: str


@dataclass(frozen=True)
class Note:
    """A sentence that stands where a picture would, e.g. what is missing."""

    text: str


Block = Picture | Table | Bars | Note


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Chapter:
    """Everything about one cube or image."""

    title: str
    anchor: str
    sections: tuple[Section, ...]


def build(title: str, *makers: Callable[[], Block]) -> Section:
    """Return a section; a maker whose data do not allow its picture leaves a note that says why."""
    return Section(title, tuple(_blocks(makers)))


def _blocks(makers: Iterable[Callable[[], Block]]) -> Iterable[Block]:
    for make in makers:
        try:
            yield make()
        except DataError as error:
            yield Note(f"Not shown: {error}")
