"""A process with a job host: run by the tests, to be killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from fringeflow.jobs.host import JobHost
from fringeflow.store.objects import StoreSettings


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main(when: str, folder: Path) -> None:
    with JobHost(folder / "scratch", StoreSettings.of_folder(folder / "store")) as host:
        if when == "early":
            say("starting")
        host.call(
            "fake_stage:note_and_sleep",
            {"note": folder / "note"},
            on_progress=lambda step, fraction: say(step),
        )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
    time.sleep(60)
