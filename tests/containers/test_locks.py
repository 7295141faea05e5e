"""What images are built of follows from one lock, and cannot drift from it unnoticed."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.podman import ROOT, SERVICES

PARTS = [*(f"services/{service}/requirements.lock" for service in SERVICES), "containers/build.lock"]


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock", ROOT / "tools" / "lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("part", PARTS)
def test_every_package_of_an_image_is_the_tested_one(lock: ModuleType, part: str) -> None:
    whole = lock.blocks((ROOT / "requirements.lock").read_text())
    for name, block in lock.blocks((ROOT / part).read_text()).items():
        assert block == whole[name]


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_holds_what_its_distributions_ask_for(lock: ModuleType, service: str) -> None:
    folder = ROOT / "services" / service
    held = set(lock.blocks((folder / "requirements.lock").read_text()))
    asked = lock.dependencies(ROOT / "shared") | lock.dependencies(folder)
    assert {canonicalize_name(Requirement(item).name) for item in asked} <= held
    assert held.isdisjoint({"pytest", "mypy", "moto", "hypothesis", "uv"})
    casa = held & {"casatools", "casatasks", "casadata"}
    assert len(casa) == (3 if service in ("staging", "imaging") else 0)


def test_every_package_has_a_digest(lock: ModuleType) -> None:
    for part in (*PARTS, "requirements.lock", "requirements-deploy.lock"):
        text = (ROOT / part).read_text()
        assert all("--hash=sha256:" in block for block in lock.blocks(text).values()), part
        assert "://" not in text, f"{part} names a package index"


def test_dockerfiles_differ_only_in_their_service() -> None:
    texts = set()
    for service in SERVICES:
        project = tomllib.loads((ROOT / "services" / service / "pyproject.toml").read_text())["project"]
        text = (ROOT / "services" / service / "Dockerfile").read_text()
        description = re.search(r'image\.description="(.+)"', text)
        assert description is not None
        assert f"ARG VERSION={project['version']}" in text
        texts.add(text.replace(description[1], "...").replace(service, "SERVICE"))
    assert len(texts) == 1


def test_compose_gives_workers_no_privileges_and_tells_no_secret() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    services = yaml.safe_load(text)["services"]
    for name, service in services.items():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), name
        if "localhost/fringeflow" in service["image"]:
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    assert asked == {"BROKER_USER", "BROKER_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"}
    example = (ROOT / ".env.example").read_text()
    assert all(re.search(rf"^{name}=", example, re.MULTILINE) for name in asked)
    assert re.search(r"PASSWORD=\S|SECRET_KEY=\S", example) is None
    assert set(re.findall(r"\$\{(\w+)[:?-]", text)) - asked <= set(re.findall(r"^#(\w+)=", example, re.MULTILINE)) | {
        "BROKER_PORT", "BROKER_PAGES_PORT", "S3_PORT", "STAGING_MEMORY", "POSTPROCESS_MEMORY", "DERIVED_MEMORY",
    }  # fmt: skip


def test_an_image_sees_nothing_but_what_it_is_built_of() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    assert [rule for rule in rules if rule[0] == "!"] == [
        "!containers/install.sh", "!containers/build.lock", "!shared", "!services",
    ]  # fmt: skip
    assert {"**/.env*", "**/*.pem", "**/*.key"} <= set(rules)
    assert Path(ROOT / "containers" / "install.sh").is_file()
