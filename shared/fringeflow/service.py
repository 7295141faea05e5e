"""The loop of every service: event -> ready units -> tasks -> job -> commit -> announce -> acknowledge.

A service holds no state that matters: what it remembers only spares it work. It runs in one thread and never blocks;
jobs run in child processes. While store or broker are away it rests and goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from structlog import get_logger

from fringeflow.bus.dead import DeadLetter
from fringeflow.dispatch import Dispatcher
from fringeflow.errors import TransientError
from fringeflow.jobs.host import RunningJob
from fringeflow.making import Maker
from fringeflow.orders import Item, Orders
from fringeflow.world import World

_FIRST_REST_SECONDS = 0.5
_LONGEST_REST_SECONDS = 30.0


class Service:
    """One stage's service."""

    def __init__(self, stage: str, world: World) -> None:
        self.stage = stage
        self.world = world
        self.leaving = False
        self._orders = Orders()
        self._dispatcher = Dispatcher(stage, world, self._orders)
        self._maker = Maker(stage, world, self._orders)
        self._failures = 0
        self._rest_until = 0.0
        self._was_connected = True

    @property
    def outstanding(self) -> int:
        """Number of units ordered and neither made nor given up, and of messages in hand."""
        return len(self._orders.open) + self.in_hand

    @property
    def in_hand(self) -> int:
        """Number of messages that have been taken and neither settled nor begun."""
        return self._dispatcher.pending + self._maker.unsettled + self._maker.held

    @property
    def unsettled(self) -> int:
        """Number of jobs that have ended and whose results have not been committed and announced."""
        return self._maker.unsettled

    @property
    def running(self) -> list[RunningJob]:
        """The jobs that are running now."""
        return self._maker.running

    @property
    def letters(self) -> dict[Item, DeadLetter]:
        """Why units were given up here."""
        return self._orders.letters

    @property
    def jobs_run(self) -> int:
        """How many jobs have been started."""
        return self._maker.jobs_run

    @property
    def well(self) -> bool:
        """Whether store and broker were there when last needed."""
        return self._failures == 0

    def reconcile(self) -> int:
        """Order every unit of this stage that is ready and not made, whatever messages were lost; return how many."""
        return self._dispatcher.reconcile()

    def step(self) -> bool:
        """Do what can be done without waiting; return whether there was anything."""
        heard = self._maker.listen()
        back = self.world.bus.connected and not self._was_connected
        if time.monotonic() < self._rest_until and not back:
            return heard
        try:
            did = self._step()
        except TransientError as error:
            self._rest(error)
            return heard
        self._failures = 0
        return heard or did

    def look_at(self, targets: Iterable[str]) -> None:
        """Order what is ready of `targets` in the next step, if this is who leads: keys or inputs have changed."""
        self._dispatcher.look_at(targets)

    def stop(self, grace_seconds: float) -> None:
        """Give running jobs `grace_seconds` to end, then take them back; their tasks return to the queue."""
        self._maker.stop(grace_seconds)

    def _step(self) -> bool:
        # A core that has become free waits for no manifest; but while store or broker are away nothing new is begun.
        began = self._failures == 0 and not self.leaving and self._maker.take()
        took_events = self.world.dispatches and not self.leaving and self._dispatcher.step()
        settled = self._maker.settle()
        took_tasks = not self.leaving and self._maker.take()
        return began or took_events or settled or took_tasks

    def _rest(self, error: TransientError) -> None:
        seconds = min(_FIRST_REST_SECONDS * 2**self._failures, _LONGEST_REST_SECONDS)
        self._failures += 1
        self._was_connected = self.world.bus.connected
        self._rest_until = time.monotonic() + seconds
        get_logger(__name__).warning("waits", stage=self.stage, reason=str(error), retry_seconds=seconds)
