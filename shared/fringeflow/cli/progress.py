"""Shows a run as it goes: which unit, which step, for how long, and a bar for the whole; plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fringeflow.bus.dead import DeadLetter
from fringeflow.graph.model import Unit
from fringeflow.jobs.host import RunningJob
from fringeflow.manifest import Manifest
from fringeflow.world import Observer


class Display(Observer):
    """A live table of running jobs over a bar, on a terminal; one line a unit elsewhere.

    The number of units asked for grows when a plan turns into blocks.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._made = 0
        self._total = 0
        self._running: dict[str, tuple[str, str, float]] = {}
        self._bar = Progress(
            TextColumn("[bold]whole"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._whole: TaskID = self._bar.add_task("whole", total=None)
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def counted(self, made: int, total: int) -> None:
        """Take in how much of the whole is made."""
        self._made, self._total = made, total
        self._bar.update(self._whole, completed=made, total=total)

    def started(self, job: RunningJob, units: Sequence[Unit]) -> None:
        """Take in that a job has begun to make `units`."""
        name = str(units[0].id) if len(units) == 1 else f"{units[0].group} ({len(units)} units)"
        self._running[job.id] = (name, "", time.monotonic())

    def progressed(self, job: RunningJob, step: str, fraction: float | None) -> None:
        """Take in that a job has come to `step`."""
        name, _, since = self._running[job.id]
        self._running[job.id] = (name, step if fraction is None else f"{step} {fraction:.0%}", since)

    def ended(self, job: RunningJob) -> None:
        """Take in that a job has ended, well or not."""
        self._running.pop(job.id, None)

    def made(self, manifest: Manifest) -> None:
        """Take in that a unit has been made and committed."""
        self._console.print(
            f"[green]made[/]    {manifest.unit}  [dim]{manifest.seconds:.1f} s, {manifest.peak_memory_mb:.0f} MB[/]",
            highlight=False,
        )

    def failed(self, letter: DeadLetter) -> None:
        """Take in that a unit has been given up."""
        self._console.print(Text.assemble(("failed", "bold red"), f"  {letter.unit}: {letter.message}"))
        if letter.remedy:
            self._console.print(Text(f"        remedy: {letter.remedy}"))

    def _render(self) -> Group:
        table = Table.grid(padding=(0, 2))
        now = time.monotonic()
        for name, step, since in list(self._running.values()):
            table.add_row(Text(name, style="cyan"), Text(step), Text(f"{now - since:5.1f} s", style="dim"))
        return Group(table, self._bar)
