"""All four services in one process on the in-memory broker and a local folder: the run of a single astronomer.

The services are the same as in the distributed system; only settings differ.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from multiprocessing.connection import wait

from fringeflow import announcements
from fringeflow.bus.bus import Bus
from fringeflow.bus.dead import DeadLetter
from fringeflow.bus.journal import FileJournal
from fringeflow.bus.settings import BusSettings
from fringeflow.catalogue import Builder, Catalogue
from fringeflow.errors import DataError
from fringeflow.events import MEMORY_CLASSES, Arrived, ArtefactRef
from fringeflow.graph.build import CASA_STAGES, STAGES, Selection
from fringeflow.graph.model import UnitId
from fringeflow.jobs.host import JobHost
from fringeflow.jobs.server import ForkServer
from fringeflow.keys.model import Project
from fringeflow.layout import ProductTree
from fringeflow.manifest import Artefact, Manifest
from fringeflow.service import Service
from fringeflow.settings import JobSettings
from fringeflow.slots import Slots, memory_for_jobs_mb
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import Store, StoreSettings, open_store
from fringeflow.workdir import Workdir, survey
from fringeflow.world import Layer, Log, Observer, World

_IDLE_SECONDS = 0.2
_PREFETCH = 1000  # in one process nobody else wants the tasks
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    wanted: int
    made: tuple[Manifest, ...]
    already_made: int
    failed: tuple[DeadLetter, ...]
    waiting: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    jobs: int = 0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every unit that was asked for exists."""
        return not self.failed and not self.waiting


