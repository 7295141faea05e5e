"""The kinds of store, ready for use: a folder, an S3 server in memory, and a real one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from fringeflow.store.objects import Store, StoreSettings, open_store
from tests.gateway import Gateway

BUCKET = "fringeflow-tests"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 server with one bucket; it takes any credentials."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "NO_PROXY": "127.0.0.1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in credentials.items():
            patch.setenv(name, value)
        endpoint = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=BUCKET)
        yield endpoint
    server.stop()


@pytest.fixture(scope="session")
def gateway_bucket(gateway: Gateway) -> Gateway:
    """Ceph's gateway with one bucket."""
    gateway.client().create_bucket(Bucket=BUCKET)
    return gateway


KINDS = ["folder", "moto", pytest.param("radosgw", marks=pytest.mark.xdist_group("radosgw"))]


@pytest.fixture(params=KINDS)
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreSettings:
    """The settings of an empty store."""
    if request.param == "folder":
        return StoreSettings.of_folder(tmp_path / "the store")
    prefix = f"{uuid.uuid4().hex}/below"
    if request.param == "moto":
        endpoint = request.getfixturevalue("s3_endpoint")
        return StoreSettings(url=f"s3://{BUCKET}/{prefix}", endpoint=endpoint, allow_http=True)
    gateway: Gateway = request.getfixturevalue("gateway_bucket")
    for name, value in gateway.credentials.items():
        monkeypatch.setenv(name, value)
    return gateway.settings(BUCKET, prefix)


@pytest.fixture
def store(settings: StoreSettings) -> Store:
    """An empty store."""
    return open_store(settings)


@pytest.fixture
def folder_store(tmp_path: Path) -> Store:
    """An empty store in a local folder."""
    return open_store(StoreSettings.of_folder(tmp_path / "folder-store"))
