"""Every object of every overlay is what Kubernetes, KEDA and a careful operator accept, and fits the house."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from fringeflow.bus import topology
from fringeflow.bus.settings import BusSettings
from fringeflow.events import MEMORY_CLASSES
from fringeflow.graph.build import STAGES
from fringeflow.settings import Settings
from tests.podman import ROOT

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

TOOLS = ROOT / ".venv-deploy" / "bin"
OVERLAYS = ("local", "cloud")
KUBERNETES = ("1.31", "1.37")
OTHERS = ("keda.sh", "monitoring.coreos.com")
Manifest = dict[str, Any]


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def manifests(overlay: str) -> list[Manifest]:
    """What `kubectl apply -k` would send."""
    command = [TOOLS / "kubectl", "kustomize", ROOT / "k8s" / "overlays" / overlay]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def plain(manifests: list[Manifest]) -> list[Manifest]:
    """The objects of Kubernetes itself, with the jobs that KEDA would make."""
    made = [
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": item["metadata"], "spec": item["spec"]["jobTargetRef"]}
        for item in manifests
        if item["kind"] == "ScaledJob"
    ]
    assert len(made) == len(MEMORY_CLASSES)
    return [item for item in manifests if not item["apiVersion"].startswith(OTHERS)] + made


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_accepts_every_object(plain: list[Manifest], version: str, tmp_path: Path) -> None:
    done = _tool("kubernetes-validate", "--strict", "-k", version, _written(plain, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" passed ") == len(plain)


def test_an_unknown_field_is_noticed(plain: list[Manifest], tmp_path: Path) -> None:
    wrong = json.loads(json.dumps(next(item for item in plain if item["kind"] == "Deployment")))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    assert _tool("kubernetes-validate", "--strict", _written([wrong], tmp_path)).returncode != 0


def test_keda_accepts_its_objects(manifests: list[Manifest]) -> None:
    ours = [item for item in manifests if item["apiVersion"].startswith("keda.sh")]
    assert {item["kind"] for item in ours} == {"ScaledObject", "ScaledJob", "TriggerAuthentication"}
    assert _keda(ours) == ""


def test_keda_check_notices(manifests: list[Manifest]) -> None:
    wrong = json.loads(json.dumps(next(item for item in manifests if item["kind"] == "ScaledJob")))
    wrong["spec"]["rolout"] = {}
    wrong["spec"]["triggers"][0]["metadata"]["queue"] = "x"
    said = _keda([wrong])
    assert "rolout" in said
    assert "trigger: queue" in said


def test_checkov_has_nothing_to_say(plain: list[Manifest], tmp_path: Path) -> None:
    done = _tool(
        "checkov", "--config-file", ROOT / "k8s" / "checkov.yaml", "-f", _written(plain, tmp_path), "-o", "json"
    )
    summary = json.loads(done.stdout)["summary"]
    assert summary["failed"] == 0, done.stdout[-4000:]
    assert summary["passed"] > 400
    assert summary["parsing_errors"] == 0


def test_every_queue_is_watched_by_what_serves_it(manifests: list[Manifest]) -> None:
    watched = {
        trigger["metadata"]["queueName"]: item
        for item in manifests
        if item["kind"] in ("ScaledObject", "ScaledJob")
        for trigger in item["spec"]["triggers"]
    }
    tasks = {
        topology.task_queue(BusSettings(), stage, name): (stage, name) for stage in STAGES for name in MEMORY_CLASSES
    }
    assert watched.keys() == tasks.keys()
    for queue, (stage, memory_class) in tasks.items():
        item = watched[queue]
        if item["kind"] == "ScaledJob":
            (container,) = item["spec"]["jobTargetRef"]["template"]["spec"]["containers"]
            assert container["args"][:4] == ["worker", stage, "--classes", memory_class]
            assert "--drain" in container["args"]
            assert item["spec"]["rollout"]["strategy"] == "gradual"
        else:
            deployment = _named(manifests, "Deployment", item["spec"]["scaleTargetRef"]["name"])
            assert _container(deployment)["args"] == ["worker", stage]
            assert item["spec"]["minReplicaCount"] >= 1
    assert _container(_named(manifests, "Deployment", "imaging-worker"))["args"] == [
        "worker",
        "imaging",
        "--classes",
        "none",
    ]


def test_jobs_fit_into_their_pods(manifests: list[Manifest]) -> None:
    classes = Settings().jobs.memory_classes_mb
    for item in manifests:
        if item["kind"] == "ScaledJob":
            memory_class = item["metadata"]["name"].removeprefix("imaging-")
            (container,) = item["spec"]["jobTargetRef"]["template"]["spec"]["containers"]
            assert _bytes(container["resources"]["limits"]["memory"]) > classes[memory_class] * 1e6 + 200e6
        if item["kind"] == "ScaledObject":
            container = _container(_named(manifests, "Deployment", item["spec"]["scaleTargetRef"]["name"]))
            largest = max(json.loads(_environment(container)["FRINGEFLOW_JOBS__MEMORY_CLASSES_MB"]).values())
            assert _bytes(container["resources"]["limits"]["memory"]) > largest * 1e6 + 200e6


def test_pods_leave_jobs_their_grace(manifests: list[Manifest]) -> None:
    for item in manifests:
        if item["kind"] in ("Deployment", "ScaledJob") and item["metadata"]["name"] != "bucket":
            pod = item["spec"].get("jobTargetRef", item["spec"])["template"]["spec"]
            grace = float(_environment(pod["containers"][0])["FRINGEFLOW_JOBS__GRACE_SECONDS"])
            assert pod["terminationGracePeriodSeconds"] > grace + 20


def test_settings_are_those_that_workers_know(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = next(item for item in manifests if item["metadata"]["name"].startswith("settings-"))
    for name, value in settings["data"].items():
        monkeypatch.setenv(name, value)
    known = Settings()
    assert known.store is not None
    assert known.store.url.startswith("s3://")
    assert known.bus.url.startswith("amqp")


def test_secrets_are_named_and_never_held(manifests: list[Manifest]) -> None:
    assert not [item for item in manifests if item["kind"] == "Secret"]
    names = set(
        re.findall(r"'secretKeyRef': \{'key': '\w+', 'name': '(\w+)'|'secretRef': \{'name': '(\w+)'", str(manifests))
    )
    assert {a or b for a, b in names} <= {"broker", "store"}


def test_pages_of_figures_show_figures_that_exist() -> None:
    from fringeflow.metrics import Metrics

    folder = ROOT / "k8s" / "components" / "monitoring"
    dashboard = json.loads((folder / "fringeflow.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    (alerts,) = yaml.safe_load_all((folder / "alerts.yaml").read_text())
    asked += [rule["expr"] for group in alerts["spec"]["groups"] for rule in group["rules"]]
    declared = re.findall(r"^# TYPE (\w+) (\w+)", Metrics(STAGES).text().decode(), re.MULTILINE)
    endings = {
        "counter": [""],
        "gauge": [""],
        "summary": ["_sum", "_count"],
        "histogram": ["_sum", "_count", "_bucket"],
    }
    known = {name + ending for name, kind in declared for ending in endings[kind]}
    used = set(re.findall(r"\bfringeflow_\w+", " ".join(asked)))
    assert len(used) > 10
    assert used <= known


def _tool(name: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOOLS / name, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)


def _written(manifests: list[Manifest], folder: Path) -> Path:
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(manifests))
    return path


def _keda(items: list[Manifest]) -> str:
    command = [TOOLS / "python", Path(__file__).parent / "keda_models.py"]
    done = subprocess.run(command, input=json.dumps(items), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    return next(item for item in manifests if item["kind"] == kind and item["metadata"]["name"] == name)


def _container(deployment: Manifest) -> dict[str, Any]:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(container)


def _environment(container: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in container["env"]}


def _bytes(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return float(number) * {"Mi": 2**20, "Gi": 2**30}[unit]
