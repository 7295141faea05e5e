"""Fixtures shared by all tests."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from fringeflow.jobs import casa
from tests.broker import Broker, private_broker
from tests.gateway import Gateway, private_gateway

# Examples are judged by what they show, never by how long a busy machine took to make them.
settings.register_profile("fringeflow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fringeflow")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def casa_ready(tmp_path_factory: pytest.TempPathFactory) -> None:
    """CASA, importable in this test process."""
    if not casa.is_installed():
        pytest.skip("CASA is not installed")
    casa.enable(tmp_path_factory.mktemp("casa"))
    casa.load()


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference products, where it is there."""
    if not SHARED.is_dir():
        pytest.skip(f"the reference products are not here: {SHARED} does not exist")
    return SHARED


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what its broker complains of: the broker's files go with it."""
    report = yield
    if report.failed:
        brokers = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Broker)]
        report.sections += [("errors of the broker", broker.complaints()) for broker in brokers]
    return report


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The RabbitMQ of this session; whoever ends it starts it again."""
    with private_broker() as broker:
        yield broker


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    """The S3 server of this session; whoever ends it starts it again."""
    with private_gateway() as gateway:
        yield gateway


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB of its own, mounted here."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False, capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def read_only_disk(small_disk: Path) -> Path:
    """A disk on which nothing can be written, not even by root."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    return small_disk
