"""What travels: bytes with labels, on the way out and on the way in. It knows nothing of what the bytes say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Parcel:
    """What is published."""

    body: bytes
    content_type: str
    message_id: str = ""
    correlation_id: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Addressed:
    """A parcel and where it goes; `mandatory`: that no queue takes it is an error."""

    exchange: str
    routing_key: str
    parcel: Parcel
    mandatory: bool


@dataclass(frozen=True)
class Received:
    """What was taken from a queue; it is ours until it is settled or the connection it came by is lost."""

    queue: str
    body: bytes
    content_type: str
    headers: Mapping[str, Any]
    generation: int
    raw: Any

    @property
    def deliveries(self) -> int:
        """How often the broker has handed it out, this time included."""
        return int(self.headers.get("x-delivery-count", 0)) + 1
