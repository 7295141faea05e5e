"""Exchanges, queues and bindings: who hears what. It knows names and arguments and never touches a message.

On a transport inside the process the same names are plain queues: what a broker does by arguments (quorum, delivery
limit, dead-lettering, the journal's stream, delays) is left out there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from fringeflow.bus.settings import BusSettings
from fringeflow.bus.transport import Exchange, Queue, binding
from fringeflow.events import MEMORY_CLASSES, MemoryClass

QueueKind = Literal["events", "bucket", "dead"]

BUCKET_STAGE = "staging"
"""The stage that hears what is dropped into the bucket."""

LISTENS: Mapping[str, tuple[str, ...]] = {
    "staging": ("visibilities.arrived.#",),
    "imaging": ("visibilities.staged.#",),
    "postprocess": ("cube.imaged.#",),
    "derived": ("cube.postprocessed.#", "products.derived.#"),
}
"""The facts each stage listens to, as topics; besides these each listens to ``unit.made`` of its own inner steps."""

DELAYS_SECONDS = (1, 5, 30, 120, 600)
"""The back-offs a task can be put through; each is a queue whose messages expire into the tasks exchange."""


def topics(stage: str) -> tuple[str, ...]:
    """Return the topics `stage` listens to."""
    return (*LISTENS.get(stage, ()), f"unit.made.*.*.*.{stage}")


def queue_name(settings: BusSettings, stage: str, kind: QueueKind) -> str:
    """Return e.g. ``imaging.events``."""
    return f"{settings.prefix}{stage}.{kind}"


def task_queue(settings: BusSettings, stage: str, memory_class: MemoryClass) -> str:
    """Return e.g. ``imaging.tasks.small``: each memory class has its own queue, so that workers of a size serve it."""
    return f"{settings.prefix}{stage}.tasks.{memory_class}"


def task_key(stage: str, memory_class: MemoryClass) -> str:
    """Return the routing key of a task, e.g. ``imaging.small``."""
    return f"{stage}.{memory_class}"


def stage_of(settings: BusSettings, queue: str) -> str:
    """Return the stage a queue belongs to."""
    return queue.removeprefix(settings.prefix).split(".")[0]


def exchange_name(settings: BusSettings, kind: Literal["events", "tasks", "bucket", "dead"]) -> str:
    """Return e.g. ``fringeflow.events``."""
    return f"{settings.prefix}fringeflow.{kind}"


def journal_name(settings: BusSettings) -> str:
    """Return the name of the stream that keeps every event."""
    return f"{settings.prefix}fringeflow.journal"


def delay_exchange(settings: BusSettings, delay_seconds: float) -> str:
    """Return the exchange of the shortest back-off that lasts at least `delay_seconds`, or of the longest there is."""
    level = next((level for level in DELAYS_SECONDS if level >= delay_seconds), DELAYS_SECONDS[-1])
    return f"{settings.prefix}fringeflow.later.{level}"


def entities(settings: BusSettings, stages: Iterable[str]) -> Iterator[Any]:
    """Yield all that must be declared for `stages`, in order."""
    events = _exchange(exchange_name(settings, "events"), "topic")
    tasks = _exchange(exchange_name(settings, "tasks"), "direct")
    dead = _exchange(exchange_name(settings, "dead"), "direct")
    yield from (events, tasks, dead)
    if not settings.in_memory:
        yield from _broker_only(settings, events, tasks)
    for stage in stages:
        yield from _of_stage(settings, stage, events, tasks, dead)


def _of_stage(settings: BusSettings, stage: str, events: Any, tasks: Any, dead: Any) -> Iterator[Any]:
    last_resort = _last_resort(settings, stage)
    yield _queue(queue_name(settings, stage, "dead"), {}, settings, [binding(dead, routing_key=stage)])
    yield _queue(
        queue_name(settings, stage, "events"),
        # one worker at a time turns events into tasks, or each would order the same
        {**last_resort, "x-single-active-consumer": True},
        settings,
        [binding(events, routing_key=topic) for topic in topics(stage)],
    )
    for memory_class in MEMORY_CLASSES:
        yield _queue(
            task_queue(settings, stage, memory_class),
            {**last_resort, "x-consumer-timeout": round(settings.ack_timeout_hours * 3_600_000)},
            settings,
            [binding(tasks, routing_key=task_key(stage, memory_class))],
        )
    if stage == BUCKET_STAGE and not settings.in_memory:
        drops = _exchange(exchange_name(settings, "bucket"), "topic")
        yield drops
        yield _queue(queue_name(settings, stage, "bucket"), last_resort, settings, [binding(drops, routing_key="#")])


def _broker_only(settings: BusSettings, events: Any, tasks: Any) -> Iterator[Any]:
    yield Queue(
        journal_name(settings),
        durable=True,
        queue_arguments={"x-queue-type": "stream", "x-max-length-bytes": settings.journal_max_bytes},
        bindings=[binding(events, routing_key="#")],
    )
    for level in DELAYS_SECONDS:
        later = _exchange(delay_exchange(settings, level), "fanout")
        # without a dead-letter routing key a message keeps its own: one queue serves all stages
        arguments = {"x-message-ttl": level * 1000, **_dead_letters_to(tasks.name)}
        yield later
        yield _queue(later.name, arguments, settings, [binding(later)])


def _last_resort(settings: BusSettings, stage: str) -> dict[str, Any]:
    return {
        "x-delivery-limit": settings.delivery_limit,
        "x-dead-letter-routing-key": stage,
        **_dead_letters_to(exchange_name(settings, "dead")),
    }


def _dead_letters_to(exchange: str) -> dict[str, Any]:
    # at-least-once dead-lettering requires that a full queue refuses rather than drops
    return {
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def _exchange(name: str, kind: str) -> Any:
    return Exchange(name, type=kind, durable=True)


def _queue(name: str, arguments: dict[str, Any], settings: BusSettings, bindings: list[Any]) -> Any:
    quorum = None if settings.in_memory else {"x-queue-type": "quorum", **arguments}
    return Queue(name, durable=True, queue_arguments=quorum, bindings=bindings)
