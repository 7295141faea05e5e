"""What every store promises, tried on a folder and on a bucket."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from fringeflow.errors import CorruptInputError, DataError, MissingInputError
from fringeflow.store.bucket import SINGLE_PUT
from fringeflow.store.objects import ObjectInfo, Store, StoreSettings, open_store

WRITER = Path(__file__).with_name("store_writer.py")
LARGE = SINGLE_PUT + (3 << 20) + 17  # bytes: goes up in parts


def start_writer(what: str, settings: StoreSettings, key: str, content: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WRITER), what, settings.model_dump_json(), key, content],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def go(writer: subprocess.Popen[str]) -> None:
    assert writer.stdin
    writer.stdin.write("go\n")
    writer.stdin.flush()


def line_of(writer: subprocess.Popen[str]) -> str:
    assert writer.stdout
    return writer.stdout.readline().strip()


def test_what_was_put_is_got(store: Store) -> None:
    assert store.put_bytes("a/b.json", b"one")
    assert store.get_bytes("a/b.json") == b"one"
    assert store.exists("a/b.json")
    assert store.size("a/b.json") == 3


def test_an_object_is_replaced_unless_create_is_asked_for(store: Store) -> None:
    assert store.put_bytes("key", b"one", create=True) is True
    assert store.put_bytes("key", b"two", create=True) is False
    assert store.get_bytes("key") == b"one"
    assert store.put_bytes("key", b"three") is True
    assert store.get_bytes("key") == b"three"


def test_what_is_not_there_is_said_to_be_missing(store: Store, tmp_path: Path) -> None:
    assert not store.exists("nothing")
    with pytest.raises(MissingInputError, match="nothing"):
        store.get_bytes("nothing")
    with pytest.raises(MissingInputError, match="nothing"):
        store.get_file("nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_listing_names_what_is_below_a_prefix(store: Store) -> None:
    for key in ("a/1", "a/b/2", "ab/3"):
        store.put_bytes(key, key.encode())
    assert sorted(store.list("a"), key=str) == [ObjectInfo("a/1", 3), ObjectInfo("a/b/2", 5)]
    assert {info.key for info in store.list()} == {"a/1", "a/b/2", "ab/3"}
    assert list(store.list("c")) == []


def test_removing_twice_is_no_error(store: Store) -> None:
    store.put_bytes("a/b/c", b"x")
    store.delete(["a/b/c", "a/b/d"])
    store.delete(["a/b/c"])
    assert not store.exists("a/b/c")
    assert list(store.list()) == []


@pytest.mark.parametrize("size", [0, 5, LARGE])
def test_files_go_both_ways_with_their_digest(store: Store, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "in").write_bytes(content)
    stored = store.put_file(tmp_path / "in", "x/file", create=True)
    assert (stored.size, stored.sha256, stored.created) == (size, hashlib.sha256(content).hexdigest(), True)
    assert store.put_file(tmp_path / "in", "x/file", create=True).created is False
    store.get_file("x/file", tmp_path / "deep" / "out", sha256=stored.sha256)
    assert (tmp_path / "deep" / "out").read_bytes() == content


def test_a_wrong_digest_is_refused(store: Store, tmp_path: Path) -> None:
    store.put_bytes("x/file", b"not what was announced")
    with pytest.raises(CorruptInputError, match=r"x/file.*damaged"):
        store.get_file("x/file", tmp_path / "out", sha256=hashlib.sha256(b"announced").hexdigest())
    assert list(tmp_path.glob("out*")) == []


@pytest.mark.parametrize("size", [100, LARGE])
def test_a_source_that_fails_leaves_nothing(store: Store, size: int) -> None:
    def failing() -> Iterator[bytes]:
        yield bytes(size)
        raise CorruptInputError("the source is damaged")

    with pytest.raises(CorruptInputError, match="the source is damaged"):
        store.put_chunks("a/b", failing())
    assert list(store.list()) == []
    store.sweep(0.0)
    assert store.sweep(0.0) == 0


segment = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=12)


@effort(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.lists(segment, min_size=2, max_size=3).map("/".join), content=st.binary(max_size=100))
def test_a_key_is_either_refused_or_kept_exactly(store: Store, key: str, content: bytes) -> None:
    try:
        store.put_bytes(key, content)
    except ValueError:
        return
    assert store.get_bytes(key) == content
    assert key in {info.key for info in store.list()}
    store.delete([key])
    assert list(store.list()) == []


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/../b", "a/.", "a#1", "a/b#12/c", "a\nb", "a/"])
def test_unfit_keys_are_refused(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        store.put_bytes(key, b"x")


def test_of_several_writers_one_wins(settings: StoreSettings) -> None:
    writers = [start_writer("race", settings, "manifests/one.json", name) for name in ("a", "b", "c")]
    assert [line_of(writer) for writer in writers] == ["ready"] * 3
    for writer in writers:
        go(writer)
    won = [line_of(writer) for writer in writers]
    assert [writer.wait(20) for writer in writers] == [0, 0, 0]
    assert sorted(won) == ["False", "False", "True"]
    winner = "abc"[won.index("True")]
    assert open_store(settings).get_bytes("manifests/one.json") == winner.encode() * 1000


def test_a_writer_killed_midway_leaves_nothing_visible_and_a_sweep_nothing_at_all(settings: StoreSettings) -> None:
    store = open_store(settings)
    writer = start_writer("slow", settings, "artefacts/big/file")
    go(writer)
    assert [line_of(writer), line_of(writer)] == ["ready", "halfway"]
    assert list(store.list()) == []
    writer.kill()
    writer.wait(20)
    assert list(store.list()) == []
    assert not store.exists("artefacts/big/file")
    assert store.sweep(0.0) == 1
    assert store.sweep(0.0) == 0
    assert list(store.list()) == []
    assert store.put_bytes("artefacts/big/file", b"again", create=True)


def test_settings_cross_process_borders_and_hold_no_secret(settings: StoreSettings) -> None:
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert "secret" not in repr(settings).lower()


@pytest.mark.parametrize("url", ["relative/folder", "ftp://host/x", "s3:///x", "file://host/x"])
def test_unknown_urls_are_refused(url: str) -> None:
    with pytest.raises(DataError, match="not a store"):
        open_store(StoreSettings(url=url))
