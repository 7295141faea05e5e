"""What a store in a local folder does beyond the contract: links, sweeping, full and read-only disks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fringeflow.errors import DiskFullError, ReadOnlyError
from fringeflow.store.objects import Store, StoreSettings, open_store

WRITER = Path(__file__).with_name("store_writer.py")


def all_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_files_come_as_links(folder_store: Store, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"content")
    sha256 = folder_store.put_file(tmp_path / "in", "a/file").sha256
    folder_store.get_file("a/file", tmp_path / "out", sha256=sha256)
    path = folder_store.local_path("a/file")
    assert path
    assert path.samefile(tmp_path / "out")
    assert not path.samefile(tmp_path / "in")


def test_a_linked_file_is_kept_when_its_source_is_removed(folder_store: Store, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"content")
    assert folder_store.link_file(tmp_path / "in", "a/file")
    (tmp_path / "other").write_bytes(b"other")
    assert folder_store.link_file(tmp_path / "other", "a/file")
    (tmp_path / "in").unlink()
    assert folder_store.get_bytes("a/file") == b"content"
    path = folder_store.local_path("a/file")
    assert path
    assert path.stat().st_mode & 0o222 == 0


def test_removing_the_last_object_removes_its_folders(folder_store: Store, tmp_path: Path) -> None:
    folder_store.put_bytes("a/b/c", b"x")
    folder_store.put_bytes("a/d", b"x")
    folder_store.delete(["a/b/c"])
    assert all_below(tmp_path / "folder-store") == ["a", "a/d"]
    folder_store.delete(["a/d"])
    assert all_below(tmp_path / "folder-store") == []


def test_a_sweep_spares_the_drafts_of_living_writers(tmp_path: Path) -> None:
    settings = StoreSettings.of_folder(tmp_path / "store")
    store = open_store(settings)
    with subprocess.Popen(
        [sys.executable, str(WRITER), "slow", settings.model_dump_json(), "a/big", ""],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdin
        assert writer.stdout
        writer.stdin.write("go\n")
        writer.stdin.flush()
        assert [writer.stdout.readline().strip() for _ in range(2)] == ["ready", "halfway"]
        assert store.sweep() == 0
        assert len(list((tmp_path / "store" / "a").iterdir())) == 1
        writer.kill()
    assert store.sweep(min_age_seconds=3600) == 0
    assert store.sweep() == 1
    assert all_below(tmp_path / "store") == []


def test_a_full_disk_is_named(small_disk: Path, tmp_path: Path) -> None:
    store = open_store(StoreSettings.of_folder(small_disk))
    (tmp_path / "large").write_bytes(bytes(8 << 20))
    with pytest.raises(DiskFullError, match=f"no space is left in {small_disk}"):
        store.put_file(tmp_path / "large", "a/large", create=True)
    assert list(store.list()) == []
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []
    assert store.put_bytes("a/small", b"there is room for this")


def test_a_full_disk_at_the_receiving_end_is_named(small_disk: Path, folder_store: Store) -> None:
    folder_store.put_bytes("large", bytes(8 << 20))
    with pytest.raises(DiskFullError, match=str(small_disk)):
        folder_store.get_file("large", small_disk / "out")
    assert list(small_disk.iterdir()) == []


def test_a_read_only_folder_is_named(read_only_disk: Path) -> None:
    store = open_store(StoreSettings.of_folder(read_only_disk))
    with pytest.raises(ReadOnlyError, match=f"{read_only_disk}.*cannot be written"):
        store.put_bytes("a/b", b"x", create=True)
    with pytest.raises(ReadOnlyError, match=f"{read_only_disk}"):
        open_store(StoreSettings.of_folder(read_only_disk / "store"))
