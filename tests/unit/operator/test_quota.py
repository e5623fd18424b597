"""Windows, by example and by property."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.quota import (
    MAX_ENTRIES,
    MAX_WINDOW,
    Entry,
    Reservation,
    WindowLimit,
    WindowState,
    release,
    reserve,
    within,
)

from .builders import NOW, later

pytestmark = pytest.mark.unit

DAY = timedelta(days=1)
ALICE = Subject("User", "alice")


def entry(run: str, time: datetime = NOW, **changes: str) -> Entry:
    base = Entry(
        run=run,
        request=Key(changes.pop("namespace", "team-a"), run),
        uid=f"uid-{run}",
        time=time,
        user="alice",
        source="app-db",
        destination="bucket",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def limit(number: int, window: timedelta = DAY) -> WindowLimit:
    return WindowLimit(ALICE, "User", number, window, "default")


def full(number: int) -> tuple[Entry, ...]:
    return tuple(entry(f"run-{index}", later(index)) for index in range(number))


def test_the_first_request_takes_a_place() -> None:
    assert reserve((), entry("a"), limit(5), NOW) == Reservation(
        granted=True, changed=True, entries=(entry("a"),), state=WindowState(limit(5), 1)
    )


def test_a_full_window_refuses_and_says_when_its_oldest_entry_leaves() -> None:
    assert reserve(full(5), entry("f", later(10)), limit(5), later(10)) == Reservation(
        granted=False, changed=False, entries=full(5), state=WindowState(limit(5), 5, NOW + DAY)
    )


def test_a_run_that_holds_a_place_keeps_it_without_a_write() -> None:
    assert reserve(full(5), entry("run-3", later(99)), limit(5), later(99)) == Reservation(
        granted=True, changed=False, entries=full(5), state=WindowState(limit(5), 5)
    )


def test_an_entry_counts_until_just_before_its_window_is_over() -> None:
    moment = NOW + DAY - timedelta(microseconds=1)
    assert not reserve((entry("a"),), entry("b", moment), limit(1), moment).granted


def test_an_entry_no_longer_counts_at_the_end_of_its_window() -> None:
    assert reserve((entry("a"),), entry("b", NOW + DAY), limit(1), NOW + DAY).granted


def test_a_limit_of_none_refuses_for_ever() -> None:
    assert reserve((), entry("a"), limit(0), NOW).state == WindowState(limit(0), 0, None)


def test_a_lowered_limit_says_when_enough_entries_have_left() -> None:
    state = reserve(full(5), entry("f", later(10)), limit(2), later(10)).state
    assert state == WindowState(limit(2), 5, later(3) + DAY)


def test_an_entry_of_a_shorter_window_is_kept_for_a_longer_one() -> None:
    moment = NOW + 2 * DAY
    assert reserve((entry("a"),), entry("b", moment), limit(1), moment).entries == (entry("a"), entry("b", moment))


def test_an_entry_too_old_for_any_window_is_dropped() -> None:
    moment = NOW + MAX_WINDOW
    assert reserve((entry("a"),), entry("b", moment), limit(1), moment).entries == (entry("b", moment),)


def test_a_page_never_grows_beyond_what_etcd_takes() -> None:
    held = tuple(entry(f"run-{index}", later(index)) for index in range(MAX_ENTRIES))
    moment = NOW + 2 * DAY
    assert len(reserve(held, entry("new", moment), limit(10**6), moment).entries) == MAX_ENTRIES


def test_a_full_page_refuses_whatever_the_limit() -> None:
    held = tuple(entry(f"run-{index}") for index in range(MAX_ENTRIES))
    assert reserve(held, entry("new"), limit(10**6), NOW).granted is False


def test_release_takes_away_the_run_alone() -> None:
    assert release(full(3), "run-1") == (full(3)[0], full(3)[2])


seconds = st.integers(0, 200).map(later)
pages = st.lists(
    st.builds(entry, st.integers(0, 30).map("run-{}".format), seconds), max_size=20, unique_by=lambda held: held.run
).map(tuple)


@given(pages, st.integers(0, 6), st.integers(1, 100), seconds)
def test_reserving_twice_is_reserving_once(held: tuple[Entry, ...], number: int, window: int, now: datetime) -> None:
    wanted = limit(number, timedelta(seconds=window))
    once = reserve(held, entry("new", now), wanted, now)
    twice = reserve(once.entries, entry("new", now), wanted, now)
    assert (twice.granted, twice.entries, twice.changed) == (once.granted, once.entries, False)


@given(pages, st.integers(1, 6), st.integers(1, 100), seconds)
def test_the_next_eligible_time_is_the_first_moment_with_room(
    held: tuple[Entry, ...], number: int, window: int, now: datetime
) -> None:
    wanted = limit(number, timedelta(seconds=window))
    answer = reserve(held, entry("new", now), wanted, now)
    free = answer.state.next_eligible
    if free is None:
        assert answer.granted
        return
    before = free - timedelta(microseconds=1)
    assert (
        reserve(held, entry("new", before), wanted, before).granted,
        reserve(held, entry("new", free), wanted, free).granted,
    ) == (False, True)


@given(pages, st.integers(0, 6), st.integers(1, 100), seconds)
def test_a_refusal_changes_nothing(held: tuple[Entry, ...], number: int, window: int, now: datetime) -> None:
    answer = reserve(held, entry("new", now), limit(number, timedelta(seconds=window)), now)
    assert answer.granted or answer.entries == held


@given(pages, st.integers(1, 100), seconds)
def test_what_is_within_a_window_is_what_was_reserved_in_it(
    held: tuple[Entry, ...], window: int, now: datetime
) -> None:
    length = timedelta(seconds=window)
    assert set(within(held, length, now)) == {item for item in held if now - item.time < length}
