"""One or more services on a broker and a bucket: the distributed counterpart of the embedded run.

Broker, bucket and keys may come later, go away and come back: a worker waits and goes on. It ends when it is told to,
or when what it was asked for is done.
"""

from __future__ import annotations

import os
import socket
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from structlog import get_logger

from fringeflow import damage
from fringeflow.arrivals import Gate
from fringeflow.attendant import Attendant
from fringeflow.bus.bus import Bus
from fringeflow.bus.topology import BUCKET_STAGE
from fringeflow.catalogue import Builder
from fringeflow.claims import Claims
from fringeflow.errors import DataError, TransientError
from fringeflow.events import MEMORY_CLASSES
from fringeflow.failing import keep
from fringeflow.graph.build import CASA_STAGES
from fringeflow.health import Health, Pulse
from fringeflow.intake.poller import Poller
from fringeflow.jobs.host import JobHost
from fringeflow.jobs.scratch import for_this_process, temporary_files_in
from fringeflow.leave import Leave
from fringeflow.metrics import CONTENT_TYPE, Metrics
from fringeflow.outlook import Outlook
from fringeflow.rounds import IDLE_SECONDS, Duties, Rounds
from fringeflow.service import Service
from fringeflow.settings import Settings
from fringeflow.slots import Slots, memory_for_jobs_mb
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import Store, StoreSettings, open_store
from fringeflow.waker import Waker
from fringeflow.world import Log, Observer, World

_CONTROL_TIMEOUT_SECONDS = 20.0  # for small objects: the loop must not stand still for longer than heartbeats bear
_LAST_GRACE_SECONDS = 5.0  # for a job's own end, once it has been told

log = get_logger(__name__)


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
        self._leave = Leave(settings.jobs.grace_seconds)
        self._attendants: list[Attendant] = []

    def run(self) -> int:
        """Work; return how many jobs were run."""
        settings, store = self._settings, self._store_settings
        with ExitStack() as life:
            self._own = for_this_process(self._scratch)  # swept by the next if this process is killed
            life.enter_context(temporary_files_in(self._own))
            self._waker = life.enter_context(Waker())
            life.enter_context(self._leave.by_signals(self._waker.wake))
            if settings.health.address is not None:
                health = Health(settings.health.address, self._pulse, self._metrics.text, CONTENT_TYPE)
                log.info("answers", address=life.enter_context(health).address)
            timeout = min(store.timeout_seconds, _CONTROL_TIMEOUT_SECONDS)
            self._store = open_store(store.model_copy(update={"timeout_seconds": timeout}))
            self._ledger = Ledger(self._store, partial(damage.note, self._store))
            bus = settings.bus.model_copy(update={"startup_seconds": 0.0})  # the loop waits, and can be told to leave
            self._bus = Bus(bus, on_unreadable=partial(keep, self._store))
            life.callback(self._bus.close)
            self._outlook = life.enter_context(self._outlook_on(self._store))
            host = life.enter_context(self._host(store))
            host.sweep()
            owner = f"{socket.gethostname()}:{os.getpid()}:{self._run}"
            claims = life.enter_context(Claims(self._store, owner, settings.claim_seconds))
            self._declare()
            self._attendants = [self._outlook, claims]
            world = None if self._leave.told else self._world(host, claims)
            if world is None or self._leave.told:
                return 0
            return self._work(world, self._gate(life, world))

    def _work(self, world: World, gate: Gate | None) -> int:
        """Go round until it is over; return how many jobs were run."""
        services = [Service(stage, world) for stage in self._duties.stages]
        rounds = Rounds(
            self._settings, self._duties, world, services, gate, self._outlook, self._leave, self._waker, self._metrics
        )
        try:
            while rounds.turn():
                self._pulse.beat(rounds.complaint)
                for attendant in self._attendants:
                    attendant.check()
        finally:
            for service in services:
                service.stop(_LAST_GRACE_SECONDS)
        return sum(service.jobs_run for service in services)

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
        return JobHost(self._scratch, store, stages=self._duties.stages, with_casa=casa and self._make is None)

    def _declare(self) -> None:
        """Declare the queues; a broker that is not there yet gets them when it comes."""
        try:
            self._bus.declare(self._duties.stages)
        except TransientError as error:
            log.warning("broker not there", reason=str(error))

    def _world(self, host: JobHost, claims: Claims) -> World | None:
        """Wait for the keys and return what services work with; None if told to leave before there are any."""
        if self._duties.classes:
            host.call("fringeflow.software:installed", {})  # loads CASA now, not when the first task is in hand
        catalogue, _ = self._outlook.follow(None)
        while catalogue is None:
            if self._leave.told:
                return None
            self._outlook.check()
            self._pulse.beat(self._outlook.complaint or "waits for the keys")
            self._bus.drain(IDLE_SECONDS, [self._waker.fileno()])
            self._waker.clear()
            catalogue, _ = self._outlook.follow(None)
        jobs = self._settings.jobs
        cores = 1 if jobs.count is None else jobs.count
        return World(
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

    def _gate(self, life: ExitStack, world: World) -> Gate | None:
        """Return who announces what is dropped, if that is among the duties."""
        if BUCKET_STAGE not in self._duties.stages or not self._duties.dispatches:
            return None
        project, names = self._outlook.project() or (world.catalogue.project, ())
        poller = life.enter_context(Poller(self._store, project, names, every_seconds=self._settings.poll_seconds))
        self._attendants.append(poller)
        return Gate(self._store, self._bus, poller, self._outlook, self._run)
