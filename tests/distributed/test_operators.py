"""The operator's commands on a real broker and a real bucket: what was lost is restored, what was given up is tried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from fringeflow.bus.journal import StreamJournal
from fringeflow.events import Event
from fringeflow.operating.rebuild import history
from tests.toy_worker import UNITS_PER_TARGET
from tests.worker.conftest import ROOT, STAGES, House

pytestmark = pytest.mark.xdist_group("distributed")


def fringeflow(house: House, *arguments: str, code: int = 0) -> str:
    """Run the command as an operator of this house would, and return what it printed."""
    settings = {f"FRINGEFLOW_{name}": value for name, value in house.settings.items()}
    command = [sys.executable, "-m", "fringeflow", *arguments]
    environment = {**os.environ, **settings, "COLUMNS": "200"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout, done.stderr
    return done.stdout


def journal(house: House) -> list[Event]:
    bus = house.bus()
    events = [event for _, event in StreamJournal(bus.settings, idle_seconds=0.5).read()]
    bus.close()
    return events


def wait_until_idle(house: House) -> None:
    bus = house.bus()
    house.wait_for(lambda: not any(sum(bus.depths(stage).values()) for stage in STAGES))
    bus.close()


def again(house: House) -> dict[str, int]:
    """What was begun more than once."""
    return {unit: count for unit, count in house.begun().items() if count > 1}


def test_a_broker_robbed_of_everything_gets_its_history_back(bucket_house: House) -> None:
    house = bucket_house
    house.deeds["imaging"] = {"seconds": 1}
    house.keys("a", "b")
    house.drop("a")
    house.drop("b")
    house.work(*STAGES)
    house.wait_for(lambda: house.begun()["imaging/a/c/p/block0"])
    house.broker.kill()
    house.broker.wipe()
    house.broker.start()
    house.wait_until_made(2 * UNITS_PER_TARGET)
    assert again(house) == {}
    facts = {event.id for event in history(house.manifests())}
    assert len(facts) == 2 * UNITS_PER_TARGET + 2
    lost = facts - {event.id for event in journal(house)}
    assert lost
    assert fringeflow(house, "rebuild-journal").startswith(f"{len(lost)} events restored")
    assert facts <= {event.id for event in journal(house)}
    assert fringeflow(house, "rebuild-journal").startswith("0 events restored")
    wait_until_idle(house)
    _replay(house, len(facts))


def _replay(house: House, facts: int) -> None:
    before = [item.path for item in house.manifests()]
    events = len(journal(house))
    shown = [json.loads(line) for line in fringeflow(house, "replay", "--dry-run", "--json").splitlines()]
    assert len(shown) == facts
    some = fringeflow(house, "replay", "--dry-run", "--stage", "postprocess", "--target", "a").splitlines()
    assert [line.split()[-1] for line in some] == ["postprocess/a/c/p"]
    assert len(journal(house)) == events
    assert json.loads(fringeflow(house, "replay", "--json"))["events"] == facts
    wait_until_idle(house)
    assert again(house) == {}
    fringeflow(house, "replay", "--stage", "postprocess", "--target", "a", "--force")
    house.wait_for(lambda: again(house) == {"derived/a/c/p/mom0": 2, "derived/a/c/p/mom1": 2})
    wait_until_idle(house)
    assert max(house.begun().values()) == 2
    assert [item.path for item in house.manifests()] == before
    fringeflow(house, "dead", "list")


def test_what_was_given_up_is_shown_and_can_be_tried_again(bucket_house: House) -> None:
    house = bucket_house
    flag = house.folder / "has failed"
    house.deeds["postprocess/bad/c/p"] = {"do": "data", "flag": str(flag)}
    house.keys("bad", "good")
    house.drop("bad")
    house.drop("good")
    house.work(*STAGES)
    house.wait_until_made(UNITS_PER_TARGET + 4)
    house.wait_for(lambda: list(house.store.list("dead")))
    (row,) = _rows(fringeflow(house, "dead", "list", "--json", code=1))
    assert (row["name"], row["kind"]) == ("postprocess/bad/c/p", "data")
    assert "nothing was observed" in fringeflow(house, "dead", "list", code=1)
    shown = fringeflow(house, "dead", "show", "postprocess/bad/*")
    assert "nothing was observed" in shown
    assert "observe something" in shown
    queues = json.loads(fringeflow(house, "status", "--json", code=1))["queues"]
    assert queues["staging.events"] == 0
    assert "ordered again: postprocess/bad/c/p" in fringeflow(house, "dead", "requeue", "postprocess/bad/*")
    house.wait_until_made(2 * UNITS_PER_TARGET)
    assert fringeflow(house, "dead", "list").strip() == "no dead letters"
    assert again(house) == {"postprocess/bad/c/p": 2}


def _rows(text: str) -> list[dict[str, Any]]:
    return list(json.loads(text))
