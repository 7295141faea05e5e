"""From tasks to manifests: takes tasks, runs their jobs, commits what they made and announces it.

Whatever happens to broker or store in between, nothing that a job made is lost: what could not be committed or
announced stays in hand and is tried again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from structlog import get_logger

from fringeflow.bus.delivery import Delivery
from fringeflow.committing import Committer
from fringeflow.errors import FringeflowError, TransientError
from fringeflow.events import Task
from fringeflow.failing import Failing
from fringeflow.graph.model import Unit
from fringeflow.jobs.host import RunningJob
from fringeflow.jobs.request import JobRequest
from fringeflow.judging import Judge
from fringeflow.orders import Orders, item_of
from fringeflow.world import World

_MOST_DELIVERIES = 10  # of one task without an end: by then it is the task that ends its workers
_PUT_OFF_SECONDS = 5.0  # a task that does not fit beside the jobs that run

log = get_logger(__name__)


@dataclass(eq=False)
class _Taken:
    """A task whose job runs or has ended; `units` are those of the task that were still to be made."""

    delivery: Delivery[Task]
    units: tuple[Unit, ...]
    job: RunningJob
    committed: int = 0

    @property
    def task(self) -> Task:
        """The task that was taken."""
        return self.delivery.message


class Maker:
    """Carries out the tasks of one stage."""

    def __init__(self, stage: str, world: World, orders: Orders) -> None:
        self._stage = stage
        self._world = world
        self._orders = orders
        self._failing = Failing(world, orders)
        self._committer = Committer(world, self._failing)
        self._held: Delivery[Task] | None = None
        self._judge = Judge(stage, world, self._failing, self._committer)
        self._running: list[_Taken] = []
        self._ended: list[_Taken] = []
        self.jobs_run = 0

    @property
    def running(self) -> list[RunningJob]:
        """The jobs that are running now."""
        return [taken.job for taken in self._running]

    @property
    def unsettled(self) -> int:
        """Number of jobs that have ended and whose results have not been committed and announced."""
        return len(self._ended)

    @property
    def held(self) -> int:
        """Number of tasks that have been taken and not been begun."""
        return int(self._held is not None)

    def listen(self) -> bool:
        """Take in what the jobs say; return whether any has ended. Needs neither store nor broker."""
        for taken in self._running:
            for progress in taken.job.poll():
                for observer in self._world.observers:
                    observer.progressed(taken.job, progress.step, progress.fraction)
        done = [taken for taken in self._running if taken.job.done]
        for taken in done:
            self._running.remove(taken)
            self._ended.append(taken)
            self._world.slots.release(taken.job.id)
            for observer in self._world.observers:
                observer.ended(taken.job)
        return bool(done)

    def settle(self) -> bool:
        """Commit and announce what those jobs have made that have ended; return whether any had.

        Raises
        ------
        TransientError
            If store or broker are away: what is left to do is done the next time.
        """
        any_ended = bool(self._ended)
        while self._ended:
            self._settle(self._ended[0])
            del self._ended[0]
        return any_ended

    def take(self) -> bool:
        """Begin as many tasks as fit; return whether any has come.

        Raises
        ------
        TransientError
            If store or broker are away: the task stays in hand and is begun the next time.
        """
        taken = False
        while self._world.slots.free and self._world.classes:
            if self._held is None:
                self._held = next(iter(self._world.bus.take_tasks(self._stage, classes=self._world.classes)), None)
                if self._held is None:
                    break
                for observer in self._world.observers:
                    observer.took(self._stage, self._held.message, self._held.waited_seconds)
            try:
                begun = self._begin(self._held)
            except TransientError:
                raise
            except FringeflowError as error:  # a manifest that cannot be read, for one
                if self._world.claims is None:
                    raise
                log.exception("task left out", stage=self._stage, units=_names(self._held), reason=str(error))
                self._put_aside(self._held)
                begun = True
            if not begun:
                break
            self._held = None
            self._judge.next()
            taken = True
        return taken

    def stop(self, grace_seconds: float) -> None:
        """Give running jobs `grace_seconds` to end, then take them back; what is in hand returns to the queue."""
        for taken in self._running:
            taken.job.stop(grace_seconds)
            self._world.slots.release(taken.job.id)
            for observer in self._world.observers:
                observer.ended(taken.job)
        for delivery in (*(taken.delivery for taken in (*self._running, *self._ended)), self._held):
            if delivery is not None:
                self._give_back(delivery)
        self._running.clear()
        self._ended.clear()
        self._held = None

    def _give_back(self, delivery: Delivery[Task]) -> None:
        try:
            delivery.requeue()
        except TransientError as error:
            log.warning("broker lost while giving a task back; it will come again", reason=str(error))
        self._judge.release(delivery.message.units)

    def _put_aside(self, delivery: Delivery[Task]) -> None:
        """Settle a task that cannot be begun; what is wanted of it is ordered when store and graph are compared."""
        self._judge.release(delivery.message.units)
        self._orders.close(delivery.message.units)
        delivery.ack()

    # tasks

    def _begin(self, delivery: Delivery[Task]) -> bool:
        """Begin what is still to be made of a task; return False if that cannot be decided yet."""
        task = delivery.message
        if self._is_in_hand(delivery):
            return True
        if delivery.deliveries > _MOST_DELIVERIES:
            self._failing.hopeless(task, delivery.deliveries)
            delivery.ack()
            return True
        verdicts = {work: self._judge.judge(work, delivery) for work in task.units}
        if "look" in verdicts.values():
            return False
        for work, verdict in verdicts.items():
            self._judge.tell(work, verdict, task)
        units = tuple(unit for work, said in verdicts.items() if said == "make" and (unit := self._judge.unit(work)))
        if units and not self._world.slots.fits(max(unit.memory_mb for unit in units)):
            if self._world.claims is None:  # nobody else could do it sooner
                return False
            self._world.bus.order(task, delay_seconds=_PUT_OFF_SECONDS)
            delivery.ack()
            return True
        units = self._judge.claim(task, units)
        left = {str(unit.id) for unit in units}
        self._orders.close(work for work in task.units if work.unit not in left)
        if units:
            self._start(delivery, units)
        else:
            delivery.ack()
        return True

    def _is_in_hand(self, delivery: Delivery[Task]) -> bool:
        """Return whether this very process makes what is asked for; then the job goes on under the newer delivery."""
        wanted = set(map(item_of, delivery.message.units))
        for taken in (*self._running, *self._ended):
            mine = set(map(item_of, taken.task.units))
            if not wanted <= mine:
                continue
            if taken.delivery.alive or wanted != mine:
                delivery.ack()  # ordered twice
            else:
                taken.delivery = delivery  # the acknowledgement timeout, or a lost connection
            return True
        return False

    def _start(self, delivery: Delivery[Task], units: tuple[Unit, ...]) -> None:
        task = delivery.message
        cores = self._cores_for(units)
        request = JobRequest(
            stage=self._stage,
            tasks=tuple(self._world.catalogue.task_unit(unit) for unit in units),
            memory_mb=self._world.memory_limit_mb.get(task.memory_class),
            seconds=task.time_limit_seconds or self._world.time_limit_seconds,
            attempt=task.attempt,
            make=self._world.make,
            cores=cores,
        )
        try:
            job = self._world.host.start(request)
        except TransientError:
            self._judge.release(task.units)
            raise
        except FringeflowError as error:  # no room for its scratch folder, no process to be had
            self._failing.of(delivery, units, error)
            self._judge.release(task.units)
            return
        self._world.slots.take(job.id, max(unit.memory_mb for unit in units), cores)
        self.jobs_run += 1
        self._running.append(_Taken(delivery, units, job))
        if self._world.claims is not None and self._world.slots.free:
            self._world.bus.leave_tasks(self._stage)  # so that this task no longer counts against the prefetch
        for observer in self._world.observers:
            observer.started(job, units)

    def _cores_for(self, units: tuple[Unit, ...]) -> int:
        slots, most, waiting = self._world.slots, max(unit.cores for unit in units), 0
        if min(most, slots.free_cores) < 2:
            return 1
        with suppress(TransientError):  # that the broker is away is found out where it matters
            waiting = self._world.bus.waiting_tasks(self._stage, self._world.classes)
        return slots.share(most, waiting)

    # jobs that have ended

    def _settle(self, taken: _Taken) -> None:
        try:
            results = taken.job.result().results
            for unit, made in list(zip(taken.units, results, strict=True))[taken.committed :]:
                self._committer.commit(unit, made, taken.task)
                taken.committed += 1
        except TransientError:
            raise
        except FringeflowError as error:
            self._failing.of(taken.delivery, taken.units, error)
        else:
            self._orders.close(taken.task.units)
            taken.delivery.ack()
        self._judge.release(taken.task.units)


def _names(delivery: Delivery[Task]) -> list[str]:
    return [work.unit for work in delivery.message.units]
