"""A store in an S3 bucket, below a prefix. Credentials come from the environment or a role, never from settings."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import obstore
from obstore import exceptions
from obstore.store import S3Store

from fringeflow.store import aws
from fringeflow.store.base import Store, checked
from fringeflow.store.faults import faults

SINGLE_PUT = 16 << 20  # bytes; larger objects go up in parts
_LEAST_PART = 8 << 20
_MOST_PARTS = 9000  # S3 allows 10,000
_ABANDONED_SECONDS = 86400.0


class BucketStore(Store):
    """Objects in bucket `bucket` with keys below `prefix`."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        endpoint: str | None,
        region: str,
        allow_http: bool,
        anonymous: bool,
        timeout_seconds: float,
    ) -> None:
        timeout = dt.timedelta(seconds=timeout_seconds)
        backend = S3Store(
            bucket,
            prefix=prefix or None,
            endpoint=endpoint,
            region=region,
            skip_signature=anonymous,
            client_options={
                "allow_http": allow_http,
                "connect_timeout": min(timeout, dt.timedelta(seconds=10)),
                "timeout": dt.timedelta(hours=6),
                "read_timeout": timeout,
            },
            retry_config={
                "max_retries": 4,
                "retry_timeout": timeout,
                "backoff": {
                    "init_backoff": dt.timedelta(milliseconds=200),
                    "max_backoff": dt.timedelta(seconds=5),
                    "base": 2,
                },
            },
        )
        super().__init__(backend, f"s3://{bucket}/{prefix}".rstrip("/"), prefix)
        self._bucket = bucket
        self._endpoint = endpoint
        self._region = region
        self._anonymous = anonymous

    def put_chunks(self, key: str, chunks: Iterable[bytes], *, create: bool = False, size_hint: int = 0) -> bool:
        """Write an object from blocks of bytes (see `Store.put_chunks`).

        Not every server can make a multipart upload conditional. Above `SINGLE_PUT` bytes `create` is therefore a
        look before the upload: the keys of large objects carry their digest, so two writers write the same.
        """
        source = iter(chunks)
        head = _take(source, SINGLE_PUT + 1)
        with faults(key, self.place):
            if len(head) <= SINGLE_PUT:
                return self._put_whole(checked(key), head, create=create)
            if create and self.exists(key):
                return False
            failed: list[BaseException] = []
            content = _watched(itertools.chain([head], source), failed)
            part = max(_LEAST_PART, size_hint // _MOST_PARTS + 1)
            try:
                obstore.put(self._backend, checked(key), content, chunk_size=part, max_concurrency=4)
            except Exception:
                if failed:  # what the producer of the content raised, not what the client makes of it
                    raise failed[0] from None
                raise
        return True

    def link_file(self, path: Path, key: str, *, sha256: str | None = None) -> bool:  # noqa: ARG002 - a bucket has no links
        """Return False: a bucket has no links."""
        return False

    def local_path(self, key: str) -> Path | None:  # noqa: ARG002 - a bucket has no paths
        """Return None: an object of a bucket is no local file."""
        return None

    def sweep(self, min_age_seconds: float | None = None) -> int:
        """Abort multipart uploads that nobody has finished within `min_age_seconds` (a day, if not given)."""
        age = dt.timedelta(seconds=_ABANDONED_SECONDS if min_age_seconds is None else min_age_seconds)
        latest = dt.datetime.now(dt.UTC) - age
        client = aws.client("s3", endpoint=self._endpoint, region=self._region, anonymous=self._anonymous)
        removed = 0
        with aws.answers(self.place, "its unfinished uploads"):
            pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self.prefix)
            for upload in itertools.chain.from_iterable(page.get("Uploads", []) for page in pages):
                if upload["Initiated"] <= latest:
                    client.abort_multipart_upload(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                    removed += 1
        return removed

    def _put_whole(self, key: str, data: bytes, *, create: bool) -> bool:
        with contextlib.suppress(exceptions.AlreadyExistsError, exceptions.PreconditionError):
            obstore.put(self._backend, key, data, mode="create" if create else "overwrite", use_multipart=False)
            return True
        return False


def _take(source: Iterator[bytes], size: int) -> bytes:
    """Return at least `size` bytes from `source`, or all there is."""
    taken: list[bytes] = []
    length = 0
    while length < size and (chunk := next(source, None)) is not None:
        taken.append(chunk)
        length += len(chunk)
    return b"".join(taken)


def _watched(chunks: Iterable[bytes], failed: list[BaseException]) -> Iterator[bytes]:
    try:
        yield from chunks
    except Exception as error:
        failed.append(error)
        raise
