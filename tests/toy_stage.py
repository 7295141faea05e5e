"""What makes the toy units of `tests.toy`, in a job's child process: writes a line of text, fails or dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fringeflow.errors import DataError
from fringeflow.jobs.order import Job


def make(job: Job) -> None:
    """Do what each order's recipe says, then write the texts of the inputs and the recipe's own."""
    for order in job.orders:
        recipe = order.unit.recipe
        if "diary" in recipe:
            with Path(recipe["diary"]).open("a") as diary:
                diary.write(f"{order.unit.id} {os.getpid()} {time.time():.3f}\n")
        job.progress("toying", 0.5)
        act(recipe)
        texts = [path.read_text() for paths in order.inputs.values() for path in paths.values()]
        texts += [path.read_text() for path in order.leaves.values()]
        path = job.scratch / order.unit.outputs[0]
        path.write_text("".join([*texts, str(recipe["text"])]))
        job.finish(order, {path.name: path}, {"length": path.stat().st_size, "cores": job.cores})


def act(recipe: Mapping[str, Any]) -> None:
    """Fail as `recipe` says; with a `flag` file, only until the file is there."""
    if "seconds" in recipe:
        time.sleep(float(recipe["seconds"]))
    flag = recipe.get("flag")
    if flag is not None:
        if Path(flag).exists():
            return
        Path(flag).touch()
    match recipe.get("do", "write"):
        case "data":
            raise DataError("nothing was observed", remedy="observe something")
        case "bug":
            raise RuntimeError("a bug")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "abort":
            os.abort()
