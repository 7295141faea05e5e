"""Imported once by the fork server, so that every job starts with its stage and the array libraries in memory.

The store's client is imported but must not be used: its threads do not survive a fork.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from importlib import import_module

from fringeflow import software
from fringeflow.collecting import no_garbage
from fringeflow.jobs import child
from fringeflow.jobs.kernel import die_with_parent
from fringeflow.jobs.server import Load, Question

_LIBRARIES = (
    "numpy",
    "scipy.ndimage",
    "scipy.fft",
    "scipy.special",
    "scipy.sparse.csgraph",
    "obstore",
    "zstandard",
    "fringeflow.jobs.inputs",
    "fringeflow.store.objects",
    "fringeflow.store.folder",
)

SERVER_PID = os.getpid()


def _load() -> Load:
    """Load what every job needs, and then what this server is told to; return what that was."""
    question = Question()
    # What cannot be imported must not end the server: the job that needs it will say so itself.
    for name in _LIBRARIES:
        with suppress(Exception):
            import_module(name)
    software.installed()
    load = question.answer()
    os.environ.update(load.environment)
    for stage in {entry.name for entry in software.stages()}:
        if load.stages is None or stage in load.stages:
            with suppress(Exception):
                child.stage(stage)
    return load


die_with_parent()
with warnings.catch_warnings(), no_garbage():
    warnings.simplefilter("ignore")
    LOAD = _load()