class EmbeddedRun:
    """One run of a project in a folder.

    Parameters
    ----------
    jobs
        How much of the machine they may use.
    server
        The fork server, if it has been begun before.
    builder, make
        What builds a target's graph, and what makes units instead of the installed stages.
    """

    def __init__(
        self,
        project: Project,
        workdir: Workdir,
        selection: Selection,
        observer: Observer,
        *,
        jobs: JobSettings,
        server: ForkServer | None = None,
        builder: Builder | None = None,
        make: str | None = None,
    ) -> None:
        self._project = project
        self._workdir = workdir
        self._selection = selection
        self._observer = observer
        self._jobs = jobs
        self._server = server
        self._builder = builder
        self._make = make
        self._id = uuid.uuid4().hex[:12]

    def run(self, *, force: str | None = None) -> Outcome:
        """Make everything that is asked for and can be made; remake the units that match the glob `force`."""
        started = time.monotonic()
        self._workdir.create()
        with self._workdir.locked():
            settings = StoreSettings(url=self._workdir.store.absolute().as_uri())
            store = open_store(settings)
            store.sweep()
            catalogue = survey(self._project, self._selection, self._workdir, self._builder)
            if force:
                uncommit(catalogue, store, force)
                catalogue = survey(self._project, self._selection, self._workdir, self._builder)
            done_before = {unit.id for unit in catalogue.all_units() if catalogue.manifest(unit.id)}
            clear_dead_letters(catalogue, store)
            tree = ProductTree(self._workdir.products, self._project, store)
            services = self._serve(catalogue, store, settings, tree)
            outcome = self._outcome(catalogue, services, done_before, time.monotonic() - started)
            self._lay_out(catalogue, tree)
        return outcome

    def _serve(
        self, catalogue: Catalogue, store: Store, settings: StoreSettings, tree: ProductTree
    ) -> Sequence[Service]:
        """Run the services until nothing more can be made."""
        bus = Bus(BusSettings(tasks_prefetch=_PREFETCH), FileJournal(self._workdir.root / "journal.jsonl"))
        bus.declare(STAGES)
        cores = self._jobs.count or len(os.sched_getaffinity(0))
        memory_mb = self._jobs.memory_mb or memory_for_jobs_mb()
        workdir = self._workdir
        unmade = {unit.id.stage for unit in catalogue.all_units() if catalogue.manifest(unit.id) is None}
        with JobHost(
            workdir.scratch,
            settings,
            log_folder=workdir.logs,
            digest_cache=workdir.digests,
            stages=sorted(unmade),
            with_casa=not unmade.isdisjoint(CASA_STAGES),
            server=self._server,
        ) as host:
            host.sweep()
            world = World(
                run=self._id,
                catalogue=catalogue,
                store=store,
                ledger=Ledger(store),
                bus=bus,
                host=host,
                slots=Slots(cores, memory_mb),
                observers=(Layer(tree), Log(), self._observer),
                memory_limit_mb=dict.fromkeys(MEMORY_CLASSES, memory_mb),
                time_limit_seconds=self._jobs.time_limit_seconds,
                make=self._make,
            )
            services = [Service(stage, world) for stage in STAGES]
            try:
                for drop in catalogue.drops.values():
                    bus.announce(announcements.arrived(_arrival(drop), run=self._id, source="/fringeflow/run"))
                self._loop(services, catalogue)
            finally:
                for service in services:
                    service.stop(_GRACE_SECONDS)
                bus.close()
        return services

    def _loop(self, services: Sequence[Service], catalogue: Catalogue) -> None:
        # Later stages first: what is nearly finished gets the free core.
        for service in services:
            service.reconcile()
        while True:
            busy = [service.step() for service in reversed(services)]
            if any(busy):
                self._observer.counted(*catalogue.counts())
                continue
            running = [job for service in services for job in service.running]
            if running:
                wait([job.sentinel for job in running], timeout=_IDLE_SECONDS)
            elif any(service.outstanding for service in services):
                time.sleep(_IDLE_SECONDS)  # a task that waits out its back-off
            else:
                catalogue.refresh()
                if not sum(service.reconcile() for service in services):
                    return

    def _outcome(
        self, catalogue: Catalogue, services: Sequence[Service], done_before: set[UnitId], seconds: float
    ) -> Outcome:
        units = list(catalogue.all_units())
        manifests = {unit.id: catalogue.manifest(unit.id) for unit in units}
        letters = [letter for service in services for letter in service.letters.values()]
        failed = {letter.unit for letter in letters}
        waiting = {
            str(unit.id): catalogue.graph(unit.id.target).missing(unit.id)
            for unit in units
            if manifests[unit.id] is None and str(unit.id) not in failed
        }
        made = [found for unit, found in manifests.items() if found is not None and unit not in done_before]
        return Outcome(
            wanted=len(units),
            made=tuple(made),
            already_made=len(done_before),
            failed=tuple(letters),
            waiting=waiting,
            notes=tuple(note for target in catalogue.targets for note in catalogue.graph(target).notes),
            jobs=sum(service.jobs_run for service in services),
            seconds=seconds,
        )

    def _lay_out(self, catalogue: Catalogue, tree: ProductTree) -> None:
        """Lay out all products that exist now; what the project no longer has is taken away."""
        for unit in catalogue.all_units():
            manifest = catalogue.manifest(unit.id)
            if manifest is not None:
                tree.place(manifest)
        tree.prune(unit for target in self._project.targets for unit in catalogue.graph(target))


def uncommit(catalogue: Catalogue, store: Store, pattern: str) -> list[UnitId]:
    """Remove the manifests and artefacts of the made units that match the glob `pattern`, so that they are made again.

    Raises
    ------
    DataError
        If no unit matches.
    """
    chosen = [unit.id for unit in catalogue.all_units() if fnmatchcase(str(unit.id), pattern)]
    if not chosen:
        raise DataError(f"no unit matches {pattern!r}", remedy="`fringeflow plan` lists the units")
    for unit in chosen:
        manifest = catalogue.manifest(unit)
        if manifest is not None:
            store.delete([manifest.path])
            store.delete([artefact.key for artefact in manifest.outputs])
    return chosen


def clear_dead_letters(catalogue: Catalogue, store: Store) -> None:
    """Forget earlier failures of what is asked for: a new run tries again."""
    wanted = {str(unit.id) for unit in catalogue.all_units()}
    dead = [item.key for item in store.list("dead/")]
    store.delete([key for key in dead if key.removeprefix("dead/").rpartition("/")[0] in wanted])


def _arrival(drop: Artefact) -> Arrived:
    ref = ArtefactRef(name=drop.name, key=drop.key, size=drop.size, sha256=drop.sha256)
    return Arrived(leaf=drop.name, artefact=ref)
