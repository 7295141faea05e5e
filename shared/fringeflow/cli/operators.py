"""The command lines of the operator's commands; what they do is in `operate`, imported when one of them is called."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fringeflow.graph.stages import STAGES

if TYPE_CHECKING:
    from fringeflow.operating.site import Site

WorkdirOption = Annotated[
    Path | None, typer.Option("--workdir", metavar="DIR", help="The folder of a run, instead of bucket and broker.")
]
KeysOption = Annotated[
    Path | None, typer.Option("--keys", metavar="MASTER_KEY", help="These keys, instead of those in the bucket.")
]
TargetOption = Annotated[
    list[str] | None, typer.Option("--target", metavar="T", help="Only this target; may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Pattern = Annotated[
    str, typer.Argument(metavar="[GLOB]", help="Of unit names, e.g. `'imaging/ngc5921/*'`; all without one.")
]
OnePattern = Annotated[str, typer.Argument(metavar="GLOB", help="Of unit names, e.g. `'imaging/ngc5921/*'`.")]
_WHERE = "\n\nLooks at the bucket and broker of FRINGEFLOW_STORE__URL and FRINGEFLOW_BUS__URL, or at a folder."

dead_app = typer.Typer(no_args_is_help=True, help="What nobody tries again by itself: list, show, requeue, drop.")


def add_to(app: typer.Typer) -> None:
    """Add the operator's commands to the command line."""
    app.command(help="Print of each target and stage what is made, running, waiting and failed." + _WHERE)(status)
    app.command(help="Announce what is in the journal once more: what is made is not made again." + _WHERE)(replay)
    app.command(name="rebuild-journal", help="Restore the journal's history from the manifests." + _WHERE)(rebuild)
    app.command(help="Remove results that no present key or input refers to." + _WHERE)(prune)
    app.command(help="Put the finished products into a new folder DEST, with checksums and an ObsCore table." + _WHERE)(
        release
    )
    app.add_typer(dead_app, name="dead")


def status(
    *,
    target: TargetOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again until all is made.")] = False,
    every: Annotated[float, typer.Option(metavar="S", min=0.2, help="Seconds between two looks.")] = 5.0,
    workdir: WorkdirOption = None,
    keys: KeysOption = None,
    json: AsJson = False,
) -> None:
    """Print how far the project has come."""
    from fringeflow.cli import operate

    place = _site(workdir, keys)
    raise typer.Exit(operate.status(place, target or (), watch_seconds=every if watch else None, as_json=json))


def replay(
    *,
    since: Annotated[datetime | None, typer.Option(metavar="T", help="Only events from this time on (UTC).")] = None,
    from_offset: Annotated[int | None, typer.Option(metavar="N", min=0, help="Begin here in the journal.")] = None,
    target: TargetOption = None,
    config: Annotated[list[str] | None, typer.Option(metavar="C", help="Only this config.")] = None,
    product: Annotated[list[str] | None, typer.Option(metavar="P", help="Only this product.")] = None,
    stage: Annotated[list[str] | None, typer.Option(metavar="S", help="Only units of this stage.")] = None,
    fact: Annotated[list[str] | None, typer.Option(metavar="F", help="Only this fact, e.g. cube.imaged.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Make again what follows directly from the events, though it is made.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the events and announce nothing.")] = False,
    workdir: WorkdirOption = None,
    json: AsJson = False,
) -> None:
    """Announce what is in the journal once more."""
    from fringeflow.cli import operate
    from fringeflow.operating.replay import Choice

    for name in stage or ():
        if name not in STAGES:
            raise typer.BadParameter(f"no stage is called {name!r}; there are {', '.join(STAGES)}")
    choice = Choice(
        since=None if since is None else _in_utc(since),
        offset=from_offset,
        targets=tuple(target or ()),
        configs=tuple(config or ()),
        products=tuple(product or ()),
        stages=tuple(stage or ()),
        facts=tuple(fact or ()),
    )
    raise typer.Exit(operate.replay(_site(workdir, None), choice, forced=force, dry_run=dry_run, as_json=json))


def rebuild(*, workdir: WorkdirOption = None) -> None:
    """Restore the journal's history from the manifests."""
    from fringeflow.cli import operate

    raise typer.Exit(operate.rebuild_journal(_site(workdir, None)))


def prune(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what could be removed and remove nothing.")] = False,
    workdir: WorkdirOption = None,
    keys: KeysOption = None,
) -> None:
    """Remove results that no present key or input refers to."""
    from fringeflow.cli import operate

    raise typer.Exit(operate.prune_store(_site(workdir, keys), dry_run=dry_run))


def release(
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="A folder that does not exist yet.")],
    *,
    target: TargetOption = None,
    collection: Annotated[str, typer.Option(metavar="NAME", help="What the release is called.")] = "fringeflow",
    previous: Annotated[
        Path | None, typer.Option(metavar="DIR", help="An earlier release: say what has changed since.")
    ] = None,
    compress: Annotated[bool, typer.Option("--compress", help="Write tile-compressed FITS (.fits.fz).")] = False,
    workdir: WorkdirOption = None,
    keys: KeysOption = None,
) -> None:
    """Put the finished products into a new folder."""
    from fringeflow.cli import operate

    place = _site(workdir, keys)
    raise typer.Exit(
        operate.release(place, dest, target or (), collection=collection, previous=previous, compress=compress)
    )


@dead_app.command(name="list")
def dead_list(pattern: Pattern = "*", *, workdir: WorkdirOption = None, json: AsJson = False) -> None:
    """Print what was given up and why, a line each; exit 1 if there is any."""
    from fringeflow.cli import operate

    raise typer.Exit(operate.dead_list(_site(workdir, None), pattern, as_json=json))


@dead_app.command(name="show")
def dead_show(pattern: OnePattern, *, workdir: WorkdirOption = None, json: AsJson = False) -> None:
    """Print everything that is known of some, with the traceback or the end of the log."""
    from fringeflow.cli import operate

    raise typer.Exit(operate.dead_show(_site(workdir, None), pattern, as_json=json))


@dead_app.command(name="requeue")
def dead_requeue(pattern: OnePattern) -> None:
    """Order some again, as if for the first time."""
    from fringeflow.cli import operate

    raise typer.Exit(operate.dead_requeue(_site(None, None), pattern))


@dead_app.command(name="drop")
def dead_drop(pattern: OnePattern, *, workdir: WorkdirOption = None) -> None:
    """Remove some; a unit is tried again when a worker next looks for work."""
    from fringeflow.cli import operate

    raise typer.Exit(operate.dead_drop(_site(workdir, None), pattern))


def _site(workdir: Path | None, keys: Path | None) -> Site:
    from fringeflow.operating.site import open_site
    from fringeflow.settings import Settings

    return open_site(Settings(), workdir, keys)


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time
