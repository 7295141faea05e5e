"""The bus: announce events, order tasks, take what has come, settle it. The same on every transport.

It knows messages and queues and nothing of what they are about; attempts, dead letters and the journal inside a
process are the application's own, the broker's delivery limit is only the backstop.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from fringeflow import events
from fringeflow.bus import dead, topology
from fringeflow.bus.journal import Journal
from fringeflow.bus.link import Link
from fringeflow.bus.parcel import Parcel, Received
from fringeflow.bus.settings import BusSettings
from fringeflow.errors import TransientError
from fringeflow.events import MEMORY_CLASSES, Event, MemoryClass, Message, Task, UnreadableMessageError

REASON_HEADER = "x-fringeflow-reason"
SENT_HEADER = "x-fringeflow-sent"
NUDGE_CONTENT_TYPE = "application/vnd.fringeflow.nudge"

M = TypeVar("M", bound="Message | bytes")
log = structlog.get_logger(__name__)


class Delivery(Generic[M]):
    """A message that is ours until one of `ack`, `requeue`, `reject` is called.

    Each returns whether it had an effect: on a connection lost since, the broker gives the message out again by
    itself and there is nothing to settle.
    """

    def __init__(self, message: M, received: Received, bus: Bus) -> None:
        self.message = message
        self._received = received
        self._bus = bus
        self._settled = False
        self._taken_at = time.time()

    @property
    def deliveries(self) -> int:
        """How often the broker has handed this out, this time included: workers that died on it count."""
        return self._received.deliveries

    @property
    def sent_at(self) -> float:
        """When it was published, by the sender's clock; 0 if the sender did not say."""
        return float(self._received.headers.get(SENT_HEADER, 0.0))

    @property
    def waited_seconds(self) -> float | None:
        """How long it lay in its queue, by the clocks of sender and taker; None if the sender did not say."""
        return max(0.0, self._taken_at - self.sent_at) if self.sent_at else None

    @property
    def alive(self) -> bool:
        """Whether it is still ours: not settled, and the connection it came by still there."""
        return not self._settled and self._bus.holds(self._received)

    def ack(self) -> bool:
        """Say that it is done."""
        return self._once(self._bus.settle_done)

    def requeue(self) -> bool:
        """Give it back, uncounted, to the end of its queue."""
        return self._once(self._bus.settle_again)

    def reject(self, reason: str) -> bool:
        """Send it to the stage's dead letters."""
        return self._once(lambda received: self._bus.settle_dead(received, reason))

    def _once(self, settle: Callable[[Received], bool]) -> bool:
        if self._settled:
            return False
        effect = settle(self._received)
        self._settled = True
        return effect


@dataclass(frozen=True)
class DeadMessage:
    """What lies in a stage's queue of dead letters; `message` is None if it cannot be read."""

    message: Message | None
    body: bytes
    reason: str
    received: Received
    bus: Bus

    def ack(self) -> bool:
        """Take it out of the queue."""
        return self.bus.settle_done(self.received)


