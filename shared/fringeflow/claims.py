"""Says who is making what, so that two workers do not make the same unit at the same time.

A claim is thrift, never truth: the manifest is the commit, and a unit made twice gives one result. So claims may be
lost, taken over by two at once or outlive their owner; they then cost time and nothing else. What a dead owner leaves
is removed by the living.
"""

from __future__ import annotations

import json
import time

from structlog import get_logger

from fringeflow.attendant import Attendant
from fringeflow.errors import FringeflowError, MissingInputError
from fringeflow.store.base import Store

FOLDER = "claims"
_RENEWALS = 3  # in a lease


def claim_key(unit: str, work_key: str) -> str:
    """Return where the claim on `unit` with `work_key` lies."""
    return f"{FOLDER}/{unit}/{work_key}.json"


class Claims(Attendant):
    """The claims of one owner. Use as a context: a thread renews them for as long as it lasts.

    Parameters
    ----------
    owner
        A name that no other process has.
    lease_seconds
        How long a claim holds unless it is renewed, which happens three times as often; once a lease the dead's are
        swept.
    """

    def __init__(self, store: Store, owner: str, lease_seconds: float) -> None:
        super().__init__("claims")
        self._store = store
        self._owner = owner
        self._lease = lease_seconds
        self._mine: set[str] = set()
        self._seen: dict[str, str] = {}

    def take(self, unit: str, work_key: str) -> float:
        """Claim `unit`; return 0 if it is ours now, else the seconds until another's claim ends unless renewed."""
        key = claim_key(unit, work_key)
        if not self._store.put_bytes(key, self._claim(), create=True):
            left = self._left_to_another(key)
            if left > 0:
                return left
            self._store.put_bytes(key, self._claim())  # of the dead, or of ourselves
        with self._lock:
            self._mine.add(key)
        return 0.0

    def release(self, unit: str, work_key: str) -> None:
        """Give up the claim on `unit`; if the store is away it runs out by itself."""
        key = claim_key(unit, work_key)
        with self._lock:
            if key not in self._mine:
                return
            self._mine.remove(key)
            try:
                self._store.delete([key])
            except FringeflowError as error:
                get_logger(__name__).warning("claim not removed", key=key, reason=str(error))

    def renew(self) -> None:
        """Renew all that are ours."""
        with self._lock:
            mine = sorted(self._mine)
        for key in mine:
            with self._lock:  # so that none is written again after its release
                if key in self._mine:
                    self._store.put_bytes(key, self._claim())

    def sweep(self) -> None:
        """Remove others' claims that are as they were at the last sweep: called once a lease, it meets the dead's."""
        found = {info.key: info.etag for info in self._store.list(FOLDER)}
        with self._lock:
            others = found.keys() - self._mine
        dead = {key for key in others if self._seen.get(key) == found[key]}
        self._store.delete(sorted(dead))
        self._seen = {key: etag for key, etag in found.items() if key not in dead}

    def _claim(self) -> bytes:
        return json.dumps({"owner": self._owner, "until": time.time() + self._lease}).encode()

    def _left_to_another(self, key: str) -> float:
        try:
            found = json.loads(self._store.get_bytes(key))
            owner, until = str(found["owner"]), float(found["until"])
        except (MissingInputError, ValueError, KeyError, TypeError):
            return 0.0  # given up since, or no claim
        # a clock that is far ahead does not hold a unit for longer than a lease
        return 0.0 if owner == self._owner else min(until - time.time(), self._lease)

    def _attend(self) -> None:
        renewals = 0
        while not self._leaving.wait(self._lease / _RENEWALS):
            try:
                self.renew()
                renewals += 1
                if renewals % _RENEWALS == 0:
                    self.sweep()
            except FringeflowError as error:
                get_logger(__name__).warning("claims not renewed", reason=str(error))
