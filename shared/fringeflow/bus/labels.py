"""Parcels of messages: what a broker and whoever looks at its queues see of them."""

from __future__ import annotations

import time

from fringeflow.bus.delivery import SENT_HEADER
from fringeflow.bus.parcel import Parcel
from fringeflow.events import EVENT_CONTENT_TYPE, TASK_CONTENT_TYPE, Event, Task, to_bytes


def event_parcel(event: Event) -> Parcel:
    """Return an event as it is published."""
    return Parcel(to_bytes(event), EVENT_CONTENT_TYPE, event.id, event.correlation_id, _sent_now())


def task_parcel(task: Task) -> Parcel:
    """Return a task as it is published."""
    return Parcel(to_bytes(task), TASK_CONTENT_TYPE, task.id, task.run, _sent_now())


def _sent_now() -> dict[str, str]:
    return {SENT_HEADER: f"{time.time():.6f}"}
