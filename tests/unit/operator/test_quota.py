"""Windows: what counts, when there is room again, what is reserved and what remains of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.domain.identity import Subject
from export_operator.domain.pages import Entry, Page, State
from export_operator.domain.quota import (
    RETRY,
    Demand,
    Reservation,
    Settlement,
    Size,
    WindowLimit,
    WindowState,
    counting,
    give_back,
    reserve,
    settle,
    used,
)
from export_operator.domain.windows import CalendarDay, Sliding

from .builders import NOW, entry, later

pytestmark = pytest.mark.unit

DAY = timedelta(days=1)
ALICE = Subject("User", "alice")
ANY = Demand()


def limit(requests: int | None = None, window: timedelta = DAY, **limits: int) -> WindowLimit:
    return WindowLimit(ALICE, "User", Sliding(window), "default", requests, **limits)


def page(*entries: Entry) -> Page:
    return Page(entries)


def full(number: int) -> Page:
    return page(*(entry(f"run-{index}", later(index)) for index in range(number)))


def granted(held: Page, wanted: Entry, limits: WindowLimit, demand: Demand = ANY) -> bool:
    return reserve(held, wanted, demand, limits, wanted.time).granted


# Requests.


def test_the_first_request_takes_a_place() -> None:
    five = limit(5)
    assert reserve(Page(), entry("a"), ANY, five, NOW) == Reservation(
        granted=True,
        changed=True,
        page=page(entry("a")),
        states=(WindowState(five, "requests", 1, 5),),
        entry=entry("a"),
    )


def test_a_full_window_refuses_and_says_when_its_oldest_entry_leaves() -> None:
    five, wanted = limit(5), entry("f", later(10))
    assert reserve(full(5), wanted, ANY, five, later(10)) == Reservation(
        granted=False,
        changed=False,
        page=full(5),
        states=(WindowState(five, "requests", 5, 5, True, NOW + DAY),),
        entry=wanted,
    )


def test_a_run_that_holds_a_place_keeps_it_without_a_write() -> None:
    assert reserve(full(5), entry("run-3", later(99)), ANY, limit(5), later(99)) == Reservation(
        granted=True,
        changed=False,
        page=full(5),
        states=(WindowState(limit(5), "requests", 5, 5),),
        entry=entry("run-3", later(3)),
    )


def test_an_entry_counts_until_just_before_its_window_is_over() -> None:
    assert not granted(page(entry("a")), entry("b", NOW + DAY - timedelta(microseconds=1)), limit(1))


def test_an_entry_no_longer_counts_at_the_end_of_its_window() -> None:
    assert granted(page(entry("a")), entry("b", NOW + DAY), limit(1))


def test_a_limit_of_none_refuses_for_ever() -> None:
    states = reserve(Page(), entry("a"), ANY, limit(0), NOW).states
    assert states == (
        WindowState(limit(0), "requests", 0, 0, True, None),
        WindowState(limit(0), "launches", 0, 0, True, None),
    )


def test_a_lowered_limit_holds_at_once_and_says_when_enough_entries_have_left() -> None:
    states = reserve(full(5), entry("f", later(10)), ANY, limit(2), later(10)).states
    assert states == (WindowState(limit(2), "requests", 5, 2, True, later(3) + DAY),)


def test_a_raised_limit_holds_at_once() -> None:
    assert granted(full(5), entry("f", later(10)), limit(6))


def test_an_entry_of_a_shorter_window_is_kept_for_a_longer_one() -> None:
    moment = NOW + 2 * DAY
    assert reserve(page(entry("a")), entry("b", moment), ANY, limit(1), moment).page == page(
        entry("a"), entry("b", moment)
    )


def test_a_window_without_limits_counts_and_refuses_nobody() -> None:
    answer = reserve(full(5), entry("f", later(10)), ANY, limit(), later(10))
    assert (answer.granted, answer.states) == (True, ())


# Calendar days.

BERLIN = CalendarDay(ZoneInfo("Europe/Berlin"))
A_DAY = WindowLimit(ALICE, "User", BERLIN, "default", 1)
EVENING = datetime(2026, 11, 24, 22, 59, tzinfo=UTC)  # a minute before midnight in Berlin


def test_a_new_day_begins_at_midnight_of_its_time_zone() -> None:
    held = page(entry("a"))
    assert [granted(held, entry("b", EVENING + timedelta(minutes=minutes)), A_DAY) for minutes in (0, 1)] == [
        False,
        True,
    ]


def test_a_full_day_has_room_at_the_next_midnight() -> None:
    state = reserve(page(entry("a")), entry("b", EVENING), ANY, A_DAY, EVENING).states[0]
    assert state.next_eligible == datetime(2026, 11, 24, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        ((2026, 3, 29), 23),  # the clocks go forward
        ((2026, 10, 25), 25),  # and back
        ((2026, 6, 1), 24),
    ],
)
def test_a_day_is_as_long_as_its_clocks_say(day: tuple[int, int, int], hours: int) -> None:
    noon = datetime(*day, 10, tzinfo=UTC)
    assert BERLIN.leaves(noon) - BERLIN.begins(noon) == timedelta(hours=hours)


def test_a_day_whose_midnight_the_clock_leaps_over_begins_with_the_leap() -> None:
    beirut = CalendarDay(ZoneInfo("Asia/Beirut"))  # on 2026-03-29 00:00 is followed by 01:00
    assert beirut.begins(datetime(2026, 3, 29, 10, tzinfo=UTC)) == datetime(2026, 3, 28, 22, tzinfo=UTC)


zones = st.sampled_from(["Europe/Berlin", "Asia/Beirut", "America/Havana", "Pacific/Apia", "Asia/Kathmandu", "UTC"])
moments = st.integers(0, 20 * 365 * 86_400).map(lambda seconds: datetime.fromtimestamp(1_262_304_000 + seconds, UTC))


@given(zones, moments)
def test_each_moment_is_in_exactly_one_day(zone: str, moment: datetime) -> None:
    day = CalendarDay(ZoneInfo(zone))
    begins, ends = day.begins(moment), day.leaves(moment)
    last = ends - datetime.resolution
    assert (begins <= moment < ends, day.begins(begins), day.leaves(begins), day.begins(last), day.begins(ends)) == (
        True,
        begins,
        ends,
        begins,
        ends,
    )


# Rows and bytes.


def reserved(held: Page, limits: WindowLimit, rows: Size, wanted: str = "new") -> tuple[bool, int]:
    answer = reserve(held, entry(wanted), Demand(rows), limits, NOW)
    return answer.granted, answer.entry.rows


@pytest.mark.parametrize(
    ("used_rows", "size", "expected"),
    [
        (0, Size(), (True, 100)),  # nobody knows: all that is left
        (60, Size(), (True, 40)),
        (100, Size(), (False, 0)),
        (0, Size(most=30), (True, 30)),  # but no more than the policy lets a run have
        (0, Size(20), (True, 40)),  # room to be larger than expected
        (70, Size(20), (True, 30)),  # as far as there is room
        (80, Size(20), (True, 20)),
        (81, Size(20), (False, 0)),
        (0, Size(500), (True, 100)),  # an estimate refuses nobody: it begins when all is free
        (1, Size(500), (False, 0)),
        (0, Size(500, most=50), (True, 50)),
    ],
)
def test_rows_are_reserved_by_estimate(used_rows: int, size: Size, expected: tuple[bool, int]) -> None:
    held = page(entry("old", state=State.SETTLED, rows=used_rows))
    assert reserved(held, limit(rows=100), size) == expected


def test_without_a_limit_of_rows_the_estimate_is_noted() -> None:
    assert reserved(Page(), limit(5), Size(20, most=10_000)) == (True, 20)


def test_bytes_have_a_limit_of_their_own() -> None:
    held = page(entry("old", state=State.SETTLED, bytes=90))
    answer = reserve(held, entry("new"), Demand(bytes=Size(20)), limit(rows=5, bytes=100), NOW)
    assert answer.states == (
        WindowState(limit(rows=5, bytes=100), "rows", 0, 5),
        WindowState(limit(rows=5, bytes=100), "bytes", 90, 100, True, NOW + DAY),
    )


def test_a_limit_that_comes_while_a_run_waits_is_reserved_of() -> None:
    held = page(entry("a"), entry("b", later(1), state=State.SETTLED, rows=70))
    answer = reserve(held, entry("a", later(9)), ANY, limit(2, rows=100), later(9))
    assert (answer.granted, answer.entry) == (True, entry("a", rows=30))


# Ends.


@pytest.mark.parametrize(
    ("settlement", "expected"),
    [
        (Settlement("a", rows=7, bytes=70), entry("a", state=State.SETTLED, rows=7, bytes=70)),
        (Settlement("a", rows=0, bytes=0), entry("a", state=State.SETTLED)),
        (Settlement("a"), entry("a", state=State.SETTLED, rows=50, bytes=500)),
        (Settlement("a", refunded=True, rows=0, bytes=0), entry("a", state=State.REFUNDED)),
    ],
)
def test_a_run_is_settled_to_what_it_delivered(settlement: Settlement, expected: Entry) -> None:
    held = page(entry("a", rows=50, bytes=500), entry("b"))
    assert settle(held, {"a": settlement}) == page(expected, entry("b"))


def test_a_refund_frees_the_place_and_the_launch_counts() -> None:
    held = page(entry("a", state=State.REFUNDED), entry("b"))
    counted = counting(held, Sliding(DAY), NOW)
    assert [used(counted, resource) for resource in ("requests", "launches")] == [1, 2]


def test_refunds_do_not_open_a_source_without_end() -> None:
    held = page(*(entry(f"run-{index}", later(index), state=State.REFUNDED) for index in range(8)))
    assert reserve(held, entry("new", later(9)), ANY, limit(2), later(9)).states == (
        WindowState(limit(2), "requests", 0, 2),
        WindowState(limit(2), "launches", 8, 8, True, NOW + DAY),
    )


def test_what_is_given_back_is_as_if_it_had_never_been() -> None:
    assert give_back(full(3), "run-1") == page(full(3).entries[0], full(3).entries[2])


@pytest.mark.parametrize("state", [State.SETTLED, State.REFUNDED])
def test_a_run_that_is_over_keeps_what_it_was_settled_to(state: State) -> None:
    held = page(entry("a", state=state, rows=5))
    assert (settle(held, {"a": Settlement("a", rows=0)}), give_back(held, "a")) == (held, held)


def test_too_many_runs_that_are_not_over_leave_no_room() -> None:
    held = full(1024)
    wanted = limit(100_000)
    assert reserve(held, entry("new", later(2000)), ANY, wanted, later(2000)).states == (
        WindowState(wanted, "requests", 1024, 100_000),
        WindowState(wanted, "unfinished", 1024, 1024, True, later(2000) + RETRY),
    )


# What always holds.

seconds = st.integers(0, 200).map(later)
states = st.sampled_from(State)
amounts = st.integers(0, 60)
pages = st.lists(
    st.builds(entry, st.integers(0, 30).map("run-{}".format), seconds, state=states, rows=amounts),
    max_size=20,
    unique_by=lambda held: held.run,
).map(lambda entries: Page(tuple(entries)))
sizes = st.builds(Size, st.integers(0, 120), st.none() | st.integers(1, 120))
limits = st.builds(
    lambda requests, rows, window: limit(
        requests, timedelta(seconds=window), **({} if rows is None else {"rows": rows})
    ),
    st.integers(0, 6),
    st.none() | st.integers(1, 100),
    st.integers(1, 100),
)


@given(pages, sizes, limits, seconds)
def test_reserving_twice_is_reserving_once(held: Page, size: Size, wanted: WindowLimit, now: datetime) -> None:
    once = reserve(held, entry("new", now), Demand(size), wanted, now)
    twice = reserve(once.page, entry("new", now), Demand(size), wanted, now)
    assert (twice.granted, twice.page, twice.changed, twice.entry) == (once.granted, once.page, False, once.entry)


@given(pages, sizes, limits, seconds)
def test_the_next_eligible_time_is_the_first_moment_with_room(
    held: Page, size: Size, wanted: WindowLimit, now: datetime
) -> None:
    answer = reserve(held, entry("new", now), Demand(size), wanted, now)
    times = [state.next_eligible for state in answer.states if state.full]
    if None in times or not times:
        assert answer.granted or wanted.requests == 0
        return
    free = max(time for time in times if time is not None)
    assert (
        granted(held, entry("new", free - datetime.resolution), wanted, Demand(size)),
        granted(held, entry("new", free), wanted, Demand(size)),
    ) == (False, True)


@given(pages, sizes, limits, seconds)
def test_a_refusal_changes_nothing(held: Page, size: Size, wanted: WindowLimit, now: datetime) -> None:
    answer = reserve(held, entry("new", now), Demand(size), wanted, now)
    assert answer.granted or answer.page == held


@given(pages, sizes, limits, seconds)
def test_a_grant_stays_within_each_limit(held: Page, size: Size, wanted: WindowLimit, now: datetime) -> None:
    answer = reserve(held, entry("new", now), Demand(size), wanted, now)
    counted = counting(answer.page, wanted.window, now)
    over = [
        resource
        for resource in ("requests", "rows", "launches")
        if (most := wanted.of(resource)) is not None and used(counted, resource) > most
    ]
    assert not (answer.granted and answer.changed and over)
