"""States facts: builds events with their identity, cut so that each fits the 16 KiB of a claim check.

It knows what a unit's id looks like as text and nothing of the graph, the store or the bus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from fringeflow.events import (
    MADE_FACTS,
    Arrived,
    ArtefactRef,
    Event,
    Failed,
    FailureKind,
    Made,
    MadeEvent,
    MessageTooLargeError,
    UnitFailed,
    UnitWaiting,
    VisibilitiesArrived,
    Waiting,
    identity,
    to_bytes,
)

_E = TypeVar("_E", bound=Event)


def arrived(data: Arrived, *, run: str, source: str, causation: str | None = None) -> VisibilitiesArrived:
    """Return the event that an input was dropped; its identity is the leaf's name and digest."""
    kind = "fringeflow.visibilities.arrived.v1"
    return VisibilitiesArrived(
        id=identity(kind, data.leaf, data.artefact.sha256),
        source=source,
        subject=data.leaf,
        time=datetime.now(UTC),
        correlation_id=run,
        causation_id=causation,
        data=data,
    )


def made(
    fact: str,
    unit: str,
    *,
    work_key: str,
    manifest: str,
    artefacts: Sequence[ArtefactRef],
    run: str,
    causation: str | None = None,
    forced: bool = False,
) -> MadeEvent:
    """Return the event `fact` about `unit`, with as many artefacts as 16 KiB hold."""
    if fact not in MADE_FACTS:
        raise ValueError(f"{fact!r} is not announced of a made unit (use {', '.join(MADE_FACTS)})")

    def with_artefacts(count: int) -> MadeEvent:
        kept = tuple(artefacts[:count])
        return MADE_FACTS[fact](
            id=identity(f"fringeflow.{fact}.v1", work_key),
            source=_source(unit),
            subject=unit,
            time=now,
            correlation_id=run,
            causation_id=causation,
            forced=forced,
            data=Made(
                unit=unit, work_key=work_key, manifest=manifest, artefacts=kept, left_out=len(artefacts) - len(kept)
            ),
        )

    now = datetime.now(UTC)
    return _largest_that_fits(with_artefacts, len(artefacts))


def failed(
    unit: str,
    *,
    work_key: str | None,
    kind: FailureKind,
    message: str,
    remedy: str | None,
    attempt: int,
    final: bool,
    run: str,
    causation: str | None = None,
) -> UnitFailed:
    """Return the event that an attempt at `unit` failed; a long message is cut."""
    said, advice = _sendable(message), None if remedy is None else _sendable(remedy)[:1000]

    def with_message(count: int) -> UnitFailed:
        return UnitFailed(
            id=identity("fringeflow.unit.failed.v1", unit, work_key, attempt, kind),
            source=_source(unit),
            subject=unit,
            time=now,
            correlation_id=run,
            causation_id=causation,
            data=Failed(
                unit=unit,
                work_key=work_key,
                kind=kind,
                message=said[:count],
                remedy=advice,
                attempt=attempt,
                final=final,
            ),
        )

    now = datetime.now(UTC)
    return _largest_that_fits(with_message, len(said))


def waiting(unit: str, waits_for: Iterable[str], *, run: str, causation: str | None = None) -> UnitWaiting:
    """Return the event that `unit` waits for the named inputs and units."""
    names = tuple(sorted(waits_for))

    def with_names(count: int) -> UnitWaiting:
        return UnitWaiting(
            id=identity("fringeflow.unit.waiting.v1", unit, *names),
            source=_source(unit),
            subject=unit,
            time=now,
            correlation_id=run,
            causation_id=causation,
            data=Waiting(unit=unit, waits_for=names[:count], left_out=len(names) - count),
        )

    now = datetime.now(UTC)
    return _largest_that_fits(with_names, len(names))


def replayed(event: Event, *, run: str, forced: bool = False) -> Event:
    """Return `event` as it is republished in `run`: an event of its own that names the one it repeats."""
    original = event.replay_of or event.id
    return event.model_copy(
        update={
            "id": identity("replay", original, run, forced),
            "replay_of": original,
            "causation_id": event.id,
            "correlation_id": run,
            "forced": forced,
            "time": datetime.now(UTC),
        }
    )


def _source(unit: str) -> str:
    return f"/fringeflow/{unit.split('/', 1)[0]}"


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _largest_that_fits(build: Callable[[int], _E], count: int) -> _E:
    while True:
        message = build(count)
        try:
            to_bytes(message)
        except MessageTooLargeError:
            if count == 0:
                raise
            count //= 2
        else:
            return message
