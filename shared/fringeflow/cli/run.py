"""The `run` command: an embedded run with its progress, its closing table and its page."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fringeflow import logs, page
from fringeflow.cli.console import console
from fringeflow.cli.inspect import said
from fringeflow.cli.progress import Display
from fringeflow.embedded import EmbeddedRun, Outcome
from fringeflow.errors import DataError
from fringeflow.graph.build import STAGES, Selection
from fringeflow.graph.imaging_idle import idle_lines
from fringeflow.jobs.server import ForkServer
from fringeflow.keys.model import Project
from fringeflow.keys.profiles import PROFILES, with_profile
from fringeflow.keys.project import KeysError, load
from fringeflow.settings import Settings
from fringeflow.workdir import Workdir


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    targets: tuple[str, ...] = ()
    configs: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    until: str = STAGES[-1]
    jobs: int | None = None
    force: str | None = None
    page: bool = False
    profile: str = "standard"


def run(master_key: Path, directory: Path, request: Request, *, as_json: bool, server: ForkServer | None = None) -> int:
    """Make what the keys ask for in `directory`, on a fork server begun before; return 0 only if all of it exists."""
    out = console(stderr=as_json)
    project, problems = load(master_key)
    if any(problem.severity == "error" for problem in problems):
        raise KeysError(problems)
    for problem in (*problems, *idle_lines(project)):
        out.print(said(problem))
    outcome = make(project, directory, request, out, server)
    if as_json:
        json.dump(summary(outcome), sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        report(outcome, directory, out)
    return 0 if outcome.complete else 1


def make(
    project: Project, directory: Path, request: Request, out: Console, server: ForkServer | None = None
) -> Outcome:
    """Run the services on `project` with a display on `out`."""
    selection = selected(project, request)
    project = with_profile(project, request.profile)
    workdir = Workdir(directory.absolute())
    workdir.create()
    settings = Settings()
    jobs = settings.jobs.model_copy(update={"count": request.jobs} if request.jobs else {})
    with (workdir.logs / "run.log").open("a") as log, Display(out) as display, stopped_by_signals():
        logs.configure("json", settings.log.level, log)
        outcome = EmbeddedRun(project, workdir, selection, display, jobs=jobs, server=server).run(force=request.force)
    if request.page:
        page.write(project, workdir, selection)
    return outcome


def selected(project: Project, request: Request) -> Selection:
    """Return the selection a request names; raise `DataError` where a name is not in the project."""
    known: Mapping[str, tuple[tuple[str, ...], Any]] = {
        "target": (request.targets, project.targets),
        "config": (request.configs, {**project.interf_configs, **project.feather_configs}),
        "product": (request.products, project.products),
        "stage": ((request.until,), STAGES),
        "profile": ((request.profile,), tuple(PROFILES)),
    }
    for what, (asked, names) in known.items():
        for name in asked:
            if name not in names:
                raise DataError(f"no {what} is called {name!r}", remedy=f"there are: {', '.join(names)}")
    return Selection(targets=request.targets, configs=request.configs, products=request.products, until=request.until)


def report(outcome: Outcome, directory: Path, out: Console) -> None:
    """Print what a run came to."""
    for letter in outcome.failed:
        out.print(Text.assemble(("failed", "bold red"), f"  {letter.unit}: {letter.message}"))
        if letter.remedy:
            out.print(Text(f"        remedy: {letter.remedy}"))
    for note in outcome.notes:
        out.print(Text.assemble(("left out", "yellow"), f" {note}"))
    blocked = _blocked(outcome)
    for cause, units in blocked.items():
        out.print(Text.assemble(("waiting", "yellow"), f" {len(units)} units for {cause}"))
    table = Table.grid(padding=(0, 2))
    table.add_row("made now", str(len(outcome.made)))
    table.add_row("made before", str(outcome.already_made))
    table.add_row("failed", str(len(outcome.failed)))
    table.add_row("waiting", str(len(outcome.waiting)))
    table.add_row("jobs run", str(outcome.jobs))
    table.add_row("seconds", f"{outcome.seconds:.1f}")
    table.add_row("products", str(directory / "products"))
    out.print(table)


def summary(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as data."""
    return {
        "complete": outcome.complete,
        "made": [
            {
                "unit": str(item.unit),
                "work_key": item.work_key,
                "seconds": item.seconds,
                "cpu_seconds": item.cpu_seconds,
                "peak_mb": item.peak_memory_mb,
            }
            for item in outcome.made
        ],
        "already_made": outcome.already_made,
        "failed": [
            {"unit": letter.unit, "kind": letter.kind, "message": letter.message, "remedy": letter.remedy}
            for letter in outcome.failed
        ],
        "waiting": {unit: list(missing) for unit, missing in outcome.waiting.items()},
        "notes": list(outcome.notes),
        "jobs": outcome.jobs,
        "seconds": outcome.seconds,
    }


def _blocked(outcome: Outcome) -> dict[str, list[str]]:
    """Group waiting units by the root of their wait: what is missing and is not itself waiting."""
    causes: dict[str, list[str]] = {}
    for unit in outcome.waiting:
        for root in sorted(_roots(unit, outcome)):
            causes.setdefault(root, []).append(unit)
    return causes


def _roots(unit: str, outcome: Outcome) -> set[str]:
    pending, seen, found = [unit], set[str](), set[str]()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        missing = outcome.waiting.get(name)
        if missing is None:
            found.add(name)
        else:
            pending += missing
    return found


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does: running jobs are taken back, nothing is lost."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
