"""The record of a unit: what was made, of what, with which parameters and software. Writing it is the commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from fringeflow.frozen import Frozen
from fringeflow.graph.model import UnitId

SCHEMA_VERSION: Final = 1
"""Raise it when a reader of the version before would take a manifest for something that it is not."""


def _known_parts(written: object) -> object:
    """Return an id without the parts that a later version has added."""
    return {name: written[name] for name in UnitId._fields if name in written} if isinstance(written, dict) else written


UnitParts = Annotated[UnitId, BeforeValidator(_known_parts), PlainSerializer(lambda unit: unit._asdict())]
"""The id of a unit, in JSON an object of its parts."""


class Artefact(Frozen):
    """One immutable file or directory in the store."""

    name: str = Field(description="file name, after the reference's rules")
    kind: Literal["file", "directory"] = Field(description="a directory is stored as one zstd tar archive")
    key: str = Field(description="object key in the store, or an absolute file URI for a dropped input read in place")
    size: int = Field(description="bytes of the stored object")
    sha256: str = Field(description="digest of the stored object; of a directory read in place, of its tree")


class Input(Frozen):
    """One input of a unit."""

    source: str = Field(description="unit id, or name of the dropped input")
    work_key: str | None = Field(default=None, description="of the unit that made it")
    artefacts: tuple[Artefact, ...] = ()


class Manifest(Frozen):
    """What was made."""

    schema_version: Literal[1] = SCHEMA_VERSION
    unit: UnitParts
    work_key: str
    revision: int
    fact: str = Field(default="unit.made", description="what is announced of it")
    recipe: Mapping[str, Any]
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Artefact, ...] = ()
    facts: Mapping[str, Any] = Field(
        default_factory=dict, description="small results that others read: plans, noise, QA"
    )
    software: Mapping[str, str] = Field(default_factory=dict, description="name -> version")
    started: str = Field(description="UTC, ISO 8601")
    seconds: float
    steps: Mapping[str, float] = Field(default_factory=dict, description="step -> seconds")
    cpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    attempt: int = 1

    @property
    def path(self) -> str:
        """The key of the manifest in the store."""
        return manifest_key(self.unit, self.work_key)


def manifest_key(unit: UnitId, work_key: str) -> str:
    """Return where the manifest of `unit` with `work_key` lies."""
    return f"manifests/{unit}/{work_key}.json"
