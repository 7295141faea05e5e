"""Calls of what services offer, in a process of its own that leaves nothing behind, for commands that make nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fringeflow import tools
from fringeflow.jobs.host import JobHost
from fringeflow.store.settings import StoreSettings


def call(name: str, arguments: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return what the tool called `name` returns for each of `arguments`.

    Raises
    ------
    MissingInputError
        No installed service offers it.
    UnitFailedError
        It failed.
    """
    with TemporaryDirectory(prefix="fringeflow-") as folder:
        scratch = Path(folder)
        settings = StoreSettings.of_folder(scratch / "store")
        with JobHost(scratch / "scratch", settings, log_folder=scratch / "logs") as host:
            tool = tools.find(name)
            return [host.call(tool, each) for each in arguments]
