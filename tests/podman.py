"""Real images and containers with Podman, in a place of its own (see `tools/podman.sh`)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tools" / "podman.sh"
BASE = "localhost/debian-base:12"
SERVICES = ("staging", "imaging", "postprocess", "derived")
STAND_INS = ("rabbitmq", "s3")
CANNOT_BE_HAD = 69
# what the builder needs of this machine to reach the package registries that this machine reaches
_AUTHORITIES = ("/etc/ssl/certs", "/usr/local/share/ca-certificates")


class Podman:
    """Podman with all its files in `state`, which outlives the tests: images are built anew only where they changed."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def get_ready(self) -> None:
        """Install it if it is absent, and make the base image."""
        for step in ("ready", "base"):
            done = subprocess.run([SCRIPT, step, self.state], capture_output=True, text=True, timeout=1800)
            if done.returncode == CANNOT_BE_HAD and os.environ.get("CI") != "true":
                pytest.skip(f"no Podman here: {done.stderr.strip().splitlines()[-1]}")
            assert done.returncode == 0, done.stderr

    def __call__(self, *arguments: Any, check: bool = True, timeout: float = 600) -> str:
        """Return what a podman command prints."""
        command = [str(SCRIPT), "do", str(self.state), *(str(item) for item in arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        assert not check or done.returncode == 0, f"podman {' '.join(command[3:])}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def build(self, dockerfile: Path, tag: str, *, context: Path, ignore: Path | None = None) -> float:
        """Build an image and return the seconds it took."""
        started = time.monotonic()
        command = ["build", "--quiet", "--format=docker", "--network=host", f"--build-arg=BASE={BASE}"]
        command += [f"--volume={path}:{path}:ro" for path in _AUTHORITIES if Path(path).is_dir()]
        command += [f"--ignorefile={ignore}"] if ignore else []
        self(*command, "--file", dockerfile, "--tag", tag, context, timeout=1800)
        return time.monotonic() - started

    def build_service(self, service: str, context: Path = ROOT) -> float:
        return self.build(ROOT / "services" / service / "Dockerfile", image_of(service), context=context)

    def build_stand_in(self, name: str) -> float:
        folder = ROOT / "containers" / "stand-ins"
        tag = f"localhost/fringeflow-stand-in/{name}"
        return self.build(folder / f"{name}.Dockerfile", tag, context=ROOT, ignore=folder / "ignore")

    def inspect(self, image: str) -> dict[str, Any]:
        (found,) = json.loads(self("image", "inspect", image))
        return dict(found)

    def layers(self, image: str) -> list[Path]:
        """The folders that hold the files of each layer."""
        data = self.inspect(image)["GraphDriver"]["Data"]
        return [Path(item) for item in (*data.get("LowerDir", "").split(":"), data["UpperDir"]) if item]

    def serve(self) -> str:
        """Answer Docker's API; return where."""
        subprocess.run([SCRIPT, "serve", self.state], check=True, timeout=60)
        return f"unix://{self.state}/docker.sock"

    def stop(self) -> None:
        subprocess.run([SCRIPT, "stop", self.state], check=True, timeout=60)

    def check_health(self) -> None:
        """Do what systemd's timers do where there is systemd: run the health checks of containers that start."""
        for container in self("ps", "--format={{.ID}}").split():
            (found,) = json.loads(self("inspect", container, check=False) or "[{}]")
            health = found.get("State", {}).get("Health") or found.get("State", {}).get("Healthcheck") or {}
            if health.get("Status") in ("starting", "unhealthy"):
                self("healthcheck", "run", container, check=False)


def image_of(service: str) -> str:
    return f"localhost/fringeflow/{service}:latest"


def private_podman() -> Podman:
    """The Podman of these tests, ready."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fringeflow" / "podman"
    podman = Podman(Path(os.environ.get("FRINGEFLOW_TEST_PODMAN", default)))
    podman.get_ready()
    return podman


def build_context(folder: Path) -> Path:
    """Copy what an image is built of, and nothing that lies beside it by chance."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in ("shared", "services", "containers"):
        shutil.copytree(ROOT / part, folder / part, ignore=unwanted)
    shutil.copy(ROOT / ".dockerignore", folder)
    return folder
