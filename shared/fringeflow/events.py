"""The wire: every message of the system as a frozen model, its JSON, its identity and its routing key.

It knows nothing of brokers, of the store or of the graph: units travel as text, artefacts as object keys and digests.
Producers are strict, readers tolerate members they do not know within a major version (the ``.v1`` of the type).
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

EVENT_CONTENT_TYPE = "application/cloudevents+json"
TASK_CONTENT_TYPE = "application/vnd.fringeflow.task.v1+json"
MAX_BYTES = 16 * 1024

FailureKind = Literal["transient", "resource", "data", "bug"]
MemoryClass = Literal["small", "medium", "large"]
MEMORY_CLASSES: tuple[MemoryClass, ...] = ("small", "medium", "large")

UnitText = Annotated[
    str,
    Field(
        pattern=r"^[^/\s]+(/[^/\s]+){3,4}$",
        max_length=500,
        description="unit id: stage/target/config/product, with /step for an inner step",
    ),
]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="sha256, hexadecimal")]
Key = Annotated[str, Field(min_length=1, max_length=1024, description="object key in the store, or a file URI")]
Name = Annotated[str, Field(min_length=1, max_length=500)]


class UnreadableMessageError(ValueError):
    """A message is not one of ours, or of a major version this program does not know."""


class MessageTooLargeError(ValueError):
    """A message exceeds the 16 KiB of a claim check."""


class Wire(BaseModel):
    """A value on the wire."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)


class ArtefactRef(Wire):
    """Where one artefact lies, and its digest: a claim check."""

    name: Name
    key: Key
    size: int = Field(ge=0, description="bytes of the stored object")
    sha256: Digest


class Arrived(Wire):
    """A dropped input; the names of the cube it belongs to where they are known."""

    leaf: Name = Field(description="name of the dropped input, e.g. incoming/a.ms")
    artefact: ArtefactRef
    target: str = ""
    config: str = ""
    product: str = ""


class Made(Wire):
    """A unit that has been made; the manifest says everything, the artefacts are a convenience."""

    unit: UnitText
    work_key: Digest
    manifest: Key
    artefacts: tuple[ArtefactRef, ...] = ()
    left_out: int = Field(default=0, ge=0, description="artefacts left out for size; the manifest has them all")


class Failed(Wire):
    """An attempt at a unit that failed."""

    unit: UnitText
    work_key: Digest | None = None
    kind: FailureKind
    message: str
    remedy: str | None = None
    attempt: int = Field(ge=1)
    final: bool = Field(description="no further attempt will be made by itself")


class Waiting(Wire):
    """A unit that cannot be made yet."""

    unit: UnitText
    waits_for: tuple[Name, ...] = Field(description="names of dropped inputs and ids of units")
    left_out: int = Field(default=0, ge=0, description="names left out for size")


class Envelope(Wire):
    """The context attributes of CloudEvents 1.0, structured JSON; extension attributes are lower case there."""

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(min_length=1, description="the same for the same fact, so that duplicates are recognisable")
    source: str = Field(min_length=1, description="who says so, e.g. /fringeflow/imaging")
    subject: str = Field(min_length=1, description="unit id, or the name of the dropped input")
    time: AwareDatetime
    datacontenttype: Literal["application/json"] = "application/json"
    correlation_id: str = Field(alias="correlationid", min_length=1, description="the run")
    causation_id: str | None = Field(default=None, alias="causationid", description="id of the parent event")
    replay_of: str | None = Field(default=None, alias="replayof", description="id of the event that is replayed")
    forced: bool = Field(default=False, description="make the units again although they have been made")


class VisibilitiesArrived(Envelope):
    """An input was dropped."""

    type: Literal["fringeflow.visibilities.arrived.v1"] = "fringeflow.visibilities.arrived.v1"
    data: Arrived


class _AboutUnit(Envelope):
    data: Made | Failed | Waiting

    @model_validator(mode="after")
    def _subject_is_the_unit(self) -> Self:
        if self.subject != self.data.unit:
            raise ValueError(f"subject {self.subject!r} is not the unit {self.data.unit!r}")
        return self


class VisibilitiesStaged(_AboutUnit):
    """The visibilities of one cube are ready for imaging."""

    type: Literal["fringeflow.visibilities.staged.v1"] = "fringeflow.visibilities.staged.v1"
    data: Made


class CubeImaged(_AboutUnit):
    """A cube is ready for postprocessing."""

    type: Literal["fringeflow.cube.imaged.v1"] = "fringeflow.cube.imaged.v1"
    data: Made


class CubePostprocessed(_AboutUnit):
    """A cube is ready for everything derived from it."""

    type: Literal["fringeflow.cube.postprocessed.v1"] = "fringeflow.cube.postprocessed.v1"
    data: Made


class ProductsDerived(_AboutUnit):
    """Derived products are there."""

    type: Literal["fringeflow.products.derived.v1"] = "fringeflow.products.derived.v1"
    data: Made


