"""The loop of every service: event -> ready units -> tasks -> job -> commit -> announce -> acknowledge.

A service holds no state that matters: what it remembers only spares it work. It runs in one thread and never blocks;
jobs run in child processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from structlog import get_logger

from fringeflow import announcements
from fringeflow.bus.attempts import GiveUp, after_failure
from fringeflow.bus.bus import Delivery
from fringeflow.bus.dead import DeadLetter, to_json
from fringeflow.errors import FailureKind, FringeflowError, UnitFailedError
from fringeflow.events import MEMORY_CLASSES, ArtefactRef, Event, Made, MemoryClass, Task, Work
from fringeflow.graph.model import Unit, UnitId
from fringeflow.jobs.host import RunningJob
from fringeflow.jobs.request import JobRequest, UnitResult
from fringeflow.manifest import Manifest
from fringeflow.store.artefacts import clean_strays
from fringeflow.world import World


@dataclass(frozen=True)
class _Running:
    """A task whose job runs; `units` are those of the task that were still to be made."""

    delivery: Delivery[Task]
    units: tuple[Unit, ...]
    job: RunningJob

    @property
    def task(self) -> Task:
        """The task that was taken."""
        return self.delivery.message


@dataclass
class Service:
    """One stage's service."""

    stage: str
    world: World
    jobs_run: int = 0
    letters: dict[tuple[UnitId, str], DeadLetter] = field(default_factory=dict)
    _ordered: set[tuple[UnitId, str]] = field(default_factory=set)
    _waiting: set[UnitId] = field(default_factory=set)
    _held: Delivery[Task] | None = None
    _running: list[_Running] = field(default_factory=list)

    @property
    def outstanding(self) -> int:
        """Number of units ordered and neither made nor given up."""
        return len(self._ordered)

    @property
    def running(self) -> list[RunningJob]:
        """The jobs that are running now."""
        return [work.job for work in self._running]

    def reconcile(self) -> int:
        """Order every unit of this stage that is ready and not made, whatever messages were lost; return how many."""
        return sum(self._order_ready(target) for target in self.world.catalogue.targets)

    def step(self) -> bool:
        """Do what can be done without waiting; return whether there was anything."""
        took_events = self._take_events()
        settled = self._settle_jobs()
        took_tasks = self._take_tasks()
        return took_events or settled or took_tasks

    def stop(self, grace_seconds: float) -> None:
        """Give running jobs `grace_seconds` to end, then take them back; their tasks return to the queue."""
        for work in self._running:
            work.job.stop(grace_seconds)
            work.delivery.requeue()
        self._running.clear()

    # events

    def _take_events(self) -> bool:
        deliveries = self.world.bus.poll(self.stage, "events", limit=100)
        targets = {target for delivery in deliveries for target in self._note(delivery.message)}
        for target in sorted(targets):
            self._order_ready(target)
        for delivery in deliveries:
            delivery.ack()
        return bool(deliveries)

    def _note(self, event: Event) -> Iterable[str]:
        if not isinstance(event.data, Made):  # a dropped input: whoever reads it may be ready now
            return self.world.catalogue.targets
        unit = UnitId.parse(event.data.unit)
        self.world.catalogue.note(unit, event.data.work_key)
        return [unit.target] if unit.target in self.world.catalogue.targets else []

    def _order_ready(self, target: str) -> int:
        catalogue = self.world.catalogue
        groups: dict[str, list[tuple[Unit, str]]] = {}
        for unit in catalogue.ready(target):
            key = catalogue.key(unit.id)
            if unit.id.stage == self.stage and key is not None and not self._is_taken(unit.id, key):
                groups.setdefault(unit.group or str(unit.id), []).append((unit, key))
        for members in groups.values():
            self._order(members)
        self._announce_waiting(target)
        return len(groups)

    def _is_taken(self, unit: UnitId, key: str) -> bool:
        return (unit, key) in self._ordered or (unit, key) in self.letters

    def _order(self, members: Sequence[tuple[Unit, str]]) -> None:
        task = Task(
            stage=self.stage,
            run=self.world.run,
            units=tuple(Work(unit=str(unit.id), work_key=key) for unit, key in members),
            memory_class=self._memory_class(max(unit.memory_mb for unit, _ in members)),
        )
        self._ordered.update((unit.id, key) for unit, key in members)
        self.world.bus.order(task)

    def _announce_waiting(self, target: str) -> None:
        catalogue = self.world.catalogue
        graph = catalogue.graph(target)
        for unit in catalogue.units(target):
            if unit.id.stage != self.stage or unit.id in self._waiting or graph.made(unit.id):
                continue
            missing = graph.missing(unit.id)
            if missing:
                self._waiting.add(unit.id)
                self.world.bus.announce(announcements.waiting(str(unit.id), missing, run=self.world.run))

    # tasks

    def _take_tasks(self) -> bool:
        taken = False
        while self.world.slots.free:
            delivery = self._held or next(iter(self.world.bus.poll(self.stage, "tasks", limit=1)), None)
            if delivery is None:
                break
            self._held = None
            if not self.world.slots.fits(self._memory_mb(delivery.message)):
                self._held = delivery
                break
            taken = True
            self._begin(delivery)
        return taken

    def _begin(self, delivery: Delivery[Task]) -> None:
        task = delivery.message
        units = tuple(unit for item in task.units if (unit := self._still_to_make(item)) is not None)
        left = {unit.id for unit in units}
        self._forget(item for item in task.units if UnitId.parse(item.unit) not in left)
        if not units:
            delivery.ack()
            return
        request = JobRequest(
            stage=self.stage,
            tasks=tuple(self.world.catalogue.task_unit(unit) for unit in units),
            memory_mb=self.world.memory_limit_mb.get(task.memory_class),
            seconds=self.world.time_limit_seconds,
            attempt=task.attempt,
            make=self.world.make,
        )
        job = self.world.host.start(request)
        self.world.slots.take(job.id, max(unit.memory_mb for unit in units))
        self.jobs_run += 1
        self._running.append(_Running(delivery, units, job))
        for observer in self.world.observers:
            observer.started(job, units)

    def _still_to_make(self, work: Work) -> Unit | None:
        """Return the unit of `work` unless it is made (then it is announced again) or is no longer what is wanted."""
        catalogue, identity = self.world.catalogue, UnitId.parse(work.unit)
        manifest = catalogue.note(identity, work.work_key)
        if manifest is not None:
            self._announce(manifest, catalogue.unit(identity))
            return None
        unit = catalogue.unit(identity)
        current = unit is not None and catalogue.key(identity) == work.work_key
        return unit if current and catalogue.graph(identity.target).is_ready(identity) else None

    def _memory_class(self, memory_mb: int) -> MemoryClass:
        """Return the smallest class that holds `memory_mb`, else the largest."""
        fitting = [name for name, limit in self.world.memory_limit_mb.items() if memory_mb <= limit]
        return fitting[0] if fitting else MEMORY_CLASSES[-1] if self.world.memory_limit_mb else MEMORY_CLASSES[0]

    def _memory_mb(self, task: Task) -> int:
        units = [self.world.catalogue.unit(UnitId.parse(item.unit)) for item in task.units]
        return max((unit.memory_mb for unit in units if unit is not None), default=0)

    # jobs

    def _settle_jobs(self) -> bool:
        for work in self._running:
            for progress in work.job.poll():
                for observer in self.world.observers:
                    observer.progressed(work.job, progress.step, progress.fraction)
        done = [work for work in self._running if work.job.done]
        for work in done:
            self._running.remove(work)
            self.world.slots.release(work.job.id)
            self._settle(work)
        return bool(done)

    def _settle(self, work: _Running) -> None:
        try:
            for unit, made in zip(work.units, work.job.result().results, strict=True):
                self._commit(unit, made, work.task.attempt)
        except FringeflowError as error:
            self._fail(work, error)
        else:
            self._close(work.delivery)
        for observer in self.world.observers:
            observer.ended(work.job)

    def _commit(self, unit: Unit, made: UnitResult, attempt: int) -> None:
        catalogue = self.world.catalogue
        manifest = self.world.ledger.commit(
            Manifest(
                unit=unit.id,
                work_key=made.work_key,
                revision=unit.revision,
                recipe=unit.recipe,
                inputs=catalogue.inputs(unit),
                outputs=made.outputs,
                facts=made.facts,
                software=made.software,
                started=made.started,
                seconds=made.seconds,
                steps=made.steps,
                cpu_seconds=made.cpu_seconds,
                peak_memory_mb=made.peak_memory_mb,
                attempt=attempt,
            )
        )
        clean_strays(self.world.store, manifest)
        catalogue.note(unit.id, manifest.work_key)
        for observer in self.world.observers:
            observer.made(manifest)
        self._announce(manifest, unit)

    def _announce(self, manifest: Manifest, unit: Unit | None) -> None:
        self.world.bus.announce(
            announcements.made(
                unit.fact if unit is not None else "unit.made",
                str(manifest.unit),
                work_key=manifest.work_key,
                manifest=manifest.path,
                artefacts=[
                    ArtefactRef(name=item.name, key=item.key, size=item.size, sha256=item.sha256)
                    for item in manifest.outputs
                ],
                run=self.world.run,
            )
        )

    # failures

    def _fail(self, work: _Running, error: FringeflowError) -> None:
        kind: FailureKind = error.failure_kind if isinstance(error, UnitFailedError) else error.kind
        if len(work.units) > 1:  # find out which of them it was
            self._split(work)
            return
        task = work.task
        decision = after_failure(kind, task.attempt, task.memory_class, deferrals=task.deferrals)
        final = isinstance(decision, GiveUp)
        self._announce_failure(task, kind, error, final=final)
        if isinstance(decision, GiveUp):
            self._give_up(work, kind, error, keep=decision.dead_letter)
            return
        again = {"attempt": decision.attempt, "memory_class": decision.memory_class, "deferrals": decision.deferrals}
        self.world.bus.order(task.model_copy(update=again), delay_seconds=decision.delay_seconds)
        work.delivery.ack()

    def _split(self, work: _Running) -> None:
        for unit in work.units:
            alone = tuple(item for item in work.task.units if item.unit == str(unit.id))
            self.world.bus.order(work.task.model_copy(update={"units": alone}))
        work.delivery.ack()

    def _announce_failure(self, task: Task, kind: FailureKind, error: FringeflowError, *, final: bool) -> None:
        for item in task.units:
            self.world.bus.announce(
                announcements.failed(
                    item.unit,
                    work_key=item.work_key,
                    kind=kind,
                    message=error.message,
                    remedy=error.remedy,
                    attempt=task.attempt,
                    final=final,
                    run=self.world.run,
                )
            )

    def _give_up(self, work: _Running, kind: FailureKind, error: FringeflowError, *, keep: bool) -> None:
        detail = error.detail if isinstance(error, UnitFailedError) else ""
        for item in work.task.units:
            letter = DeadLetter(
                unit=item.unit,
                work_key=item.work_key,
                kind=kind,
                message=error.message,
                remedy=error.remedy,
                detail=detail,
                attempts=work.task.attempt,
                task=work.task,
            )
            self.letters[UnitId.parse(item.unit), item.work_key] = letter
            for observer in self.world.observers:
                observer.failed(letter)
            if keep:
                self._keep(letter)
        self._close(work.delivery)

    def _keep(self, letter: DeadLetter) -> None:
        # The store may be what failed: then the letter is known here only, and that is said.
        try:
            self.world.store.put_bytes(letter.path, to_json(letter))
        except FringeflowError as error:
            get_logger(__name__).error("dead letter not kept", unit=letter.unit, reason=str(error))

    def _close(self, delivery: Delivery[Task]) -> None:
        self._forget(delivery.message.units)
        delivery.ack()

    def _forget(self, works: Iterable[Work]) -> None:
        """Take note that these are no longer on order."""
        self._ordered.difference_update((UnitId.parse(item.unit), item.work_key) for item in works)
