"""The operator's commands: status, replay, dead, rebuild-journal, prune and release. They print; others do the work."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fringeflow.bus.journal import FileJournal
from fringeflow.cli.console import console
from fringeflow.errors import MissingInputError
from fringeflow.graph.build import Selection
from fringeflow.operating import letters, prune, rebuild
from fringeflow.operating import replay as replaying
from fringeflow.operating.letters import Dead
from fringeflow.operating.site import Site
from fringeflow.operating.status import Row, Status
from fringeflow.operating.status import status as status_of
from fringeflow.release.assemble import assemble, compare
from fringeflow.store.ledger import Ledger

_MOST_SHOWN = 3


def status(site: Site, targets: Sequence[str], *, watch_seconds: float | None, as_json: bool) -> int:
    """Print how far the project has come; return 0 if all is made."""
    selection = Selection(targets=tuple(targets))
    found = status_of(site, site.catalogue(selection))
    if as_json:
        _print_json(_status_data(found))
    elif watch_seconds is None:
        console().print(_status_view(found))
    else:
        with Live(_status_view(found), console=console(), auto_refresh=False) as live:
            while not found.complete:
                time.sleep(watch_seconds)
                found = status_of(site, site.catalogue(selection))
                live.update(_status_view(found), refresh=True)
    return 0 if found.complete else 1


def replay(site: Site, choice: replaying.Choice, *, forced: bool, dry_run: bool, as_json: bool) -> int:
    """Announce the chosen events of the journal again, or only print them."""
    events = replaying.chosen(site.journal, choice)
    if dry_run:
        for offset, event in events:
            if as_json:
                sys.stdout.write(json.dumps({"offset": offset, "fact": replaying.fact_of(event), **_brief(event)}))
                sys.stdout.write("\n")
            else:
                console().print(f"{offset:>10}  {event.time:%Y-%m-%d %H:%M:%S}  {event.subject}")
        return 0
    run = uuid.uuid4().hex[:12]
    with site.connected() as bus:
        begun = time.monotonic()
        count = sum(1 for _ in replaying.replay(events, bus, run=run, forced=forced))
        seconds = time.monotonic() - begun
    if as_json:
        _print_json({"run": run, "events": count, "seconds": round(seconds, 3), "forced": forced})
    else:
        console().print(f"{count} events announced again in {seconds:.1f} s, as run {run}")
    return 0


def dead_list(site: Site, pattern: str, *, as_json: bool) -> int:
    """Print what nobody tries again by itself; return 1 if there is any."""
    with ExitStack() as stack:
        found = _dead(site, pattern, stack)
    if as_json:
        _print_json([_dead_row(item) for item in found])
    elif found:
        table = Table("unit or queue", "kind", "attempts", "why")
        for item in found:
            attempts = str(item.letter.attempts) if item.letter is not None else ""
            table.add_row(item.name, item.kind, attempts, Text(item.why))
        console().print(table)
    else:
        console().print("no dead letters")
    return 1 if found else 0


def dead_show(site: Site, pattern: str, *, as_json: bool) -> int:
    """Print everything that is known of some dead letters."""
    with ExitStack() as stack:
        found = _some_dead(site, pattern, stack)
    if as_json:
        _print_json([_dead_row(item) for item in found])
        return 0
    for item in found:
        console().print(Text(item.name, style="bold"))
        if item.letter is not None:
            for name in ("work_key", "kind", "attempts", "message", "remedy", "detail"):
                console().print(Text(f"  {name}: {getattr(item.letter, name)}"))
        elif item.message is not None:
            console().print(Text(f"  reason: {item.message.reason}"))
            console().print(Text(f"  body: {item.message.body[:2000].decode('utf-8', 'backslashreplace')}"))
    return 0


def dead_requeue(site: Site, pattern: str) -> int:
    """Order some dead letters again."""
    with ExitStack() as stack:
        bus = stack.enter_context(site.connected())
        found = _matching(letters.all_dead(site.store, bus, pattern), pattern)
        _say_each("ordered again", letters.requeue(found, site.store, bus))
    return 0


def dead_drop(site: Site, pattern: str) -> int:
    """Remove some dead letters for good."""
    with ExitStack() as stack:
        found = _some_dead(site, pattern, stack)
        _say_each("dropped", letters.drop(found, site.store))
    return 0


def rebuild_journal(site: Site) -> int:
    """Put the history that the manifests tell into the journal, as far as it is not there."""
    known = {event.id for _, event in site.journal.read()}
    lost = [event for event in rebuild.history(Ledger(site.store).all()) if event.id not in known]
    if isinstance(site.journal, FileJournal):
        for event in lost:
            site.journal.append(event)
    else:
        with site.connected() as bus:
            bus.record(*lost)
    console().print(f"{len(lost)} events restored, {len(known)} were there")
    return 0


def prune_store(site: Site, *, dry_run: bool) -> int:
    """Remove what nothing current refers to."""
    found = prune.waste(site.catalogue(), site.store)
    if not dry_run:
        prune.remove(found, site.store)
    verb = "could be" if dry_run else "were"
    console().print(f"{len(found.objects)} objects, {found.size / 1e6:.1f} MB, {verb} removed from {site.place}")
    return 0


def release(
    site: Site,
    folder: Path,
    targets: Sequence[str],
    *,
    collection: str,
    previous: Path | None,
    compress: bool,
) -> int:
    """Put the finished products into a new folder; return 1 if some that are asked for are missing."""
    catalogue = site.catalogue(Selection(targets=tuple(targets)))
    units = [unit.id for unit in catalogue.all_units()]
    manifests = {unit: catalogue.manifest(unit) for unit in units}
    missing = [str(unit) for unit, manifest in manifests.items() if manifest is None]
    made = [manifest for manifest in manifests.values() if manifest is not None]
    released = assemble(
        catalogue.project, made, missing, site.store, folder.absolute(), collection=collection, compress=compress
    )
    size = sum(item.size for item in released.items)
    console().print(f"{len(released.items)} products, {size / 1e6:.1f} MB, in {folder}; {len(missing)} units missing")
    for unit in missing[:_MOST_SHOWN]:
        console().print(Text(f"missing  {unit}", style="yellow"))
    if previous is not None:
        for path, change in compare(folder, previous):
            console().print(f"{change:>8}  {path}")
    return 1 if missing else 0


def _dead(site: Site, pattern: str, stack: ExitStack) -> list[Dead]:
    bus = None if site.bus is None else stack.enter_context(site.connected())
    return letters.all_dead(site.store, bus, pattern)


def _some_dead(site: Site, pattern: str, stack: ExitStack) -> list[Dead]:
    return _matching(_dead(site, pattern, stack), pattern)


def _matching(found: list[Dead], pattern: str) -> list[Dead]:
    if not found:
        raise MissingInputError(f"no dead letter matches {pattern!r}", remedy="`fringeflow dead list` shows them")
    return found


def _say_each(what: str, items: Any) -> None:
    for item in items:
        console().print(f"{what}: {item.name}")


def _status_view(found: Status) -> RenderableType:
    table = Table("target", "stage", "made", "of", "running", "ready", "waiting", "failed", "waits for")
    for row in found.rows:
        done = row.made == row.total
        table.add_row(
            row.target,
            row.stage,
            Text(str(row.made), style="green" if done else ""),
            str(row.total),
            *(str(count or "") for count in (len(row.running), row.ready, row.waiting)),
            Text(str(len(row.failed) or ""), style="bold red"),
            Text(_held(row), style="dim"),
        )
    parts: list[RenderableType] = [table]
    for row in found.rows:
        for letter in row.failed:
            remedy = f" ({letter.remedy})" if letter.remedy else ""
            parts.append(Text.assemble(("failed ", "bold red"), f"{letter.unit}: {letter.message}{remedy}"))
    parts += [Text.assemble(("not possible ", "bold red"), why) for why in found.impossible]
    if found.queues is not None:
        depths = ", ".join(f"{name} {count}" for name, count in found.queues.items() if count) or "all empty"
        parts.append(Text(f"queues: {depths}"))
    if found.complaint:
        parts.append(Text(f"queues not known: {found.complaint}", style="yellow"))
    return Group(*parts)


def _held(row: Row) -> str:
    names = sorted(row.waits_for, key=lambda name: (-row.waits_for[name], name))
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more


def _status_data(found: Status) -> dict[str, Any]:
    rows = [
        {
            **{name: value for name, value in asdict(row).items() if name != "failed"},
            "total": row.total,
            "failed": [letter.model_dump(mode="json", exclude={"task"}) for letter in row.failed],
        }
        for row in found.rows
    ]
    return {
        "complete": found.complete,
        "rows": rows,
        "queues": None if found.queues is None else dict(found.queues),
        "complaint": found.complaint,
        "notes": list(found.notes),
        "impossible": list(found.impossible),
    }


def _dead_row(item: Dead) -> dict[str, Any]:
    if item.letter is not None:
        return {"name": item.name, "kind": item.kind, **item.letter.model_dump(mode="json", exclude={"unit", "kind"})}
    return {"name": item.name, "kind": item.kind, "message": item.why}


def _brief(event: Any) -> dict[str, Any]:
    return {"id": event.id, "subject": event.subject, "time": event.time.isoformat()}


def _print_json(data: object) -> None:
    json.dump(data, sys.stdout, indent=1, default=_plain)
    sys.stdout.write("\n")


_plain: Callable[[Any], Any] = dict
