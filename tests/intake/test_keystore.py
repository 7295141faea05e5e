"""Key files in the bucket mean what they meant where they came from, wherever they are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from fringeflow.errors import DataError, MissingInputError, TransientError
from fringeflow.intake import keystore
from fringeflow.keys.problems import KeysError
from fringeflow.keys.project import load_or_raise
from fringeflow.store.base import Store


def test_the_project_of_the_bucket_is_the_project_that_was_pushed(
    store: Store, master_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = load_or_raise(master_key).digest
    keystore.push(store, master_key)
    monkeypatch.delenv("NOWHERE_AT_ALL")  # elsewhere it means nothing
    master_key.parent.rename(tmp_path / "gone")
    project = keystore.load(store, tmp_path / "work" / "keys", "master.txt")
    assert project.digest == digest
    assert project.roots.ms == (tmp_path / "work" / "incoming",)
    assert {info.key for info in store.list("keys")} == {
        f"keys/{path.relative_to(tmp_path / 'gone')}" for path in (tmp_path / "gone").rglob("*") if path.is_file()
    }


def test_a_change_is_pushed_alone_and_changes_the_fingerprint(store: Store, master_key: Path) -> None:
    keystore.push(store, master_key)
    first = keystore.fingerprint(store)
    assert keystore.push(store, master_key) == []
    assert keystore.fingerprint(store) == first
    (master_key.parent / "ms.txt").write_text("gal  p1  all  12m  1  first/a.ms\n")
    assert keystore.push(store, master_key) == ["keys/ms.txt"]
    assert keystore.fingerprint(store) != first


def test_files_that_are_named_no_more_are_removed(store: Store, master_key: Path, tmp_path: Path) -> None:
    keystore.push(store, master_key)
    (master_key.parent / "masks.txt").write_text("")
    text = master_key.read_text().replace("cleanmask_key masks.txt\n", "")
    master_key.write_text(text)
    assert keystore.push(store, master_key) == ["keys/master.txt", "keys/masks.txt"]
    assert keystore.load(store, tmp_path / "keys", "master.txt").targets["gal"].cleanmask == {}


def test_old_files_in_the_folder_do_not_stay(store: Store, master_key: Path, tmp_path: Path) -> None:
    keystore.push(store, master_key)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "stale.txt").write_text("x")
    keystore.load(store, tmp_path / "keys", "master.txt")
    assert not (tmp_path / "keys" / "stale.txt").exists()


def test_keys_with_errors_are_not_pushed(store: Store, master_key: Path) -> None:
    (master_key.parent / "more" / "targets.txt").write_text("gal 01h00m00s\n")
    with pytest.raises(KeysError, match=r"targets\.txt:1"):
        keystore.push(store, master_key)
    assert list(store.list()) == []


def test_a_key_file_outside_is_refused(store: Store, master_key: Path) -> None:
    outside = master_key.parent.parent / "ms.txt"
    (master_key.parent / "ms.txt").rename(outside)
    master_key.write_text(master_key.read_text().replace("my keys/ms.txt", "ms.txt"))
    with pytest.raises(DataError, match=f"{outside} lies outside of key_dir"):
        keystore.push(store, master_key)


def test_no_master_key_is_said_with_what_to_do(store: Store, master_key: Path, tmp_path: Path) -> None:
    keystore.push(store, master_key)
    with pytest.raises(MissingInputError, match=r"no master key keys/other\.txt") as caught:
        keystore.load(store, tmp_path / "keys", "other.txt")
    assert "keys push" in str(caught.value.remedy)


def test_keys_that_never_rest_are_transient(
    store: Store, master_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystore.push(store, master_key)
    get_file, count = store.get_file, iter(range(100))

    def changing(key: str, path: Path, *, sha256: str | None = None) -> None:
        get_file(key, path, sha256=sha256)
        store.put_bytes("keys/ms.txt", f"# {next(count)}".encode())

    monkeypatch.setattr(store, "get_file", changing)
    with pytest.raises(TransientError, match="change while"):
        keystore.load(store, tmp_path / "keys", "master.txt")


def test_without_keys_there_is_a_fingerprint_too(store: Store) -> None:
    assert keystore.fingerprint(store) == keystore.fingerprint(store)
