"""The compose file, brought up by the real Docker Compose: a measurement set goes in, maps come out, all in the bucket.

The four images are those of this tree. Broker and S3 server stand in for public images: RabbitMQ and Ceph of Debian.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from astropy.io import fits
from botocore.config import Config

from tests.containers.conftest import Images
from tests.e2e.galaxy import write_keys
from tests.podman import ROOT, SERVICES, Podman
from tests.simulation import Observation, Truth, Window, simulate_disc

pytestmark = [pytest.mark.containers, pytest.mark.xdist_group("containers"), pytest.mark.timeout(3600)]

COMPOSE = ROOT / ".venv-deploy" / "bin" / "docker-compose"
WITHIN_SECONDS = 900
MAPS = ("mom0", "mom1", "mom2", "tpeak")


@dataclass
class System:
    """The compose file, up."""

    podman: Podman
    environment: dict[str, str]
    seconds: dict[str, float]

    def compose(self, *arguments: str, timeout: float = 600) -> str:
        files = ["--file", "docker-compose.yml", "--file", "containers/compose.stand-ins.yml"]
        command = [str(COMPOSE), "--project-name", "fringeflow-test", "--env-file", "/dev/null", *files, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def containers(self) -> list[dict[str, Any]]:
        return list(
            json.loads(
                self.podman("ps", "--all", "--format=json", "--filter=label=com.docker.compose.project=fringeflow-test")
                or "[]"
            )
        )

    def logs(self) -> str:
        """What every container said; the last of it."""
        said = []
        for container in self.containers():
            text = subprocess.run(
                [ROOT / "tools/podman.sh", "do", self.podman.state, "logs", container["Id"]],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            ).stdout
            said.append(f"--- {container['Names']}\n{text}")
        return "\n".join(said)

    def consumers(self) -> dict[str, int]:
        """How many take from the queues of each kind (`imaging.tasks`): the most that any of its queues has."""
        (broker,) = [item["Id"] for item in self.containers() if _service(item) == "rabbitmq"]
        listed = self.podman("exec", broker, "rabbitmqctl", "--quiet", "list_queues", "name", "consumers")
        found: dict[str, int] = {}
        for line in listed.splitlines():
            name, _, count = line.rpartition("\t")
            kind = ".".join(name.removeprefix("fringeflow.").split(".")[:2])
            found[kind] = max(found.get(kind, 0), int(count) if count.isdecimal() else 0)
        return found

    @property
    def bucket(self) -> Any:
        """The bucket, for a plain S3 client."""
        return boto3.resource(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.environment['S3_PORT']}",
            aws_access_key_id=self.environment["S3_ACCESS_KEY"],
            aws_secret_access_key=self.environment["S3_SECRET_KEY"],
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        ).Bucket("fringeflow")

    def made(self, prefix: str) -> dict[str, dict[str, Any]]:
        """The manifests of units below `prefix`."""
        found = self.bucket.objects.filter(Prefix=f"manifests/{prefix}")
        return {item.key: json.loads(item.get()["Body"].read()) for item in found}


@pytest.fixture(scope="module")
def galaxy(folder: Path, casa_ready: None) -> Truth:
    """Key files, and a measurement set in a plain tar archive."""
    write_keys(folder / "keys")
    truth = simulate_disc(
        folder / "disc.ms",
        windows=(Window(n_channels=12),),
        observation=Observation(n_times=12, longest_m=150.0),
        size_arcsec=3.0,
        gradient_kms_arcsec=3.0,
        line_flux_jykms=60.0,
        sigma_jy=0.2,
    )
    with tarfile.open(folder / "disc.ms.tar", "w") as archive:
        archive.add(folder / "disc.ms", "disc.ms")
    return truth


@pytest.fixture(scope="module")
def system(podman: Podman, images: Images, folder: Path, galaxy: Truth) -> Iterator[System]:
    ports = dict(zip(("BROKER_PORT", "BROKER_PAGES_PORT", "S3_PORT"), map(str, _free_ports(3)), strict=True))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "DOCKER_HOST": podman.serve(),
        "BROKER_USER": "fringeflow",
        "BROKER_PASSWORD": f"canary{secrets.token_hex(16)}",
        "S3_ACCESS_KEY": "fringeflow",
        "S3_SECRET_KEY": f"canary{secrets.token_hex(16)}",
        "KEYS": str(folder / "keys"),
        "POLL_SECONDS": "5",
        **ports,
    }
    system = System(podman, environment, {})
    system.compose("down", "--volumes", "--remove-orphans")
    try:
        with _health_checks(podman):
            started = time.monotonic()
            system.compose("up", "--detach", "--no-build", "--quiet-pull", timeout=400)
            system.seconds["compose up"] = time.monotonic() - started
            yield system
    finally:
        system.compose("down", "--volumes", "--remove-orphans", "--timeout", "20")


def test_a_dropped_measurement_set_becomes_maps_in_the_bucket(
    system: System, folder: Path, galaxy: Truth, images: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    system.bucket.upload_file(str(folder / "disc.ms.tar"), "incoming/disc.ms.tar")
    maps = _wait_for_maps(system, started)
    moment0 = next(item for item in maps if item["name"].endswith("strict_mom0.fits"))
    system.bucket.download_file(moment0["key"], str(folder / "mom0.fits"))
    with fits.open(folder / "mom0.fits") as file:
        header, data = file[0].header, file[0].data
        assert header["BUNIT"] == "K km s-1"
        assert header["OBJECT"].lower() == "disc"
        middle = tuple(n // 2 for n in data.shape)
        assert data[middle] > 0
    system.seconds["drop to maps"] = time.monotonic() - started
    with capsys.disabled():
        for what, seconds in system.seconds.items():
            sys.stdout.write(f"\ncompose: {what} {seconds:.1f} s")


def test_imaging_scales(system: System) -> None:
    """Three workers take imaging's jobs from the broker when three are asked for, and the others stay as they were."""
    before = system.consumers()
    assert before["imaging.tasks"] == 1, before
    system.compose("up", "--detach", "--no-build", "--no-recreate", "--scale", "imaging=3")
    _wait(lambda: system.consumers()["imaging.tasks"] == 3)
    after = system.consumers()
    assert all(after[f"{service}.tasks"] == 1 for service in SERVICES if service != "imaging"), after


