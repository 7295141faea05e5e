"""Manifests that cannot be read, noted by the worker that meets one: nobody has to read all of them to know.

A note is a hint. Whether a manifest is damaged still is seen by reading it, which is done for those with a note only.
"""

from __future__ import annotations

from structlog import get_logger

from fringeflow.bus import dead
from fringeflow.bus.dead import DeadLetter
from fringeflow.errors import CorruptInputError, FringeflowError, MissingInputError
from fringeflow.graph.model import UnitId
from fringeflow.store.base import Store
from fringeflow.store.ledger import Ledger

FOLDER = "damaged"


def note(store: Store, unit: UnitId, work_key: str, error: CorruptInputError) -> None:
    """Note in the store that the manifest of `unit` is damaged; if that cannot be, it is in the log alone."""
    letter = DeadLetter(unit=str(unit), work_key=work_key, kind=error.kind, message=error.message, remedy=error.remedy)
    get_logger(__name__).error("damaged manifest", unit=letter.unit, reason=error.message, remedy=error.remedy)
    try:
        store.put_bytes(_key(letter), dead.to_json(letter))
    except FringeflowError as failure:
        get_logger(__name__).warning("damage not noted", unit=letter.unit, reason=str(failure))


def known(store: Store) -> dict[tuple[str, str], DeadLetter]:
    """Return the letters about manifests that are damaged now, by unit and work key."""
    ledger = Ledger(store)
    found: dict[tuple[str, str], DeadLetter] = {}
    for info in sorted(store.list(FOLDER), key=lambda info: info.key):
        try:
            letter = dead.from_json(store.get_bytes(info.key), info.key)
        except MissingInputError:
            continue  # removed since it was listed
        try:
            ledger.get(UnitId.parse(letter.unit), letter.work_key)
        except CorruptInputError:
            found[letter.unit, letter.work_key] = letter
    return found


def _key(letter: DeadLetter) -> str:
    return f"{FOLDER}/{letter.unit}/{letter.work_key}.json"
