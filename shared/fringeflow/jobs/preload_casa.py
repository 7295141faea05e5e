"""Imported once by the fork server, after `preload`: loads CASA if jobs need it."""

from __future__ import annotations

import warnings
from contextlib import suppress

from fringeflow.collecting import no_garbage
from fringeflow.jobs import casa
from fringeflow.jobs.preload import LOAD

with warnings.catch_warnings(), no_garbage():
    warnings.simplefilter("ignore")
    if LOAD.casa and casa.is_installed():
        # A CASA that cannot be loaded must not end the server: the job that needs it will say so itself.
        with suppress(Exception):
            casa.load()
