"""A worker process of toy units. Arguments: a JSON file of what each unit does, then those of `Duties`.

Every target has the chain staging - imaging - postprocess - derived with two inner blocks of imaging and two maps in
one job. The JSON maps a unit's id, or its stage, to further members of its recipe.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fringeflow import logs
from fringeflow.graph.model import Graph, Lookup, Unit
from fringeflow.keys.model import Project
from fringeflow.rounds import Duties
from fringeflow.settings import Settings
from fringeflow.worker import Worker
from tests import toy

UNITS_PER_TARGET = 7


def units(target: str, deeds: Mapping[str, Mapping[str, Any]]) -> list[Unit]:
    """Return the toy units of `target`."""
    chosen: list[Unit] = []

    def add(stage: str, step: str = "", **members: Any) -> Unit:
        blank = toy.unit(stage, step, target=target)
        deed = {**deeds.get("", {}), **deeds.get(stage, {}), **deeds.get(str(blank.id), {})}
        chosen.append(toy.unit(stage, step, target=target, **members, **deed))
        return chosen[-1]

    staged = add("staging", leaves=(f"incoming/{target}.ms",))
    blocks = tuple(add("imaging", step, needs=(staged.id,)).id for step in ("block0", "block1"))
    cube = add("postprocess", needs=(add("imaging", needs=blocks).id,))
    for step in ("mom0", "mom1"):
        add("derived", step, needs=(cube.id,), group=f"{target} maps")
    return chosen


def main(deeds_file: str, duties: str) -> None:
    """Run a worker as its environment and arguments say."""
    deeds = json.loads(Path(deeds_file).read_text())

    def build(_: Project, target: str, leaves: Mapping[str, str], lookup: Lookup) -> Graph:
        graph = Graph(leaves, lookup)
        for item in units(target, deeds):
            graph.add(item)
        return graph

    settings = Settings()
    logs.configure("console", settings.log.level, sys.stderr)
    asked = {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(duties).items()}
    Worker(settings, Duties(**asked), builder=build, make="tests.toy_stage:make").run()


if __name__ == "__main__":
    main(*sys.argv[1:])
