"""What a job keeps of a unit it has not finished: in the store, so that the next attempt, wherever, can go on from it.

It lies beside the unit's artefacts, under the same work key, and goes with the commit, as all that the manifest does
not name; what is never finished is pruned. Other versions of the software, whose bits may differ, do not find it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path

from structlog import get_logger

from fringeflow.errors import FringeflowError, MissingInputError
from fringeflow.graph.model import UnitId
from fringeflow.store.artefacts import folder_of
from fringeflow.store.base import Store

log = get_logger(__name__)


class Unfinished:
    """One file of one unit on its way.

    Parameters
    ----------
    software
        Name and version of all that results depend on.
    every_seconds
        So much time is between one file and the next.
    """

    def __init__(
        self, store: Store, unit: UnitId, work_key: str, *, software: Mapping[str, str], every_seconds: float
    ) -> None:
        made_with = hashlib.sha256(json.dumps(dict(software), sort_keys=True).encode()).hexdigest()
        self._store = store
        self._key = f"{folder_of(unit, work_key)}/unfinished/{made_with[:16]}"
        self._every = every_seconds
        self._last = time.monotonic()

    def due(self) -> bool:
        """Return whether it is time to keep another file."""
        return time.monotonic() - self._last >= self._every

    def save(self, path: Path) -> None:
        """Keep a file in place of the one before; that it cannot be kept stops nobody."""
        try:
            self._store.put_file(path, self._key)
        except FringeflowError as error:
            log.warning("unfinished work is not kept", key=self._key, reason=str(error))
        self._last = time.monotonic()

    def load(self, path: Path) -> bool:
        """Write the file that was kept to `path`; return False where there is none."""
        try:
            self._store.get_file(self._key, path)
        except MissingInputError:
            return False
        log.info("unfinished work is gone on with", key=self._key)
        return True
