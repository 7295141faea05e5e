"""Claims: one owner at a time, for as long as it lives."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fringeflow.claims import Claims, claim_key
from fringeflow.errors import TransientError
from fringeflow.store.objects import Store, StoreSettings, open_store

UNIT, KEY = "imaging/a/c/p", "a" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StoreSettings.of_folder(tmp_path / "store"))


@pytest.fixture
def owner(store: Store) -> Callable[..., Claims]:
    return lambda name, lease=60.0: Claims(store, name, lease)


def test_what_another_has_is_not_ours_until_it_is_given_up(owner: Callable[..., Claims]) -> None:
    one, other = owner("one"), owner("other")
    assert one.take(UNIT, KEY) == 0
    assert 50 < other.take(UNIT, KEY) <= 60
    assert other.take(UNIT, "b" * 64) == 0
    one.release(UNIT, KEY)
    assert other.take(UNIT, KEY) == 0


def test_ones_own_claim_can_be_taken_again(owner: Callable[..., Claims]) -> None:
    one = owner("one")
    assert (one.take(UNIT, KEY), one.take(UNIT, KEY)) == (0, 0)


def test_the_claim_of_the_dead_runs_out_and_that_of_the_living_does_not(owner: Callable[..., Claims]) -> None:
    dead, other = owner("dead", 0.6), owner("other", 0.6)
    dead.take(UNIT, KEY)
    with owner("living", 0.6) as living:
        living.take(UNIT, "b" * 64)
        time.sleep(1)
        assert other.take(UNIT, KEY) == 0
        assert other.take(UNIT, "b" * 64) > 0


def test_nobody_gives_up_what_is_anothers(owner: Callable[..., Claims], store: Store) -> None:
    owner("one").take(UNIT, KEY)
    owner("other").release(UNIT, KEY)
    assert store.exists(claim_key(UNIT, KEY))


def test_a_claim_far_in_the_future_holds_for_a_lease_only(owner: Callable[..., Claims], store: Store) -> None:
    store.put_bytes(claim_key(UNIT, KEY), b'{"owner": "one", "until": 9e9}')
    assert owner("other").take(UNIT, KEY) == 60


def test_what_is_no_claim_holds_nothing(owner: Callable[..., Claims], store: Store) -> None:
    store.put_bytes(claim_key(UNIT, KEY), b"[]")
    assert owner("other").take(UNIT, KEY) == 0


def test_a_store_that_is_away_keeps_a_release_from_nothing(
    owner: Callable[..., Claims], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = owner("one")
    one.take(UNIT, KEY)

    def away(_: object) -> None:
        raise TransientError("away")

    monkeypatch.setattr(store, "delete", away)
    one.release(UNIT, KEY)
    one.renew()
    assert store.exists(claim_key(UNIT, KEY))


def test_claims_of_the_dead_are_swept_and_those_of_the_living_are_not(
    owner: Callable[..., Claims], store: Store
) -> None:
    dead, mine, others = (claim_key(UNIT, letter * 64) for letter in "abc")
    owner("dead").take(UNIT, "a" * 64)
    one, other = owner("one"), owner("other")
    one.take(UNIT, "b" * 64)
    other.take(UNIT, "c" * 64)
    one.sweep()
    assert store.exists(dead)  # for all that is known it may live
    other.renew()
    one.sweep()
    assert not store.exists(dead)
    assert store.exists(mine)
    assert store.exists(others)


def test_the_living_sweep_by_themselves(owner: Callable[..., Claims], store: Store) -> None:
    owner("dead", 0.3).take(UNIT, KEY)
    with owner("living", 0.3) as living:
        living.take(UNIT, "b" * 64)
        time.sleep(1.2)
        assert not store.exists(claim_key(UNIT, KEY))
        assert store.exists(claim_key(UNIT, "b" * 64))
