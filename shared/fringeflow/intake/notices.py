"""Reads what an object store says when an object was put or removed: event records in the S3 format.

A notice is a hint where to look, never a fact: what lies in the bucket is asked of the bucket.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from fringeflow.errors import CorruptInputError


@dataclass(frozen=True)
class ObjectNotice:
    """What happened to one object; `event` is without the prefix ``s3:``, e.g. ``ObjectCreated:Put``."""

    key: str
    event: str
    size: int = 0
    etag: str = ""

    @property
    def created(self) -> bool:
        """Whether the object was put, and not removed."""
        return self.event.startswith("ObjectCreated")


def parse(body: bytes, prefix: str = "") -> list[ObjectNotice]:
    """Return the notices of a message, those about objects below `prefix`, their keys relative to it.

    A test message, which servers send when notifications are set up, has none.

    Raises
    ------
    CorruptInputError
        The message is not in the S3 event format.
    """
    try:
        content = json.loads(body)
        if _is_test(content):
            return []
        notices = [notice for record in content["Records"] for notice in _notices(record)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptInputError(
            f"a message that is no S3 event came from the bucket: {body[:200]!r}",
            remedy="let nothing but the bucket's notifications publish to this exchange",
        ) from error
    below = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    return [
        ObjectNotice(notice.key.removeprefix(below), notice.event, notice.size, notice.etag)
        for notice in notices
        if notice.key.startswith(below)
    ]


def _is_test(content: Mapping[str, Any]) -> bool:
    return "Records" not in content and str(content["Event"]).removeprefix("s3:") == "TestEvent"


def _notices(record: Mapping[str, Any]) -> list[ObjectNotice]:
    thing = record["s3"]["object"]
    written = str(thing["key"])
    keys = [unquote_plus(written)]
    if str(record.get("eventSource", "")).startswith("ceph") and keys != [written]:
        keys.append(written)  # some of its releases do not encode keys: it may be either
    return [
        ObjectNotice(
            key=key,
            event=str(record["eventName"]).removeprefix("s3:"),
            size=int(thing.get("size") or 0),
            etag=str(thing.get("eTag") or thing.get("etag") or "").strip('"'),
        )
        for key in keys
    ]
