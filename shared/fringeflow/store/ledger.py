"""The record of what was made: manifests in the store, each written once. Writing one is the commit."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator

from pydantic import ValidationError

from fringeflow.errors import CorruptInputError, DataError, MissingInputError
from fringeflow.graph.model import UnitId
from fringeflow.manifest import SCHEMA_VERSION, Manifest, manifest_key
from fringeflow.store.base import Store

_PREFIX = "manifests"
_MOST_KEPT = 500  # manifests in memory; what is made is known from listings


class Ledger:
    """The manifests of a store. Manifests never change, so those seen last are kept in memory.

    Parameters
    ----------
    on_damaged
        Told of every manifest that is found to be damaged: unit, work key and the error that is raised then.
    """

    def __init__(
        self, store: Store, on_damaged: Callable[[UnitId, str, CorruptInputError], None] | None = None
    ) -> None:
        self._store = store
        self._on_damaged = on_damaged
        self._seen: OrderedDict[str, Manifest] = OrderedDict()

    def commit(self, manifest: Manifest) -> Manifest:
        """Write `manifest`; if its unit was committed before with this work key, return that manifest instead."""
        data = manifest.model_dump_json(indent=1).encode()
        if self._store.put_bytes(manifest.path, data, create=True):
            return self._keep(manifest.path, manifest)
        return self._read(manifest.path)

    def get(self, unit: UnitId, work_key: str) -> Manifest | None:
        """Return the manifest of `unit` with `work_key`, or None if it has not been made."""
        try:
            return self._read(manifest_key(unit, work_key))
        except MissingInputError:
            return None
        except CorruptInputError as error:
            if self._on_damaged is not None:
                self._on_damaged(unit, work_key, error)
            raise

    def all(self, prefix: str = "") -> Iterator[Manifest]:
        """Return the manifests of units below `prefix`, e.g. ``imaging/ngc5921``, in the order of their keys."""
        below = "/".join(part for part in (_PREFIX, prefix.strip("/")) if part)
        for key in sorted(info.key for info in self._store.list(below)):
            yield self._read(key)

    def made(self, prefix: str = "") -> Iterator[tuple[str, str]]:
        """Yield target and work key of all that is made below `prefix`, from a listing: no manifest is read."""
        below = "/".join(part for part in (_PREFIX, prefix) if part)
        for info in self._store.list(below):
            parts = info.key.split("/")
            yield parts[2], parts[-1].removesuffix(".json")

    def _read(self, key: str) -> Manifest:
        if key in self._seen:
            self._seen.move_to_end(key)
            return self._seen[key]
        return self._keep(key, self._parsed(key, self._store.get_bytes(key)))

    def _keep(self, key: str, manifest: Manifest) -> Manifest:
        self._seen[key] = manifest
        if len(self._seen) > _MOST_KEPT:
            self._seen.popitem(last=False)
        return manifest

    def _parsed(self, key: str, data: bytes) -> Manifest:
        """Read a manifest; members that a later version has added are passed over."""
        try:
            manifest = Manifest.model_validate_json(data, extra="ignore")
        except ValidationError as error:
            self._refuse_other_schema(key, data)
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise self._unfit(key, f"is not a manifest: {where}: {first['msg']}") from error
        if manifest.path != key:
            raise self._unfit(key, f"is the manifest of another unit: {manifest.path}")
        return manifest

    def _refuse_other_schema(self, key: str, data: bytes) -> None:
        try:
            version = json.loads(data)["schema_version"]
        except (ValueError, KeyError, TypeError):
            return
        if version != SCHEMA_VERSION:
            raise DataError(
                f"{key} of {self._store.place} is a manifest of schema version {version}, this program reads version "
                f"{SCHEMA_VERSION}",
                remedy="use the release of fringeflow that wrote it, or a later one",
            )

    def _unfit(self, key: str, why: str) -> CorruptInputError:
        return CorruptInputError(
            f"{key} of {self._store.place} {why}", remedy="remove it, and its unit will be made again"
        )
