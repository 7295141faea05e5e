"""A real S3 server on loopback, Ceph's gateway, which tests may end and start again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from fringeflow.store.settings import StoreSettings

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "ceph.sh"
CANNOT_BE_HAD = 69
PORTS = 20


class Gateway:
    """A gateway with a store of its own. Whoever talks to it must have its `credentials` in the environment."""

    def __init__(self, base: Path, port: int) -> None:
        self.base = base
        self.port = port
        self.endpoint = f"http://127.0.0.1:{port}"

    def start(self) -> None:
        command = [SCRIPT, "start", self.base, str(self.port)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        if run.returncode == CANNOT_BE_HAD and os.environ.get("CI") != "true":
            pytest.skip(f"no Ceph here: {run.stderr.strip().splitlines()[-1]}")
        assert run.returncode == 0, run.stderr

    def stop(self) -> None:
        subprocess.run([SCRIPT, "stop", self.base], check=True, timeout=60)

    def kill(self) -> None:
        subprocess.run([SCRIPT, "kill", self.base], check=True, timeout=60)

    @property
    def credentials(self) -> dict[str, str]:
        """What the environment of a client must hold."""
        lines = (self.base / "credentials").read_text().splitlines()
        return {**dict(line.split("=", 1) for line in lines), "NO_PROXY": "127.0.0.1"}

    def client(self, service: str = "s3") -> Any:
        """An ordinary client of the server, by default of S3."""
        keys = self.credentials
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="default",
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        )

    def settings(self, bucket: str, prefix: str = "") -> StoreSettings:
        """How our store is told of a bucket of this server."""
        url = f"s3://{bucket}/{prefix}".rstrip("/")
        return StoreSettings(url=url, endpoint=self.endpoint, region="default", allow_http=True)


@contextmanager
def private_gateway() -> Iterator[Gateway]:
    """A gateway that has been started and is ended in the end."""
    # a short path: it is that of sockets too
    base = Path(tempfile.mkdtemp(prefix="fringeflow-ceph-"))
    gateway = Gateway(base, _free_ports())
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.kill()
        shutil.rmtree(base, ignore_errors=True)


def _free_ports() -> int:
    for port in range(20000 + os.getpid() % 200 * PORTS, 25000, PORTS):
        try:
            for each in range(port, port + PORTS):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", each))
        except OSError:
            continue
        return port
    raise RuntimeError("no free ports in a row")
