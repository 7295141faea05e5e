"""What a catalogue reads from the store, and what it keeps in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fringeflow.catalogue import Catalogue
from fringeflow.graph.build import Selection
from fringeflow.graph.model import Graph, Lookup, Unit
from fringeflow.keys.model import Project
from fringeflow.manifest import Artefact, Manifest
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import Store, StoreSettings, open_store
from tests import toy

TARGETS = tuple(f"t{number}" for number in range(20))
DIGEST = "0" * 64


def units(target: str) -> list[Unit]:
    staged = toy.unit("staging", target=target, leaves=(f"incoming/{target}.ms",))
    return [staged, toy.unit("imaging", target=target, needs=(staged.id,))]


def build(_: Project, target: str, leaves: Mapping[str, str], lookup: Lookup) -> Graph:
    """Chains of two; a third unit follows from the facts of the second."""
    graph = Graph(leaves, lookup)
    for item in units(target):
        graph.add(item)
    imaged = units(target)[1].id
    facts = graph.facts(imaged)
    if facts is not None:
        graph.add(toy.unit("derived", target=target, needs=(imaged,), beam=facts["beam"]))
    return graph


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StoreSettings.of_folder(tmp_path / "store"))


def catalogue(store: Store, folder: Path, **options: Any) -> Catalogue:
    drops = {
        name: Artefact(name=name, kind="file", key=name, size=1, sha256=DIGEST)
        for name in (f"incoming/{target}.ms" for target in TARGETS)
    }
    return Catalogue(toy.project(folder, *TARGETS), Selection(), drops, Ledger(store), build, **options)


def commit(store: Store, seen: Catalogue, unit: Unit, **facts: Any) -> str:
    key = seen.key(unit.id)
    assert key is not None
    made = Manifest(
        unit=unit.id, work_key=key, revision=1, recipe={}, facts=facts, started="2026-01-01T00:00:00", seconds=0.0
    )
    Ledger(store).commit(made)
    return key


def test_what_is_made_is_known_without_reading_a_manifest(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = catalogue(store, tmp_path)
    for target in TARGETS:
        for item in units(target):
            commit(store, first, item, beam=1.5)
    read: list[str] = []
    listed: list[str] = []
    get_bytes, list_all = type(store).get_bytes, type(store).list
    monkeypatch.setattr(type(store), "get_bytes", lambda self, key: read.append(key) or get_bytes(self, key))
    monkeypatch.setattr(type(store), "list", lambda self, prefix="": listed.append(prefix) or list_all(self, prefix))
    later = catalogue(store, tmp_path)
    later.refresh()
    assert later.counts() == (40, 60)
    assert {key.split("/")[1] for key in read} == {"imaging"}  # the facts that decide what else there is
    assert len(read) == len(TARGETS)
    assert listed == ["manifests"]
    assert [unit.id.stage for unit in later.ready("t0")] == ["derived"]
    assert later.counts() == (40, 60)
    assert len(read) == len(TARGETS)


def test_made_units_are_taken_in_one_by_one(store: Store, tmp_path: Path) -> None:
    seen = catalogue(store, tmp_path)
    staged, imaged = units("t3")
    before = seen.graph("t3")
    assert not seen.note(staged.id, str(seen.key(staged.id)))
    assert seen.note(staged.id, commit(store, seen, staged))
    assert seen.graph("t3") is before
    assert [unit.id for unit in seen.ready("t3")] == [imaged.id]
    assert seen.counts() == (1, 40)
    assert seen.note(imaged.id, commit(store, seen, imaged, beam=2.5))
    assert [unit.recipe["beam"] for unit in seen.ready("t3")] == [2.5]
    assert seen.counts() == (2, 41)


def test_what_others_made_or_removed_is_seen_after_a_refresh(store: Store, tmp_path: Path) -> None:
    seen = catalogue(store, tmp_path)
    staged, _ = units("t1")
    key = commit(store, seen, staged)
    assert not seen.is_made(staged.id, key)
    for named in (["t1"], None):
        seen.refresh(named)
        assert seen.is_made(staged.id, key)
        assert seen.graph("t1").made(staged.id)
    (info,) = store.list("manifests")
    store.delete([info.key])
    seen.refresh()
    assert not seen.is_made(staged.id, key)


def test_memory_is_that_of_a_few_targets_and_answers_are_those_of_all(store: Store, tmp_path: Path) -> None:
    small, large = catalogue(store, tmp_path, most_units=6), catalogue(store, tmp_path)
    keys = [[found.key(unit.id) for unit in found.all_units()] for found in (small, large)]
    assert keys[0] == keys[1]
    assert (len(small._targets), len(large._targets)) == (3, len(TARGETS))
    staged, _ = units("t0")  # long forgotten
    small.note(staged.id, commit(store, small, staged))
    assert [unit.id.stage for unit in small.ready("t0")] == ["imaging"]
    assert len(small._targets) <= 3
