"""What the pages of documentation hold: their code blocks, tables, commands and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs"
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_WORD = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Table:
    """A table: its heading's words, the names of its columns and its rows of cells."""

    section: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def names(self) -> set[str]:
        """Return the names in code in the first column."""
        return {name for row in self.rows for name in in_code(row[0])}

    def column(self, title: str) -> Iterator[tuple[str, str]]:
        """Yield each name of the first column with the cell of another."""
        place = self.columns.index(title)
        yield from ((name, row[place]) for row in self.rows for name in in_code(row[0]))


def in_code(text: str) -> list[str]:
    """Return what stands in backticks."""
    return _WORD.findall(text)


def read(name: str) -> str:
    """Return the text of a page."""
    return (FOLDER / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> Iterator[tuple[str, str]]:
    """Yield (words of the heading above it, content) of the code blocks of a language."""
    for found in _FENCED.finditer(text):
        if found[1] == language:
            headings = list(_HEADING.finditer(_without_blocks(text[: found.start()])))
            yield headings[-1][2], found[2]


def key_sets(text: str, worked: str) -> dict[str, dict[str, str]]:
    """Return heading -> file -> text: the key set of the section `worked`, and that with what other sections add."""
    own: dict[str, dict[str, str]] = {}
    for heading, block in blocks(text, "text"):
        named = re.match(r"# ([\w.]+)", block)
        assert named, f"{heading}: a block that does not name its file"
        texts = own.setdefault(heading, {})
        texts[named[1]] = texts.get(named[1], "") + block
    base = own.pop(worked)
    found = {worked: base}
    for heading, texts in own.items():
        found[heading] = base | {name: base.get(name, "") + more for name, more in texts.items()}
    return found


def sections(text: str) -> dict[str, str]:
    """Return the text below each heading, up to the next one; code blocks are left out."""
    bare = _without_blocks(text)
    found = list(_HEADING.finditer(bare))
    ends = [*(heading.start() for heading in found[1:]), len(bare)]
    return {heading[2]: bare[heading.end() : end] for heading, end in zip(found, ends, strict=True)}


def tables(text: str) -> Iterator[Table]:
    """Yield the tables of a page."""
    for section, content in sections(text).items():
        for block in re.findall(r"(?:^\|.*\n?)+", content, re.MULTILINE):
            head, _, *rows = (_cells(line) for line in block.splitlines())
            assert all(len(row) == len(head) for row in rows), f"{section}: a row of another length"
            yield Table(section, head, tuple(rows))


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every command line of fringeflow in blocks of shell, and of those in line."""
    lines = [line for _, block in blocks(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    lines += [word for word in in_code(_without_blocks(text)) if word.startswith("fringeflow ")]
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ["fringeflow"]:
            yield words[1:]


def links(text: str) -> Iterator[tuple[str, str]]:
    """Yield (file, anchor) of every link to a page of ours; an empty file is the page itself."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _without_blocks(text)):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            yield file, anchor


def anchors(text: str) -> set[str]:
    """Return the anchors that the headings of a page have, made as GitHub makes them."""
    titles = [found[2] for found in _HEADING.finditer(_without_blocks(text))]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _without_blocks(text: str) -> str:
    return _FENCED.sub("", text)


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1])
