"""Imported once by the fork server, so that every job starts with its stage and the array libraries in memory.

The store's client is imported but must not be used: its threads do not survive a fork.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from importlib import import_module, metadata

from fringeflow import software
from fringeflow.jobs import child
from fringeflow.jobs.kernel import die_with_parent

_LIBRARIES = (
    "numpy",
    "astropy.io.fits",
    "astropy.wcs",
    "scipy.ndimage",
    "scipy.fft",
    "scipy.special",
    "obstore",
    "zstandard",
    "fringeflow.jobs.inputs",
    "fringeflow.store.objects",
    "fringeflow.store.folder",
)

SERVER_PID = os.getpid()

die_with_parent()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    # What cannot be imported must not end the server: the job that needs it will say so itself.
    for _name in _LIBRARIES:
        with suppress(Exception):
            import_module(_name)
    for _name in metadata.entry_points(group=child.STAGES).names:
        with suppress(Exception):
            child.stage(_name)
software.installed()
