"""Imported once by the fork server of a host whose jobs need CASA, after `preload`."""

from __future__ import annotations

import warnings
from contextlib import suppress

from fringeflow.jobs import casa

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    if casa.is_installed():
        # A CASA that cannot be loaded must not end the server: the job that needs it will say so itself.
        with suppress(Exception):
            casa.load()
