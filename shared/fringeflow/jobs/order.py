"""What a job is told and what it answers: the contract between the service that orders a unit and the code making it.

A stage is one function ``make(job: Job) -> None``, found through the entry point group ``fringeflow.stages``. It runs
in a child process with a scratch folder of its own, and for every order of the job calls `Job.finish` once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fringeflow.graph.model import Unit

if TYPE_CHECKING:
    from fringeflow.jobs.unfinished import Unfinished


@dataclass(frozen=True)
class Order:
    """One unit to make, with its inputs on local disk.

    `inputs` maps unit id (as text) to {artefact name: local path}; these paths may be read, never written.
    `leaves` maps the name of a dropped input to its local path. `facts` maps unit id to that unit's facts.
    `ancestors` are the dropped inputs all this descends from: name -> sha256.
    """

    unit: Unit
    work_key: str
    inputs: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    leaves: Mapping[str, Path] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ancestors: Mapping[str, str] = field(default_factory=dict)

    def the_input(self, name: str) -> Path:
        """Return the path of the input artefact called `name`, whichever needed unit made it."""
        found = [paths[name] for paths in self.inputs.values() if name in paths]
        if len(found) != 1:
            raise KeyError(f"{len(found)} inputs of {self.unit.id} are called {name}")
        return found[0]


@dataclass(frozen=True)
class Made:
    """What one order came to."""

    outputs: Mapping[str, Path]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Job:
    """The orders of one child process, its scratch folder, the cores it may use, and its voice."""

    def __init__(
        self,
        orders: tuple[Order, ...],
        scratch: Path,
        report: Callable[[str, float | None], None] | None = None,
        *,
        cores: int = 1,
        unfinished: Callable[[Order], Unfinished] | None = None,
    ) -> None:
        self.orders = orders
        self.scratch = scratch
        self.cores = cores
        self.made: dict[str, Made] = {}
        self._report = report
        self._unfinished = unfinished

    def unfinished(self, order: Order) -> Unfinished | None:
        """Return where to keep what there is of `order` before it is finished; None where nothing is kept."""
        return None if self._unfinished is None else self._unfinished(order)

    def progress(self, step: str, fraction: float | None = None) -> None:
        """Say which step is running; `fraction` of the job done, if known."""
        if self._report is not None:
            self._report(step, fraction)

    def finish(self, order: Order, outputs: Mapping[str, Path], facts: Mapping[str, Any] | None = None) -> None:
        """Hand in the files of `order`: exactly the names its unit promises, each a file or a directory."""
        if set(outputs) != set(order.unit.outputs):
            raise ValueError(f"{order.unit.id} promises {sorted(order.unit.outputs)}, made {sorted(outputs)}")
        self.made[str(order.unit.id)] = Made(dict(outputs), dict(facts or {}))
