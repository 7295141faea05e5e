"""Names and versions of the installed software that results depend on."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib import metadata

_STAGES = "fringeflow.stages"
"""The group of entry points that name each stage's function."""

_NAMED = ("casatools", "casatasks", "casadata", "astropy", "numpy", "scipy", "reproject")


@cache  # to look through all that is installed takes as long as loading a library
def stages() -> tuple[metadata.EntryPoint, ...]:
    """Return the entry points of the stages that are installed."""
    return tuple(metadata.entry_points(group=_STAGES))


@cache  # asked for in the fork server, where jobs then find it
def installed() -> dict[str, str]:
    """Return name and version of Python, of our own distributions and of the libraries that compute."""
    found = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    own = {stage.dist.name for stage in stages() if stage.dist}
    for name in ("fringeflow", *own, *_NAMED):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return dict(sorted(found.items()))


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of some of what is `installed`."""
    known = installed()
    return {name: known[name] for name in names}
