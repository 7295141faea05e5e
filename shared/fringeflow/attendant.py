"""A thread that attends to something for as long as a context lasts, beside the loop that must not stand still."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

PATIENCE_SECONDS = 1.0
"""How long whoever ends waits for a thread that may be waiting for a store that does not answer."""


class Attendant(ABC):
    """Use as a context: `_attend` runs in a thread from its beginning to its end.

    It rests by waiting for `_wake`, and ends when `_leaving` is set, which wakes it.
    """

    def __init__(self, name: str) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._fault: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._wake.set()
        self._thread.join(PATIENCE_SECONDS)

    def check(self) -> None:
        """Raise, to whoever relies on the thread, what has ended it before its time."""
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            self._attend()
        except Exception as error:  # noqa: BLE001  whatever it is, it is raised where somebody is told
            self._fault = error

    @abstractmethod
    def _attend(self) -> None:
        """Do what there is to do until `_leaving` is set."""
