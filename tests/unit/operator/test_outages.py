"""An outage from beginning to end, with the real reconciler, queue, ledger and breakers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from export_operator.domain.breaker import SOURCE
from export_operator.domain.model import Key
from export_operator.domain.policy import Defaults

from .builders import RUN, SETTINGS, destination, failure, source
from .hand import Hand
from .world import Operator, World, settle

pytestmark = pytest.mark.unit

MANY = replace(SETTINGS, defaults=Defaults(requests_per_user=100), max_concurrent_runs=20)
ONE_EACH = replace(SETTINGS, defaults=Defaults(requests_per_user=1))
OTHER = replace(source(), name="other-db")


def person(name: str) -> Mapping[str, Any]:
    return {"requester": {"username": name}, "submittedBy": {"username": name}}


def live(world: World) -> list[str]:
    return [name for name, job in world.jobs.items() if not job.terminal]


def deliver(world: World, names: list[str]) -> None:
    for name in names:
        world.start(name)
        world.deliver(name)


def phases(world: World) -> set[tuple[str, str]]:
    return {(document["status"]["phase"], document["status"]["reason"]) for document in world.requests.values()}


def test_what_was_held_drains_without_a_herd() -> None:
    world, hand = World(), Hand()
    world.fall(SOURCE, "app-db")
    for number in range(40):
        world.apply(Key("team-a", f"r{number:02}"), **person(f"user-{number % 4}"))
    operator = settle(world, Operator(world, hand, MANY), hand, MANY)
    assert (phases(world), world.jobs, world.usages) == ({("Queued", "SourceUnavailable")}, {}, {})
    world.rise(SOURCE, "app-db")
    at_once = []
    while True:
        operator = settle(world, operator, hand, MANY)
        names = live(world)
        if not names:
            break
        at_once.append(len(names))
        deliver(world, names)
    assert (at_once, phases(world)) == ([1, 2, 4, 8, 16, 9], {("Succeeded", "Delivered")})


def test_a_trial_that_fails_stops_the_others() -> None:
    world, hand = World(), Hand()
    world.fall(SOURCE, "app-db")
    for number in range(3):
        world.apply(Key("team-a", f"r{number}"))
    operator = settle(world, Operator(world, hand, MANY), hand, MANY)
    world.rise(SOURCE, "app-db")
    operator = settle(world, operator, hand, MANY)
    (trial,) = live(world)
    world.start(trial)
    told = failure(reason="SourceUnavailable", failure_class="Source", retryable=True, exit_code=80)
    world.end(trial, 80, told.replace(RUN, world.jobs[trial].run))
    settle(world, operator, hand, MANY)
    expected = [("Failed", "SourceUnavailable"), ("Queued", "SourceUnavailable")]
    assert (live(world), sorted(phases(world)), len(world.created)) == ([], expected, 1)


def test_an_outage_of_one_source_holds_up_nobody_who_wants_another() -> None:
    """Both wait for a place in the same window, and the first of them cannot use it."""
    world, hand = World(places=(source(), OTHER, destination())), Hand()
    first, second, third = (Key("team-a", name) for name in ("r1", "r2", "r3"))
    world.apply(first)
    operator = settle(world, Operator(world, hand, ONE_EACH), hand, ONE_EACH)
    deliver(world, live(world))
    world.apply(second)
    world.wait(1)
    world.apply(third, source={"name": "other-db", "dataset": "users"})
    operator = settle(world, operator, hand, ONE_EACH)
    assert [world.status(key)["reason"] for key in (second, third)] == ["QuotaExceeded", "QuotaExceeded"]
    world.fall(SOURCE, "app-db")
    world.wait(86_400)
    settle(world, operator, hand, ONE_EACH)
    assert [world.status(key)["reason"] for key in (second, third)] == ["SourceUnavailable", "PodStarting"]
