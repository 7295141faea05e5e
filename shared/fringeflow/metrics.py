"""Counts what services do, for Prometheus. Each collector has a registry of its own, so that several may live together.

It watches and is asked; it never looks at store or broker itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    Summary,
    exposition,
    generate_latest,
)

from fringeflow.bus.dead import DeadLetter
from fringeflow.events import Event, FailureKind, Task
from fringeflow.graph.model import Unit, UnitId
from fringeflow.jobs.host import RunningJob
from fringeflow.manifest import Manifest
from fringeflow.world import Observer

CONTENT_TYPE = exposition.CONTENT_TYPE_LATEST
_WAIT_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2, 10, 60, 600, 3600, 36000)
_UNIT_BUCKETS = (0.1, 1, 10, 60, 300, 1800, 7200, 28800, 86400)
_MEGABYTE = 1 << 20


class Metrics(Observer):
    """The figures of one process."""

    def __init__(self, stages: Sequence[str]) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._jobs: dict[str, str] = {}
        self._units = Counter(
            "fringeflow_units", "Units by how they came out.", ["stage", "outcome"], registry=registry
        )
        self._seconds = Histogram(
            "fringeflow_unit_seconds", "Time to make a unit.", ["stage"], buckets=_UNIT_BUCKETS, registry=registry
        )
        self._steps = Summary("fringeflow_step_seconds", "Time in each step.", ["stage", "step"], registry=registry)
        self._cpu = Counter("fringeflow_cpu_seconds", "Processor time of jobs.", ["stage"], registry=registry)
        self._memory = Summary(
            "fringeflow_job_peak_memory_bytes", "Peak memory of the jobs that made units.", ["stage"], registry=registry
        )
        self._bytes = Counter(
            "fringeflow_bytes", "Bytes of inputs and outputs of units.", ["stage", "direction"], registry=registry
        )
        self._attempts = Counter(
            "fringeflow_failed_attempts", "Attempts that failed, for good or not.", ["stage", "kind"], registry=registry
        )
        self._running = Gauge("fringeflow_jobs_running", "Jobs running now.", ["stage"], registry=registry)
        self._ready = Gauge("fringeflow_queue_messages", "Messages ready in a queue.", ["queue"], registry=registry)
        self._age = Gauge(
            "fringeflow_queue_age_seconds",
            "How long the message taken last had lain in its queue; 0 when the queue is empty.",
            ["queue"],
            registry=registry,
        )
        self._wait = Histogram(
            "fringeflow_queue_wait_seconds",
            "How long messages lay in their queue.",
            ["queue"],
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self._up = Gauge("fringeflow_up", "Whether broker and store answer.", ["part"], registry=registry)
        for stage in stages:
            self._running.labels(stage)
            for outcome in ("made", "failed", "made before"):
                self._units.labels(stage, outcome)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def depths(self, ready: Mapping[str, int]) -> None:
        """Take in how many messages are ready in each queue."""
        for queue, count in ready.items():
            self._ready.labels(queue).set(count)
            if count == 0:
                self._age.labels(queue).set(0)

    def up(self, **parts: bool) -> None:
        """Take in which parts answer."""
        for part, answers in parts.items():
            self._up.labels(part).set(answers)

    def started(self, job: RunningJob, units: Sequence[Unit]) -> None:
        """Count a job."""
        self._jobs[job.id] = units[0].id.stage
        self._running.labels(units[0].id.stage).inc()

    def ended(self, job: RunningJob) -> None:
        """Count a job no more."""
        self._running.labels(self._jobs.pop(job.id)).dec()

    def made(self, manifest: Manifest) -> None:
        """Count a unit and what it took."""
        stage = manifest.unit.stage
        self._units.labels(stage, "made").inc()
        self._seconds.labels(stage).observe(manifest.seconds)
        self._cpu.labels(stage).inc(manifest.cpu_seconds)
        self._memory.labels(stage).observe(manifest.peak_memory_mb * _MEGABYTE)
        for step, seconds in manifest.steps.items():
            self._steps.labels(stage, step_label(step)).observe(seconds)
        read = sum(artefact.size for item in manifest.inputs for artefact in item.artefacts)
        self._bytes.labels(stage, "in").inc(read)
        self._bytes.labels(stage, "out").inc(sum(artefact.size for artefact in manifest.outputs))

    def failed(self, letter: DeadLetter) -> None:
        """Count a unit that was given up."""
        self._units.labels(UnitId.parse(letter.unit).stage, "failed").inc()

    def attempted(self, task: Task, kind: FailureKind) -> None:
        """Count an attempt that failed."""
        self._attempts.labels(task.stage, kind).inc()

    def settled(self, stage: str, outcome: str) -> None:
        """Count a unit that needed no making."""
        self._units.labels(stage, outcome).inc()

    def took(self, stage: str, message: Event | Task, waited_seconds: float | None) -> None:
        """Take in how long a message lay in its queue."""
        if waited_seconds is not None:
            queue = f"{stage}.tasks.{message.memory_class}" if isinstance(message, Task) else f"{stage}.events"
            self._wait.labels(queue).observe(waited_seconds)
            self._age.labels(queue).set(waited_seconds)


def step_label(step: str) -> str:
    """Return the first word of a step that is a plain word: names of files and numbers are without end."""
    return next((word for word in step.split() if word.isalpha()), "other")
