"""The commit: what a job made becomes a manifest, written once, and is announced."""

from __future__ import annotations

from fringeflow import announcements
from fringeflow.events import ArtefactRef, Task
from fringeflow.failing import Failing
from fringeflow.graph.model import Unit
from fringeflow.jobs.request import UnitResult
from fringeflow.manifest import Manifest
from fringeflow.store.artefacts import clean_strays
from fringeflow.world import World


class Committer:
    """Commits what the jobs of one stage made."""

    def __init__(self, world: World, failing: Failing) -> None:
        self._world = world
        self._failing = failing

    def commit(self, unit: Unit, made: UnitResult, task: Task) -> None:
        """Write the manifest of a unit, or find that it was written before, and announce it. Twice does no harm.

        Raises
        ------
        TransientError
            If store or broker are away.
        """
        catalogue = self._world.catalogue
        mine = Manifest(
            unit=unit.id,
            work_key=made.work_key,
            revision=unit.revision,
            fact=unit.fact,
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
            attempt=task.attempt,
        )
        manifest = self._world.ledger.commit(mine)
        clean_strays(self._world.store, manifest)
        catalogue.note(unit.id, manifest.work_key)
        self.announce(manifest, task)
        if task.forced:
            self._failing.compare(manifest, mine, task)
        for observer in self._world.observers:
            observer.made(manifest)

    def announce(self, manifest: Manifest, task: Task) -> None:
        """Announce, as what `task` came to, that a unit is made."""
        self._world.bus.announce(
            announcements.made(
                manifest.fact,
                str(manifest.unit),
                work_key=manifest.work_key,
                manifest=manifest.path,
                artefacts=[
                    ArtefactRef(name=item.name, key=item.key, size=item.size, sha256=item.sha256)
                    for item in manifest.outputs
                ],
                run=task.run,
                causation=task.causation_id,
                forced=task.forced,
            )
        )
