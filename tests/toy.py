"""A project of toy units (made by `tests.toy_stage`): the loop of the services without science."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fringeflow.embedded import EmbeddedRun, Outcome
from fringeflow.graph.build import Selection
from fringeflow.graph.model import Graph, Lookup, Need, Unit, UnitId
from fringeflow.keys.model import InterfConfig, Project, Roots, Target
from fringeflow.settings import JobSettings
from fringeflow.workdir import Workdir
from fringeflow.world import Observer


def unit(stage: str, step: str = "", *, target: str = "t", needs: tuple[UnitId, ...] = (), **members: Any) -> Unit:
    """Return a toy unit; members other than those of `Unit` go into its recipe."""
    identity = UnitId(stage=stage, target=target, config="c", product="p", step=step)
    own = {name: members.pop(name) for name in ("leaves", "group", "memory_mb", "cores") if name in members}
    return Unit(
        id=identity,
        revision=1,
        recipe={"text": f"{stage}{step};", **members},
        needs=tuple(Need(unit=need) for need in needs),
        outputs=(f"{target}_{stage}{step}.fits",),
        fact={"staging": "visibilities.staged", "imaging": "cube.imaged", "postprocess": "cube.postprocessed"}.get(
            stage, "products.derived"
        )
        if not step
        else "unit.made",
        **own,
    )


def project(folder: Path, *targets: str) -> Project:
    """Return a project with the given targets whose dropped inputs lie in `folder`."""
    return Project(
        master_key=folder / "master_key.txt",
        roots=Roots(key_dir=folder, ms=(folder,)),
        targets={
            name: Target(name=name, ra="0h", dec="0d", vsys_kms=0, vwidth_kms=10, directory=name) for name in targets
        },
        interf_configs={"c": InterfConfig(name="c", array_tags=("a",), clean_scales_arcsec=(0,))},
    )


UnitsOf = Callable[[str], list[Unit]]


class Counting(Observer):
    """Counts what it sees."""

    def __init__(self) -> None:
        self.started_units: list[tuple[str, ...]] = []

    def started(self, job: Any, units: Any) -> None:
        del job
        self.started_units.append(tuple(str(item.id) for item in units))


def run(
    folder: Path, units_of: UnitsOf, *, targets: tuple[str, ...] = ("t",), **options: Any
) -> tuple[Outcome, Counting]:
    """Run the toy units of `targets` in `folder`; return the outcome and what was started."""
    folder.mkdir(exist_ok=True)

    def build(_: Project, target: str, leaves: Mapping[str, str], lookup: Lookup) -> Graph:
        graph = Graph(leaves, lookup)
        for item in units_of(target):
            graph.add(item)
        return graph

    seen = Counting()
    runner = EmbeddedRun(
        project(folder, *targets),
        Workdir(folder / "work"),
        Selection(),
        seen,
        jobs=JobSettings(count=2),
        builder=build,
        make="tests.toy_stage:make",
    )
    return runner.run(**options), seen
