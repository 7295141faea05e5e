"""Turns what a store or a file system says into the project's own errors, naming the place and the remedy."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore import exceptions

from fringeflow.errors import (
    BugError,
    CorruptInputError,
    DiskFullError,
    FringeflowError,
    MissingInputError,
    OutOfMemoryError,
    ReadOnlyError,
    TransientError,
)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.EACCES, errno.EPERM})
_OUT_OF_MEMORY = frozenset({errno.ENOMEM})
_TRANSIENT = frozenset(
    {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.EAGAIN, errno.EPIPE}
)
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_STATUS = re.compile(r"\bstatus(?: code)?:? (\d{3})\b", re.IGNORECASE)
_RETRIED_STATUS = frozenset({408, 409, 429})


@contextmanager
def faults(key: str, place: str) -> Iterator[None]:
    """Raise what goes wrong with `key` at `place` (a folder or bucket, for the message) as one of our own errors."""
    try:
        yield
    except FringeflowError:
        raise
    except FileNotFoundError as error:  # the store's client raises it too, without a number
        raise of_errno(errno.ENOENT, key, place, _summary(error)) from error
    except OSError as error:
        raise of_errno(error.errno, key, place, _summary(error)) from error
    except exceptions.BaseError as error:
        raise _of_store(error, key, place) from error


def of_errno(number: int | None, key: str, place: str, said: str) -> FringeflowError:
    """Return the error that the operating system's error `number` means for `key` at `place`."""
    if number in _FULL:
        return DiskFullError(
            f"no space is left in {place} (writing {key})", remedy="free some space or choose another folder"
        )
    if number in _REFUSED:
        return ReadOnlyError(
            f"{place} refuses access to {key} ({said})", remedy="change its permissions or choose another folder"
        )
    if number == errno.EROFS:
        return ReadOnlyError(
            f"{place} cannot be written to ({said})", remedy="make it writable or choose another folder"
        )
    if number in _OUT_OF_MEMORY:
        return OutOfMemoryError(f"no memory was left for {key} of {place}")
    if number == errno.ENOENT:
        return MissingInputError(f"{key} is not in {place}", remedy="check that it was put there and not removed")
    if number in _TRANSIENT:
        return TransientError(f"{place} did not answer for {key}: {said}")
    return BugError(f"{key} of {place}: {said}")


def _of_store(error: exceptions.BaseError, key: str, place: str) -> FringeflowError:
    said = _summary(error)
    number = _errno_in(error)
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return ReadOnlyError(
            f"{place} refuses access to {key} ({said})", remedy="check the credentials and the permissions"
        )
    if isinstance(error, exceptions.NotFoundError):
        return of_errno(errno.ENOENT, key, place, said)
    if place.startswith("s3://"):
        status = _STATUS.search(str(error))
        code = int(status.group(1)) if status else 0
        if 400 <= code < 500 and code not in _RETRIED_STATUS:
            return BugError(f"{place} refused the request for {key}: {said}")
        return TransientError(f"{place} did not answer for {key}: {said}")
    return of_errno(number, key, place, said)


def corrupt(what: str, found: str, expected: str) -> CorruptInputError:
    """Return the error for content that has another digest than announced."""
    return CorruptInputError(
        f"{what} is damaged: its sha256 is {found}, {expected} was announced",
        remedy="put it there again from its source",
    )


def _errno_in(error: BaseException) -> int | None:
    found = _OS_ERROR.search(str(error))
    return int(found.group(1)) if found else None


def _summary(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]
