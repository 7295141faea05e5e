"""How to reach the broker and how to behave towards it: plain values, read from nowhere by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from fringeflow.frozen import Frozen


class BusSettings(Frozen):
    """Where the broker is and what is asked of it."""

    url: str = Field(default="memory://", description="memory://, amqp://host:port/vhost or amqps://...")
    username: str | None = Field(default=None, description="instead of the one in the url")
    password: SecretStr | None = Field(default=None, description="instead of the one in the url")
    tls_ca: Path | None = Field(default=None, description="authorities that sign the broker's certificate (amqps)")
    tls_certificate: Path | None = Field(default=None, description="our own certificate, if the broker wants one")
    tls_key: Path | None = None
    prefix: str = Field(default="", description="before every exchange and queue, so that two houses share a broker")
    tasks_prefetch: int = Field(default=1, ge=1, description="tasks this process may hold at once")
    events_prefetch: int = Field(default=50, ge=1)
    heartbeat_seconds: int = Field(default=30, ge=0)
    startup_seconds: float = Field(default=30.0, ge=0, description="how long to wait for a broker that is starting too")
    connect_timeout_seconds: float = Field(default=5.0, gt=0)
    confirm_timeout_seconds: float = Field(default=15.0, gt=0)
    reconnect_max_seconds: float = Field(default=30.0, gt=0, description="ceiling of the doubling back-off")
    delivery_limit: int = Field(default=20, ge=0, description="the broker's backstop for tasks that kill their worker")
    ack_timeout_hours: float = Field(
        default=72.0, gt=0, description="stated on task queues; brokers before 3.12 ignore it"
    )
    journal_max_bytes: int = Field(default=10_000_000_000, gt=0)

    @model_validator(mode="after")
    def _knows_whom_to_trust(self) -> Self:
        if self.encrypted and self.tls_ca is None:
            raise ValueError("amqps needs tls_ca (of the system on Debian: /etc/ssl/certs/ca-certificates.crt)")
        return self

    @property
    def encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        return self.url.startswith("amqps:")

    @property
    def in_memory(self) -> bool:
        """Whether messages stay inside this process."""
        return self.url.startswith("memory:")
