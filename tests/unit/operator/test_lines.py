"""Lines before full windows: who asks next, and that nobody is passed or forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_operator.domain.identity import Subject
from export_operator.domain.lines import Lines
from export_operator.domain.model import Key
from export_operator.domain.queue import Order
from export_operator.domain.quota import WindowLimit
from export_operator.domain.windows import Sliding

from .builders import NOW, later

pytestmark = pytest.mark.unit

ALICE = Subject("User", "alice")
FIVE = WindowLimit(ALICE, "User", Sliding(timedelta(days=1)), "default", requests=5)
TEAMS = replace(FIVE, subject=Subject("Namespace", "team-a"))
FREE = later(60)


def order(name: str, since: float = 0, rank: int = 0) -> Order:
    return Order(rank, later(since), Key("team-a", name))


def keys(*names: str) -> tuple[Key, ...]:
    return tuple(Key("team-a", name) for name in names)


def line_of(*names: str) -> Lines:
    """The first was refused, the others stand behind."""
    lines = Lines()
    lines.refused(FIVE, order(names[0], 0), later(60))
    for number, name in enumerate(names[1:], 1):
        lines.join(FIVE, order(name, number))
    return lines


def test_a_newcomer_waits_behind_those_who_were_refused() -> None:
    assert line_of("a").stops(FIVE, order("b", 1)) == FREE


def test_the_first_may_ask_at_any_time() -> None:
    assert line_of("a", "b").stops(FIVE, order("a", 0)) is None


def test_a_higher_priority_may_ask_before_those_who_wait() -> None:
    assert line_of("a", "b").stops(FIVE, order("c", 9, rank=-1)) is None


def test_a_line_stops_nobody_elsewhere() -> None:
    assert line_of("a").stops(TEAMS, order("b", 1)) is None


def test_who_has_a_larger_limit_does_not_stand_behind_those_who_have_reached_theirs() -> None:
    lines, larger = line_of("a"), replace(FIVE, requests=9)
    assert lines.stops(larger, order("b", 1)) is None
    lines.refused(larger, order("b", 1), later(90))
    assert set(lines.before(ALICE)) == {FIVE, larger}


def test_as_many_are_called_as_there_are_places() -> None:
    lines = line_of("a", "b", "c", "d")
    assert lines.call(FIVE, 2) == keys("a", "b")
    assert [lines.stops(FIVE, order(name, since)) for name, since in (("b", 1), ("c", 2))] == [None, FREE]


def test_one_at_least_is_called_to_find_out_when_the_next_place_is_free() -> None:
    assert line_of("a", "b").call(FIVE, 0) == keys("a")


def test_when_all_who_were_called_have_left_the_next_one_is_to_be_called() -> None:
    lines = line_of("a", "b", "c")
    lines.call(FIVE, 2)
    assert [lines.leave(key) for key in keys("b", "a", "c")] == [None, FIVE, None]
    assert (FIVE in lines, lines.before(ALICE)) == (False, ())


def test_one_who_leaves_from_behind_changes_nothing() -> None:
    lines = line_of("a", "b", "c")
    assert (lines.leave(keys("b")[0]), [lines.position(key) for key in keys("a", "b", "c")]) == (None, [1, None, 2])


def test_one_who_was_called_and_refused_again_is_the_only_one_to_ask_next() -> None:
    lines = line_of("a", "b", "c")
    lines.call(FIVE, 3)
    lines.refused(FIVE, order("a"), later(90))
    assert (lines.stops(FIVE, order("a")), lines.stops(FIVE, order("b", 1))) == (None, later(90))


def test_a_line_is_due_when_its_window_is_said_to_have_room() -> None:
    lines = line_of("a")
    assert [lines.due(later(seconds)) for seconds in (59, 60, 61)] == [[], [FIVE], []]


def test_a_time_that_was_put_off_is_not_due() -> None:
    lines = line_of("a")
    lines.refused(FIVE, order("a"), later(90))
    assert (lines.due(later(60)), lines.due(later(90))) == ([], [FIVE])


def test_a_line_that_nobody_stands_in_is_not_due() -> None:
    lines = line_of("a")
    lines.leave(keys("a")[0])
    assert lines.due(later(60)) == []


def test_one_who_is_refused_by_another_window_stands_in_that_line_alone() -> None:
    lines = line_of("a", "b")
    assert lines.refused(TEAMS, order("a"), later(90)) == FIVE
    assert [lines.position(key) for key in keys("a", "b")] == [1, 1]


def test_one_whose_order_changes_stands_where_it_belongs_now() -> None:
    lines = line_of("a", "b", "c")
    lines.join(FIVE, order("c", -1))
    assert [lines.position(key) for key in keys("a", "b", "c")] == [2, 3, 1]


moves = st.lists(
    st.tuples(st.sampled_from(["come", "leave", "wait"]), st.integers(-1, 1), st.integers(0, 30)), max_size=80
)


class Window:
    """A sliding window of `limit` requests in 60 seconds, and those who ask for it as the operator lets them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken: list[datetime] = []
        self.lines = Lines()
        self.waiting: dict[Key, Order] = {}
        self.granted: list[Key] = []

    def room(self, now: datetime) -> int:
        return self.limit - sum(time + timedelta(seconds=60) > now for time in self.taken)

    def ask(self, wanted: Order, now: datetime) -> None:
        self.waiting[wanted.key] = wanted
        if self.lines.stops(FIVE, wanted) is not None:
            self.lines.join(FIVE, wanted)
        elif self.room(now) > 0:
            better = [other for other in self.waiting.values() if other < wanted]
            assert len(better) < self.room(now), "somebody was passed"
            self.taken.append(now)
            self.granted.append(wanted.key)
            self.go(wanted.key, now)
        else:
            free = sorted(self.taken)[-self.limit] + timedelta(seconds=60)
            self.lines.refused(FIVE, wanted, free)

    def go(self, key: Key, now: datetime) -> None:
        self.waiting.pop(key, None)
        if self.lines.leave(key) is not None:
            self.call(now)

    def call(self, now: datetime) -> None:
        for key in self.lines.call(FIVE, self.room(now)):
            if key in self.waiting:
                self.ask(self.waiting[key], now)


@settings(deadline=None)
@given(moves, st.integers(1, 4))
def test_nobody_is_passed_and_nobody_is_forgotten(history: list[tuple[str, int, int]], limit: int) -> None:
    window, now = Window(limit), NOW
    for number, (move, rank, amount) in enumerate(history):
        if move == "come":
            window.ask(Order(rank, now, Key("team-a", f"r{number}")), now)
        elif move == "leave" and window.waiting:
            window.go(sorted(window.waiting)[amount % len(window.waiting)], now)
        else:
            now += timedelta(seconds=amount)
            if window.lines.due(now):
                window.call(now)
    came = len(window.granted) + len(window.waiting)
    for _ in range(came):  # a place at least is free by then, whoever holds all of them now
        now += timedelta(seconds=60)
        if window.lines.due(now):
            window.call(now)
    assert (len(window.granted), window.waiting) == (came, {})
