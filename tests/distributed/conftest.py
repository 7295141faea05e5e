"""A broker and an S3 server of these tests' own, which may be ended and robbed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import Broker, private_broker
from tests.gateway import Gateway, private_gateway
from tests.worker.conftest import House, delete_queues

BUCKET = "survey"


@pytest.fixture(scope="session")
def mortal_broker() -> Iterator[Broker]:
    with private_broker() as broker:
        yield broker


@pytest.fixture(scope="session")
def mortal_gateway() -> Iterator[Gateway]:
    with private_gateway() as gateway:
        gateway.client().create_bucket(Bucket=BUCKET)
        yield gateway


@pytest.fixture
def bucket_house(
    tmp_path: Path, mortal_broker: Broker, mortal_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    """Workers on both."""
    for name, value in mortal_gateway.credentials.items():
        monkeypatch.setenv(name, value)
    house = House(tmp_path, mortal_broker, mortal_gateway.settings(BUCKET, uuid.uuid4().hex))
    house.settings["STORE__REGION"] = "default"
    yield house
    house.end()
    delete_queues(house)
