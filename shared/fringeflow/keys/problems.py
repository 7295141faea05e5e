"""What is noted while key files are read: every problem with its place and remedy, and where each value came from.

Knows nothing of what the key files mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fringeflow.errors import DataError
from fringeflow.frozen import Frozen

Severity = Literal["error", "warning", "note"]
"""A note tells what is right as it is and has no effect."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, or a file as a whole."""

    file: Path
    line: int | None = None

    def __str__(self) -> str:
        return str(self.file) if self.line is None else f"{self.file}:{self.line}"


class Problem(Frozen):
    """One thing that is wrong with the keys or the data they name."""

    severity: Severity
    file: Path
    line: int | None = None
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        told = f"{self.severity}: {Place(self.file, self.line)}: {self.text}"
        return f"{told} ({self.remedy})" if self.remedy else told


class KeysError(DataError):
    """The key files cannot be used as they are; `problems` holds everything that was found, warnings too."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        errors = [str(problem) for problem in self.problems if problem.severity == "error"]
        title = f"the key files have {len(errors)} error{'s' if len(errors) != 1 else ''}:"
        super().__init__("\n  ".join([title, *errors]))

    def __reduce__(self) -> tuple[type[KeysError], tuple[tuple[Problem, ...]]]:
        # An exception crosses process borders by its constructor's argument, which is not the message here.
        return (KeysError, (self.problems,))


class Findings:
    """Collects problems and sources; never stops a reader.

    Parameters
    ----------
    lenient
        Report as warnings what would be errors, as old key sets need.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        self._lenient = lenient
        self._problems: dict[Problem, None] = {}  # a set in order: a wildcard line meets a fault once per combination
        self.sources: dict[str, tuple[str, ...]] = {}

    @property
    def problems(self) -> list[Problem]:
        """Everything noted so far, in order."""
        return list(self._problems)

    def error(self, place: Place, text: str, remedy: str = "", *, fatal: bool = False) -> None:
        """Note an error; a fatal one stays an error in lenient mode."""
        severity: Severity = "warning" if self._lenient and not fatal else "error"
        self._note(severity, place, text, remedy)

    def warning(self, place: Place, text: str, remedy: str = "") -> None:
        """Note something that is probably not meant but does no harm."""
        self._note("warning", place, text, remedy)

    def came_from(self, what: str, *places: Place, add: bool = False) -> None:
        """Note that the value called `what` was read at `places`; `add` to what was noted before."""
        known = self.sources.get(what, ()) if add else ()
        self.sources[what] = known + tuple(str(place) for place in places if str(place) not in known)

    def _note(self, severity: Severity, place: Place, text: str, remedy: str) -> None:
        problem = Problem(severity=severity, file=place.file, line=place.line, text=text, remedy=remedy)
        self._problems[problem] = None
