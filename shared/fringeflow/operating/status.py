"""How far a project has come: of each target and stage what is made, being made, waiting and given up."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fringeflow import damage
from fringeflow.bus import dead
from fringeflow.bus.dead import DeadLetter
from fringeflow.catalogue import Catalogue
from fringeflow.claims import FOLDER as CLAIMS
from fringeflow.errors import DataError, FringeflowError, MissingInputError
from fringeflow.graph.build import STAGES
from fringeflow.graph.model import UnitId
from fringeflow.operating.site import Site
from fringeflow.store.base import Store


@dataclass(frozen=True)
class Row:
    """One stage of one target. `ready` units are ordered or will be; `failed`: given up, or made and damaged since."""

    target: str
    stage: str
    made: int = 0
    running: tuple[str, ...] = ()
    ready: int = 0
    waiting: int = 0
    failed: tuple[DeadLetter, ...] = ()
    waits_for: Mapping[str, int] = field(default_factory=dict)
    """What is not there and nothing makes at present: name of an input, or id of a unit given up -> units it holds."""

    @property
    def total(self) -> int:
        """All units of this stage that are known so far."""
        return self.made + len(self.running) + self.ready + self.waiting + len(self.failed)


@dataclass(frozen=True)
class Status:
    """The state of a project."""

    rows: tuple[Row, ...]
    queues: Mapping[str, int] | None
    complaint: str = ""
    """Why the queues could not be asked."""
    notes: tuple[str, ...] = ()
    impossible: tuple[str, ...] = ()
    """Targets whose units cannot be told from the keys, and why."""

    @property
    def complete(self) -> bool:
        """Whether everything that is asked for is made."""
        return not self.impossible and all(row.made == row.total for row in self.rows)


def status(site: Site, catalogue: Catalogue) -> Status:
    """Return how far the project of `catalogue` has come."""
    letters = {(letter.unit, letter.work_key): letter for letter in read_letters(site.store)}
    damaged = damage.known(site.store)
    running = set(read_claims(site.store))
    queues, complaint = _queues(site)
    rows: list[Row] = []
    notes: list[str] = []
    impossible: list[str] = []
    for target in catalogue.targets:
        try:
            rows += [row for row in _rows(catalogue, target, letters, damaged, running) if row.total]
            notes += catalogue.graph(target).notes
        except DataError as error:  # the other targets go on
            impossible.append(f"{target}: {error}")
    return Status(tuple(rows), queues, complaint, tuple(notes), tuple(impossible))


def read_letters(store: Store, prefix: str = "") -> Iterable[DeadLetter]:
    """Yield the dead letters in the store, sorted by unit."""
    below = "/".join(part for part in ("dead", prefix) if part)
    for key in sorted(info.key for info in store.list(below)):
        try:
            yield dead.from_json(store.get_bytes(key), key)
        except MissingInputError:
            continue  # removed since it was listed


def read_claims(store: Store) -> Iterable[tuple[str, str]]:
    """Yield unit and work key of all that is being made now."""
    for info in store.list(CLAIMS):
        unit, _, name = info.key.removeprefix(f"{CLAIMS}/").rpartition("/")
        try:
            until = float(json.loads(store.get_bytes(info.key))["until"])
        except (MissingInputError, ValueError, KeyError, TypeError):
            continue
        if until > time.time():
            yield unit, name.removesuffix(".json")


def _rows(
    catalogue: Catalogue,
    target: str,
    letters: Mapping[tuple[str, str], DeadLetter],
    damaged: Mapping[tuple[str, str], DeadLetter],
    running: set[tuple[str, str]],
) -> Iterable[Row]:
    graph = catalogue.graph(target)
    given_up = {unit for unit, _ in letters}
    by_stage: dict[str, list[UnitId]] = {stage: [] for stage in STAGES}
    for known in catalogue.units(target):
        by_stage[known.id.stage].append(known.id)
    for stage, units in by_stage.items():
        counts: Counter[str] = Counter()
        holds: Counter[str] = Counter()
        busy, failed = [], []
        for unit in units:
            item = (str(unit), catalogue.key(unit) or "")
            if item in damaged:
                failed.append(damaged[item])
            elif graph.made(unit):
                counts["made"] += 1
            elif item in letters:
                failed.append(letters[item])
            elif item in running:
                busy.append(item[0])
            elif graph.is_ready(unit):
                counts["ready"] += 1
            else:
                counts["waiting"] += 1
                missing = graph.missing(unit)
                holds.update(name for name in missing if name in graph[unit].leaves or name in given_up)
        yield Row(
            target,
            stage,
            made=counts["made"],
            running=tuple(busy),
            ready=counts["ready"],
            waiting=counts["waiting"],
            failed=tuple(failed),
            waits_for=dict(holds),
        )


def _queues(site: Site) -> tuple[Mapping[str, int] | None, str]:
    if site.bus is None:
        return None, ""
    try:
        with site.connected() as bus:
            return {name: count for stage in STAGES for name, count in bus.depths(stage).items()}, ""
    except FringeflowError as error:
        return None, error.message
