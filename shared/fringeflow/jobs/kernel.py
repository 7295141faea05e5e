"""What only the Linux kernel can promise about processes: that a child ends when its parent does, whatever it does."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1
_RESET_PEAK = "5"  # proc(5), of /proc/pid/clear_refs
_FIRST_TO_GO = "500"  # of 1000: in need of memory the kernel ends a job before it ends a service


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def end_if_orphaned(parent_pid: int, grandparent_pid: int) -> None:
    """End this process if one of those that should outlive it had gone before it called `die_with_parent`."""
    if os.getppid() != parent_pid or psutil.Process(parent_pid).ppid() != grandparent_pid:
        os._exit(1)


def settle() -> None:
    """Make this process the head of its own group, without core dumps, let go at once by SIGTERM, first to go."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the parent, which ends its jobs
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # not every container allows it
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)


def cpu_seconds() -> float:
    """Return the processor time of this process and of the processes it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


def memory_mb() -> float:
    """Return the memory this process has resident, in MB."""
    return _resident_mb("VmRSS")


def peak_memory_mb() -> float:
    """Return the most memory this process has had resident since it began, or since `forget_peak_memory`, in MB."""
    return _resident_mb("VmHWM")


def forget_peak_memory() -> bool:
    """Begin to measure `peak_memory_mb` anew; return False where the kernel does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _resident_mb(which: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:")) / 1024
