"""What is to be done about each unit of a task: made, not made and why not, or left to whoever is making it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from structlog import get_logger

from fringeflow.bus.delivery import Delivery
from fringeflow.committing import Committer
from fringeflow.events import Task, Work
from fringeflow.failing import Failing
from fringeflow.graph.model import Unit
from fringeflow.orders import item_of
from fringeflow.world import World

_FRESH_SECONDS = 1.0  # whoever ordered a task so lately had looked whether it was given up

Verdict = Literal["make", "made before", "claimed", "unwanted", "given up", "look"]
"""What is said of a unit; ``look``: keys and inputs must be looked at again before that can be decided."""


log = get_logger(__name__)


class Judge:
    """Decides about the tasks of one stage, one task after the other."""

    def __init__(self, stage: str, world: World, failing: Failing, committer: Committer) -> None:
        self._stage = stage
        self._world = world
        self._failing = failing
        self._committer = committer
        self._ticket: int | None = None

    def next(self) -> None:
        """Forget what was asked about the task before."""
        self._ticket = None

    def judge(self, work: Work, delivery: Delivery[Task]) -> Verdict:
        """Return what to do about one unit of a task.

        Raises
        ------
        TransientError
            If the store is away.
        CorruptInputError
            If its manifest, or one that decides what it is, cannot be read.
        """
        catalogue = self._world.catalogue
        unit, key = item_of(work)
        forced = delivery.message.forced
        if catalogue.note(unit, key) and not forced:
            return "made before"
        is_fresh = (delivery.waited_seconds or 0.0) < _FRESH_SECONDS
        if self._world.claims is not None and not forced and not is_fresh and self._failing.is_dead(work):
            return "given up"
        if self._is_wanted(work):
            return "make"
        if self._world.lookout is None:
            return "unwanted"
        catalogue.refresh([unit.target])  # others may have made what it needs
        if self._is_wanted(work):
            return "make"
        if self._ticket is None:
            self._ticket = self._world.lookout.ask(since=delivery.sent_at)
        return "unwanted" if self._world.lookout.seen(self._ticket) else "look"

    def tell(self, work: Work, verdict: Verdict, task: Task) -> None:
        """Say of a unit that needs no making why not; announce it again if it was made."""
        if verdict == "make":
            return
        if verdict == "made before":
            manifest = self._world.ledger.get(*item_of(work))
            if manifest is not None:
                self._committer.announce(manifest, task)
        else:
            log.info(verdict, unit=work.unit, work_key=work.work_key)
        for observer in self._world.observers:
            observer.settled(self._stage, verdict)

    def _is_wanted(self, work: Work) -> bool:
        catalogue = self._world.catalogue
        unit, key = item_of(work)
        if catalogue.unit(unit) is None or catalogue.key(unit) != key:
            return False
        return catalogue.graph(unit.target).is_ready(unit)

    def unit(self, work: Work) -> Unit | None:
        """Return the unit as it is defined now, None if the project no longer has it."""
        return self._world.catalogue.unit(item_of(work)[0])

    def claim(self, task: Task, units: Sequence[Unit]) -> tuple[Unit, ...]:
        """Return those of `units` that are ours to make; what another is making is asked for again later."""
        claims = self._world.claims
        if claims is None:
            return tuple(units)
        keys = {work.unit: work.work_key for work in task.units}
        left = {str(unit.id): claims.take(str(unit.id), keys[str(unit.id)]) for unit in units}
        others = {name: seconds for name, seconds in left.items() if seconds > 0}
        if others:
            later = tuple(work for work in task.units if work.unit in others)
            seconds = max(1.0, min(others.values()) / 2)
            self._world.bus.order(task.model_copy(update={"units": later}), delay_seconds=seconds)
            for work in later:
                self.tell(work, "claimed", task)
        mine = [unit for unit in units if str(unit.id) not in others]
        return tuple(unit for unit in mine if not self._was_faster(unit, keys[str(unit.id)], task))

    def _was_faster(self, unit: Unit, key: str, task: Task) -> bool:
        """Return whether somebody made `unit` between our look at the manifest and our claim."""
        if task.forced or not self._world.catalogue.note(unit.id, key):
            return False
        work = Work(unit=str(unit.id), work_key=key)
        self.tell(work, "made before", task)
        self.release([work])
        return True

    def release(self, works: Sequence[Work]) -> None:
        """Give up the claims on these."""
        if self._world.claims is not None:
            for work in works:
                self._world.claims.release(work.unit, work.work_key)
