"""The process that jobs are forked from: begun before the jobs are known, told later, gone with its program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

_LOADED = """
    import json, sys
    from pathlib import Path
    from fringeflow.jobs.host import JobHost
    from fringeflow.jobs.server import ForkServer
    from fringeflow.store.settings import StoreSettings

    server = ForkServer() if {early} else None
    folder = Path({folder!r})
    settings = StoreSettings.of_folder(folder / "store")
    with JobHost(folder / "scratch", settings, stages={stages}, with_casa=False, server=server) as host:
        print(json.dumps(host.call("fake_stage:modules", {{}})))
"""

_ENDS_WHILE_ASKED = """
    import os, socket
    from fringeflow.jobs.server import ASK, Question

    name = f"fringeflow-{os.getppid()}-test"
    program = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    program.bind(f"\\0{name}")
    program.listen(1)
    os.environ[ASK] = name
    question = Question()
    print("asked", flush=True)
    program.close()
    question.answer()
    print("loads everything")
"""


def _program(text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    return done.stdout


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(
    ("stages", "others"), [(["derived"], {"postprocess", "imaging", "staging"}), ([], {"derived", "postprocess"})]
)
def test_jobs_find_in_memory_what_was_told(tmp_path: Path, early: bool, stages: list[str], others: set[str]) -> None:
    loaded = set(json.loads(_program(_LOADED.format(folder=str(tmp_path), early=early, stages=stages))))

    assert "numpy" in loaded
    assert "casatasks" not in loaded
    assert {f"fringeflow_{stage}.stage" for stage in stages} <= loaded
    assert not {f"fringeflow_{stage}.stage" for stage in others} & loaded


def test_a_program_that_ends_before_it_has_told_takes_the_server_with_it() -> None:
    pid = int(_program("from fringeflow.jobs.server import ForkServer, server_pid; ForkServer(); print(server_pid())"))

    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_program_that_ends_as_it_is_asked_leaves_no_traceback() -> None:
    """Its listener is closed with the question in it, which resets the server's connection."""
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_ENDS_WHILE_ASKED)], capture_output=True, text=True, check=True
    )
    assert (said.stdout, said.stderr) == ("asked\n", "")


def test_a_second_server_is_the_first() -> None:
    told = _program(
        """
        from fringeflow.jobs.server import ForkServer, Load, server_pid
        first = ForkServer()
        pid = server_pid()
        second = ForkServer()
        second.tell(Load(("derived",), casa=False))
        first.tell(Load((), casa=False))
        print(pid == server_pid())
        """
    )
    assert told.strip() == "True"
