"""What the installation decides: where bus and store are, how much of the machine to use, how to log.

The only place that reads the environment, and only when `Settings()` is called: ``FRINGEFLOW_BUS__URL`` is
``Settings().bus.url``. What the user wants made is in the key files, never here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fringeflow.bus.settings import BusSettings
from fringeflow.events import MEMORY_CLASSES, MemoryClass
from fringeflow.frozen import Frozen
from fringeflow.store.settings import StoreSettings

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class LogSettings(Frozen):
    """How to log."""

    format: LogFormat = "console"
    level: LogLevel = "info"


class JobSettings(Frozen):
    """How much of the machine jobs may use."""

    count: int | None = Field(default=None, ge=1, description="jobs at once; none: as many as the cores allow")
    memory_mb: int | None = Field(default=None, ge=1, description="for all jobs together; none: what the machine has")
    scratch: Path | None = Field(default=None, description="folder on local disk; none: in the work folder")
    time_limit_seconds: float = Field(default=48 * 3600.0, gt=0)
    grace_seconds: float = Field(default=60.0, ge=0, description="after SIGTERM, before a job is given back")
    memory_classes_mb: Mapping[MemoryClass, int] = Field(
        default={"small": 4_000, "medium": 16_000, "large": 64_000}, description="the memory a job of each class gets"
    )

    @model_validator(mode="after")
    def _classes_grow(self) -> Self:
        if set(self.memory_classes_mb) != set(MEMORY_CLASSES):
            raise ValueError(f"memory_classes_mb must name {', '.join(MEMORY_CLASSES)}")
        sizes = [self.memory_classes_mb[name] for name in MEMORY_CLASSES]
        if sizes[0] < 1 or sizes != sorted(sizes):
            raise ValueError(f"memory classes must grow from {MEMORY_CLASSES[0]} to {MEMORY_CLASSES[-1]}, not {sizes}")
        return self


class HealthSettings(Frozen):
    """Where a worker answers /healthz, /readyz and /metrics. It tells no secrets, but is open only where it is told."""

    address: str | None = Field(
        default=None,
        pattern=r"^[^\s/]+:\d{1,5}$",
        description="host:port, e.g. 127.0.0.1:8080; port 0: any free one; none: nowhere",
    )
    stalled_seconds: float = Field(default=300.0, gt=0, description="a loop that has not turned for so long is dead")


class Settings(BaseSettings):
    """Everything an installation decides, read from the environment unless given."""

    model_config = SettingsConfigDict(
        env_prefix="FRINGEFLOW_", env_nested_delimiter="__", frozen=True, extra="forbid", env_ignore_empty=True
    )

    bus: BusSettings = BusSettings()
    store: StoreSettings | None = Field(default=None, description="none: a folder in the work folder")
    jobs: JobSettings = JobSettings()
    log: LogSettings = LogSettings()
    health: HealthSettings = HealthSettings()
    master_key: str = Field(default="master_key.txt", min_length=1, description="name of the master key below keys/")
    reconcile_seconds: float = Field(default=300.0, gt=0, description="between comparisons of store and graph")
    poll_seconds: float = Field(default=60.0, gt=0, description="between looks for keys and inputs nobody told of")
    claim_seconds: float = Field(default=60.0, gt=0, description="after which a silent worker's unit is another's")
