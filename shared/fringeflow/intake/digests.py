"""The digests of dropped objects: measured once by reading the object, and remembered in the store for everybody.

A note stands for one content of one key: the name of the note is made of key, size and etag, so that another content
has another note.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from fringeflow.errors import MissingInputError
from fringeflow.store.base import Digesting, ObjectInfo, Store

FOLDER = "digests"


class Digests:
    """Looks digests up, and measures those that nobody has measured.

    Parameters
    ----------
    check
        Called between the blocks of an object that is being read; what it raises ends the reading.
    """

    def __init__(self, store: Store, check: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._check = check
        self._seen: dict[ObjectInfo, tuple[str, str]] = {}

    def known(self, info: ObjectInfo) -> str | None:
        """Return the sha256 of the object if it is remembered."""
        etag, sha256 = self._seen.get(info, ("", ""))
        if sha256 and etag == info.etag:
            return sha256
        try:
            note = json.loads(self._store.get_bytes(note_key(info)))
            found = str(note["sha256"])
        except (MissingInputError, ValueError, KeyError, TypeError):
            return None
        self._seen[info] = (info.etag, found)
        return found

    def measure(self, info: ObjectInfo) -> str | None:
        """Read the object, remember its sha256 and return it; None if it was removed or put again meanwhile."""
        try:
            content = Digesting(self._store.chunks(info.key))
            for _ in content:
                self._check()
            now = self._store.info(info.key)
        except MissingInputError:
            return None
        if (now.etag, now.size, content.size) != (info.etag, info.size, info.size):
            return None
        remember(self._store, info, content.sha256)
        self._seen[info] = (info.etag, content.sha256)
        return content.sha256


def remember(store: Store, info: ObjectInfo, sha256: str) -> None:
    """Leave a note of the digest of an object, for all who come later."""
    note = {"key": info.key, "size": info.size, "etag": info.etag, "sha256": sha256}
    store.put_bytes(note_key(info), json.dumps(note, indent=1).encode(), create=True)


def note_key(info: ObjectInfo) -> str:
    """Return where the note about this content of this object lies."""
    identity = hashlib.sha256(f"{info.key}\n{info.size}\n{info.etag}".encode()).hexdigest()
    return f"{FOLDER}/{identity}.json"
