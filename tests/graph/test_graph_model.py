"""Units, work keys and states, on graphs without any project."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fringeflow.graph.build import Selection, wanted
from fringeflow.graph.model import Graph, Need, Unit, UnitId, digest_of

MADE: dict[tuple[UnitId, str], Mapping[str, Any]] = {}


def unit(stage: str, *needs: Unit, recipe: Mapping[str, Any] | None = None, **members: Any) -> Unit:
    links = tuple(Need(unit=need.id) for need in needs)
    identity = UnitId(stage=stage, target="t", config="c", product="p", step=members.pop("step", ""))
    return Unit(id=identity, revision=members.pop("revision", 1), recipe=recipe or {}, needs=links, **members)


def graph(*units: Unit, leaves: Mapping[str, str] | None = None, made: Mapping[Any, Any] | None = None) -> Graph:
    found = Graph(leaves or {}, lambda identity, key: (made or {}).get((identity, key)))
    for item in units:
        found.add(item)
    return found


@given(st.lists(st.text("abc123+.-_@", min_size=1), min_size=4, max_size=5))
def test_an_id_reads_back_what_it_writes(parts: list[str]) -> None:
    assert str(UnitId.parse("/".join(parts))) == "/".join(parts)


@pytest.mark.parametrize("text", ["", "a/b/c", "a/b/c/d/e/f", "a//c/d"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a unit"):
        UnitId.parse(text)


def test_a_key_is_known_before_anything_is_made_and_missing_without_its_leaf() -> None:
    first = unit("staging", leaves=("incoming/a.ms",))
    second = unit("imaging", first)
    assert graph(first, second).key(second.id) is None
    known = graph(first, second, leaves={"incoming/a.ms": "0" * 64})
    assert known.key(second.id)
    assert known.missing(second.id) == ("staging/t/c/p",)


def key_of_last(*units: Unit, digest: str = "0" * 64) -> str | None:
    return graph(*units, leaves={"incoming/a.ms": digest}).key(units[-1].id)


def test_a_key_follows_recipe_revision_and_leaves_and_nothing_else() -> None:
    first = unit("staging", recipe={"x": 1}, leaves=("incoming/a.ms",))
    base = key_of_last(first, unit("imaging", first))
    other_recipe = unit("staging", recipe={"x": 2}, leaves=("incoming/a.ms",))
    other_revision = unit("staging", recipe={"x": 1}, leaves=("incoming/a.ms",), revision=2)
    more_memory = unit("staging", recipe={"x": 1}, leaves=("incoming/a.ms",), memory_mb=9, group="g")
    assert key_of_last(other_recipe, unit("imaging", other_recipe)) != base
    assert key_of_last(other_revision, unit("imaging", other_revision)) != base
    assert key_of_last(first, unit("imaging", first), digest="1" * 64) != base
    assert key_of_last(more_memory, unit("imaging", more_memory)) == base


def test_a_need_that_is_not_keyed_leaves_the_key_alone() -> None:
    plan = unit("imaging", step="plan")
    block = unit("imaging", plan, step="block")
    early = Unit(id=plan.id.at(""), revision=1, recipe={}, needs=(Need(unit=plan.id),), open=True)
    late = replace(early, needs=(*early.needs, Need(unit=block.id, keyed=False)), open=False)
    assert graph(plan, early).key(early.id) == graph(plan, block, late).key(late.id)
    assert not graph(plan, early).is_ready(early.id)


def test_a_unit_must_come_after_what_it_needs() -> None:
    first = unit("staging")
    with pytest.raises(ValueError, match="not in the graph"):
        graph(unit("imaging", first))
    with pytest.raises(ValueError, match="already"):
        graph(first, first)


def test_ready_is_what_has_everything_and_is_not_made() -> None:
    first, other = unit("staging"), unit("staging", step="other")
    second = unit("imaging", first)
    empty = graph(first, other, second)
    assert [item.id for item in empty.ready()] == [first.id, other.id]
    made = {(first.id, empty.key(first.id)): {"n": 1}}
    later = graph(first, other, second, made=made)
    assert [item.id for item in later.ready()] == [other.id, second.id]
    assert later.facts(first.id) == {"n": 1}


def test_an_id_in_another_process_is_the_same_key() -> None:
    identity = UnitId("imaging", "t", "c", "p", "plan")
    command = (
        "import pickle, sys; unit = pickle.load(sys.stdin.buffer); print({unit: 'found'}[type(unit).parse(str(unit))])"
    )
    assert hash(identity) == hash(UnitId.parse(str(identity)))
    there = subprocess.run(
        [sys.executable, "-c", command], input=pickle.dumps(identity), stdout=subprocess.PIPE, check=True
    )
    assert there.stdout == b"found\n"


def test_what_is_made_is_taken_in_unless_other_units_may_follow_from_it() -> None:
    first, second = unit("staging"), unit("staging", step="plan")
    third = unit("imaging", first, second)
    found = graph(first, second, third)
    assert found.facts(second.id) is None  # as a builder asks, to know which units follow
    assert found.take_in(first.id, "of older keys")
    assert not found.made(first.id)
    assert found.take_in(first.id, str(found.key(first.id)))
    assert found.made(first.id)
    assert found.missing(third.id) == (str(second.id),)
    assert not found.take_in(second.id, str(found.key(second.id)))


def test_a_selection_brings_what_it_needs_and_changes_no_key() -> None:
    first = unit("staging")
    second = unit("imaging", first)
    third = unit("derived", second)
    whole = graph(first, second, third)
    assert wanted(whole, Selection(until="imaging")) == {first.id, second.id}
    assert wanted(whole, Selection(products=("q",))) == set()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.lists(st.text(min_size=1), max_size=3), st.text(max_size=5))
def test_a_key_is_the_digest_of_what_matters_as_canonical_json(
    recipe: dict[str, Any], leaves: list[str], output: str
) -> None:
    first = unit("staging", recipe=recipe, leaves=tuple(leaves))
    second = unit("imaging", first, recipe=recipe, outputs=(output, "b"), step="größe")
    found = graph(first, second, leaves=dict.fromkeys(leaves, "0" * 64))
    known = {str(first.id): found.key(first.id)}
    assert found.key(first.id) == digest_of(
        {
            "unit": "staging/t/c/p",
            "revision": 1,
            "recipe": recipe,
            "outputs": (),
            "needs": {},
            "leaves": dict.fromkeys(leaves, "0" * 64),
        }
    )
    assert found.key(second.id) == digest_of(
        {
            "unit": "imaging/t/c/p/größe",
            "revision": 1,
            "recipe": recipe,
            "outputs": (output, "b"),
            "needs": known,
            "leaves": {},
        }
    )


def test_all_that_is_absent_is_what_is_not_made() -> None:
    first, other = unit("staging", leaves=("incoming/a.ms",)), unit("staging", step="other", leaves=("incoming/b.ms",))
    second, third = unit("imaging", first), unit("imaging", other, step="third")
    last = unit("derived", second, third)
    leaves = {"incoming/a.ms": "0" * 64}
    units = (first, other, second, third, last)
    empty = graph(*units, leaves=leaves)
    made = {(name, empty.key(name)): {} for name in (first.id, second.id)}
    found = graph(*units, leaves=leaves, made=made)
    assert found.absent() == {other.id, third.id, last.id} == {item.id for item in found if not found.made(item.id)}
    assert [found.key(item.id) for item in units] == [empty.key(item.id) for item in units]
    assert graph(*units).absent() == {item.id for item in units}
