"""Removes from a store what nothing current refers to: results of older keys and inputs, and what no manifest names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fringeflow.catalogue import Catalogue
from fringeflow.claims import FOLDER as CLAIMS
from fringeflow.damage import FOLDER as DAMAGED
from fringeflow.errors import DataError
from fringeflow.manifest import manifest_key
from fringeflow.operating.status import read_claims
from fringeflow.store.base import ObjectInfo, Store

_FOLDERS = ("manifests", "artefacts", "dead", DAMAGED)


@dataclass(frozen=True)
class Waste:
    """What can go."""

    objects: tuple[ObjectInfo, ...]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(item.size for item in self.objects)


def waste(catalogue: Catalogue, store: Store) -> Waste:
    """Return what neither the present units nor their manifests name.

    Raises
    ------
    DataError
        Something is being made now: what it has put into the store is named nowhere yet.
    """
    if any(True for _ in read_claims(store)):
        raise DataError(f"units of {store.place} are being made", remedy="prune when `fringeflow status` shows none")
    kept = set(_kept(catalogue))
    return Waste(tuple(item for folder in _FOLDERS for item in store.list(folder) if item.key not in kept))


def remove(found: Waste, store: Store) -> None:
    """Remove it, manifests before what they name, so that none is left that names what is gone."""
    order = sorted(found.objects, key=lambda item: (not item.key.startswith("manifests/"), item.key))
    store.delete(item.key for item in order)
    store.delete(item.key for item in store.list(CLAIMS))


def _kept(catalogue: Catalogue) -> Collection[str]:
    found: set[str] = set()
    for unit in catalogue.all_units():
        key, manifest = catalogue.key(unit.id), catalogue.manifest(unit.id)
        if key is not None:
            found.add(f"dead/{unit.id}/{key}.json")
        if manifest is not None:
            found.add(manifest_key(unit.id, manifest.work_key))
            found |= {artefact.key for artefact in manifest.outputs}
    return found
