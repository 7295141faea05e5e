"""A real RabbitMQ on loopback, which tests may end and start again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "rabbitmq.sh"
CANNOT_BE_HAD = 69


class Broker:
    """A broker with files of its own; `environment` is told to the script that starts it."""

    def __init__(self, base: Path, port: int, **environment: str) -> None:
        self.base = base
        self.port = port
        self.environment = environment
        self.url = f"amqp://guest:guest@127.0.0.1:{port}//"

    def start(self) -> None:
        command = [SCRIPT, "start", self.base, str(self.port)]
        environment = {**os.environ, **self.environment}
        run = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
        if run.returncode == CANNOT_BE_HAD and os.environ.get("CI") != "true":
            pytest.skip(f"no RabbitMQ here: {run.stderr.strip().splitlines()[-1]}")
        assert run.returncode == 0, run.stderr

    def stop(self) -> None:
        subprocess.run([SCRIPT, "stop", self.base], check=True, timeout=60)

    def kill(self) -> None:
        subprocess.run([SCRIPT, "kill", self.base], check=True, timeout=60)

    def complaints(self) -> str:
        """The last of what it has logged as an error."""
        lines = (self.base / "log" / "rabbit.log").read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if "[error]" in line][-40:])

    def processes(self) -> list[int]:
        """The pids that the script would end."""
        home = f"HOME={self.base}/home".encode()
        return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if _has(path, home)]

    def freeze(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGCONT)

    def wipe(self) -> None:
        """Take away everything a stopped broker kept."""
        shutil.rmtree(self.base / "mnesia")


def _has(environ: Path, line: bytes) -> bool:
    try:
        return line in environ.read_bytes().split(b"\0")
    except OSError:
        return False


@contextmanager
def private_broker(**environment: str) -> Iterator[Broker]:
    """A broker that has been started and is ended in the end."""
    # a short path: the broker's sockets and node names do not like long ones
    base = Path(tempfile.mkdtemp(prefix="fringeflow-rabbitmq-"))
    broker = Broker(base, _three_free_ports(), **environment)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(base, ignore_errors=True)


def _three_free_ports() -> int:
    for port in range(25000 + os.getpid() % 1000 * 3, 30000, 3):
        try:
            for each in (port, port + 1, port + 2):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", each))
        except OSError:
            continue
        return port
    raise RuntimeError("no three free ports in a row")
