"""Says in our own words why a job failed: from the exception it raised, or from the way its process ended."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import traceback
from collections.abc import Iterator
from pathlib import Path

from fringeflow.errors import FringeflowError, UnitFailedError
from fringeflow.jobs.request import Failure, Surroundings

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_FULL_TEXT = re.compile(r"no space left on device|disk quota exceeded|errno:? ?=? ?28\b", re.IGNORECASE)
_MEMORY_TEXT = re.compile(r"bad_alloc|cannot allocate memory|out of memory|unable to allocate", re.IGNORECASE)
_LEAST_FREE_BYTES = 64 << 20
_TAIL_BYTES = 6000
_FROM_OUTSIDE = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_SERVER_GONE = 255  # what multiprocessing reports when the fork server ended before the job

_FREE_SPACE = "free some space or choose another folder for the work"
_ALLOW = "change its permissions or choose another folder"
_MORE_MEMORY = "give the job more memory, or run fewer jobs at once"


def of_exception(error: BaseException, where: Surroundings) -> Failure:
    """Return what `error`, raised in the job working at `where`, means."""
    detail = "".join(traceback.format_exception(error))
    full = _full_folder(error, where)
    if full is not None:
        return Failure("resource", f"disk full: no space is left in {full}", _FREE_SPACE, detail)
    if isinstance(error, UnitFailedError):
        return Failure(error.failure_kind, error.message, error.remedy, error.detail or detail)
    if isinstance(error, FringeflowError):
        return Failure(error.kind, error.message, error.remedy, detail)
    if isinstance(error, OSError) and error.errno in _REFUSED and error.filename:
        return Failure("data", f"{error.filename} cannot be used: {error.strerror}", _ALLOW, detail)
    if isinstance(error, MemoryError) or _MEMORY_TEXT.search(str(error)):
        return Failure("resource", f"out of memory: {error or 'an allocation failed'}", _MORE_MEMORY, detail)
    return Failure("bug", f"{type(error).__name__}: {error}", None, detail)


def of_exit(code: int | None, where: Surroundings) -> Failure:
    """Return what it means that a job's process ended with `code` (negative: by that signal) and said nothing."""
    said = log_tail(where)
    if code is None or code == _SERVER_GONE:
        return Failure("transient", "the job ended with the process that started it", None, said)
    if code >= 0:
        return Failure("bug", f"the job's process ended by itself with exit code {code}", None, said)
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if -code in _FROM_OUTSIDE:
        return Failure("transient", f"the job was ended from outside ({name})", None, said)
    if -code == signal.SIGKILL:
        return Failure("resource", "the job was killed (SIGKILL), probably for memory", _MORE_MEMORY, said)
    if -code == signal.SIGABRT:
        return _of_abort(where, said)
    return Failure("bug", f"the job's process crashed ({name})", None, said)


def log_tail(where: Surroundings) -> str:
    """Return the last lines a job wrote, and the last of CASA's log."""
    return "\n".join(text for text in (_tail(where.log), _tail(where.casa_log)) if text)


def _of_abort(where: Surroundings, said: str) -> Failure:
    """CASA aborts the process when the disk is full and when memory cannot be had; the surroundings tell which."""
    if _FULL_TEXT.search(said) or (not _MEMORY_TEXT.search(said) and _is_full(where.scratch)):
        return Failure("resource", f"disk full: no space is left in {where.scratch.parent}", _FREE_SPACE, said)
    return Failure("resource", "the job aborted (SIGABRT), probably out of memory", _MORE_MEMORY, said)


def _full_folder(error: BaseException, where: Surroundings) -> str | None:
    """Return the folder that is full if that is what `error` or one of its causes says."""
    for cause in _chain(error):
        if isinstance(cause, FringeflowError):
            return None  # it has been said in our own words already
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return str(Path(os.fsdecode(cause.filename)).parent) if cause.filename else str(where.scratch.parent)
        if not isinstance(cause, OSError) and _FULL_TEXT.search(str(cause)):
            return str(where.scratch.parent)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_full(folder: Path) -> bool:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return False
    return usage.free < min(_LEAST_FREE_BYTES, usage.total // 20)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""
