"""Text of key files into rows of cells with file and line. Knows three layouts and nothing of what the cells mean."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fringeflow.errors import CorruptInputError, MissingInputError
from fringeflow.keys.problems import Findings, Place

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_QUOTES = "'\""
_NEWLINE = re.compile(r"\r\n|\r|\n")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)\s*=(?!=)\s*(.*)", re.DOTALL)
_BLANK = re.compile(r"\s")
_LITERAL_PART = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[(\[{}\])]|\s+\#""")
"""A quoted text, a bracket, or blanks with the start of a comment."""
_HEADERS = ("galaxy", "target", "name")


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one line that says something."""

    place: Place
    cells: tuple[str, ...]


def read_text(path: Path, findings: Findings) -> str:
    """Return the text of a key file; a byte order mark is left out.

    Raises
    ------
    MissingInputError
        There is no such file.
    CorruptInputError
        It is not text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MissingInputError(f"cannot read {path}: {error.strerror}") from error
    if b"\0" in content:
        raise CorruptInputError(f"{path} is not a text file", remedy="save it as plain UTF-8 text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        findings.warning(Place(path, line), "not UTF-8; read as Latin-1", "save the file as UTF-8")
        return content.decode("latin-1")


def column_rows(
    text: str, file: Path, findings: Findings, columns: tuple[str, ...], *, optional: int = 0, what: str = "line"
) -> Iterator[Row]:
    """Yield the rows of a whitespace-column file.

    Parameters
    ----------
    columns
        Names of the columns; the last `optional` of them may be left out.
    what
        What a line of this file is called in messages.
    """
    least, most = len(columns) - optional, len(columns)
    wanted = f"{least} to {most}" if optional else f"{most}"
    for place, line in _lines(text, file):
        cells = split_columns(line)
        if least <= len(cells) <= most:
            yield Row(place, cells)
        elif cells:
            findings.error(
                place,
                f"{what} with {_number(len(cells), 'column')} instead of {wanted}: {line.strip()!r}",
                f"write: {' '.join(columns)}; quote a value that holds blanks or starts with '#'",
            )


def comma_rows(
    text: str, file: Path, findings: Findings, columns: tuple[str, ...], *, optional: int = 0, what: str = "line"
) -> Iterator[Row]:
    """Yield the rows of a comma file; runs of commas count as one, a header line is left out."""
    least, most = len(columns) - optional, len(columns)
    wanted = f"{least} to {most}" if optional else f"{most}"
    for place, line in _lines(text, file):
        bare = without_comment(line).strip()
        cells = tuple(cell.strip() for cell in re.split(r",(?:\s*,)*", bare))
        if not bare or _is_header(cells):
            continue
        if least <= len(cells) <= most and cells[0]:
            yield Row(place, cells)
        else:
            given = len([cell for cell in cells if cell])
            findings.error(
                place,
                f"{what} with {_number(given, 'value')} instead of {wanted}: {bare!r}",
                f"write: {','.join(columns)}",
            )


def recipe_rows(text: str, file: Path, findings: Findings) -> Iterator[Row]:
    """Yield (name, text of the value) for every assignment of a recipe file; blank lines mean nothing."""
    for place, line in _lines(text, file):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(bare)
        if match:
            yield Row(place, (match[1], match[2]))
        else:
            findings.error(place, f"not an assignment: {bare!r}", "write: name = value, on one line")


def split_columns(line: str) -> tuple[str, ...]:
    """Return the cells of a line, split at blanks.

    A cell that starts with a bracket runs to the matching bracket and one that starts with a quote to the next such
    quote, so both may hold blanks; the quotes are dropped. A '#' at the start of a cell begins a comment.
    """
    cells: list[str] = []
    start = 0
    while True:
        while start < len(line) and line[start].isspace():
            start += 1
        if start == len(line) or line[start] == "#":
            return tuple(cells)
        end = _end_of_cell(line, start)
        cell = line[start:end]
        quoted = len(cell) >= 2 and cell[0] in _QUOTES and cell[0] not in cell[1:-1] and cell[-1] == cell[0]
        cells.append(cell[1:-1] if quoted else cell)
        start = end


def without_comment(line: str) -> str:
    """Return `line` up to a '#' that starts it or follows a blank."""
    match = re.search(r"(?:^|(?<=\s))#", line)
    return line[: match.start()] if match else line


def literal(text: str) -> Any:
    """Return the value of a Python literal; a comment may follow it.

    Raises
    ------
    ValueError
        The text is not a literal; nothing is ever executed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in a string is the writer's business
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a value: {text.strip()!r}") from error


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _lines(text: str, file: Path) -> Iterator[tuple[Place, str]]:
    # Not str.splitlines: form feeds and Unicode separators do not end a line in an editor.
    for number, line in enumerate(_NEWLINE.split(text.removeprefix("\ufeff")), start=1):
        yield Place(file, number), line


def _is_header(cells: tuple[str, ...]) -> bool:
    if cells[0].lower() not in _HEADERS:
        return False
    return not (len(cells) > 1 and re.match(r"[-+.]?\d", cells[1]))


def _end_of_cell(line: str, start: int) -> int:
    first = line[start]
    if first in _QUOTES:
        closing = line.find(first, start + 1)
        if closing >= 0 and (closing + 1 == len(line) or line[closing + 1].isspace()):
            return closing + 1
    if first in _CLOSING:
        return _end_of_literal(line, start)
    end = start
    while end < len(line) and not line[end].isspace():
        end += 1
    return end


def _end_of_literal(line: str, start: int) -> int:
    """Return where the cell that opens with a bracket ends: behind what closes it, or where the line or text ends."""
    depth = 0
    for match in _LITERAL_PART.finditer(line, start):
        part = match[0]
        if part[0].isspace():
            return match.start()
        depth += (part in _CLOSING) - (part in _CLOSING.values())
        if depth == 0:
            # What is glued to the bracket belongs to the cell, so that it is refused with it.
            blank = _BLANK.search(line, match.end())
            return blank.start() if blank else len(line)
    return len(line)
