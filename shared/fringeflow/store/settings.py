"""Where the store is. Kept apart from the store's client, which must not be loaded before a fork."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from fringeflow.frozen import Frozen


class StoreSettings(Frozen):
    """Where the store is. Holds no secrets: credentials come from the environment or a role."""

    url: str = Field(description="file:///absolute/folder or s3://bucket/prefix")
    endpoint: str | None = Field(default=None, description="URL of the S3 server; None for Amazon's own")
    region: str = Field(default="us-east-1", description="region of the bucket")
    allow_http: bool = Field(default=False, description="allow an S3 endpoint without TLS")
    anonymous: bool = Field(default=False, description="send requests without a signature")
    timeout_seconds: float = Field(default=60.0, gt=0, description="how long an S3 server may stay silent")

    @classmethod
    def of_folder(cls, folder: Path) -> StoreSettings:
        """Return the settings of a store in a local folder."""
        return cls(url=folder.absolute().as_uri())
