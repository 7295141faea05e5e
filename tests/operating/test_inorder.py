"""Answers of several processes come in the order of the questions, and their exceptions come too."""

from __future__ import annotations

import os

import pytest

from fringeflow.cli.inorder import in_order
from fringeflow.errors import DataError


@pytest.mark.parametrize("cores", [1, 2, 3, 9])
def test_answers_come_in_order(cores: int) -> None:
    items = [str(number) for number in range(7)]

    answers = list(in_order(lambda item: (int(item) ** 2, os.getpid()), items, cores))

    assert [square for square, _ in answers] == [0, 1, 4, 9, 16, 25, 36]
    assert len({pid for _, pid in answers}) == min(cores, 7)
    assert (os.getpid() in {pid for _, pid in answers}) == (cores == 1)


@pytest.mark.parametrize("cores", [1, 2])
def test_what_fails_there_is_raised_here(cores: int) -> None:
    def picky(item: str) -> str:
        if item == "c":
            raise DataError("no c", remedy="ask for d")
        return item.upper()

    answers = in_order(picky, ["a", "b", "c", "d"], cores)

    assert [next(answers), next(answers)] == ["A", "B"]
    with pytest.raises(DataError, match="no c") as found:
        next(answers)
    assert found.value.remedy == "ask for d"


def test_nothing_asked_is_nothing_answered() -> None:
    assert list(in_order(str, [], 2)) == []
