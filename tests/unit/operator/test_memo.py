"""What is computed once."""

from __future__ import annotations

import itertools

import pytest

from export_operator.domain import memo
from export_operator.domain.memo import Memo

pytestmark = pytest.mark.unit


def test_what_was_made_is_made_once() -> None:
    numbers = itertools.count(1)
    known = Memo()
    assert [known.once("a", lambda: next(numbers)) for _ in range(2)] == [1, 1]


def test_what_was_refused_is_tried_again() -> None:
    known = Memo()
    with pytest.raises(ZeroDivisionError):
        known.once("a", lambda: 1 // 0)
    assert known.once("a", lambda: 1) == 1


def test_it_never_holds_more_than_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "MOST", 3)
    known = Memo()
    for number in range(10):
        known.once(number, lambda: "old")
    assert [known.once(number, lambda: "new") for number in (0, 9)] == ["new", "old"]
