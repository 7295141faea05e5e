"""Dead letters of the application: what could not be made and why, kept in the store on every transport.

It builds and reads them; whoever owns the store writes them under `dead_key`.
"""

from __future__ import annotations

import hashlib

from pydantic import ValidationError

from fringeflow.errors import CorruptInputError
from fringeflow.events import FailureKind, Task
from fringeflow.frozen import Frozen
from fringeflow.graph.model import UnitId

PREVIEW_BYTES = 2000


class DeadLetter(Frozen):
    """One unit nobody tries again by itself, or a message nobody can read."""

    unit: str
    work_key: str
    kind: FailureKind
    message: str
    remedy: str | None = None
    detail: str = ""
    attempts: int = 1
    task: Task | None = None

    @property
    def path(self) -> str:
        """The key of this letter in the store."""
        return dead_key(self.unit, self.work_key)


def dead_key(unit: str, work_key: str) -> str:
    """Return where the dead letter of `unit` with `work_key` lies."""
    return f"dead/{unit}/{work_key}.json"


def item_of_key(key: str) -> tuple[UnitId, str] | None:
    """Return unit and work key of the dead letter that lies at `key`, None if it is of an unreadable message."""
    unit, _, name = key.removeprefix("dead/").rpartition("/")
    try:
        return UnitId.parse(unit), name.removesuffix(".json")
    except ValueError:
        return None


def unreadable(queue: str, body: bytes, reason: str) -> DeadLetter:
    """Return the letter of a message from `queue` that cannot be read."""
    return DeadLetter(
        unit=f"unreadable/{queue}",
        work_key=hashlib.sha256(body).hexdigest(),
        kind="data",
        message=f"a message in {queue} cannot be read: {reason}",
        remedy="find out who sends it; it may come from a newer version of the program",
        detail=body[:PREVIEW_BYTES].decode("utf-8", "backslashreplace"),
    )


def to_json(letter: DeadLetter) -> bytes:
    """Return the letter as it is stored."""
    return letter.model_dump_json(indent=2, by_alias=True).encode()


def from_json(body: bytes, path: str) -> DeadLetter:
    """Read what `to_json` wrote; `path` is for the message.

    Raises
    ------
    CorruptInputError
        If it is not a dead letter.
    """
    try:
        return DeadLetter.model_validate_json(body, extra="ignore")
    except ValidationError as error:
        raise CorruptInputError(f"{path} is not a dead letter: {error}", remedy=f"delete {path}") from error