def test_workers_answer_and_are_restricted(system: System) -> None:
    for container in system.containers():
        if _service(container) in SERVICES:
            for path in ("healthz", "readyz", "metrics"):
                _wait(partial(_answers, system.podman, container["Id"], path))
            (facts,) = json.loads(system.podman("inspect", container["Id"]))
            host = facts["HostConfig"]
            assert host["ReadonlyRootfs"]
            assert not facts["EffectiveCaps"]
            assert any(item.startswith("no-new-privileges") for item in host["SecurityOpt"])
            assert not any((host["PortBindings"] or {}).values())  # nothing is published


def test_no_secret_is_told(system: System) -> None:
    """Neither the logs nor any small object in the bucket holds a password."""
    told = system.logs().encode() + b"".join(
        item.get()["Body"].read() for item in system.bucket.objects.all() if item.size < 1 << 20
    )
    assert b"disc" in told
    for name in ("BROKER_PASSWORD", "S3_SECRET_KEY"):
        assert system.environment[name].encode() not in told, name


def _wait_for_maps(system: System, started: float) -> list[dict[str, Any]]:
    deadline = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < deadline:
        for stage in SERVICES:
            if f"first of {stage}" not in system.seconds and system.made(f"{stage}/"):
                system.seconds[f"first of {stage}"] = time.monotonic() - started
        made = [output for manifest in system.made("derived/").values() for output in manifest["outputs"]]
        if all(any(output["name"].endswith(f"_{name}.fits") for output in made) for name in MAPS):
            return made
        time.sleep(3)
    pytest.fail(f"no maps after {WITHIN_SECONDS} s\n{system.logs()[-20000:]}")


def _wait(true: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(1)


def _answers(podman: Podman, container: str, path: str) -> bool:
    script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/{path}').status)"
    return "200" in podman("exec", container, "python", "-c", script, check=False)


def _service(container: dict[str, Any]) -> str:
    return str(container["Labels"]["com.docker.compose.service"])


@contextmanager
def _health_checks(podman: Podman) -> Iterator[None]:
    """Health checks are run by systemd's timers, which are not everywhere."""
    over = threading.Event()

    def loop() -> None:
        while not over.wait(2):
            podman.check_health()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
