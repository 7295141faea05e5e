"""One or more services on a broker and a bucket: the distributed counterpart of the embedded run.

Broker, bucket and keys may come later, go away and come back: a worker waits and goes on. It ends when it is told to,
or when what it was asked for is done.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from structlog import get_logger

from fringeflow.arrivals import Gate
from fringeflow.bus.bus import Bus
from fringeflow.bus.dead import DeadLetter
from fringeflow.bus.topology import BUCKET_STAGE
from fringeflow.catalogue import Builder
from fringeflow.claims import Claims
from fringeflow.errors import DataError, TransientError
from fringeflow.events import MEMORY_CLASSES, MemoryClass
from fringeflow.failing import keep
from fringeflow.graph.build import CASA_STAGES
from fringeflow.health import Health, Pulse
from fringeflow.intake.poller import Poller
from fringeflow.jobs.host import JobHost
from fringeflow.jobs.scratch import for_this_process, temporary_files_in
from fringeflow.metrics import CONTENT_TYPE, Metrics
from fringeflow.outlook import Outlook
from fringeflow.service import Service
from fringeflow.settings import Settings
from fringeflow.slots import Slots, memory_for_jobs_mb
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import Store, StoreSettings, open_store
from fringeflow.waker import Waker
from fringeflow.world import Log, Observer, World

_IDLE_SECONDS = 0.5
_QUIET_SECONDS = 2.0  # without a message before a queue counts as empty
_BRIEF_SECONDS = 0.2  # of a job: to stop asking for tasks and to begin again takes the broker longer than that is worth
_COUNT_SECONDS = 5.0  # between two looks at the queues' lengths
_CONTROL_TIMEOUT_SECONDS = 20.0  # for small objects: the loop must not stand still for longer than heartbeats bear
_LAST_GRACE_SECONDS = 5.0  # for a job's own end, once it has been told

log = get_logger(__name__)


@dataclass(frozen=True)
class Duties:
    """What one worker is asked to do.

    `classes` are the memory classes of the tasks it takes, none for no tasks; `dispatches`, whether it turns events
    into tasks. `drain`: end when its queues are empty; `max_tasks`: end after so many jobs.
    """

    stages: tuple[str, ...]
    classes: tuple[MemoryClass, ...] = MEMORY_CLASSES
    dispatches: bool = True
    drain: bool = False
    max_tasks: int | None = None


class Worker:
    """Runs the services of some stages until told to leave.

    Parameters
    ----------
    builder, make
        What builds a target's graph, and what makes units instead of the installed stages.
    """

    def __init__(
        self,
        settings: Settings,
        duties: Duties,
        *,
        observers: Sequence[Observer] = (),
        builder: Builder | None = None,
        make: str | None = None,
    ) -> None:
        if settings.store is None:
            raise DataError(
                "a worker needs a store that others reach too", remedy="set FRINGEFLOW_STORE__URL=s3://bucket"
            )
        self._settings = settings
        self._store_settings = settings.store
        self._duties = duties
        self._observers = observers
        self._builder = builder
        self._make = make
        self._run = uuid.uuid4().hex[:12]
        self._metrics = Metrics(duties.stages)
        self._pulse = Pulse(settings.health.stalled_seconds)
        self._leaving_since: float | None = None
        self._nudged: dict[str, tuple[int, float]] = {}
        self._counted = 0.0
        self._quiet_since: float | None = None
        self._full_since: float | None = None

    def leave(self) -> None:
        """Take nothing more, and end when the running jobs have, or the grace period has passed."""
        if self._leaving_since is None:
            log.info("leaves", grace_seconds=self._settings.jobs.grace_seconds)
            self._leaving_since = time.monotonic()

    @property
    def _leaving(self) -> bool:
        return self._leaving_since is not None

    def run(self) -> int:
        """Work; return how many jobs were run."""
        settings, store = self._settings, self._store_settings
        with ExitStack() as life:
            self._own = for_this_process(self._scratch)  # swept by the next if this process is killed
            life.enter_context(temporary_files_in(self._own))
            self._waker = life.enter_context(Waker())
            life.enter_context(self._told_by_signals())
            if settings.health.address is not None:
                health = Health(settings.health.address, self._pulse, self._metrics.text, CONTENT_TYPE)
                log.info("answers", address=life.enter_context(health).address)
            timeout = min(store.timeout_seconds, _CONTROL_TIMEOUT_SECONDS)
            self._store = open_store(store.model_copy(update={"timeout_seconds": timeout}))
            self._ledger = Ledger(self._store)
            bus = settings.bus.model_copy(update={"startup_seconds": 0.0})  # the loop waits, and can be told to leave
            self._bus = Bus(bus, on_unreadable=self._keep)
            life.callback(self._bus.close)
            self._outlook = life.enter_context(self._outlook_on(self._store))
            host = life.enter_context(self._host(store))
            host.sweep()
            owner = f"{socket.gethostname()}:{os.getpid()}:{self._run}"
            claims = life.enter_context(Claims(self._store, owner, settings.claim_seconds))
            self._declare()
            services = [] if self._leaving else self._services(host, claims)
            if self._leaving:
                return 0
            self._gatekeeper = self._gate(life)
            try:
                self._loop(services)
            finally:
                for service in services:
                    service.stop(_LAST_GRACE_SECONDS)
        return sum(service.jobs_run for service in services)

    # beginning

    @property
    def _scratch(self) -> Path:
        return self._settings.jobs.scratch or Path(tempfile.gettempdir()) / "fringeflow"

    def _outlook_on(self, store: Store) -> Outlook:
        return Outlook(
            store,
            self._ledger,
            self._own / "keys",
            self._settings.master_key,
            self._builder,
            every_seconds=self._settings.poll_seconds if self._duties.dispatches else None,
            tell=self._waker.wake,
        )

    def _host(self, store: StoreSettings) -> JobHost:
        casa = bool(self._duties.classes) and not set(CASA_STAGES).isdisjoint(self._duties.stages)
        return JobHost(self._scratch, store, with_casa=casa and self._make is None)

    def _declare(self) -> None:
        """Declare the queues; a broker that is not there yet gets them when it comes."""
        try:
            self._bus.declare(self._duties.stages)
        except TransientError as error:
            log.warning("broker not there", reason=str(error))

    def _services(self, host: JobHost, claims: Claims) -> list[Service]:
        """Wait for the keys and return the services; none if told to leave before there are any."""
        if self._duties.classes:
            host.call("fringeflow.jobs.child:software", {})  # loads CASA now, not when the first task is in hand
        catalogue, _ = self._outlook.follow(None)
        while catalogue is None:
            if self._leaving:
                return []
            self._pulse.beat(self._outlook.complaint or "waits for the keys")
            self._rest()
            catalogue, _ = self._outlook.follow(None)
        jobs = self._settings.jobs
        cores = 1 if jobs.count is None else jobs.count
        world = World(
            run=self._run,
            catalogue=catalogue,
            store=self._store,
            ledger=self._ledger,
            bus=self._bus,
            host=host,
            slots=Slots(cores, jobs.memory_mb or memory_for_jobs_mb(), self._duties.max_tasks),
            observers=(Log(), self._metrics, *self._observers),
            memory_limit_mb={name: jobs.memory_classes_mb[name] for name in MEMORY_CLASSES},
            time_limit_seconds=jobs.time_limit_seconds,
            make=self._make,
            claims=claims,
            lookout=self._outlook,
            classes=self._duties.classes,
            dispatches=self._duties.dispatches,
            reconcile_seconds=self._settings.reconcile_seconds,
        )
        self._world = world
        return [Service(stage, world) for stage in self._duties.stages]

    def _gate(self, life: ExitStack) -> Gate | None:
        """Return who announces what is dropped, if that is among the duties."""
        if BUCKET_STAGE not in self._duties.stages or not self._duties.dispatches:
            return None
        project, names = self._outlook.project() or (self._world.catalogue.project, ())
        poller = life.enter_context(Poller(self._store, project, names, every_seconds=self._settings.poll_seconds))
        return Gate(self._store, self._bus, poller, self._outlook, self._run)

    # the loop

    def _loop(self, services: Sequence[Service]) -> None:
        while True:
            self._follow(services)
            if self._gatekeeper is not None and not self._leaving:
                self._gatekeeper.step()
            did = [service.step() for service in reversed(services)]  # what is nearly finished gets the free core
            busy = any(did)
            self._leave_tasks_to_others(services)
            self._pulse.beat(self._complaint(services))
            self._count()
            if self._is_over(services, busy=busy):
                return
            if not busy:
                self._rest([job.sentinel for service in services for job in service.running])

    def _leave_tasks_to_others(self, services: Sequence[Service]) -> None:
        """While no job can begin let nothing lie idle here; no more is asked for once that has lasted a moment."""
        if self._world.slots.free:
            self._full_since = None
            return
        self._full_since = self._full_since or time.monotonic()
        for service in services:
            brief = time.monotonic() - self._full_since < _BRIEF_SECONDS
            self._bus.leave_tasks(service.stage, idle_only=brief)

    def _rest(self, wake: Sequence[int] = ()) -> None:
        self._bus.drain(_IDLE_SECONDS, [*wake, self._waker.fileno()])
        self._waker.clear()

    def _follow(self, services: Sequence[Service]) -> None:
        """Take in new keys and inputs, and let whoever leads look at what they concern; now and then, at everything."""
        world = self._world
        catalogue, targets = self._outlook.follow(world.catalogue)
        if catalogue is not None and catalogue is not world.catalogue:
            world.catalogue = catalogue
            if self._gatekeeper is not None:
                self._gatekeeper.want()
        for service in services if targets else ():
            service.look_at(targets)
        if self._duties.dispatches and not self._leaving and self._bus.connected:
            for service in services:
                self._nudge(service.stage)

    def _nudge(self, stage: str) -> None:
        connection, at = self._nudged.get(stage, (-1, 0.0))
        if connection == self._bus.generation and time.monotonic() - at < self._settings.reconcile_seconds:
            return
        with suppress(TransientError):  # the next connection brings the next nudge
            self._bus.nudge(stage)
            self._nudged[stage] = (self._bus.generation, time.monotonic())

    def _complaint(self, services: Sequence[Service]) -> str:
        if self._leaving_since is not None:
            return "leaves"
        if not self._bus.connected:
            return "no broker"
        unwell = [service.stage for service in services if not service.well]
        return f"{', '.join(unwell)}: store or broker do not answer" if unwell else self._outlook.complaint

    def _count(self) -> None:
        if self._settings.health.address is None or time.monotonic() - self._counted < _COUNT_SECONDS:
            return
        self._counted = time.monotonic()
        self._metrics.up(broker=self._bus.connected, store=not self._outlook.complaint)
        with suppress(TransientError):
            for stage in self._duties.stages if self._bus.connected else ():
                self._metrics.depths(self._bus.depths(stage))

    # the end

    def _is_over(self, services: Sequence[Service], *, busy: bool) -> bool:
        if self._leaving_since is not None:
            self._stop_taking(services)
            late = time.monotonic() - self._leaving_since > self._settings.jobs.grace_seconds
            return late or not any(service.running or service.unsettled for service in services)
        in_hand = any(service.running or service.in_hand for service in services)
        if self._world.slots.spent and not in_hand:
            return True
        if not self._duties.drain or busy or in_hand or (self._gatekeeper and self._gatekeeper.left):
            self._quiet_since = None
            return False
        self._quiet_since = self._quiet_since or time.monotonic()
        return time.monotonic() - self._quiet_since > _QUIET_SECONDS and self._is_empty()

    def _stop_taking(self, services: Sequence[Service]) -> None:
        for service in services:
            service.leaving = True
            self._bus.leave_tasks(service.stage)
            self._bus.leave_events(service.stage)

    def _is_empty(self) -> bool:
        """Return whether nothing is left in the queues this worker serves."""
        served = [f"tasks.{name}" for name in self._duties.classes]
        served += ["events", "bucket"] if self._duties.dispatches else []
        try:
            depths = {name: count for stage in self._duties.stages for name, count in self._bus.depths(stage).items()}
        except TransientError:
            return False
        return not any(count for name, count in depths.items() if name.partition(".")[2] in served)

    def _keep(self, letter: DeadLetter) -> None:
        keep(self._store, letter)

    @contextmanager
    def _told_by_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT make the worker leave; a second one of them ends the grace period."""

        def told(_number: int, _frame: FrameType | None) -> None:
            if self._leaving_since is not None:
                self._leaving_since = -self._settings.jobs.grace_seconds
            self.leave()
            self._waker.wake()

        before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
