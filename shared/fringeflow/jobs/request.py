"""What is asked of a job, what it says while it runs, and what comes back: plain values that cross a process border."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fringeflow.errors import FailureKind
from fringeflow.graph.model import Unit, UnitId
from fringeflow.manifest import Artefact, Input
from fringeflow.store.settings import StoreSettings


@dataclass(frozen=True)
class TaskUnit:
    """One unit to make.

    `inputs` are what is brought to local disk: outputs of other units, and dropped inputs (those without a work key,
    whose one artefact may be a file URI, read in place). `facts` and `ancestors` are handed on as they are.
    """

    unit: Unit
    work_key: str
    inputs: tuple[Input, ...] = ()
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ancestors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobRequest:
    """Units that one child process makes.

    `memory_mb` and `seconds` are limits, None for none; `cores` are those it may use. `make` names the function as
    ``module:function``; without it the stage's entry point is used.
    """

    stage: str
    tasks: tuple[TaskUnit, ...]
    memory_mb: int | None = None
    seconds: float | None = None
    attempt: int = 1
    make: str | None = None
    cores: int = 1


@dataclass(frozen=True)
class CallRequest:
    """A function to call in a child process, as ``module:function``."""

    function: str
    kwargs: Mapping[str, Any]
    memory_mb: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Progress:
    """Which step a job is in, how much of it is done (0 to 1, if known), and seconds since it started."""

    step: str
    fraction: float | None
    elapsed: float


@dataclass(frozen=True)
class UnitResult:
    """What one unit came to; its outputs are in the store."""

    unit: UnitId
    work_key: str
    outputs: tuple[Artefact, ...]
    facts: Mapping[str, Any]
    started: str
    seconds: float
    steps: Mapping[str, float]
    cpu_seconds: float
    peak_memory_mb: float
    software: Mapping[str, str]


@dataclass(frozen=True)
class JobResult:
    """What the units of a job came to, in the order they were asked for."""

    results: tuple[UnitResult, ...]


@dataclass(frozen=True)
class Failure:
    """Why a job came to nothing."""

    kind: FailureKind
    message: str
    remedy: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class Surroundings:
    """Where a child process works, and for whom."""

    host_pid: int
    scratch: Path
    log: Path
    casa_log: Path
    store: StoreSettings
    digest_cache: Path
    """Folder in which digests of inputs read in place are remembered."""
    checkpoint_seconds: float = 60.0
    """How often a job may keep what it has not finished."""


@dataclass(frozen=True)
class Made:
    """The last message about a request that succeeded; `again` says whether the child waits for another one."""

    value: Any
    again: bool = False


Message = Progress | Failure | Made
"""What a child sends."""
