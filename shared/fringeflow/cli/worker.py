"""The `worker` command: services on a broker and a bucket, as containers run them."""

from __future__ import annotations

import sys
from typing import get_args

from fringeflow import logs
from fringeflow.errors import DataError
from fringeflow.events import MEMORY_CLASSES, MemoryClass
from fringeflow.graph.build import STAGES
from fringeflow.rounds import Duties
from fringeflow.settings import Settings
from fringeflow.worker import Worker

NO_CLASSES = "none"


def worker(
    stages: list[str], *, classes: str | None, dispatch: bool, drain: bool, max_tasks: int | None, jobs: int | None
) -> int:
    """Work until told to leave, or until what was asked for is done; return 0."""
    settings = Settings()
    if jobs is not None:
        settings = settings.model_copy(update={"jobs": settings.jobs.model_copy(update={"count": jobs})})
    duties = Duties(
        stages=_stages(stages), classes=_classes(classes), dispatches=dispatch, drain=drain, max_tasks=max_tasks
    )
    logs.configure(settings.log.format, settings.log.level, sys.stderr)
    Worker(settings, duties).run()
    return 0


def _stages(names: list[str]) -> tuple[str, ...]:
    for name in names:
        if name not in STAGES:
            raise DataError(f"no stage is called {name!r}", remedy=f"there are: {', '.join(STAGES)}")
    return tuple(stage for stage in STAGES if stage in names)


def _classes(text: str | None) -> tuple[MemoryClass, ...]:
    if text is None:
        return MEMORY_CLASSES
    if text == NO_CLASSES:
        return ()
    names = text.split(",")
    for name in names:
        if name not in get_args(MemoryClass):
            raise DataError(
                f"no memory class is called {name!r}", remedy=f"there are: {', '.join(MEMORY_CLASSES)}; or {NO_CLASSES}"
            )
    return tuple(name for name in MEMORY_CLASSES if name in names)
