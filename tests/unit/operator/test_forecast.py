"""Forecasts are what happens, if every run takes as long as it did lately."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.domain.forecast import Durations, Forecast, play_forward
from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.queue import Waiting
from export_operator.domain.slots import Occupancy, SlotLimits

from .builders import NOW, later
from .test_queue import many, queue_of, waiting

pytestmark = pytest.mark.unit

MINUTE = timedelta(minutes=1)


def learned(**seconds: float) -> Durations:
    """Durations of one run of dataset "" of each source."""
    durations = Durations()
    for source, taken in seconds.items():
        durations.learn(f"run-{source}", source, "", timedelta(seconds=taken))
    return durations


def test_those_who_wait_start_one_after_the_other() -> None:
    found = dict(play_forward(queue_of(many("alice", 3)), [], learned(s=60), NOW))
    assert [found[item.key] for item in many("alice", 3)] == [
        Forecast(1, NOW),
        Forecast(2, later(60)),
        Forecast(3, later(120)),
    ]


def test_a_live_run_is_expected_to_end_a_usual_time_after_it_began() -> None:
    live = waiting("live").entry
    found = dict(play_forward(queue_of(many("bob", 1)), [replace(live, time=later(-20))], learned(s=60), NOW))
    assert list(found.values()) == [Forecast(1, later(40))]


def test_a_live_run_that_takes_longer_than_usual_is_expected_to_end_now() -> None:
    live = waiting("live").entry
    found = dict(play_forward(queue_of(many("bob", 1)), [replace(live, time=later(-999))], learned(s=60), NOW))
    assert list(found.values()) == [Forecast(1, NOW)]


def test_positions_are_told_before_any_run_has_ended_but_no_times() -> None:
    found = dict(play_forward(queue_of([*many("alice", 2), *many("bob", 1)]), [], Durations(), NOW))
    assert list(found.values()) == [Forecast(1), Forecast(2), Forecast(3)]


def test_what_waits_for_a_source_that_is_down_comes_last_and_without_a_time() -> None:
    limits = SlotLimits(total=1)
    queue = queue_of([waiting("down", limits=limits, source="gone"), *many("bob", 2, limits=limits)])
    found = dict(play_forward(queue, [], learned(s=60), NOW, {Subject("Source", "gone"): 0}.get))
    assert [(key.name, forecast) for key, forecast in found.items()] == [
        ("bob-0000", Forecast(1, NOW)),
        ("bob-0001", Forecast(2, later(60))),
        ("down", Forecast(3)),
    ]


def test_a_dataset_is_expected_to_take_what_it_took_and_an_unknown_one_what_its_source_did() -> None:
    durations = Durations()
    for number, taken in enumerate((10, 30, 20)):
        durations.learn(f"small-{number}", "db", "small", timedelta(seconds=taken))
    durations.learn("large", "db", "large", timedelta(seconds=600))
    assert [durations.expected(*names) for names in (("db", "small"), ("db", "large"), ("db", "new"), ("x", "y"))] == [
        timedelta(seconds=20),
        timedelta(seconds=600),
        timedelta(seconds=25),
        timedelta(seconds=25),
    ]


def test_a_run_is_learned_from_once() -> None:
    durations = Durations()
    for _ in range(9):
        durations.learn("same", "db", "users", MINUTE)
    for number in range(2):
        durations.learn(f"run-{number}", "db", "users", 3 * MINUTE)
    assert durations.expected("db", "users") == 3 * MINUTE


requests = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["s", "t"]), st.sampled_from(["Low", "Normal", "High"])),
    max_size=40,
)


@given(requests, st.integers(1, 4), st.integers(1, 3))
def test_a_forecast_is_what_happens(given_requests: list[tuple[str, str, str]], total: int, limit: int) -> None:
    limits = SlotLimits(total=total, user=limit, source=limit)
    taken = {"s": 60.0, "t": 7.0}
    items = [
        waiting(f"r{number:02}", user, limits=limits, source=source, priority=priority)
        for number, (user, source, priority) in enumerate(given_requests)
    ]
    foretold = dict(play_forward(queue_of(items), [], learned(**taken), NOW))
    queue, live = queue_of(items), Occupancy()
    ends: list[tuple[float, int, Waiting]] = []
    moment = 0.0
    happened: dict[Key, Forecast] = {}
    while len(queue):
        item = queue.take(live)
        if item is None:
            moment, _, ended = ends.pop(0)
            queue.free(live.remove(ended.entry.run))
            continue
        happened[item.key] = Forecast(len(happened) + 1, later(moment))
        ends.append((moment + taken[item.entry.source], len(happened), item))
        ends.sort(key=lambda end: end[:2])
    assert foretold == happened
