"""The record of what was made: manifests in the store, each written once. Writing one is the commit."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from fringeflow.errors import CorruptInputError, MissingInputError
from fringeflow.graph.model import UnitId
from fringeflow.manifest import Manifest, manifest_key
from fringeflow.store.base import Store

_PREFIX = "manifests"


class Ledger:
    """The manifests of a store. Manifests never change, so those seen are kept in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, Manifest] = {}

    def commit(self, manifest: Manifest) -> Manifest:
        """Write `manifest`; if its unit was committed before with this work key, return that manifest instead."""
        data = manifest.model_dump_json(indent=1).encode()
        if self._store.put_bytes(manifest.path, data, create=True):
            return self._keep(manifest.path, data)
        return self._read(manifest.path)

    def get(self, unit: UnitId, work_key: str) -> Manifest | None:
        """Return the manifest of `unit` with `work_key`, or None if it has not been made."""
        try:
            return self._read(manifest_key(unit, work_key))
        except MissingInputError:
            return None

    def all(self, prefix: str = "") -> Iterator[Manifest]:
        """Return the manifests of units below `prefix`, e.g. ``imaging/ngc5921``, in the order of their keys."""
        below = "/".join(part for part in (_PREFIX, prefix.strip("/")) if part)
        for key in sorted(info.key for info in self._store.list(below)):
            yield self._read(key)

    def _read(self, key: str) -> Manifest:
        if key not in self._seen:
            self._keep(key, self._store.get_bytes(key))
        return self._seen[key]

    def _keep(self, key: str, data: bytes) -> Manifest:
        try:
            manifest = Manifest.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise self._unfit(key, f"is not a manifest: {where}: {first['msg']}") from error
        if manifest.path != key:
            raise self._unfit(key, f"is the manifest of another unit: {manifest.path}")
        self._seen[key] = manifest
        return manifest

    def _unfit(self, key: str, why: str) -> CorruptInputError:
        return CorruptInputError(
            f"{key} of {self._store.place} {why}", remedy="remove it, and its unit will be made again"
        )
