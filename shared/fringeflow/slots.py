"""How many jobs may run at once on this machine, by cores and by memory."""

from __future__ import annotations


class Slots:
    """Cores and memory shared by all services of one process.

    A job larger than all memory may still run, but then alone: refusing it would only end the run.
    """

    def __init__(self, cores: int, memory_mb: int) -> None:
        if cores < 1:
            raise ValueError(f"at least one job must be allowed at once, not {cores}")
        self._cores = cores
        self._memory_mb = memory_mb
        self._taken: dict[str, int] = {}

    @property
    def free(self) -> bool:
        """Whether a core is free."""
        return len(self._taken) < self._cores

    def fits(self, memory_mb: int) -> bool:
        """Return whether a job that needs `memory_mb` may start now."""
        return not self._taken or (self.free and sum(self._taken.values()) + memory_mb <= self._memory_mb)

    def take(self, job: str, memory_mb: int) -> None:
        """`job`, which needs `memory_mb`, has started."""
        self._taken[job] = memory_mb

    def release(self, job: str) -> None:
        """`job` has ended."""
        del self._taken[job]
