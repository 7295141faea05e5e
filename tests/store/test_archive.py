"""Directories as archives: the same bytes for the same tree, whole or not at all, damage found."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from fringeflow.errors import CorruptInputError, MissingInputError
from fringeflow.store import archive
from fringeflow.store.digests import tree_digest
from fringeflow.store.objects import Store, StoreSettings, open_store
from fringeflow.store.untar import SUFFIXES


def plant(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read_tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


TABLE = {"table.dat": b"rows", "table.lock": b"how many", "SPECTRAL_WINDOW/table.dat": b"one"}
file_name = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and "/" not in name and len(name.encode()) < 100
)
trees = st.dictionaries(st.tuples(st.sampled_from(["", "sub/", "sub/deep/"]), file_name), st.binary(max_size=2000))


def test_a_tree_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    tree = plant(tmp_path / "a.ms", {**TABLE, "large": os.urandom(3 << 20)})
    (tree / "empty").mkdir()
    (tree / "link").symlink_to("table.dat")
    stored = archive.put_directory(store, tree, "x/a.ms.tar.zst", create=True)
    assert stored.size == store.size("x/a.ms.tar.zst")
    assert stored.sha256 == hashlib.sha256(store.get_bytes("x/a.ms.tar.zst")).hexdigest()
    archive.get_directory(store, "x/a.ms.tar.zst", tmp_path / "b.ms", sha256=stored.sha256)
    assert read_tree(tmp_path / "b.ms") == read_tree(tree)
    assert (tmp_path / "b.ms" / "empty").is_dir()
    assert (tmp_path / "b.ms" / "link").readlink() == Path("table.dat")
    assert tree_digest(tmp_path / "b.ms", ignored=frozenset()) == tree_digest(tree, ignored=frozenset())


@effort(max_examples=50, deadline=None)
@given(tree=trees)
def test_any_names_and_contents_come_back(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[tuple[str, str], bytes]
) -> None:
    base = tmp_path_factory.mktemp("tree")
    files = {"name" + folder + name: content for (folder, name), content in tree.items()}
    plant(base / "in", {"always": b"", **files})
    store = open_store(StoreSettings.of_folder(base / "store"))
    stored = archive.put_directory(store, base / "in", "tree")
    archive.get_directory(store, "tree", base / "out", sha256=stored.sha256)
    assert read_tree(base / "out") == {"always": b"", **files}


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    first = plant(tmp_path / "first", {"a": b"1", "b/c": b"2"})
    second = plant(tmp_path / "second", {"b/c": b"2", "a": b"1"})
    os.utime(second / "a", (1, 1))
    (second / "a").chmod(0o600)
    assert b"".join(archive.pack(first)) == b"".join(archive.pack(second))
    (second / "a").write_bytes(b"3")
    assert b"".join(archive.pack(first)) != b"".join(archive.pack(second))


def test_an_archive_is_never_whole_in_memory(folder_store: Store, tmp_path: Path) -> None:
    tree = plant(tmp_path / "in", {"large": os.urandom(80 << 20)})
    tracemalloc.start()
    try:
        stored = archive.put_directory(folder_store, tree, "large")
        archive.get_directory(folder_store, "large", tmp_path / "out", sha256=stored.sha256)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20


def test_the_digest_of_what_is_there_already_is_told(folder_store: Store, tmp_path: Path) -> None:
    tree = plant(tmp_path / "in", TABLE)
    first = archive.put_directory(folder_store, tree, "tree", create=True)
    second = archive.put_directory(folder_store, tree, "tree", create=True)
    assert (first.created, second.created) == (True, False)
    assert (second.sha256, second.size) == (first.sha256, first.size)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_damage_is_found_and_leaves_nothing(store: Store, tmp_path: Path, damage: str) -> None:
    tree = plant(tmp_path / "in", {"data": os.urandom(200_000), **TABLE})
    stored = archive.put_directory(store, tree, "a.ms.tar.zst")
    content = bytearray(store.get_bytes("a.ms.tar.zst"))
    content[len(content) // 2] ^= 255
    damaged = {"cut": content[: len(content) // 2], "flip": content, "empty": b"", "other": b"no archive" * 50}[damage]
    store.put_bytes("a.ms.tar.zst", bytes(damaged))
    with pytest.raises(CorruptInputError, match=r"a\.ms\.tar\.zst"):
        archive.get_directory(store, "a.ms.tar.zst", tmp_path / "out", sha256=stored.sha256)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == []


def test_a_missing_archive_is_missing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        archive.get_directory(store, "nothing", tmp_path / "out")


def make_archive(path: Path, members: dict[str, bytes]) -> Path:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w:gz" if path.name.endswith("gz") else "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    data = plain.getvalue()
    path.write_bytes(zstandard.compress(data) if path.name.endswith(".zst") else data)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("inside", ["galaxy.ms/", "some/where/galaxy.ms/", "./", ""])
def test_a_dropped_archive_gives_its_measurement_set(tmp_path: Path, suffix: str, inside: str) -> None:
    dropped = make_archive(tmp_path / f"galaxy.ms{suffix}", {inside + name: data for name, data in TABLE.items()})
    found = archive.unpack_dropped(dropped, tmp_path / "out")
    assert found.name == "galaxy.ms"
    assert read_tree(found) == TABLE


def test_a_dropped_object_gives_its_measurement_set(store: Store, tmp_path: Path) -> None:
    dropped = make_archive(tmp_path / "galaxy.ms.tar", {f"galaxy.ms/{name}": data for name, data in TABLE.items()})
    stored = store.put_file(dropped, "incoming/galaxy.ms.tar")
    assert read_tree(archive.get_dropped(store, stored.key, tmp_path / "out", sha256=stored.sha256)) == TABLE
    with pytest.raises(CorruptInputError, match="damaged"):
        archive.get_dropped(store, stored.key, tmp_path / "again", sha256="0" * 64)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"readme": b"x"}, "none found"),
        ({"a.ms/table.dat": b"x", "b.ms/table.dat": b"x"}, r"a\.ms, b\.ms found"),
        ({"../outside/table.dat": b"x"}, "cannot be unpacked"),
    ],
)
def test_an_archive_must_hold_one_measurement_set(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    dropped = make_archive(tmp_path / "a.tar", members)
    with pytest.raises(CorruptInputError, match=message) as caught:
        archive.unpack_dropped(dropped, tmp_path / "out")
    assert str(dropped) in str(caught.value)
    assert caught.value.remedy
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_dropped_archive_cut_short_is_corrupt(tmp_path: Path, suffix: str) -> None:
    dropped = make_archive(tmp_path / f"a{suffix}", {"a.ms/table.dat": os.urandom(100_000)})
    dropped.write_bytes(dropped.read_bytes()[:50_000])
    with pytest.raises(CorruptInputError, match=f"{dropped.name} cannot be unpacked"):
        archive.unpack_dropped(dropped, tmp_path / "out")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptInputError, match="is no archive"):
        archive.unpack_dropped(tmp_path / "a.zip", tmp_path / "out")
