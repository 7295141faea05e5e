"""Finds what services offer besides their stage, by entry point: the page, the demo's calibration, maps of one cube."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fringeflow.errors import MissingInputError

GROUP = "fringeflow.tools"


def find(name: str) -> str:
    """Return ``module:function`` of the tool called `name`.

    Raises
    ------
    MissingInputError
        If no installed distribution offers it.
    """
    return _entry(name).value


def load(name: str) -> Callable[..., Any]:
    """Return the tool called `name` itself, for one that may run in this process.

    Raises
    ------
    MissingInputError
        If no installed distribution offers it.
    """
    tool: Callable[..., Any] = _entry(name).load()
    return tool


def _entry(name: str) -> EntryPoint:
    found = entry_points(group=GROUP, name=name)
    if not found:
        raise MissingInputError(f"no installed service offers {name!r}", remedy="install the fringeflow services")
    return next(iter(found))
