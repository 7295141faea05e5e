"""What follows when a task fails: say so, order it again or give it up, and keep a letter about what was given up."""

from __future__ import annotations

from collections.abc import Sequence

from structlog import get_logger

from fringeflow import announcements
from fringeflow.bus.attempts import Retry, after_failure
from fringeflow.bus.dead import DeadLetter, dead_key, to_json
from fringeflow.bus.delivery import Delivery
from fringeflow.errors import BugError, FailureKind, FringeflowError, UnitFailedError
from fringeflow.events import Task, Work
from fringeflow.graph.model import Unit
from fringeflow.manifest import Manifest
from fringeflow.orders import Orders, item_of
from fringeflow.store.base import Store
from fringeflow.world import World


class Failing:
    """Deals with the failures of one stage."""

    def __init__(self, world: World, orders: Orders) -> None:
        self._world = world
        self._orders = orders

    def of(self, delivery: Delivery[Task], units: Sequence[Unit], error: FringeflowError) -> None:
        """Deal with the failure of the job that was to make `units` of a task, and settle the task."""
        kind: FailureKind = error.failure_kind if isinstance(error, UnitFailedError) else error.kind
        task = delivery.message
        for observer in self._world.observers:
            observer.attempted(task, kind)
        if len(units) > 1:  # find out which of them it was
            for unit in units:
                alone = tuple(work for work in task.units if work.unit == str(unit.id))
                self._world.bus.order(task.model_copy(update={"units": alone}))
            delivery.ack()
            return
        left = {str(unit.id) for unit in units}
        task = task.model_copy(update={"units": tuple(work for work in task.units if work.unit in left)})
        decision = after_failure(kind, task.attempt, task.memory_class, deferrals=task.deferrals)
        if isinstance(decision, Retry):
            self._announce(task, kind, error, final=False)
            again = {name: getattr(decision, name) for name in ("attempt", "memory_class", "deferrals")}
            self._world.bus.order(task.model_copy(update=again), delay_seconds=decision.delay_seconds)
        else:
            self._give_up(task, kind, error)
        delivery.ack()

    def hopeless(self, task: Task, deliveries: int) -> None:
        """Give up a task that was handed out so often without an end that it must be what ends its workers."""
        error = BugError(
            f"handed out {deliveries} times, and each time the worker or its connection ended before the job did",
            remedy="look at the memory of the workers; `fringeflow dead requeue` tries it again",
        )
        self._give_up(task, error.kind, error)

    def compare(self, manifest: Manifest, mine: Manifest, task: Task) -> None:
        """Say so loudly when what was made again on purpose is not what was made before, which is kept.

        Directories are not compared: CASA's tables store the time of day.
        """
        before = {item.name: item.sha256 for item in manifest.outputs if item.kind == "file"}
        now = {item.name: item.sha256 for item in mine.outputs if item.kind == "file"}
        other = sorted(name for name in before | now if before.get(name) != now.get(name))
        if other:
            error = BugError(
                f"made again, {', '.join(other)} came out differently; what was made before is kept",
                remedy=f"find out why; to have it replaced, remove {manifest.path} from the store",
            )
            only = tuple(work for work in task.units if work.unit == str(manifest.unit))
            self._give_up(task.model_copy(update={"units": only}), error.kind, error)

    def is_dead(self, work: Work) -> bool:
        """Return whether this was given up, here or elsewhere, and nobody has asked for it again."""
        return self._world.store.exists(dead_key(work.unit, work.work_key))

    def _announce(self, task: Task, kind: FailureKind, error: FringeflowError, *, final: bool) -> None:
        for work in task.units:
            self._world.bus.announce(
                announcements.failed(
                    work.unit,
                    work_key=work.work_key,
                    kind=kind,
                    message=error.message,
                    remedy=error.remedy,
                    attempt=task.attempt,
                    final=final,
                    run=task.run,
                    causation=task.causation_id,
                )
            )

    def _give_up(self, task: Task, kind: FailureKind, error: FringeflowError) -> None:
        self._announce(task, kind, error, final=True)
        for work in task.units:
            letter = DeadLetter(
                unit=work.unit,
                work_key=work.work_key,
                kind=kind,
                message=error.message,
                remedy=error.remedy,
                detail=error.detail if isinstance(error, UnitFailedError) else "",
                attempts=task.attempt,
                task=task,
            )
            self._orders.letters[item_of(work)] = letter
            keep(self._world.store, letter)
            for observer in self._world.observers:
                observer.failed(letter)
        self._orders.close(task.units)


def keep(store: Store, letter: DeadLetter) -> None:
    """Put a letter into the store; if that is what failed, the letter is known here only, and that is said."""
    try:
        store.put_bytes(letter.path, to_json(letter))
    except FringeflowError as error:
        get_logger(__name__).exception("dead letter not kept", unit=letter.unit, reason=str(error))
