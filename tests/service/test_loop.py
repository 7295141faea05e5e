"""The loop of the services on toy units: order, retries, failures, replays, regrouping."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fringeflow.graph.model import Unit
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import StoreSettings, open_store
from tests import toy


def chain(target: str, **last: object) -> list[Unit]:
    staged = toy.unit("staging", target=target, leaves=("incoming/a.ms",))
    imaged = toy.unit("imaging", target=target, needs=(staged.id,))
    cube = toy.unit("postprocess", target=target, needs=(imaged.id,))
    return [staged, imaged, cube, toy.unit("derived", target=target, needs=(cube.id,), **last)]


def drop(folder: Path, text: str = "ms;") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "a.ms").write_text(text)
    return folder


def product(folder: Path, stage: str, target: str = "t") -> str:
    return (folder / "work" / "products" / stage / target / f"{target}_{stage}.fits").read_text()


def test_a_chain_is_made_in_order_and_laid_out(tmp_path: Path) -> None:
    outcome, seen = toy.run(drop(tmp_path), chain)
    assert outcome.complete
    assert [units[0].split("/")[0] for units in seen.started_units] == ["staging", "imaging", "postprocess", "derived"]
    assert product(tmp_path, "derived") == "ms;staging;imaging;postprocess;derived;"
    facts = [json.loads(line) for line in (tmp_path / "work" / "journal.jsonl").read_text().splitlines()]
    types = [fact.get("type") or fact["event"]["type"] for fact in facts]
    assert "fringeflow.visibilities.arrived.v1" in types
    assert "fringeflow.products.derived.v1" in types


@pytest.mark.parametrize(("maps", "cores"), [(1, 2), (2, 1)])
def test_jobs_that_could_use_both_cores_share_them(tmp_path: Path, maps: int, cores: int) -> None:
    def units(target: str) -> list[Unit]:
        *before, cube = chain(target)[:-1]
        derived = [toy.unit("derived", f"map{i}", needs=(cube.id,), cores=8, seconds=0.5) for i in range(maps)]
        return [*before, cube, *derived]

    assert toy.run(drop(tmp_path), units)[0].complete
    ledger = Ledger(open_store(StoreSettings.of_folder(tmp_path / "work" / "store")))
    made = [manifest.facts for manifest in ledger.all() if manifest.unit.stage == "derived"]
    assert [facts["cores"] for facts in made] == [cores] * maps


def test_nothing_changed_runs_nothing(tmp_path: Path) -> None:
    toy.run(drop(tmp_path), chain)
    outcome, seen = toy.run(tmp_path, chain)
    assert (outcome.complete, outcome.jobs, outcome.already_made, seen.started_units) == (True, 0, 4, [])


def test_a_changed_recipe_remakes_it_and_what_depends_on_it(tmp_path: Path) -> None:
    toy.run(drop(tmp_path), chain)
    outcome, _ = toy.run(tmp_path, lambda target: chain(target, text="other;"))
    assert outcome.jobs == 1
    assert product(tmp_path, "derived").endswith("other;")
    assert product(tmp_path, "imaging") == "ms;staging;imaging;"


def test_a_changed_input_remakes_everything(tmp_path: Path) -> None:
    toy.run(drop(tmp_path), chain)
    outcome, _ = toy.run(drop(tmp_path, "newer;"), chain)
    assert outcome.jobs == 4
    assert product(tmp_path, "derived").startswith("newer;")


def test_force_remakes_what_matches(tmp_path: Path) -> None:
    toy.run(drop(tmp_path), chain)
    outcome, seen = toy.run(tmp_path, chain, force="imaging/*")
    assert seen.started_units == [("imaging/t/c/p",)]
    assert outcome.complete


def test_a_missing_input_is_waited_for_by_name(tmp_path: Path) -> None:
    outcome, seen = toy.run(tmp_path, chain)
    assert not outcome.complete
    assert seen.started_units == []
    assert outcome.waiting["staging/t/c/p"] == ("incoming/a.ms",)
    assert outcome.waiting["derived/t/c/p"] == ("postprocess/t/c/p",)


def test_a_data_failure_is_not_retried_and_other_targets_go_on(tmp_path: Path) -> None:
    def units(target: str) -> list[Unit]:
        return chain(target, do="data") if target == "bad" else chain(target)

    outcome, seen = toy.run(drop(tmp_path), units, targets=("bad", "good"))
    assert [letter.unit for letter in outcome.failed] == ["derived/bad/c/p"]
    assert (outcome.failed[0].message, outcome.failed[0].remedy) == ("nothing was observed", "observe something")
    assert seen.started_units.count(("derived/bad/c/p",)) == 1
    assert product(tmp_path, "derived", "good").endswith("derived;")


def test_a_bug_is_tried_three_times_then_kept_as_a_dead_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fringeflow.bus.attempts.DELAYS_SECONDS", (0.01, 0.01, 0.01))
    outcome, seen = toy.run(drop(tmp_path), lambda target: chain(target, do="bug"))
    assert seen.started_units.count(("derived/t/c/p",)) == 3
    assert "RuntimeError: a bug" in outcome.failed[0].detail
    letters = list((tmp_path / "work" / "store" / "dead").rglob("*.json"))
    assert len(letters) == 1
    outcome, _ = toy.run(tmp_path, chain)
    assert outcome.complete
    assert not list((tmp_path / "work" / "store" / "dead").rglob("*.json"))


def test_a_killed_child_is_tried_once_more(tmp_path: Path) -> None:
    flag = str(tmp_path / "flag")
    outcome, seen = toy.run(drop(tmp_path), lambda target: chain(target, do="kill", flag=flag))
    assert outcome.complete
    assert seen.started_units.count(("derived/t/c/p",)) == 2


def test_a_group_is_made_in_one_job(tmp_path: Path) -> None:
    def units(_: str) -> list[Unit]:
        staged = toy.unit("staging", leaves=("incoming/a.ms",))
        return [staged, *(toy.unit("derived", step, needs=(staged.id,), group="maps") for step in ("m0", "m1", "m2"))]

    outcome, seen = toy.run(drop(tmp_path), units)
    assert outcome.complete
    assert len(seen.started_units) == 2
    assert len(seen.started_units[1]) == 3


def test_a_group_with_one_bad_member_makes_the_others(tmp_path: Path) -> None:
    def units(_: str) -> list[Unit]:
        staged = toy.unit("staging", leaves=("incoming/a.ms",))
        bad = toy.unit("derived", "bad", needs=(staged.id,), group="maps", do="data")
        return [staged, bad, toy.unit("derived", "good", needs=(staged.id,), group="maps")]

    outcome, _ = toy.run(drop(tmp_path), units)
    assert [letter.unit for letter in outcome.failed] == ["derived/t/c/p/bad"]
    assert "derived/t/c/p/good" in {str(manifest.unit) for manifest in outcome.made}


def test_products_of_units_the_project_no_longer_has_are_taken_away(tmp_path: Path) -> None:
    def units(target: str) -> list[Unit]:
        return [*chain(target), toy.unit("derived", "extra", needs=(chain(target)[2].id,))]

    toy.run(drop(tmp_path), units)
    extra = tmp_path / "work" / "products" / "derived" / "t" / "t_derivedextra.fits"
    users = extra.with_name("mine.fits")
    users.write_text("the user's own")
    assert extra.exists()
    toy.run(tmp_path, chain)
    assert not extra.exists()
    assert users.exists()


def test_a_deleted_product_is_laid_out_again(tmp_path: Path) -> None:
    toy.run(drop(tmp_path), chain)
    path = tmp_path / "work" / "products" / "derived" / "t" / "t_derived.fits"
    path.unlink()
    outcome, _ = toy.run(tmp_path, chain)
    assert outcome.jobs == 0
    assert path.exists()


def test_scratch_is_empty_after_a_run(tmp_path: Path) -> None:
    toy.run(drop(tmp_path), chain)
    assert [item for item in (tmp_path / "work" / "scratch").rglob("*") if item.is_file()] == []
