"""The one exception tree: every failure is transient, resource, data or bug, and its class says what happens next.

Transient failures are retried without counting, resource failures once in a larger memory class, data failures are
reported and not retried, everything else is a bug.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

FailureKind = Literal["transient", "resource", "data", "bug"]


class FringeflowError(Exception):
    """The root of the tree.

    Parameters
    ----------
    message
        What went wrong, naming the file (and line) concerned.
    remedy
        What the user can do about it.
    """

    kind: ClassVar[FailureKind] = "bug"

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_elsewhere, (type(self), self.args, self.__dict__)


class TransientError(FringeflowError):
    """The store or the broker did not answer; trying again later helps."""

    kind: ClassVar[FailureKind] = "transient"


class ResourceError(FringeflowError):
    """Memory, disk or time ran out."""

    kind: ClassVar[FailureKind] = "resource"


class DataError(FringeflowError):
    """The input itself does not allow the work: no retry will help until the input changes."""

    kind: ClassVar[FailureKind] = "data"


class BugError(FringeflowError):
    """A fault of the program."""


class DiskFullError(ResourceError):
    """No space is left on a device."""


class OutOfMemoryError(ResourceError):
    """A job was ended for the memory it used."""


class TimeLimitError(ResourceError):
    """A job took longer than its limit."""


class ReadOnlyError(DataError):
    """A folder that must be written to is read-only."""


class MissingInputError(DataError):
    """A file that was asked for is not there."""


class CorruptInputError(DataError):
    """A file is there but cannot be read, or its digest is not the one announced."""


class NothingSelectedError(DataError):
    """A selection (field, intent, spectral window, mask) leaves nothing to work on."""


class UnitFailedError(FringeflowError):
    """A job's child reported a failure of a stated kind; carries what it said across the process border."""

    def __init__(self, message: str, *, kind: FailureKind, remedy: str | None = None, detail: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.failure_kind: FailureKind = kind
        self.detail = detail


def _from_elsewhere(kind: type[FringeflowError], args: tuple[Any, ...], members: Mapping[str, Any]) -> FringeflowError:
    """Return an exception that another process has raised, whatever its class wants to be made of."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(members)
    return error
