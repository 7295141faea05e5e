"""The bus: announce events, order tasks, take what has come, settle it. The same on every transport.

It knows messages and queues and nothing of what they are about; attempts, dead letters and the journal inside a
process are the application's own, the broker's delivery limit is only the backstop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from fringeflow import events
from fringeflow.bus import dead, topology
from fringeflow.bus.delivery import REASON_HEADER, SENT_HEADER, DeadMessage, Delivery, M, dead_message
from fringeflow.bus.journal import Journal
from fringeflow.bus.labels import event_parcel, task_parcel
from fringeflow.bus.later import Later
from fringeflow.bus.link import Link
from fringeflow.bus.parcel import Addressed, Parcel, Received
from fringeflow.bus.settings import BusSettings
from fringeflow.errors import TransientError
from fringeflow.events import MEMORY_CLASSES, Event, MemoryClass, Task, UnreadableMessageError

NUDGE_CONTENT_TYPE = "application/vnd.fringeflow.nudge"

log = structlog.get_logger(__name__)


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
        self._later = Later()
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

    def announce(self, *several: Event) -> None:
        """Publish events, persistent and confirmed, and keep them in the journal. All are safe when it returns.

        Raises
        ------
        TransientError
            If the broker is away, or nothing takes one though a broker's journal takes everything. Some may have been
            published: announce all again.
        """
        exchange, mandatory = topology.exchange_name(self.settings, "events"), not self.settings.in_memory
        self._link.publish_all(
            Addressed(exchange, events.routing_key(event), event_parcel(event), mandatory) for event in several
        )
        if self._journal is not None:
            for event in several:
                self._journal.append(event)

    def record(self, *several: Event) -> None:
        """Put events into the journal, and announce them to nobody.

        Raises
        ------
        TransientError
            If the broker is away.
        """
        if self._journal is not None:
            for event in several:
                self._journal.append(event)
        if not self.settings.in_memory:
            journal = topology.journal_name(self.settings)
            self._link.publish_all(Addressed("", journal, event_parcel(event), mandatory=True) for event in several)

    def order(self, *several: Task, delay_seconds: float = 0.0) -> None:
        """Publish tasks to ``<stage>.tasks.<class>``, now or after about `delay_seconds` (`topology.DELAYS_SECONDS`).

        Raises
        ------
        TransientError
            If the broker is away, or nobody has declared the stage. Some may have been published: order all again.
        """
        if self.settings.in_memory:
            for task in several:
                if task.stage not in self._stages:
                    raise TransientError(f"nobody has declared the queues of {task.stage}")
        if delay_seconds > 0 and self.settings.in_memory:
            self._later.put(delay_seconds, several)
            return
        exchange = (
            topology.delay_exchange(self.settings, delay_seconds)
            if delay_seconds > 0
            else topology.exchange_name(self.settings, "tasks")
        )
        self._link.publish_all(
            Addressed(
                exchange,
                topology.task_key(task.stage, task.memory_class),
                task_parcel(task),
                mandatory=True,
            )
            for task in several
        )

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

    def waiting_tasks(self, stage: str, classes: Sequence[MemoryClass] = MEMORY_CLASSES) -> int:
        """Return how many tasks of the memory `classes` nobody has taken yet, here or elsewhere.

        Raises
        ------
        TransientError
            If the broker is away.
        """
        queues = [topology.task_queue(self.settings, stage, name) for name in classes]
        return sum(self._link.untaken(queue) + self._link.depth(queue) for queue in queues)

    def ack_all(self, several: Sequence[Delivery[M]]) -> None:
        """Say of several messages that they are done, with as few words as can be."""
        left = [delivery for delivery in several if delivery.alive]
        self._link.acknowledge(*(delivery.received for delivery in left))
        for delivery in left:
            delivery.settled = True

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
            found.append(dead_message(received, self))
        return found

    def drain(self, timeout: float, wake: Sequence[int] = ()) -> None:
        """Let the transport work for up to `timeout` seconds; call it all the time.

        It ends when a message comes, or when one of the descriptors `wake` can be read.
        """
        self._order_what_is_due()
        self._link.drain(self._later.seconds_to_next(timeout), wake)
        self._order_what_is_due()

    def close(self) -> None:
        """Say goodbye; what is not settled returns to its queue (in memory it is gone with the process)."""
        self._link.close()

    def settle_done(self, *several: Received) -> bool:
        """Acknowledge."""
        return self._link.acknowledge(*several)

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
        for task in self._later.due():
            self.order(task)

    def _declare_on(self, channel: Any) -> None:
        for entity in topology.entities(self.settings, self._stages):
            entity(channel).declare()
