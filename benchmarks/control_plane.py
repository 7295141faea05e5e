"""What the control plane costs when jobs cost nothing: throughput, growth with the survey, memory, replay, latency.

    python benchmarks/control_plane.py [--units 1000,10000,100000] [--replayed 2000]

Growth: four services in one process on the in-memory broker, with claims, manifests in a folder, and jobs that end as
they begin. Replay and latency: worker processes on a private RabbitMQ (tools/rabbitmq.sh). Exits 1 where a goal is
missed: replay of what is made at 200 units a second, an event's task begun within 100 ms when idle, cost of a unit that
does not grow with the survey.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.growth import growth, survey
from benchmarks.on_broker import latency, replay, work

LEAST_REPLAYED_PER_SECOND = 200.0
MOST_LATENCY_SECONDS = 0.1
MOST_GROWTH = 1.3
"""Of the cost of one unit, from the smallest survey measured to the largest."""


def main() -> int:
    """Measure, print, and say whether the goals are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", default="1000,10000,100000", help="sizes of the surveys, a multiple of 10 each")
    parser.add_argument("--replayed", type=int, default=2000, help="units of the replay")
    parser.add_argument("--survey", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work()
        return 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="fringeflow-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if options.survey is not None:
            sys.stdout.write(json.dumps(survey(folder, options.survey)))
            return 0
        sizes = [int(text) for text in options.units.split(",") if text]
        figures = {
            "growth": growth(sizes),
            "replay": replay(folder / "replay", options.replayed) if options.replayed else None,
            "latency_seconds": latency(folder / "latency", 100) if options.replayed else None,
        }
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    missed = list(_missed(figures))
    for line in missed:
        sys.stdout.write(f"missed: {line}\n")
    return 1 if missed else 0


def _missed(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield the goals that are missed."""
    sizes, replayed, delay = figures["growth"], figures["replay"], figures["latency_seconds"]
    if sizes and sizes[-1]["cpu_ms_per_unit"] > MOST_GROWTH * sizes[0]["cpu_ms_per_unit"]:
        yield "the cost of a unit grows with the survey"
    if replayed and min(replayed["units_per_second"]) < LEAST_REPLAYED_PER_SECOND:
        yield f"replay of {LEAST_REPLAYED_PER_SECOND:.0f} units a second"
    if delay and delay["median"] > MOST_LATENCY_SECONDS:
        yield f"an event's task begun within {1000 * MOST_LATENCY_SECONDS:.0f} ms"


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
