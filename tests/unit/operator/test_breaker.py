"""The circuit breaker: when it opens, what it lets through, and how it closes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.failures import Failure
from export_operator.domain import breaker
from export_operator.domain.breaker import (
    DESTINATION,
    DOUBTED,
    FULL,
    LONGEST,
    RUNS_WITHIN,
    SETTLED,
    SOURCE,
    STEP,
    Breaker,
    Cause,
    Failed,
    State,
    Verdict,
)
from export_operator.domain.endings import Problem
from export_operator.domain.identity import Subject
from export_operator.domain.outcome import Ended

from .builders import NOW, delivered, later

pytestmark = pytest.mark.unit

REFUSED = "connection refused"
HERE, THERE = Subject(SOURCE, "app-db"), Subject(DESTINATION, "bucket")


def failed(run: str, user: str = "alice", seconds: float = 0) -> Failed:
    return Failed(run, user, later(seconds))


def fail(known: Breaker, *told: Failed, began: datetime = NOW) -> Breaker:
    for each in told:
        known = breaker.run_failed(known, each, "SourceUnavailable", began)
    return known


def opened(known: Breaker = Breaker(), seconds: float = 0) -> Breaker:  # noqa: B008 - a value
    return breaker.probe_failed(breaker.probe_failed(known, REFUSED, later(seconds)), REFUSED, later(seconds))


def half_open(seconds: float = 5) -> Breaker:
    return breaker.probe_passed(opened(), later(seconds))


def work(known: Breaker, *runs: str, seconds: float = 6) -> Breaker:
    for run in runs:
        known = breaker.run_worked(known, run, later(seconds))
    return known


def limits_of(known: Breaker, runs: int) -> Sequence[int | None]:
    """The limit after each of so many runs that end well."""
    found = []
    for number in range(runs):
        known = work(known, f"run-{number}")
        found.append(known.limit)
    return found


def test_one_failed_probe_is_no_outage_and_is_soon_looked_at_again() -> None:
    found = breaker.probe_failed(Breaker(), REFUSED, NOW)
    assert (found.limit, found.next_probe) == (None, NOW + DOUBTED)


def test_two_failed_probes_in_a_row_open_it() -> None:
    assert opened() == Breaker(
        State.OPEN, next_probe=NOW + DOUBTED, down_since=NOW, cause=Cause.UNREACHABLE, fault=REFUSED
    )


def test_a_probe_between_two_that_fail_keeps_it_closed() -> None:
    once = breaker.probe_failed(Breaker(), REFUSED, NOW)
    found = breaker.probe_failed(breaker.probe_passed(once, NOW), REFUSED, NOW)
    assert found.limit is None


def test_what_works_is_probed_seldom() -> None:
    assert breaker.probe_passed(Breaker(), NOW) == Breaker(next_probe=NOW + SETTLED)


def test_what_is_down_is_probed_less_and_less_often() -> None:
    known, pauses = opened(), []
    for _ in range(6):
        known = breaker.probe_failed(known, REFUSED, known.next_probe)
        pauses.append(known.pause.total_seconds())
    assert pauses == [10, 20, 40, 60, 60, 60]


def test_an_open_one_tells_since_when_and_what_was_last_seen() -> None:
    found = breaker.probe_failed(opened(), "HTTP 503", later(5))
    assert (found.down_since, found.fault) == (NOW, "HTTP 503")


def test_a_probe_that_passes_lets_one_run_try() -> None:
    assert (half_open().state, half_open().limit, half_open().up_since) == (State.HALF_OPEN, 1, later(5))


def test_a_destination_with_a_fallback_holds_nothing_back_and_tells_how_it_is() -> None:
    known = Breaker(advisory=True)
    found = [opened(known), breaker.probe_passed(opened(known), later(5)), work(opened(known), "a")]
    assert [(each.limit, each.state) for each in found] == [
        (None, State.OPEN),
        (None, State.HALF_OPEN),
        (None, State.OPEN),
    ]


def test_after_each_round_of_good_runs_twice_as_many_may_run_until_nothing_bounds_them() -> None:
    rounds = [2, *[2, 4], *[4] * 3, 8, *[8] * 7, 16, *[16] * 15, 32, *[32] * 31, None]
    assert limits_of(half_open(), 63) == rounds


def test_the_same_run_counts_once_in_a_round() -> None:
    assert work(half_open(), "a", "b", "b", "b").limit == 2


def test_a_minute_without_a_failure_is_worth_a_round() -> None:
    known = half_open(5)
    assert [breaker.aged(known, later(5) + STEP * minutes).limit for minutes in range(7)] == [1, 2, 4, 8, 16, 32, None]


def test_a_failed_trial_opens_it_at_once_for_twice_as_long_and_the_outage_goes_on() -> None:
    found = breaker.run_failed(half_open(5), failed("a", seconds=9), "SourceUnavailable", later(6))
    assert found == Breaker(
        State.OPEN,
        next_probe=later(9) + 2 * DOUBTED,
        down_since=NOW,
        up_since=later(5),
        cause=Cause.RUNS_FAIL,
        fault="a run that tried it failed: SourceUnavailable",
        pause=2 * DOUBTED,
    )


def test_a_failed_probe_opens_a_half_open_one_at_once() -> None:
    assert breaker.probe_failed(half_open(5), REFUSED, later(10)).limit == 0


def test_a_run_from_before_the_recovery_that_fails_late_is_no_news() -> None:
    assert breaker.run_failed(half_open(5), failed("a", seconds=9), "SourceUnavailable", later(4)) == half_open(5)


def test_a_run_from_before_the_recovery_that_ends_well_is_good_news() -> None:
    assert work(half_open(), "old").limit == 2


def test_the_pause_is_forgotten_when_it_has_closed() -> None:
    known = half_open(5)
    for second in (6, 26, 66):
        known = fail(known, failed(f"run-{second}", seconds=second), began=later(second))
        known = breaker.probe_passed(known, known.next_probe)
    assert known.pause == timedelta(seconds=40)
    closed = breaker.aged(known, known.up_since + 6 * STEP)
    assert (closed.limit, opened(closed, 1000).pause) == (None, DOUBTED)


def test_three_runs_in_a_row_of_two_people_open_it_though_the_probe_is_answered() -> None:
    found = fail(Breaker(), failed("a"), failed("b", "bob", 1), failed("c", seconds=2))
    assert found == Breaker(
        State.OPEN,
        next_probe=later(2) + DOUBTED,
        down_since=later(2),
        cause=Cause.RUNS_FAIL,
        fault="3 runs in a row failed: SourceUnavailable",
    )


@given(st.lists(st.integers(0, 400), min_size=1, max_size=20))
def test_nobody_closes_a_source_to_others_by_failing_alone(times: list[int]) -> None:
    told = [failed(f"run-{number}", "mallory", second) for number, second in enumerate(sorted(times))]
    assert fail(Breaker(), *told).limit is None


def test_a_good_run_between_failures_keeps_it_closed() -> None:
    known = fail(Breaker(), failed("a"), failed("b", "bob"))
    assert fail(work(known, "good"), failed("c"), failed("d", "bob")).limit is None


def test_failures_far_apart_keep_it_closed() -> None:
    apart = RUNS_WITHIN.total_seconds() / 2
    told = [failed("a"), failed("b", "bob", apart), failed("c", "bob", 2 * apart)]
    assert fail(Breaker(), *told).limit is None


def test_a_run_that_is_told_twice_counts_once() -> None:
    known = fail(Breaker(), failed("a"), failed("b", "bob"))
    assert fail(known, failed("b", "bob", 1), failed("a", seconds=2)) == known


def test_a_failed_run_asks_for_a_probe_at_once() -> None:
    assert fail(breaker.probe_passed(Breaker(), NOW), failed("a", seconds=3)).next_probe == later(3)


def test_one_that_runs_have_opened_is_not_closed_by_a_probe_before_its_pause_is_over() -> None:
    known = fail(Breaker(), failed("a"), failed("b", "bob"), failed("c"))
    assert [breaker.probe_passed(known, later(second)).limit for second in (0, 4.9, 5)] == [0, 0, 1]


def test_one_that_probes_have_opened_is_half_open_as_soon_as_a_probe_passes() -> None:
    assert breaker.probe_passed(opened(), NOW).limit == 1


def problem(failure: Failure) -> Ended:
    return Ended(None, Problem(str(failure), "", "", "", retryable=True), attempts=1)


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (Ended(delivered(), None, 1), (Verdict(HERE), Verdict(THERE))),
        (Ended(None, None, 1), (Verdict(HERE), Verdict(THERE))),
        (
            Ended(delivered(used_fallback=True), None, 1),
            (Verdict(HERE), Verdict(THERE, "DestinationUnavailable")),
        ),
        (problem(Failure.SOURCE_UNAVAILABLE), (Verdict(HERE, "SourceUnavailable"),)),
        (problem(Failure.DESTINATION_UNAVAILABLE), (Verdict(THERE, "DestinationUnavailable"),)),
        (problem(Failure.BUCKET_NOT_FOUND), (Verdict(THERE, "BucketNotFound"),)),
        (problem(Failure.SOURCE_QUERY_FAILED), ()),
        (problem(Failure.SOURCE_ACCESS_DENIED), ()),
        (problem(Failure.OUT_OF_MEMORY), ()),
    ],
)
def test_only_ends_that_any_run_would_meet_tell_of_source_or_destination(
    ended: Ended, expected: tuple[Verdict, ...]
) -> None:
    assert breaker.verdicts(ended, HERE.name, THERE.name) == expected


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["probe fails", "probe passes", "run fails", "run works"]), st.integers(0, 90)),
    max_size=60,
)


def step(known: Breaker, what: str, told: Failed) -> Breaker:
    if what == "probe fails":
        return breaker.probe_failed(known, REFUSED, told.time)
    if what == "probe passes":
        return breaker.probe_passed(known, told.time)
    if what == "run fails":
        return breaker.run_failed(known, told, "SourceUnavailable", told.time)
    return breaker.run_worked(known, told.run, told.time)


def history(steps: list[Step]) -> list[tuple[datetime, Breaker]]:
    """The breaker after each step, which is so many seconds after the one before it."""
    known, now, found = Breaker(), NOW, [(NOW, Breaker())]
    for number, (what, seconds) in enumerate(steps):
        now += timedelta(seconds=seconds)
        known = step(known, what, Failed(f"run-{number}", f"user-{number % 3}", now))
        found.append((now, known))
    return found


@given(STEPS)
def test_whatever_happens_it_opens_slowly_and_only_a_failure_lowers_its_limit(steps: list[Step]) -> None:
    for (_, before), (_, after) in pairwise(history(steps)):
        if before.state is State.OPEN:
            assert after.limit in {0, 1}
        elif before.state is State.CLOSED:
            assert after.limit in {0, None}
        else:
            assert after.limit in {0, None} or (after.limit or 0) >= before.allowed


@given(STEPS)
def test_whatever_happens_a_limit_doubles_at_most_once_a_minute_or_a_round(steps: list[Step]) -> None:
    for (_, before), (now, after) in pairwise(history(steps)):
        if before.state is after.state is State.HALF_OPEN:
            minutes = (now - before.stepped) // STEP
            assert after.allowed <= before.allowed * 2 ** (minutes + 1)


@given(STEPS)
def test_whatever_happens_it_is_probed_again_within_a_minute(steps: list[Step]) -> None:
    for now, known in history(steps):
        assert known.next_probe <= now + LONGEST
        assert DOUBTED <= known.pause <= LONGEST


@given(STEPS)
def test_whatever_happened_it_closes_by_itself_when_all_is_well_again(steps: list[Step]) -> None:
    now, known = history(steps)[-1]
    began = now
    while known.state is not State.CLOSED:
        now = max(now, known.next_probe)
        known = breaker.probe_passed(known, now)
    assert now - began <= LONGEST + STEP * (FULL.bit_length() + 1)


@given(st.integers(1, 200), st.lists(st.integers(0, 1000), min_size=1))
def test_a_queue_drains_without_a_herd(waiting: int, order: list[int]) -> None:
    """As many as the limit allows are live; which of them ends next is arbitrary. All end well."""
    known, live, started = half_open(), set[str](), 0
    while started < waiting or live:
        while started < waiting and (known.limit is None or len(live) < known.limit):
            live.add(f"run-{started}")
            started += 1
        # Nothing is trusted with more than twice what it has shown to bear.
        assert known.limit is None or len(live) <= 1 + (started - len(live))
        ended = sorted(live)[order[started % len(order)] % len(live)]
        live.remove(ended)
        known = work(known, ended)
