"""Finds what services offer besides their stage, by entry point: the page of pictures, the demo's calibration."""

from __future__ import annotations

from importlib.metadata import entry_points

from fringeflow.errors import MissingInputError

GROUP = "fringeflow.tools"


def find(name: str) -> str:
    """Return ``module:function`` of the tool called `name`.

    Raises
    ------
    MissingInputError
        If no installed distribution offers it.
    """
    found = entry_points(group=GROUP, name=name)
    if not found:
        raise MissingInputError(f"no installed service offers {name!r}", remedy="install the fringeflow services")
    return next(iter(found)).value
