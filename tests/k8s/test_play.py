"""One service of the manifests, really run: its Deployment with settings, secrets, limits and security context."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.podman import ROOT, Podman, image_of, private_podman

pytestmark = [pytest.mark.kubernetes, pytest.mark.xdist_group("containers"), pytest.mark.timeout(1800)]

SERVICE = "postprocess"
PASSWORD = "canary-0123456789"
SECRETS = {
    "broker": {"username": "fringeflow", "password": PASSWORD},
    "store": {"AWS_ACCESS_KEY_ID": "fringeflow", "AWS_SECRET_ACCESS_KEY": PASSWORD},
}
PAGE = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/{}').read().decode())"


@pytest.fixture(scope="module")
def podman() -> Podman:
    return private_podman()


@pytest.fixture(scope="module")
def container(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The id of the worker, which `podman kube play` has started. There is no broker: it waits for one."""
    podman.build_service(SERVICE)
    folder = tmp_path_factory.mktemp("play")
    (folder / "play.yaml").write_text(yaml.safe_dump_all(_manifests(image_of(SERVICE))))
    podman("kube", "down", folder / "play.yaml", check=False)  # of a test that was killed
    for name, content in SECRETS.items():
        # Podman takes a Secret of Kubernetes as JSON with its values in base64
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in content.items()}
        (folder / name).write_text(json.dumps(encoded))
        podman("secret", "rm", name, check=False)
        podman("secret", "create", name, folder / name)
    podman("kube", "play", folder / "play.yaml")
    try:
        yield podman("ps", "--quiet", f"--filter=ancestor={image_of(SERVICE)}", "--filter=name=worker").strip()
    finally:
        podman("kube", "down", folder / "play.yaml", check=False)
        podman("secret", "rm", *SECRETS, check=False)


def test_answers_and_says_what_it_waits_for(podman: Podman, container: str) -> None:
    _wait(
        lambda: "ok" in podman("exec", container, "python", "-c", PAGE.format("healthz"), check=False),
        podman,
        container,
    )
    assert "fringeflow_jobs_running" in podman("exec", container, "python", "-c", PAGE.format("metrics"))
    assert podman("exec", container, "python", "-c", PAGE.format("readyz"), check=False).strip() != "ok"


def test_runs_under_its_restrictions(podman: Podman, container: str) -> None:
    (facts,) = json.loads(podman("inspect", container))
    assert facts["HostConfig"]["ReadonlyRootfs"]
    assert not facts["EffectiveCaps"]
    assert facts["HostConfig"]["Memory"] > 0
    looks = "os.getuid(), os.access('/', os.W_OK), os.access('/scratch', os.W_OK), os.environ['FRINGEFLOW_STORE__URL']"
    script = f"import os; print({looks})"
    assert podman("exec", container, "python", "-c", script).split() == ["10001", "False", "True", "s3://fringeflow"]
    status = podman("exec", container, "cat", "/proc/1/status")
    assert "NoNewPrivs:\t1" in status
    assert PASSWORD not in podman("logs", container)


def test_leaves_when_told(podman: Podman, container: str) -> None:
    """Even while it waits for a store that does not answer: a kill would be exit status 137."""
    podman("stop", "--time=120", container)
    (facts,) = json.loads(podman("inspect", container))
    assert facts["State"]["ExitCode"] == 0


def _manifests(image: str) -> list[dict[str, Any]]:
    kubectl = ROOT / ".venv-deploy" / "bin" / "kubectl"
    overlay = ROOT / "k8s" / "overlays" / "local"
    text = subprocess.run([kubectl, "kustomize", overlay], check=True, capture_output=True, text=True).stdout
    found = list(yaml.safe_load_all(text))
    settings = next(
        item for item in found if item["kind"] == "ConfigMap" and item["metadata"]["name"].startswith("settings")
    )
    deployment = next(
        item for item in found if item["metadata"]["name"] == f"{SERVICE}-worker" and item["kind"] == "Deployment"
    )
    (worker,) = deployment["spec"]["template"]["spec"]["containers"]
    worker["image"] = image
    return [settings, deployment]


def _wait(true: Any, podman: Podman, container: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, podman("logs", container, check=False)
        time.sleep(1)
