"""The bucket for real: set up on Ceph's gateway, with its notices on RabbitMQ, read and acted upon."""

from __future__ import annotations

import io
import json
import logging
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest
import structlog

from fringeflow import logs
from fringeflow.bucketadmin import BucketAdmin, Push
from fringeflow.cli.main import main
from fringeflow.intake import leaves, notices
from fringeflow.intake.notices import ObjectNotice
from fringeflow.keys.project import load_or_raise
from fringeflow.store.objects import Store, StoreSettings, open_store
from tests.broker import Broker
from tests.gateway import Gateway

pytestmark = pytest.mark.xdist_group("radosgw")


def new_bucket(gateway: Gateway) -> StoreSettings:
    """Return the settings of a store in a bucket that is not there yet."""
    return gateway.settings(f"drops-{uuid.uuid4().hex[:8]}", "survey/one")


@pytest.fixture(autouse=True)
def _credentials(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in gateway.credentials.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(gateway: Gateway) -> Iterator[StoreSettings]:
    settings = new_bucket(gateway)
    yield settings
    forget_topics(gateway, settings)


def forget_topics(gateway: Gateway, settings: StoreSettings) -> None:
    """Delete the topics of a bucket: Ceph would try for ever, and without a pause, to deliver what nobody hears."""
    client, name = gateway.client("sns"), settings.url.split("/")[2]
    for topic in client.list_topics()["Topics"]:
        if topic["TopicArn"].endswith(name):
            client.delete_topic(TopicArn=topic["TopicArn"])


class Ear:
    """Hears what the gateway says of one bucket."""

    def __init__(self, broker: Broker, settings: StoreSettings) -> None:
        self.settings = settings
        self._url = broker.url
        topic = kombu.Exchange("bucket-notices", "topic", durable=True)
        self._queue = kombu.Queue("bucket-ear", topic, routing_key="#", durable=True)
        with kombu.Connection(self._url) as connection:
            self._queue(connection.channel()).declare()

    def hear(self, count: int, within: float = 90.0) -> list[ObjectNotice]:
        """Wait for so many notices; the first after a topic is made takes Ceph half a minute."""
        heard: list[ObjectNotice] = []
        end = time.monotonic() + within
        with kombu.Connection(self._url) as connection:
            queue = self._queue(connection.channel())
            while len(heard) < count and time.monotonic() < end:
                message = queue.get(no_ack=True)
                if message is None:
                    time.sleep(0.05)
                    continue
                body = message.body if isinstance(message.body, bytes) else message.body.encode()
                heard += notices.parse(body, "survey/one")
        return heard


@pytest.fixture(scope="module")
def ear(gateway: Gateway, broker: Broker) -> Iterator[Ear]:
    """The ear at a bucket that has been set up."""
    ear = Ear(broker, new_bucket(gateway))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in gateway.credentials.items():
            patch.setenv(name, value)
        said = list(BucketAdmin(ear.settings).setup(Push(broker.url, "bucket-notices")))
    assert "made" in said[0]
    yield ear
    forget_topics(gateway, ear.settings)


def test_what_any_client_puts_is_heard_on_the_broker(gateway: Gateway, ear: Ear) -> None:
    open_store(ear.settings).put_bytes("artefacts/not/told", b"x")
    keys = ["incoming/NGC 1+2%/ä.ms.tar", "keys/master_key.txt", "cleanmask/mask.fits"]
    client, name = gateway.client(), ear.settings.url.split("/")[2]
    for key in keys:
        client.put_object(Bucket=name, Key=f"survey/one/{key}", Body=b"12345")
    client.delete_object(Bucket=name, Key=f"survey/one/{keys[1]}")
    heard = ear.hear(5)  # the odd key can be read in two ways
    assert {(notice.key, notice.created) for notice in heard} >= {*((key, True) for key in keys), (keys[1], False)}
    assert not [notice for notice in heard if notice.key.startswith("artefacts")]
    assert {notice.size for notice in heard if notice.created} == {5}


def test_a_large_object_is_heard_of_when_it_is_whole(ear: Ear) -> None:
    store = open_store(ear.settings)
    store.put_chunks("incoming/large.ms.tar", (bytes(1 << 20) for _ in range(20)))
    (notice,) = ear.hear(1)
    assert (notice.key, notice.created, store.size(notice.key)) == ("incoming/large.ms.tar", True, 20 << 20)
    assert ear.hear(1, within=0.5) == []


def test_a_notice_outlives_a_broker_that_is_away(broker: Broker, ear: Ear) -> None:
    broker.stop()
    try:
        open_store(ear.settings).put_bytes("incoming/a.ms.tar", b"x")
    finally:
        broker.start()
    assert [notice.key for notice in ear.hear(1)] == ["incoming/a.ms.tar"]


def test_setting_up_twice_changes_nothing_and_keeps_what_others_set(
    gateway: Gateway, broker: Broker, bucket: StoreSettings
) -> None:
    name = bucket.url.split("/")[2]
    client = gateway.client()
    client.create_bucket(Bucket=name)
    theirs = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "other/"}, "Expiration": {"Days": 9}}
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [theirs]})
    push = Push(broker.url, "fringeflow.bucket")
    first = list(BucketAdmin(bucket).setup(push))
    ready = BucketAdmin(bucket).show()
    assert list(BucketAdmin(bucket).setup(push)) == first
    assert BucketAdmin(bucket).show() == ready
    assert set(ready.rules) == {"fringeflow-survey-one-claims", "fringeflow-survey-one-uploads"}
    assert list(ready.topics.values()) == [f"amqp://127.0.0.1:{broker.port}"]
    rules = client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert {rule["ID"] for rule in rules} == {"theirs", *ready.rules}


