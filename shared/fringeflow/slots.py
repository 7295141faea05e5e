"""How many jobs may run at once on this machine, by cores and by memory, and how many in all."""

from __future__ import annotations

import math
from pathlib import Path

import psutil

# What the operating system and this process keep for themselves.
_MEMORY_SHARE = 0.8
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Slots:
    """Cores and memory shared by all services of one process.

    A job larger than all memory may still run, but then alone: refusing it would only end the run.

    Parameters
    ----------
    jobs
        How many may be started in all; none: any number.
    """

    def __init__(self, cores: int, memory_mb: int, jobs: int | None = None) -> None:
        if cores < 1:
            raise ValueError(f"at least one job must be allowed at once, not {cores}")
        self._cores = cores
        self._memory_mb = memory_mb
        self._left = jobs
        self._taken: dict[str, tuple[int, int]] = {}

    @property
    def free(self) -> bool:
        """Whether a core is free, and another job may be started."""
        return self.free_cores > 0 and not self.spent

    @property
    def free_cores(self) -> int:
        """How many cores no job has."""
        return self._cores - sum(cores for _, cores in self._taken.values())

    def share(self, most: int, waiting: int) -> int:
        """Return how many of the free cores a job gets that can use `most`, while `waiting` others want some too.

        Jobs side by side use cores better than one job on several: parts of each are made one after another.
        """
        return max(1, min(most, math.ceil(self.free_cores / (1 + waiting))))

    @property
    def spent(self) -> bool:
        """Whether as many jobs have been started as may be."""
        return self._left == 0

    def fits(self, memory_mb: int) -> bool:
        """Return whether a job that needs `memory_mb` may start now."""
        taken = sum(memory for memory, _ in self._taken.values())
        return not self._taken or (self.free and taken + memory_mb <= self._memory_mb)

    def take(self, job: str, memory_mb: int, cores: int = 1) -> None:
        """`job`, which needs `memory_mb` and has been given `cores`, has started."""
        self._taken[job] = memory_mb, cores
        if self._left is not None:
            self._left -= 1

    def release(self, job: str) -> None:
        """`job` has ended."""
        del self._taken[job]


def memory_for_jobs_mb() -> int:
    """Return the memory that jobs may use together: most of the machine's, or of what its container is allowed."""
    allowed = [psutil.virtual_memory().total]
    for path in map(Path, _LIMITS):
        text = path.read_text().strip() if path.is_file() else ""
        allowed += [int(text)] if text.isdecimal() else []
    return int(min(allowed) / 2**20 * _MEMORY_SHARE)
