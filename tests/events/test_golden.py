"""The messages as they have been promised: golden files and generated schemas. Changing one is a decision.

``python tests/events/test_golden.py`` writes the golden files anew, ``python -m fringeflow.schemas docs/schemas`` the
schemas.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from fringeflow import announcements, events, schemas
from fringeflow.bus import dead, topology

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
SCHEMAS = ROOT / "docs" / "schemas"
TASK, LETTER = "task", "dead-letter"
READ = {
    **dict.fromkeys(events.FACTS, events.parse),
    TASK: events.parse_task,
    LETTER: lambda body: dead.from_json(body, "a golden file"),
}
UNITS = {
    "visibilities.staged": "staging/ngc5921/vla/hi21cm",
    "cube.imaged": "imaging/ngc5921/vla/hi21cm",
    "cube.postprocessed": "postprocess/ngc5921/vla/hi21cm",
    "products.derived": "derived/ngc5921/vla/hi21cm/mom0",
    "unit.made": "imaging/ngc5921/vla/hi21cm/plan",
}
WORK_KEY = "1" * 64
UNIT = UNITS["cube.imaged"]


def messages():
    """Return one message of every kind, at a fixed time."""
    artefact = events.ArtefactRef(
        name="ngc5921_vla_hi21cm.fits", key=f"artefacts/x/{WORK_KEY}/a.fits", size=1234, sha256="2" * 64
    )
    drop = events.Arrived(leaf="incoming/ngc5921.ms", artefact=artefact, target="ngc5921", config="vla")
    common = {"run": "run-20260101", "causation": "3" * 64}
    made = {
        fact: announcements.made(
            fact, unit, work_key=WORK_KEY, manifest=f"manifests/{unit}/{WORK_KEY}.json", artefacts=[artefact], **common
        )
        for fact, unit in UNITS.items()
    }
    failed = announcements.failed(
        UNIT,
        work_key=WORK_KEY,
        kind="data",
        message="no spectral window of ngc5921.ms covers hi21cm",
        remedy="check vsys and vwidth of ngc5921 in target_definitions.txt",
        attempt=1,
        final=True,
        **common,
    )
    task = events.Task(
        stage="imaging",
        units=(events.Work(unit=UNIT, work_key=WORK_KEY),),
        run="run-20260101",
        causation_id="3" * 64,
        attempt=2,
        memory_class="medium",
        time_limit_seconds=3600,
    )
    letter = dead.DeadLetter(
        unit=UNIT, work_key=WORK_KEY, kind="bug", message="division by zero", detail="Traceback", attempts=3, task=task
    )
    stated = {
        "visibilities.arrived": announcements.arrived(drop, source="/fringeflow/put", **common),
        **made,
        "unit.failed": failed,
        "unit.waiting": announcements.waiting(UNIT, [UNITS["visibilities.staged"]], **common),
    }
    fixed = {
        fact: event.model_copy(update={"time": datetime(2026, 1, 1, tzinfo=UTC)}) for fact, event in stated.items()
    }
    return {**fixed, TASK: task, LETTER: letter}


def bytes_of(message):
    return dead.to_json(message) if isinstance(message, dead.DeadLetter) else events.to_bytes(message)


def golden_text(message):
    return json.dumps(json.loads(bytes_of(message)), indent=2) + "\n"


def test_there_is_a_golden_file_of_every_message():
    assert {path.stem for path in GOLDEN.glob("*.json")} == {*events.FACTS, TASK, LETTER}


@pytest.mark.parametrize("name", sorted(READ))
def test_a_message_looks_as_promised(name):
    assert golden_text(messages()[name]) == (GOLDEN / f"{name}.json").read_text()


@pytest.mark.parametrize("name", sorted(READ))
def test_a_golden_message_is_read_and_written_back(name):
    content = (GOLDEN / f"{name}.json").read_bytes()
    assert json.loads(bytes_of(READ[name](content))) == json.loads(content)


@pytest.mark.parametrize("name", sorted(READ))
def test_a_golden_message_satisfies_its_schema_and_a_damaged_one_does_not(name):
    validator = Draft202012Validator(
        json.loads((SCHEMAS / f"{name}.schema.json").read_text()), format_checker=FormatChecker()
    )
    content = json.loads((GOLDEN / f"{name}.json").read_text())
    validator.validate(content)
    required = validator.schema["required"][0]
    assert not validator.is_valid({key: value for key, value in content.items() if key != required})
    assert not validator.is_valid({**content, "surplus": 1})


def test_the_committed_schemas_are_those_of_the_models():
    committed = {path.name: path.read_text() for path in SCHEMAS.glob("*.json")}
    generated = {name: schemas.text_of(document) for name, document in schemas.documents().items()}
    assert committed == generated, "run: python -m fringeflow.schemas docs/schemas"


def test_every_reference_of_the_asyncapi_document_leads_somewhere():
    document = schemas.asyncapi()
    references = list(references_in(document))
    assert len(references) > 20
    for reference in references:
        if reference.startswith("./"):
            assert (SCHEMAS / reference).is_file(), reference
            continue
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_the_asyncapi_document_names_what_is_really_declared():
    document = schemas.asyncapi()
    declared = {entity.name for entity in topology.entities(topology.BusSettings(), topology.LISTENS)}
    bindings = [channel["bindings"]["amqp"] for channel in document["channels"].values()]
    named = {binding[binding["is"].replace("routingKey", "exchange")]["name"] for binding in bindings}
    assert named <= declared
    assert {f"{stage}.{kind}" for stage in topology.LISTENS for kind in ("events", "tasks.small")} < named


def references_in(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from references_in(value)


if __name__ == "__main__":
    for name, message in messages().items():
        (GOLDEN / f"{name}.json").write_text(golden_text(message))
