"""What follows a failure: a pure decision by its kind and by how often it was tried (architecture, section 7)."""

from __future__ import annotations

from dataclasses import dataclass

from fringeflow.bus.topology import DELAYS_SECONDS
from fringeflow.events import MEMORY_CLASSES, FailureKind, MemoryClass

BUG_ATTEMPTS = 3
RESOURCE_ATTEMPTS = 2


@dataclass(frozen=True)
class Retry:
    """Order the task again after a delay."""

    delay_seconds: float
    attempt: int
    memory_class: MemoryClass
    deferrals: int = 0


@dataclass(frozen=True)
class GiveUp:
    """Announce the failure as final, and keep a letter about it."""


def after_failure(kind: FailureKind, attempt: int, memory_class: MemoryClass, *, deferrals: int = 0) -> Retry | GiveUp:
    """Decide what follows the failure of attempt number `attempt` (from 1).

    A transient failure is retried for ever with growing delays and does not count as an attempt; one of resources
    once, in the next memory class (the largest has none above it and is tried once more as it is); one of the data
    never; a bug up to `BUG_ATTEMPTS` times.
    """
    if kind == "transient":
        delay = DELAYS_SECONDS[min(deferrals, len(DELAYS_SECONDS) - 1)]
        return Retry(delay, attempt, memory_class, deferrals + 1)
    if kind == "resource" and attempt < RESOURCE_ATTEMPTS:
        return Retry(0, attempt + 1, larger(memory_class))
    if kind == "bug" and attempt < BUG_ATTEMPTS:
        return Retry(DELAYS_SECONDS[attempt - 1], attempt + 1, memory_class)
    return GiveUp()


def larger(memory_class: MemoryClass) -> MemoryClass:
    """Return the next memory class, or the largest."""
    return MEMORY_CLASSES[min(MEMORY_CLASSES.index(memory_class) + 1, len(MEMORY_CLASSES) - 1)]
