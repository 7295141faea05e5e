"""Amazon's own client, for what the store's client cannot do (buckets, topics, unfinished uploads), and its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fringeflow.errors import BugError, FringeflowError, MissingInputError, ReadOnlyError, TransientError

_REFUSED = frozenset({401, 403})
_RETRIED = frozenset({408, 409, 429})


def client(service: str, *, endpoint: str | None, region: str, anonymous: bool = False) -> Any:
    """Return a client of ``s3`` or ``sns`` with the credentials the environment or a role gives now."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    signature = {"signature_version": UNSIGNED} if anonymous else {}
    config = Config(connect_timeout=10, retries={"max_attempts": 5, "mode": "standard"}, **signature)
    # a session of its own: the module's remembers the first credentials it saw for ever
    session: Any = boto3.Session()
    return session.client(service, endpoint_url=endpoint, region_name=region, config=config)


@contextmanager
def answers(place: str, what: str) -> Iterator[None]:
    """Raise what goes wrong with `what` at `place` as one of our own errors; messages hold no credentials."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    try:
        yield
    except ClientError as error:
        raise _of_answer(error, place, what) from None
    except (NoCredentialsError, PartialCredentialsError):
        raise ReadOnlyError(
            f"there are no credentials for {place}", remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    except BotoCoreError as error:
        raise TransientError(f"{place} did not answer for {what}: {type(error).__name__}") from None


def code_of(error: BaseException) -> str:
    """Return the server's own code of an error of its client, e.g. ``NoSuchBucket``."""
    response = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def _of_answer(error: Any, place: str, what: str) -> FringeflowError:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = f"{status} {code_of(error)}".strip()
    if status in _REFUSED:
        return ReadOnlyError(
            f"{place} refuses access to {what} ({said})", remedy="check the credentials and the permissions"
        )
    if code_of(error) == "NoSuchBucket":
        return MissingInputError(f"there is no {place}", remedy="`fringeflow bucket setup` makes it")
    if status >= 500 or status in _RETRIED or not status:
        return TransientError(f"{place} did not answer for {what}: {said}")
    return BugError(f"{place} refused the request for {what}: {said}")
