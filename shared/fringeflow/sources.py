"""Where manifests are looked up, and what is read from them when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from fringeflow.errors import MissingInputError
from fringeflow.graph.model import Facts, UnitId
from fringeflow.manifest import Manifest


class ManifestSource(Protocol):
    """Where manifests are looked up."""

    def get(self, unit: UnitId, work_key: str) -> Manifest | None:
        """Return the manifest of `unit` with `work_key`, if there is one."""
        ...

    def made(self, prefix: str = "") -> Iterable[tuple[str, str]]:
        """Return target and work key of all that is made below `prefix` (``stage/target``)."""
        ...


class NoManifests:
    """The source of a project of which nothing has been made."""

    def get(self, unit: UnitId, work_key: str) -> Manifest | None:
        """Return None."""
        del unit, work_key
        return None

    def made(self, prefix: str = "") -> Iterable[tuple[str, str]]:
        """Return nothing."""
        del prefix
        return ()


class ReadFacts(Mapping[str, Any]):
    """The facts of a unit that is made; its manifest is read when they are looked into."""

    __slots__ = ("_facts", "_key", "_ledger", "_unit")

    def __init__(self, ledger: ManifestSource, unit: UnitId, work_key: str) -> None:
        self._ledger = ledger
        self._unit = unit
        self._key = work_key
        self._facts: Facts | None = None

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> Facts:
        if self._facts is None:
            manifest = self._ledger.get(self._unit, self._key)
            if manifest is None:
                raise MissingInputError(f"the manifest of {self._unit} was there and is gone", remedy="make it again")
            self._facts = manifest.facts
        return self._facts