class UnitMade(_AboutUnit):
    """An inner step of a stage was made; only its own service listens."""

    type: Literal["fringeflow.unit.made.v1"] = "fringeflow.unit.made.v1"
    data: Made


class UnitFailed(_AboutUnit):
    """An attempt at a unit failed."""

    type: Literal["fringeflow.unit.failed.v1"] = "fringeflow.unit.failed.v1"
    data: Failed


class UnitWaiting(_AboutUnit):
    """A unit waits for something."""

    type: Literal["fringeflow.unit.waiting.v1"] = "fringeflow.unit.waiting.v1"
    data: Waiting


MadeEvent = VisibilitiesStaged | CubeImaged | CubePostprocessed | ProductsDerived | UnitMade
Event = VisibilitiesArrived | MadeEvent | UnitFailed | UnitWaiting

MADE_FACTS: dict[str, type[MadeEvent]] = {
    "visibilities.staged": VisibilitiesStaged,
    "cube.imaged": CubeImaged,
    "cube.postprocessed": CubePostprocessed,
    "products.derived": ProductsDerived,
    "unit.made": UnitMade,
}
FACTS: dict[str, type[Event]] = {
    "visibilities.arrived": VisibilitiesArrived,
    **MADE_FACTS,
    "unit.failed": UnitFailed,
    "unit.waiting": UnitWaiting,
}


class Work(Wire):
    """One unit to make."""

    unit: UnitText
    work_key: Digest


class Task(Wire):
    """A command inside one service: make these units, in one job."""

    schema_version: Literal[1] = 1
    stage: str = Field(min_length=1)
    units: tuple[Work, ...] = Field(min_length=1)
    run: str = Field(min_length=1, description="correlation id of all that follows")
    causation_id: str | None = Field(default=None, description="id of the event that made these units possible")
    attempt: int = Field(default=1, ge=1, description="counts attempts that failed by themselves, from 1")
    deferrals: int = Field(default=0, ge=0, description="times put back for store or broker, uncounted as attempts")
    forced: bool = False
    memory_class: MemoryClass = "small"
    time_limit_seconds: float | None = Field(default=None, gt=0)

    @property
    def id(self) -> str:
        """The identity of this order: the same units at the same attempt are the same task."""
        return identity("task", *(part for work in self.units for part in (work.unit, work.work_key)), self.attempt)


Message = Event | Task
_EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def to_bytes(message: Message) -> bytes:
    """Return the JSON of an event or a task.

    Raises
    ------
    MessageTooLargeError
        If it exceeds 16 KiB.
    """
    body = message.model_dump_json(by_alias=True, exclude_none=True).encode()
    if len(body) > MAX_BYTES:
        raise MessageTooLargeError(f"a message has {len(body)} bytes, {MAX_BYTES} are allowed: send keys, not data")
    return body


def parse(body: bytes) -> Event:
    """Read an event, ignoring members this version does not know.

    Raises
    ------
    UnreadableMessageError
        If it is no event of a major version known here.
    """
    try:
        return _EVENTS.validate_json(body, extra="ignore")
    except ValidationError as error:
        raise UnreadableMessageError(f"not an event: {_first_fault(error)}") from error


def parse_task(body: bytes) -> Task:
    """Read a task as `parse` reads an event."""
    try:
        return Task.model_validate_json(body, extra="ignore")
    except ValidationError as error:
        raise UnreadableMessageError(f"not a task: {_first_fault(error)}") from error


def fact_of(event: Event) -> str:
    """Return the fact an event states, e.g. ``cube.imaged``."""
    return event.type.removeprefix("fringeflow.").removesuffix(".v1")


def place_of(event: Event) -> tuple[str, str, str, str]:
    """Return stage, target, config and product an event is about; empty where a dropped input leaves them open."""
    if isinstance(event.data, Arrived):
        return "", event.data.target, event.data.config, event.data.product
    stage, target, config, product = event.data.unit.split("/")[:4]
    return stage, target, config, product


def routing_key(event: Event) -> str:
    """Return the topic an event is published under: five words, ``<fact>.<target>.<config>.<product>``.

    A fact has two words (``cube.imaged``). Whatever is not a letter, digit, ``+`` or ``-`` in a name becomes an
    underscore, so that a name stays one word; a name that is not known is ``-``. ``unit.made`` alone has the stage as
    a sixth word, because only the unit's own service listens to it.
    """
    fact = fact_of(event)
    stage, *names = place_of(event)
    words = [fact, *(_word(name) for name in names)]
    return ".".join([*words, _word(stage)] if fact == "unit.made" else words)


def identity(*parts: object) -> str:
    """Return the sha256 of `parts`, each a text, number or None."""
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def _word(name: str) -> str:
    # three words of 60 and the longest fact stay below the 255 bytes of a routing key
    return re.sub(r"[^A-Za-z0-9+-]", "_", name)[:60] or "-"


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else fault["msg"]
