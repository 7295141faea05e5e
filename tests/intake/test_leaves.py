"""Inputs in a bucket: which object is which input, and digests that are measured once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fringeflow.errors import TransientError
from fringeflow.intake import leaves
from fringeflow.intake.digests import Digests, remember
from fringeflow.intake.poller import Poller
from fringeflow.keys.model import Project
from fringeflow.keys.project import load_or_raise
from fringeflow.store.base import Store

A, B, MASK = "incoming/first/a.ms", "incoming/b.ms", "cleanmask/gal_mask.fits"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def project(master_key: Path) -> Project:
    return load_or_raise(master_key)


@pytest.fixture
def read(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The inputs that have been read for their digest."""
    chunks, seen = store.chunks, list[str]()

    def watched(key: str) -> Iterator[bytes]:
        seen.append(key)
        return chunks(key)

    monkeypatch.setattr(store, "chunks", watched)
    return seen


def test_a_project_names_its_inputs(project: Project) -> None:
    assert leaves.names_in(project) == (MASK, B, A)


def test_inputs_are_found_packed_or_plain_with_their_digests(store: Store, project: Project) -> None:
    store.put_bytes(f"{A}.tar.zst", b"one")
    store.put_bytes(MASK, b"mask")
    store.put_bytes("incoming/stranger.ms.tar", b"nobody wants this")
    drops = leaves.scan(store, project)
    assert {name: (drop.key, drop.sha256, drop.size) for name, drop in drops.items()} == {
        A: (f"{A}.tar.zst", sha256(b"one"), 3),
        MASK: (MASK, sha256(b"mask"), 4),
    }
    assert set(leaves.scan(store, project, [MASK])) == {MASK}


def test_every_object_is_read_once_by_anybody(store: Store, project: Project, read: list[str]) -> None:
    store.put_bytes(f"{A}.tar", b"one")
    first = leaves.scan(store, project)
    assert read == [f"{A}.tar"]
    assert leaves.scan(store, project) == first
    assert read == [f"{A}.tar"]


def test_an_object_that_was_put_again_is_read_again(store: Store, project: Project) -> None:
    store.put_bytes(f"{A}.tar", b"one")
    leaves.scan(store, project)
    store.put_bytes(f"{A}.tar", b"two")
    assert leaves.scan(store, project)[A].sha256 == sha256(b"two")


def test_a_note_spares_the_reading(store: Store, project: Project, read: list[str]) -> None:
    store.put_bytes(f"{A}.tar", b"one")
    remember(store, store.info(f"{A}.tar"), "f" * 64)
    assert leaves.scan(store, project)[A].sha256 == "f" * 64
    assert read == []


def test_without_measuring_only_known_digests_count(store: Store, project: Project, read: list[str]) -> None:
    store.put_bytes(f"{A}.tar", b"one")
    assert leaves.scan(store, project, measure=False) == {}
    assert read == []
    leaves.scan(store, project)
    assert set(leaves.scan(store, project, measure=False)) == {A}


def test_an_object_replaced_while_it_is_read_is_left_out(
    store: Store, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_bytes(f"{A}.tar", b"one")
    chunks = store.chunks

    def replaced(key: str) -> Iterator[bytes]:
        yield from chunks(key)
        store.put_bytes(key, b"two")

    monkeypatch.setattr(store, "chunks", replaced)
    assert leaves.scan(store, project) == {}
    monkeypatch.undo()
    assert leaves.scan(store, project)[A].sha256 == sha256(b"two")


@pytest.mark.parametrize("ending", ["", ".tar", ".tar.zst", ".tar.gz"])
def test_one_input_is_found_as_in_a_scan(store: Store, project: Project, ending: str) -> None:
    digests = Digests(store)
    assert leaves.find(store, A, digests) is None
    store.put_bytes(A + ending, b"one")
    assert leaves.find(store, A, digests) == leaves.scan(store, project)[A]
    assert A in leaves.names_of(A + ending)


def test_the_poller_says_each_content_once(store: Store, project: Project) -> None:
    poller = Poller(store, project, leaves.names_in(project), every_seconds=60)
    poller.look()
    assert poller.take() == []
    store.put_bytes(f"{A}.tar", b"one")
    store.put_bytes(f"{B}.tar", b"other")
    poller.hint([f"{A}.tar", "keys/ms.txt"])
    poller.look()
    assert [drop.name for drop in poller.take()] == [A]
    assert poller.take() == []
    assert set(poller.drops) == {A}
    poller.want(project, [A, B])
    poller.look()
    assert [drop.name for drop in poller.take()] == [B]
    store.put_bytes(f"{A}.tar", b"two")
    poller.hint([f"{A}.tar"])
    poller.look()
    assert [drop.sha256 for drop in poller.take()] == [sha256(b"two")]
    store.delete([f"{A}.tar"])
    poller.hint([f"{A}.tar"])
    poller.look()
    assert poller.take() == []
    assert set(poller.drops) == {B}


def taken(poller: Poller, within: float = 5.0) -> list[str]:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if found := poller.take():
            return [drop.name for drop in found]
        time.sleep(0.01)
    return []


def test_the_poller_looks_by_itself_and_when_it_is_told(store: Store, project: Project) -> None:
    with Poller(store, project, leaves.names_in(project), every_seconds=0.1) as often:
        store.put_bytes(f"{A}.tar", b"one")
        assert taken(often) == [A]
    with Poller(store, project, leaves.names_in(project), every_seconds=60) as seldom:
        assert taken(seldom) == [A]
        store.put_bytes(f"{B}.tar", b"two")
        seldom.hint([f"{B}.tar"])
        assert taken(seldom) == [B]


def test_a_store_that_is_away_is_asked_again(store: Store, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: str = "") -> Iterator[object]:
        raise TransientError("away")
        yield

    monkeypatch.setattr(store, "list", away)
    monkeypatch.setattr("fringeflow.intake.poller._LEAST_BACK_OFF_SECONDS", 0.05)
    with Poller(store, project, leaves.names_in(project), every_seconds=60) as poller:
        store.put_bytes(f"{A}.tar", b"one")
        assert taken(poller, within=0.2) == []
        monkeypatch.undo()
        assert taken(poller) == [A]


def test_a_poller_leaves_at_once_even_in_the_midst_of_an_object(
    store: Store, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(_: str) -> Iterator[bytes]:
        while True:
            time.sleep(0.01)
            yield b"more"

    store.put_bytes(f"{A}.tar", b"one")
    monkeypatch.setattr(store, "chunks", endless)
    started = time.monotonic()
    with Poller(store, project, leaves.names_in(project), every_seconds=60):
        time.sleep(0.1)
    assert time.monotonic() - started < 2
