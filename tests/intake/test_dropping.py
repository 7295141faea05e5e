"""Inputs put into a store: under the name the keys have for them, with a note of their digest."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fringeflow.bucketadmin import BucketAdmin, reachable, without_credentials
from fringeflow.cli.main import app
from fringeflow.errors import DataError, MissingInputError
from fringeflow.intake import dropping, leaves
from fringeflow.intake.digests import Digests
from fringeflow.keys.project import load_or_raise
from fringeflow.store.archive import get_dropped
from fringeflow.store.base import Store
from fringeflow.store.settings import StoreSettings


@pytest.fixture
def measurement_set(tmp_path: Path) -> Path:
    folder = tmp_path / "first" / "a.ms"
    folder.mkdir(parents=True)
    (folder / "table.dat").write_bytes(b"rows")
    (folder / "data").write_bytes(b"x" * 5_000_000)
    return folder


def test_a_measurement_set_is_put_packed_and_comes_back(store: Store, measurement_set: Path, tmp_path: Path) -> None:
    read: list[int] = []
    dropped = dropping.drop(store, measurement_set, "incoming/first/a.ms", read.append)
    assert dropped.key == "incoming/first/a.ms.tar.zst"
    assert sum(read) >= dropping.size_of(measurement_set)
    assert len(read) >= 5
    assert Digests(store).known(store.info(dropped.key)) == dropped.sha256
    found = get_dropped(store, dropped.key, tmp_path / "out", sha256=dropped.sha256)
    assert (found / "data").read_bytes() == b"x" * 5_000_000
    assert dropping.drop(store, measurement_set, "incoming/first/a.ms").sha256 == dropped.sha256


def test_what_is_put_takes_the_place_of_older_archives(store: Store, measurement_set: Path) -> None:
    store.put_bytes("incoming/a.ms.tar", b"older")
    assert dropping.drop(store, measurement_set, "incoming/a.ms").replaced == ("incoming/a.ms.tar",)
    found = leaves.find(store, "incoming/a.ms", Digests(store))
    assert found is not None
    assert found.key == "incoming/a.ms.tar.zst"


@pytest.mark.parametrize(
    ("file", "name", "key"),
    [
        ("a.ms.tar", "incoming/x/a.ms", "incoming/x/a.ms.tar"),
        ("a.ms.tgz", "incoming/a.ms", "incoming/a.ms.tar.gz"),
        ("a.ms.tar", "incoming/a.ms.tar", "incoming/a.ms.tar"),
        ("mask.fits", "cleanmask/mask.fits", "cleanmask/mask.fits"),
    ],
)
def test_files_are_put_as_they_are(store: Store, tmp_path: Path, file: str, name: str, key: str) -> None:
    (tmp_path / file).write_bytes(b"content")
    assert dropping.drop(store, tmp_path / file, name).key == key
    assert store.get_bytes(key) == b"content"
    assert name in leaves.names_of(key)


def test_the_keys_say_which_input_a_file_is(master_key: Path, measurement_set: Path) -> None:
    project = load_or_raise(master_key)
    assert dropping.name_for(measurement_set, project) == "incoming/first/a.ms"
    assert dropping.name_for(Path("/elsewhere/b.ms.tar.zst"), project) == "incoming/b.ms"
    assert dropping.name_for(Path("gal_mask.fits"), project) == "cleanmask/gal_mask.fits"
    with pytest.raises(DataError, match=r"name no other\.ms"):
        dropping.name_for(Path("other.ms"), project)


def test_of_inputs_of_one_name_the_folders_decide(master_key: Path) -> None:
    rows = [f"gal p1 all 12m {number} {night}/cal/a.ms\n" for number, night in enumerate(["one", "two"])]
    (master_key.parent / "ms.txt").write_text("".join(rows))
    project = load_or_raise(master_key)
    assert dropping.name_for(Path("/data/two/cal/a.ms"), project) == "incoming/two/cal/a.ms"
    with pytest.raises(DataError, match=r"any of incoming/one/cal/a\.ms, incoming/two/cal/a\.ms"):
        dropping.name_for(Path("/data/three/cal/a.ms"), project)


def test_what_is_no_input_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no measurement set: it has no table\.dat"):
        dropping.drop(store, tmp_path, "incoming/a.ms")
    with pytest.raises(MissingInputError, match="there is no"):
        dropping.size_of(tmp_path / "nothing")
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be the name"):
        dropping.drop(store, tmp_path / "a.tar", "incoming/../a")
    assert list(store.list()) == []


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("amqp://guest:guest@rabbit:5672//", "amqp://rabbit:5672"),
        ("amqp://rabbit", "amqp://rabbit"),
        ("amqp://guest:guest@rabbit/house", "amqp://rabbit/house"),
    ],
)
def test_the_server_is_told_the_broker_as_it_can_read_it(url: str, told: str) -> None:
    assert reachable(url, "http://s3") == told


def test_a_password_is_told_over_tls_only() -> None:
    url = "amqp://me:CANARY@rabbit//"
    assert reachable(url, "https://s3") == "amqp://me:CANARY@rabbit"
    with pytest.raises(DataError, match="in the clear") as caught:
        reachable(url, "http://s3")
    assert "CANARY" not in str(caught.value)
    assert without_credentials(url) == "amqp://rabbit//"
    with pytest.raises(DataError, match="no broker") as caught:
        reachable("http://me:CANARY@x", None)
    assert "CANARY" not in str(caught.value)


def test_a_folder_is_no_bucket(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no bucket"):
        BucketAdmin(StoreSettings.of_folder(tmp_path))


def test_keys_are_printed_or_pushed(store: Store, master_key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRINGEFLOW_STORE__URL", Path(store.place).as_uri())
    printed = CliRunner().invoke(app, ["keys", str(master_key), "--json"])
    assert '"targets"' in printed.stdout
    assert list(store.list()) == []
    pushed = CliRunner().invoke(app, ["keys", "push", str(master_key)])
    assert "put keys/master.txt" in pushed.stdout
    assert "FRINGEFLOW_MASTER_KEY=master.txt" in pushed.stdout
    again = CliRunner().invoke(app, ["keys", "push", str(master_key)])
    assert "has these keys already" in again.stdout
    assert CliRunner().invoke(app, ["keys", str(master_key), str(master_key)]).exit_code == 2