@pytest.fixture
def environment(bucket: StoreSettings, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The settings of the bucket and the broker in the environment, as an installation has them."""
    for name in ("url", "endpoint", "region"):
        monkeypatch.setenv(f"FRINGEFLOW_STORE__{name.upper()}", getattr(bucket, name))
    monkeypatch.setenv("FRINGEFLOW_STORE__ALLOW_HTTP", "true")
    monkeypatch.setenv("FRINGEFLOW_BUS__URL", broker.url)
    monkeypatch.setenv("FRINGEFLOW_BUS__PREFIX", f"t{uuid.uuid4().hex[:8]}.")
    return open_store(bucket)


@pytest.fixture
def log_of_everything() -> Iterator[io.StringIO]:
    """All that is logged by anybody, at the chattiest."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    logs.configure("json", "debug", stream)
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def fringeflow(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(item) for item in arguments])
    return int(left.value.code or 0)


def test_the_commands_bring_a_survey_into_the_bucket_and_no_secret_out(
    environment: Store,
    gateway: Gateway,
    master_key: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    log_of_everything: io.StringIO,
) -> None:
    measurement_set = tmp_path / "data" / "first" / "a.ms"
    measurement_set.mkdir(parents=True)
    (measurement_set / "table.dat").write_bytes(b"rows")
    (tmp_path / "gal_mask.fits").write_bytes(b"SIMPLE")
    assert fringeflow("bucket", "setup") == 0
    assert fringeflow("keys", "push", master_key) == 0
    assert fringeflow("put", measurement_set, tmp_path / "gal_mask.fits", "--keys", master_key) == 0
    drops = leaves.scan(environment, load_or_raise(master_key), measure=False)  # the notes are there
    assert set(drops) == {"incoming/first/a.ms", "cleanmask/gal_mask.fits"}
    capsys.readouterr()
    assert fringeflow("bucket", "show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["content"]["keys"][0] == 7
    assert shown["content"]["incoming"][0] == shown["content"]["cleanmask"][0] == 1
    assert len(shown["topics"]) == 1
    everything = [json.dumps(shown), log_of_everything.getvalue(), repr(environment), *map(str, drops.values())]
    everything += [environment.get_bytes(info.key).decode("latin-1") for info in environment.list()]
    for secret in (gateway.credentials["AWS_SECRET_ACCESS_KEY"], gateway.credentials["AWS_ACCESS_KEY_ID"]):
        assert not [text for text in everything if secret in text]
