"""Messages of object stores: each server's own form, and what is no message of theirs."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fringeflow.errors import CorruptInputError
from fringeflow.intake.notices import ObjectNotice, parse


def record(key: str, event: str = "ObjectCreated:Put", **thing: Any) -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": event,
        "s3": {"bucket": {"name": "survey"}, "object": {"key": key, "size": 5, "eTag": "abc", **thing}},
    }


def message(*records: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"Records": records, **more}).encode()


@pytest.mark.parametrize("prefix", ["", "s3:"])
def test_what_was_put_is_read_with_and_without_the_prefix(prefix: str) -> None:
    body = message(record("incoming/a.ms.tar", f"{prefix}ObjectCreated:Put"))
    assert parse(body) == [ObjectNotice("incoming/a.ms.tar", "ObjectCreated:Put", 5, "abc")]


def test_keys_are_decoded_and_made_relative_to_the_store() -> None:
    body = message(record("x/y/incoming/NGC+1%2B2.ms.tar"), record("x/z/incoming/other.tar"), record("x/yy"))
    assert [notice.key for notice in parse(body, "x/y/")] == ["incoming/NGC 1+2.ms.tar"]


def test_what_ceph_may_have_meant_is_all_looked_at() -> None:
    ceph = {**record("incoming/NGC 1+2%/a.tar"), "eventSource": "ceph:s3"}
    assert {notice.key for notice in parse(message(ceph))} == {"incoming/NGC 1+2%/a.tar", "incoming/NGC 1 2%/a.tar"}
    assert len(parse(message({**record("incoming/plain.tar"), "eventSource": "ceph:s3"}))) == 1


def test_removals_are_told_from_arrivals() -> None:
    removed = record("keys/a.txt", "s3:ObjectRemoved:Delete")
    del removed["s3"]["object"]["size"], removed["s3"]["object"]["eTag"]
    finished = record("incoming/b.tar", "s3:ObjectCreated:CompleteMultipartUpload", eTag='"abc-3"')
    first, second = parse(message(removed, finished))
    assert (first.created, first.size, first.etag) == (False, 0, "")
    assert (second.created, second.etag) == (True, "abc-3")


def test_members_that_servers_add_do_no_harm() -> None:
    body = message(record("a", sequencer="1", versionId="2"), EventName="s3:ObjectCreated:Put", Key="survey/a")
    assert [notice.key for notice in parse(body)] == ["a"]


def test_a_test_message_says_nothing() -> None:
    assert parse(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "survey"}).encode()) == []


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[]", b"7", b"{}", b'{"Records": [{}]}', b'{"Records": 3}'])
def test_anything_else_is_refused_with_what_it_was(body: bytes) -> None:
    with pytest.raises(CorruptInputError, match="no S3 event"):
        parse(body)


anything = st.recursive(
    st.none() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["Records", "s3", "object", "Event"]), inner),
)


@given(st.binary(max_size=200) | anything.map(json.dumps).map(str.encode))
def test_no_message_breaks_the_reader(body: bytes) -> None:
    with suppress(CorruptInputError):
        assert parse(body) == []
