"""Images of this working tree, built once a session."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.podman import SERVICES, STAND_INS, Podman, build_context, private_podman


@dataclass(frozen=True)
class Images:
    """What was built: seconds by name, and the secret that lay about while it was."""

    seconds: dict[str, float]
    canary: str


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    found = private_podman()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def images(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Images:
    """All images, from a working tree with secrets in the places where people leave them."""
    canary = f"canary{secrets.token_hex(12)}"
    context = build_context(tmp_path_factory.mktemp("context"))
    for place in (".env", "services/imaging/.env", "shared/.env.local", "shared/fringeflow/server.pem", "keys/x.txt"):
        path = context / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"AWS_SECRET_ACCESS_KEY={canary}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", canary)
        seconds = {service: podman.build_service(service, context) for service in SERVICES}
        seconds |= {name: podman.build_stand_in(name) for name in STAND_INS}
    return Images(seconds, canary)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("containers")
