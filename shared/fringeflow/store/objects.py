"""Opens the store that the settings name: ``file:///folder`` or ``s3://bucket/prefix``."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from fringeflow.errors import DataError
from fringeflow.store.base import ObjectInfo, Store, Stored
from fringeflow.store.settings import StoreSettings

__all__ = ["ObjectInfo", "Store", "StoreSettings", "Stored", "open_store"]


def open_store(settings: StoreSettings) -> Store:
    """Return the store that `settings` name.

    Raises
    ------
    DataError
        The URL is of no kind known here.
    ReadOnlyError
        The folder is not there and cannot be made.
    """
    parts = urlsplit(settings.url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        from fringeflow.store.folder import FolderStore

        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        from fringeflow.store.bucket import BucketStore

        return BucketStore(
            parts.netloc,
            unquote(parts.path).strip("/"),
            endpoint=settings.endpoint,
            region=settings.region,
            allow_http=settings.allow_http,
            anonymous=settings.anonymous,
            timeout_seconds=settings.timeout_seconds,
        )
    raise DataError(f"not a store: {settings.url!r}", remedy="give file:///absolute/folder or s3://bucket/prefix")
