"""Lets CASA be imported without a home folder, a network or the host program's command line.

CASA reads its configuration when it is first imported, and parses the `sys.argv` of whatever program imports it with
prefix matching: our own ``--config x`` would be run as Python. `enable` must therefore come before that first import.
Importing this module is harmless where CASA is not installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

# Parallelism comes from processes: on images of these sizes one thread per process is fastest.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

_SITE_CONFIG = """\
import casadata
measurespath = casadata.datapath
datapath = [casadata.datapath]
measures_auto_update = False
data_auto_update = False
logfile = {log!r}
"""


def is_installed() -> bool:
    """Return whether CASA can be imported here."""
    return importlib.util.find_spec("casatasks") is not None


def site(folder: Path) -> dict[str, str]:
    """Write CASA's site configuration into `folder`; return the environment in which CASA finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "casasiteconfig.py"
    content = _SITE_CONFIG.format(log=str(folder / "casa.log"))
    if not config.exists() or config.read_text() != content:
        draft = config.with_suffix(f".{os.getpid()}")
        draft.write_text(content)
        draft.replace(config)
    return {"CASASITECONFIG": str(config.absolute())}


def enable(folder: Path) -> None:
    """Point this process, before its first import of CASA, at a site configuration in `folder`."""
    os.environ.update(ONE_THREAD | site(folder))


def load() -> None:
    """Import the CASA tasks, shielded from this program's arguments and from a user's own CASA configuration."""
    arguments = sys.argv
    sys.argv = [arguments[0] if arguments else "fringeflow", "--noconfig"]
    try:
        importlib.import_module("casatasks")
    finally:
        sys.argv = arguments


def log_to(path: Path) -> None:
    """Send CASA's log of this process to `path`."""
    load()
    importlib.import_module("casatasks").casalog.setlogfile(str(path))
