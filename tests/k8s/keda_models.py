"""Checks KEDA objects against their models; runs in the environment of the deployment's tools.

Reads a JSON list of objects on standard input and prints one complaint a line. The models ignore what they do not know,
so unknown fields are looked for here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from cloudcoil.models.keda import v1alpha1
from pydantic import BaseModel, RootModel, ValidationError

# of https://keda.sh/docs/latest/scalers/rabbitmq-queue/: metadata is a free map for the models
RABBITMQ = {
    *("activationValue", "excludeUnacknowledged", "host", "hostFromEnv", "metricName", "mode", "operation"),
    *(
        "pageSize",
        "protocol",
        "queueName",
        "timeout",
        "unsafeSsl",
        "useRegex",
        "value",
        "vhostName",
        "workloadIdentityResource",
    ),
}


def main() -> int:
    for item in json.load(sys.stdin):
        name = f"{item['kind']} {item['metadata']['name']}"
        try:
            model = getattr(v1alpha1, item["kind"])
            model.model_validate(_without_whole_numbers(item))
        except ValidationError as error:
            sys.stdout.write(f"{name}: {error}\n")
            continue
        for complaint in (*unknown(item, model, ""), *_triggers(item)):
            sys.stdout.write(f"{name}: {complaint}\n")
    return 0


def _without_whole_numbers(data: Any, name: str = "") -> Any:
    """Say 4000m for 4 processors: the models trip over quantities that are whole numbers."""
    if isinstance(data, dict):
        return {key: _without_whole_numbers(value, key) for key, value in data.items()}
    if isinstance(data, list):
        return [_without_whole_numbers(item) for item in data]
    return f"{data}000m" if name == "cpu" and str(data).isdigit() else data


def unknown(data: Any, kind: Any, path: str) -> Iterator[str]:
    """Yield the fields of `data` that no model of `kind` has."""
    models = list(_models(kind))
    if isinstance(data, list):
        for number, item in enumerate(data):
            yield from unknown(item, kind, f"{path}[{number}]")
    elif isinstance(data, dict) and models:
        known = {field.alias or name: field.annotation for kind in models for name, field in kind.model_fields.items()}
        for name, value in data.items():
            if name in known:
                yield from unknown(value, known[name], f"{path}.{name}")
            else:
                yield f"unknown field {path}.{name}"


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    """Yield the models among the types that `kind` allows; the names in a mapping are free."""
    if isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, RootModel):
        yield kind
    elif get_origin(kind) is not dict:
        for part in get_args(kind):
            yield from _models(part)


def _triggers(item: dict[str, Any]) -> Iterator[str]:
    for trigger in item["spec"].get("triggers", []):
        if trigger["type"] != "rabbitmq":
            yield f"unexpected trigger {trigger['type']}"
        for name in trigger["metadata"].keys() - RABBITMQ:
            yield f"unknown field of a RabbitMQ trigger: {name}"


if __name__ == "__main__":
    sys.exit(main())
