"""Writes the history of a store anew from its manifests, for a journal that was lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from fringeflow import announcements
from fringeflow.events import Arrived, ArtefactRef, Event
from fringeflow.manifest import Artefact, Manifest

RUN = "rebuilt-journal"


def history(manifests: Iterable[Manifest]) -> Iterator[Event]:
    """Yield the events that inputs arrived and units were made, in the order in which it happened.

    Their identities are those of the events that were announced then, so that readers who know one know the other.
    """
    ordered = sorted(manifests, key=_ended)
    arrived: set[tuple[str, str]] = set()
    for manifest in ordered:
        for item in manifest.inputs:
            for artefact in item.artefacts if item.work_key is None else ():
                if (artefact.name, artefact.sha256) not in arrived:
                    arrived.add((artefact.name, artefact.sha256))
                    yield _arrival(artefact, _started(manifest))
        yield _made(manifest)


def _started(manifest: Manifest) -> datetime:
    return datetime.fromisoformat(manifest.started)


def _ended(manifest: Manifest) -> tuple[datetime, str]:
    return _started(manifest) + timedelta(seconds=manifest.seconds), str(manifest.unit)


def _arrival(artefact: Artefact, at: datetime) -> Event:
    data = Arrived(leaf=artefact.name, artefact=_ref(artefact))
    return announcements.arrived(data, run=RUN, source="/fringeflow/bucket").model_copy(update={"time": at})


def _made(manifest: Manifest) -> Event:
    event = announcements.made(
        manifest.fact,
        str(manifest.unit),
        work_key=manifest.work_key,
        manifest=manifest.path,
        artefacts=[_ref(item) for item in manifest.outputs],
        run=RUN,
    )
    return event.model_copy(update={"time": _ended(manifest)[0]})


def _ref(artefact: Artefact) -> ArtefactRef:
    return ArtefactRef(name=artefact.name, key=artefact.key, size=artefact.size, sha256=artefact.sha256)
