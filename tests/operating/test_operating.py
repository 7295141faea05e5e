"""What an operator sees of a run in a folder: state, failures, history, what can go."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fringeflow import damage
from fringeflow.catalogue import Catalogue
from fringeflow.cli.main import app
from fringeflow.errors import CorruptInputError, DataError, MissingInputError
from fringeflow.events import Arrived
from fringeflow.graph.build import Selection
from fringeflow.graph.model import Graph, Unit, UnitId
from fringeflow.operating import letters, prune, rebuild, replay
from fringeflow.operating.site import Site, open_site
from fringeflow.operating.status import Row, status
from fringeflow.settings import Settings
from fringeflow.store.ledger import Ledger
from fringeflow.workdir import survey
from tests import toy


def chain(target: str, **last: object) -> list[Unit]:
    staged = toy.unit("staging", target=target, leaves=("incoming/a.ms",))
    imaged = toy.unit("imaging", target=target, needs=(staged.id,))
    cube = toy.unit("postprocess", target=target, needs=(imaged.id,))
    return [staged, imaged, cube, toy.unit("derived", target=target, needs=(cube.id,), **last)]


def broken(target: str) -> list[Unit]:
    units = chain(target)
    return [
        replace(unit, recipe={**unit.recipe, "do": "data"}) if unit.id.stage == "imaging" else unit for unit in units
    ]


def made(folder: Path, units_of: toy.UnitsOf = chain, **options: object) -> tuple[Site, Catalogue]:
    folder.mkdir(exist_ok=True)
    (folder / "a.ms").write_text("ms;")
    toy.run(folder, units_of, **options)
    return seen(folder, units_of)


def seen(folder: Path, units_of: toy.UnitsOf) -> tuple[Site, Catalogue]:
    def build(_: object, target: str, leaves: object, lookup: object) -> Graph:
        graph = Graph(leaves, lookup)
        for item in units_of(target):
            graph.add(item)
        return graph

    site = replace(open_site(Settings(), folder / "work", None), builder=build)
    return site, survey(toy.project(folder, "t"), Selection(), site.workdir, build)


def test_status_of_what_is_made(tmp_path: Path) -> None:
    site, catalogue = made(tmp_path)
    found = status(site, catalogue)
    assert found.complete
    assert [(row.stage, row.made, row.total) for row in found.rows] == [
        (stage, 1, 1) for stage in ("staging", "imaging", "postprocess", "derived")
    ]
    assert found.queues is None


def test_status_names_what_failed_and_what_waits_for_it(tmp_path: Path) -> None:
    site, catalogue = made(tmp_path, broken)
    rows = {row.stage: row for row in status(site, catalogue).rows}
    assert rows["imaging"].failed[0].message == "nothing was observed"
    assert rows["imaging"].failed[0].remedy == "observe something"
    assert rows["postprocess"].waits_for == {"imaging/t/c/p": 1}
    assert rows["derived"] == Row("t", "derived", waiting=1)  # what it needs may still come


def test_status_names_a_damaged_manifest_that_somebody_has_met_until_it_is_mended(tmp_path: Path) -> None:
    site, catalogue = made(tmp_path)
    ledger = Ledger(site.store, partial(damage.note, site.store))
    manifest = catalogue.manifest(UnitId.parse("imaging/t/c/p"))
    assert manifest is not None
    site.store.put_bytes(manifest.path, b"{}")
    with pytest.raises(CorruptInputError):
        ledger.get(manifest.unit, manifest.work_key)
    _, catalogue = seen(tmp_path, chain)
    found = status(site, catalogue)
    rows = {row.stage: row for row in found.rows}
    assert not found.complete
    assert (rows["imaging"].made, rows["imaging"].total, rows["postprocess"].made) == (0, 1, 1)
    [letter] = rows["imaging"].failed
    assert manifest.path in letter.message
    assert letter.remedy == "remove it, and its unit will be made again"
    site.store.delete([manifest.path])
    assert {row.stage: row.ready for row in status(site, seen(tmp_path, chain)[1]).rows}["imaging"] == 1
    ledger.commit(manifest)
    site, catalogue = seen(tmp_path, chain)
    assert status(site, catalogue).complete
    assert [item.key for item in prune.waste(catalogue, site.store).objects] == [
        f"damaged/imaging/t/c/p/{manifest.work_key}.json"
    ]


def test_status_names_the_input_that_is_not_there(tmp_path: Path) -> None:
    site, _ = made(tmp_path)
    (tmp_path / "a.ms").unlink()
    _, catalogue = seen(tmp_path, chain)
    rows = {row.stage: row for row in status(site, catalogue).rows}
    assert rows["staging"].waits_for == {"incoming/a.ms": 1}


def test_a_claim_counts_as_running_until_it_ends(tmp_path: Path) -> None:
    site, _ = made(tmp_path, broken)
    [letter] = letters.all_dead(site.store, None)
    assert letter.letter is not None
    list(letters.drop([letter], site.store))
    _, catalogue = seen(tmp_path, broken)
    key = f"claims/{letter.name}/{letter.letter.work_key}.json"
    for until, expected in ((4e9, ("imaging/t/c/p",)), (1.0, ())):
        site.store.put_bytes(key, json.dumps({"owner": "x", "until": until}).encode())
        rows = {row.stage: row for row in status(site, catalogue).rows}
        assert rows["imaging"].running == expected


def test_dead_letters_are_found_by_name_and_dropped(tmp_path: Path) -> None:
    site, _ = made(tmp_path, broken)
    assert letters.all_dead(site.store, None, "derived/*") == []
    [found] = letters.all_dead(site.store, None, "imaging/*")
    assert (found.name, found.kind, found.why) == ("imaging/t/c/p", "data", "nothing was observed")
    assert [item.name for item in letters.drop([found], site.store)] == ["imaging/t/c/p"]
    assert letters.all_dead(site.store, None) == []


def test_the_journal_can_be_rebuilt_from_the_manifests(tmp_path: Path) -> None:
    site, _ = made(tmp_path)
    journal = tmp_path / "work" / "journal.jsonl"
    lost = [event for _, event in site.journal.read()]
    told = list(rebuild.history(Ledger(site.store).all()))
    kept = {event.id for event in lost if not event.type.startswith("fringeflow.unit.waiting")}
    assert {event.id for event in told} == kept
    assert told[0].subject == "incoming/a.ms"
    assert [event.time for event in told] == sorted(event.time for event in told)
    journal.unlink()
    for times in ("restored", "known"):
        result = CliRunner().invoke(app, ["rebuild-journal", "--workdir", str(tmp_path / "work")])
        assert result.exit_code == 0, result.output
        expected = f"{len(told)} events restored, 0" if times == "restored" else f"0 events restored, {len(told)}"
        assert expected in result.output


def test_replay_chooses_by_stage_fact_and_offset_each_fact_once(tmp_path: Path) -> None:
    site, _ = made(tmp_path)
    toy.run(tmp_path, chain)  # announces the arrival again
    everything = list(replay.chosen(site.journal, replay.Choice()))
    assert len([event for _, event in everything if isinstance(event.data, Arrived)]) == 1
    assert len(everything) == 5
    [(offset, cube)] = replay.chosen(site.journal, replay.Choice(facts=("cube.imaged",)))
    assert cube.subject == "imaging/t/c/p"
    after = [event.subject for _, event in replay.chosen(site.journal, replay.Choice(offset=offset + 1))]
    assert "imaging/t/c/p" not in after
    assert "derived/t/c/p" in after
    only = replay.Choice(stages=("derived",), targets=("t",))
    assert [event.subject for _, event in replay.chosen(site.journal, only)] == ["derived/t/c/p"]
    assert list(replay.chosen(site.journal, replay.Choice(targets=("other",)))) == []


def test_prune_removes_what_newer_inputs_have_replaced(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "a.ms").write_text("newer;")
    toy.run(tmp_path, chain)
    site, catalogue = seen(tmp_path, chain)
    found = prune.waste(catalogue, site.store)
    assert len(found.objects) == 8  # a manifest and a product of each of four units
    prune.remove(found, site.store)
    assert prune.waste(catalogue, site.store).objects == ()
    site, catalogue = seen(tmp_path, chain)
    assert status(site, catalogue).complete
    outcome, _ = toy.run(tmp_path, chain)
    assert outcome.jobs == 0


def test_prune_waits_until_nothing_is_being_made(tmp_path: Path) -> None:
    site, catalogue = made(tmp_path)
    site.store.put_bytes("claims/imaging/t/c/p/abc.json", json.dumps({"owner": "x", "until": 4e9}).encode())
    with pytest.raises(DataError, match="being made"):
        prune.waste(catalogue, site.store)


def test_commands_say_what_they_lack(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="not the folder of a run"):
        open_site(Settings(), tmp_path, None)
    with pytest.raises(DataError, match="neither a folder nor a bucket"):
        open_site(Settings(), None, None)
    site, _ = made(tmp_path)
    with pytest.raises(DataError, match="no broker"), site.connected():
        pass
    with pytest.raises(DataError, match="--keys"):
        site.project()


def test_dead_list_prints_the_reason_and_fails(tmp_path: Path) -> None:
    made(tmp_path, broken)
    result = CliRunner().invoke(app, ["dead", "list", "--workdir", str(tmp_path / "work")])
    assert result.exit_code == 1
    assert "nothing was observed" in result.output
    shown = CliRunner().invoke(app, ["dead", "show", "imaging/*", "--workdir", str(tmp_path / "work")])
    assert "remedy: observe something" in shown.output
