"""The messages as documents: JSON Schemas and an AsyncAPI description, generated from the models that send them.

``python -m fringeflow.schemas FOLDER`` writes them; a test compares them with the committed ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fringeflow import events
from fringeflow.bus import topology
from fringeflow.bus.dead import DeadLetter

JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
STAGES = tuple(topology.LISTENS)
_KINDS = ("events", *(f"tasks.{name}" for name in events.MEMORY_CLASSES))


def documents() -> dict[str, dict[str, Any]]:
    """Return every document by file name."""
    schemas = {f"{name}.schema.json": {"$schema": JSON_SCHEMA, **_schema(model)} for name, model in _models().items()}
    return {**schemas, "asyncapi.json": asyncapi()}


def write(folder: Path) -> list[Path]:
    """Write every document into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, document in documents().items():
        path = folder / name
        path.write_text(text_of(document), encoding="utf-8")
        paths.append(path)
    return paths


def text_of(document: dict[str, Any]) -> str:
    """Return a document as it is committed."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document: the exchanges and queues, what is on them, who sends and who listens."""
    messages = {fact: _message(fact) for fact in events.FACTS} | {"task": _task_message()}
    stage_queues = {f"{stage}.{kind}": _queue(stage, kind) for stage in STAGES for kind in _KINDS}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "fringeflow",
            "version": "1.0.0",
            "description": "CloudEvents 1.0 as structured JSON; events on a topic exchange, tasks on a direct one.",
        },
        "defaultContentType": events.EVENT_CONTENT_TYPE,
        "channels": {
            "events": {
                "address": "{fact}.{target}.{config}.{product}",
                "title": "everything that has happened",
                "parameters": {
                    "fact": {"enum": list(events.FACTS), "description": "two words"},
                    "target": {"description": "one word; '-' if not known"},
                    "config": {"description": "one word; '-' if not known"},
                    "product": {"description": "one word; '-' if not known. unit.made has its stage as a further word"},
                },
                "messages": {fact: _refer("messages", fact) for fact in events.FACTS},
                "bindings": _exchange("fringeflow.events", "topic"),
            },
            "tasks": {
                "address": "{stage}.{class}",
                "title": "commands inside one service",
                "parameters": {
                    "stage": {"enum": list(STAGES)},
                    "class": {"enum": list(events.MEMORY_CLASSES), "description": "memory class"},
                },
                "messages": {"task": _refer("messages", "task")},
                "bindings": _exchange("fringeflow.tasks", "direct"),
            },
            **stage_queues,
        },
        "operations": _operations(),
        "components": {"messages": messages},
    }


def _models() -> dict[str, type[BaseModel]]:
    return {**events.FACTS, "task": events.Task, "dead-letter": DeadLetter}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True, mode="validation")


def _message(fact: str) -> dict[str, Any]:
    model = events.FACTS[fact]
    return {
        "name": f"fringeflow.{fact}.v1",
        "summary": (model.__doc__ or "").strip(),
        "contentType": events.EVENT_CONTENT_TYPE,
        "correlationId": {"location": "$message.payload#/correlationid", "description": "the run"},
        "payload": {"$ref": f"./{fact}.schema.json"},
    }


def _task_message() -> dict[str, Any]:
    return {
        "name": "fringeflow.task.v1",
        "summary": (events.Task.__doc__ or "").strip(),
        "contentType": events.TASK_CONTENT_TYPE,
        "correlationId": {"location": "$message.payload#/run", "description": "the run"},
        "payload": {"$ref": "./task.schema.json"},
    }


def _facts_heard_by(stage: str) -> list[str]:
    return [topic.removesuffix(".#") for topic in topology.LISTENS[stage]] + ["unit.made"]


def _queue(stage: str, kind: str) -> dict[str, Any]:
    heard = _facts_heard_by(stage) if kind == "events" else ["task"]
    queue = {"name": f"{stage}.{kind}", "durable": True, "exclusive": False}
    return {
        "address": queue["name"],
        "messages": {name: _refer("messages", name) for name in heard},
        "bindings": {"amqp": {"is": "queue", "queue": queue, "bindingVersion": "0.3.0"}},
    }


def _operations() -> dict[str, Any]:
    operations: dict[str, Any] = {
        "announce": {"action": "send", "channel": {"$ref": "#/channels/events"}},
        "order": {"action": "send", "channel": {"$ref": "#/channels/tasks"}},
    }
    for stage in STAGES:
        for kind in _KINDS:
            verb = "Hear" if kind == "events" else f"Work{kind.removeprefix('tasks.').capitalize()}"
            operations[f"{stage}{verb}"] = {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{stage}.{kind}"},
            }
    return operations


def _exchange(name: str, kind: str) -> dict[str, Any]:
    exchange = {"name": name, "type": kind, "durable": True, "autoDelete": False}
    return {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}}


def _refer(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


if __name__ == "__main__":
    for written in write(Path(sys.argv[1])):
        sys.stdout.write(f"{written}\n")
