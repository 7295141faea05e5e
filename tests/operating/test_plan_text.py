"""The plan as text: JSON that is put together by hand must be what the library would write."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from fringeflow.catalogue import Catalogue
from fringeflow.cli.plan import write_json, write_tree
from fringeflow.graph.build import Selection
from fringeflow.graph.model import Graph, Lookup, Need, Unit, UnitId
from fringeflow.keys.model import Project
from fringeflow.manifest import Artefact
from fringeflow.sources import NoManifests
from tests import toy

NOTES = ['t 7m: nothing "quoted" is made', "of größe"]
RECIPE: dict[str, Any] = {
    "text": 'a "b"\n\tc',
    "none": None,
    "numbers": [1, 1.0, True, 1e-7],
    "nested": {"empty": {}, "list": [[], [{"x": (1, 2)}]], "größe": "\u2028"},
}


def units() -> list[Unit]:
    staged = toy.unit("staging", leaves=("incoming/t.ms",))
    other = Unit(id=UnitId("staging", "t", "c", "q"), revision=1, recipe={}, leaves=("incoming/absent.ms",))
    plan = Unit(id=UnitId("imaging", "t", "c", "p", "plan"), revision=1, recipe=RECIPE, needs=(Need(staged.id),))
    needs = (Need(plan.id), Need(other.id))
    cube = Unit(id=UnitId("imaging", "t", "c", "p"), revision=1, recipe=RECIPE, needs=needs, open=True)
    mask = Unit(
        id=UnitId("derived", "t", "c", "p", "mask"), revision=1, recipe=RECIPE, needs=needs, leaves=("incoming/t.ms",)
    )
    return [staged, other, plan, cube, mask]


def build(_: Project, __: str, leaves: Mapping[str, str], lookup: Lookup) -> Graph:
    def made(unit: UnitId, key: str) -> Any:
        return {} if unit.stage == "staging" else lookup(unit, key)

    graph = Graph(leaves, made)
    for item in units():
        graph.add(item)
    for note in NOTES:
        graph.note(note)
    return graph


def catalogue(folder: Path, *targets: str) -> Catalogue:
    drop = Artefact(name="incoming/t.ms", kind="file", key="k", size=1, sha256="0" * 64)
    return Catalogue(toy.project(folder, *targets), Selection(), {drop.name: drop}, NoManifests(), build)


def written(folder: Path, *targets: str) -> str:
    out = io.StringIO()
    write_json(catalogue(folder, *targets), out)
    return out.getvalue()


def test_json_is_that_of_the_library_and_says_everything(tmp_path: Path) -> None:
    text = written(tmp_path, "t")
    data = json.loads(text)
    assert text == json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    assert data["notes"] == NOTES
    rows = {row["unit"]: row for row in data["units"]}
    assert list(rows) == [str(unit.id) for unit in units()]
    assert [row["state"] for row in rows.values()] == ["made", "waiting", "ready", "waiting", "waiting"]
    assert [row["waits_for"] for row in rows.values()] == [
        [],
        ["incoming/absent.ms"],
        [],
        ["imaging/t/c/p/plan", "staging/t/c/q"],
        ["imaging/t/c/p/plan", "staging/t/c/q"],
    ]
    cube = rows["imaging/t/c/p"]
    assert cube["recipe"] == json.loads(json.dumps(RECIPE))
    assert cube["needs"] == ["imaging/t/c/p/plan", "staging/t/c/q"]
    assert (cube["work_key"], cube["more_to_come"], cube["step"]) == (None, True, "")
    graph = catalogue(tmp_path, "t").graph("t")
    assert [row["work_key"] for row in rows.values()] == [graph.key(unit.id) for unit in units()]
    assert rows["derived/t/c/p/mask"]["reads"] == ["incoming/t.ms"]


def test_json_of_nothing(tmp_path: Path) -> None:
    assert written(tmp_path) == '{\n "units": [],\n "notes": []\n}\n'


def test_the_tree_names_every_unit_its_state_and_what_it_waits_for(tmp_path: Path) -> None:
    plain, coloured = io.StringIO(), io.StringIO()
    write_tree(catalogue(tmp_path, "t"), Console(file=plain, width=20))
    write_tree(catalogue(tmp_path, "t"), Console(file=coloured, force_terminal=True, color_system="standard"))
    assert plain.getvalue().splitlines() == [
        "t",
        "├── staging",
        "│   ├── made  c/p",
        "│   └── waiting  c/q  waits for incoming/absent.ms",
        "├── imaging",
        "│   ├── ready  c/p/plan",
        "│   └── waiting  c/p  waits for imaging/t/c/p/plan, staging/t/c/q  (channel blocks follow from its plan)",
        "├── postprocess",
        "└── derived",
        "    └── waiting  c/p/mask  waits for imaging/t/c/p/plan, staging/t/c/q",
        *(f"note {note}" for note in NOTES),
        "5 units: 2 staging, 2 imaging, 0 postprocess, 1 derived",
    ]
    assert "\x1b[32mmade\x1b[0m  c/p\n" in coloured.getvalue()