class Bus:
    """Publish and consume.

    Parameters
    ----------
    settings
        Where the broker is.
    journal
        Keeps every event announced where the transport does not (memory); a broker keeps its own stream.
    on_unreadable
        Told of every message that could not be read, with its reason, before it goes to the stage's dead queue.
    """

    def __init__(
        self,
        settings: BusSettings,
        journal: Journal | None = None,
        on_unreadable: Callable[[dead.DeadLetter], None] | None = None,
    ) -> None:
        self.settings = settings
        self._journal = journal
        self._on_unreadable = on_unreadable
        self._stages: dict[str, None] = {}
        self._nudged: set[str] = set()
        self._later: list[tuple[float, int, Task]] = []
        self._ordered = 0
        self._link = Link(settings, self._declare_on)

    def declare(self, stages: Sequence[str]) -> None:
        """Declare the queues of `stages`, now and after every reconnection; twice does no harm.

        Raises
        ------
        TransientError
            If the broker does not answer within `startup_seconds`.
        DataError
            If a queue of that name exists with other arguments.
        """
        self._stages.update(dict.fromkeys(stages))
        self._link.redeclare()

    def announce(self, event: Event) -> None:
        """Publish an event, persistent and confirmed, and keep it in the journal.

        Raises
        ------
        TransientError
            If the broker is away, or nothing takes it though a broker's journal takes everything.
        """
        parcel = Parcel(events.to_bytes(event), events.EVENT_CONTENT_TYPE, event.id, event.correlation_id, _sent_now())
        exchange = topology.exchange_name(self.settings, "events")
        self._link.publish(exchange, events.routing_key(event), parcel, mandatory=not self.settings.in_memory)
        if self._journal is not None:
            self._journal.append(event)

    def record(self, event: Event) -> None:
        """Put an event into the journal, and announce it to nobody.

        Raises
        ------
        TransientError
            If the broker is away.
        """
        if self._journal is not None:
            self._journal.append(event)
        if not self.settings.in_memory:
            parcel = Parcel(events.to_bytes(event), events.EVENT_CONTENT_TYPE, event.id, event.correlation_id)
            self._link.publish("", topology.journal_name(self.settings), parcel, mandatory=True)

    def order(self, task: Task, delay_seconds: float = 0.0) -> None:
        """Publish a task to ``<stage>.tasks.<class>``, now or after about `delay_seconds` (`topology.DELAYS_SECONDS`).

        Raises
        ------
        TransientError
            If the broker is away, or nobody has declared the stage.
        """
        if self.settings.in_memory and task.stage not in self._stages:
            raise TransientError(f"nobody has declared the queues of {task.stage}")
        if delay_seconds > 0 and self.settings.in_memory:
            self._ordered += 1
            heapq.heappush(self._later, (time.monotonic() + delay_seconds, self._ordered, task))
            return
        exchange = (
            topology.delay_exchange(self.settings, delay_seconds)
            if delay_seconds > 0
            else topology.exchange_name(self.settings, "tasks")
        )
        parcel = Parcel(events.to_bytes(task), events.TASK_CONTENT_TYPE, task.id, task.run, _sent_now())
        self._link.publish(exchange, topology.task_key(task.stage, task.memory_class), parcel, mandatory=True)

    def take_events(self, stage: str, limit: int = 1) -> list[Delivery[Event]]:
        """Take up to `limit` events that have come for `stage`, without waiting.

        Of several workers that ask, one gets all, until it goes. At most `events_prefetch` are held unsettled at once.
        While the broker is away the list is empty. What cannot be read goes to the dead letters and is not in the list.
        """
        queue = topology.queue_name(self.settings, stage, "events")
        return self._take([queue], limit, self.settings.events_prefetch, events.parse)

    def nudge(self, stage: str) -> None:
        """Wake whichever worker gets the events of `stage`: it finds itself `nudged`.

        Raises
        ------
        TransientError
            If the broker is away.
        """
        queue = topology.queue_name(self.settings, stage, "events")
        self._link.publish("", queue, Parcel(b"{}", NUDGE_CONTENT_TYPE), mandatory=True)

    def nudged(self, stage: str) -> bool:
        """Return whether a nudge has come with the events of `stage` since last asked."""
        was = stage in self._nudged
        self._nudged.discard(stage)
        return was

    def take_tasks(
        self, stage: str, limit: int = 1, classes: Sequence[MemoryClass] = MEMORY_CLASSES
    ) -> list[Delivery[Task]]:
        """Take up to `limit` tasks of the memory `classes`; of each class at most `tasks_prefetch` are held unsettled.

        Otherwise as `take_events`; several workers share the tasks.
        """
        queues = [topology.task_queue(self.settings, stage, name) for name in classes]
        return self._take(queues, limit, self.settings.tasks_prefetch, events.parse_task)

    def take_notices(self, stage: str, limit: int = 1) -> list[Delivery[bytes]]:
        """Take up to `limit` of the bucket's notifications as they came (not inside a process: there is no bucket)."""
        queue = topology.queue_name(self.settings, stage, "bucket")
        return self._take([queue], limit, self.settings.events_prefetch, bytes)

    def leave_tasks(self, stage: str, *, idle_only: bool = False) -> None:
        """Take no more tasks of `stage` until `take_tasks` is called again; give back what has come and was not taken.

        What was taken before stays ours and no longer counts against the prefetch. With `idle_only`, go on where
        nothing has come that lies idle.
        """
        queues = [topology.task_queue(self.settings, stage, name) for name in MEMORY_CLASSES]
        self._leave([queue for queue in queues if not idle_only or self._link.untaken(queue)])

    def leave_events(self, stage: str) -> None:
        """Let another worker have the events (and the bucket's notifications) of `stage`."""
        self._leave([topology.queue_name(self.settings, stage, "events"), f"{self.settings.prefix}{stage}.bucket"])

    def depths(self, stage: str) -> dict[str, int]:
        """Return how many messages are ready in each queue of `stage`, by the queue's name without the prefix.

        Raises
        ------
        TransientError
            If the broker is away.
        """
        names = [f"{stage}.events", f"{stage}.dead", *(f"{stage}.tasks.{name}" for name in MEMORY_CLASSES)]
        if stage == topology.BUCKET_STAGE and not self.settings.in_memory:
            names.append(f"{stage}.bucket")
        return {name: self._link.depth(f"{self.settings.prefix}{name}") for name in names}

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._link.alive

    @property
    def generation(self) -> int:
        """The number of the connection: when it has grown, the broker was away and may have lost its queues."""
        return self._link.generation

    def dead(self, stage: str, limit: int = 100) -> list[DeadMessage]:
        """Take up to `limit` messages out of the stage's dead letters; those not acknowledged return on `close`."""
        queue = topology.queue_name(self.settings, stage, "dead")
        found: list[DeadMessage] = []
        while len(found) < limit and (received := self._link.get(queue)) is not None:
            found.append(DeadMessage(_readable(received.body), received.body, _reason(received), received, self))
        return found

    def drain(self, timeout: float, wake: Sequence[int] = ()) -> None:
        """Let the transport work for up to `timeout` seconds; call it all the time.

        It ends when a message comes, or when one of the descriptors `wake` can be read.
        """
        self._order_what_is_due()
        if self._later:
            timeout = min(timeout, max(0.0, self._later[0][0] - time.monotonic()))
        self._link.drain(timeout, wake)
        self._order_what_is_due()

    def close(self) -> None:
        """Say goodbye; what is not settled returns to its queue (in memory it is gone with the process)."""
        self._link.close()

    def settle_done(self, received: Received) -> bool:
        """Acknowledge."""
        return self._link.acknowledge(received)

    def settle_again(self, received: Received) -> bool:
        """Publish it again to its own queue, then acknowledge: a broker counts its own requeueing, this it does not."""
        sent = {name: value for name, value in received.headers.items() if name == SENT_HEADER}
        return self._move(received, received.queue, sent)

    def settle_dead(self, received: Received, reason: str) -> bool:
        """Publish it to the stage's dead letters with its reason, then acknowledge."""
        stage = topology.stage_of(self.settings, received.queue)
        queue = topology.queue_name(self.settings, stage, "dead")
        return self._move(received, queue, {REASON_HEADER: reason[:500]})

    def holds(self, received: Received) -> bool:
        """Whether the broker still counts `received` as ours."""
        return self._link.is_current(received)

    def _move(self, received: Received, queue: str, headers: dict[str, str]) -> bool:
        if not self._link.is_current(received):
            return False
        self._link.publish("", queue, Parcel(received.body, received.content_type, headers=headers), mandatory=True)
        return self.settle_done(received)

    def _take(self, queues: Sequence[str], limit: int, prefetch: int, read: Callable[[bytes], M]) -> list[Delivery[M]]:
        self._order_what_is_due()
        deliveries = []
        for received in self._link.take(queues, limit, prefetch):
            if received.content_type == NUDGE_CONTENT_TYPE:
                self._nudged.add(topology.stage_of(self.settings, received.queue))
                self.settle_done(received)
                continue
            try:
                message = read(received.body)
            except UnreadableMessageError as error:
                self._bury(received, str(error))
            else:
                deliveries.append(Delivery(message, received, self))
        return deliveries

    def _leave(self, queues: Sequence[str]) -> None:
        for received in self._link.leave(queues):
            try:
                self.settle_again(received)
            except TransientError as error:
                log.warning("broker lost while giving a message back; it will come again", reason=str(error))

    def _bury(self, received: Received, reason: str) -> None:
        log.error("unreadable message", queue=received.queue, reason=reason)
        if self._on_unreadable is not None:
            self._on_unreadable(dead.unreadable(received.queue, received.body, reason))
        try:
            self.settle_dead(received, reason)
        except TransientError as error:
            log.warning("broker lost while burying a message; it will come again", reason=str(error))

    def _order_what_is_due(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            self.order(heapq.heappop(self._later)[2])

    def _declare_on(self, channel: Any) -> None:
        for entity in topology.entities(self.settings, self._stages):
            entity(channel).declare()


def _sent_now() -> dict[str, str]:
    return {SENT_HEADER: f"{time.time():.6f}"}


def _readable(body: bytes) -> Message | None:
    for read in (events.parse, events.parse_task):
        try:
            return read(body)
        except UnreadableMessageError:
            continue
    return None


def _reason(received: Received) -> str:
    if REASON_HEADER in received.headers:
        return str(received.headers[REASON_HEADER])
    deaths = received.headers.get("x-death") or [{}]
    return str(deaths[0].get("reason", "unknown"))
