"""Imported once by the fork server, so that every job starts with CASA and the array libraries in memory.

The store's client is imported but must not be used: its threads do not survive a fork.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from importlib import import_module

from fringeflow.jobs import casa
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
)

SERVER_PID = os.getpid()

die_with_parent()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    # A library that cannot be imported must not end the server: the job that needs it will say so itself.
    for _name in _LIBRARIES:
        with suppress(Exception):
            import_module(_name)
    if casa.is_installed():
        with suppress(Exception):
            casa.load()
import_module("fringeflow.jobs.child").software()
