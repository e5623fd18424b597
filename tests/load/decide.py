"""The decisions alone: no server, no I/O, ten thousand requests in the queue."""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from export_operator.domain import decide, quota
from export_operator.domain.actions import Observation, Reserve, Settings, TakeSlot
from export_operator.domain.identity import Enforcement
from export_operator.domain.jobs import PodSettings
from export_operator.domain.model import Catalogue, parse_named, parse_request
from export_operator.domain.pages import Page
from export_operator.domain.queue import FairQueue
from export_operator.domain.slots import Occupancy
from export_operator.startup import collect_seldom
from tests.cluster import say
from tests.load.results import Circumstances, Deciding, Timing
from tests.platform.catalogue import sample

A = TypeVar("A")
B = TypeVar("B")

QUEUED, PEOPLE, SLOTS, ROUNDS = 10_000, 300, 100, 5
NOW = datetime(2026, 11, 24, 12, 0, 0, 123_456, tzinfo=UTC)
ENFORCED = Enforcement(enforced=True, message="", good=NOW)

TITLES = {
    "decide": "**deciding**: from the facts about a request to what it asks of the ledger",
    "window": "then its place in each window, with those of the same person in it",
    "put": "then into the queue",
    "take": "then out of it again, when its turn comes",
    "whole": "all of these",
    "waiting": "besides: the status of one that waits",
    "launch": "besides: the status and the Job of one whose turn it is",
}


def measure() -> Deciding:
    """Every step for every request, `ROUNDS` times, with the garbage collector set as the operator sets it."""
    rounds: dict[str, list[float]] = {name: [] for name in TITLES}
    where, usual = Circumstances.present(), gc.get_threshold()
    collect_seldom()
    with say.step(f"deciding about {QUEUED:,} requests") as step:
        for number in range(ROUNDS):
            step.progress(f"round {number + 1} of {ROUNDS}")
            for name, microseconds in _round().items():
                rounds[name].append(round(microseconds, 2))
    gc.set_threshold(*usual)
    return Deciding(where, QUEUED, {name: Timing(TITLES[name], found) for name, found in rounds.items()})


def _round() -> dict[str, float]:
    seen = [
        Observation(request=parse_request(_document(number)), catalogue=CATALOGUE, identity=ENFORCED)
        for number in range(QUEUED)
    ]
    found: dict[str, float] = {}

    def timed(name: str, work: Callable[[A], B], items: Sequence[A]) -> list[B]:
        # CPU time: what else the machine does is not ours.
        began = time.process_time()
        made = [work(item) for item in items]
        found[name] = (time.process_time() - began) / QUEUED * 1e6
        return made

    reserves = timed("decide", _reserve, seen)
    pages: dict[Any, Page] = {}

    def place(reserve: Reserve) -> quota.Admission:
        states: list[quota.WindowState] = []
        for limit in reserve.limits:
            page = pages.get(limit.subject)
            answer = quota.reserve(page or Page(), reserve.waiting.entry, reserve.demand, limit, NOW)
            pages[limit.subject] = answer.page
            states.extend(answer.states)
        return quota.Admission(granted=True, states=tuple(states))

    windows = timed("window", place, reserves)
    queue, occupancy, live = FairQueue(), Occupancy(), deque[str]()
    timed("put", lambda reserve: queue.put(reserve.waiting), reserves)

    def take(reserve: Reserve) -> None:
        """One ends, so that one begins: the queue drains at the rate of the slots."""
        taken = queue.take(occupancy)
        if taken is None:
            queue.free(occupancy.remove(live.popleft()))
            taken = queue.take(occupancy)
        assert taken is not None, reserve
        live.append(taken.entry.run)

    timed("take", take, reserves)
    found["whole"] = sum(found.values())
    turns = [
        (one, TakeSlot(two.plan, two.waiting, three)) for one, two, three in zip(seen, reserves, windows, strict=True)
    ]
    timed("waiting", lambda turn: decide.admitted(turn[0], turn[1], "ClusterConcurrency", SETTINGS, NOW), turns)
    timed("launch", lambda turn: decide.admitted(turn[0], turn[1], "", SETTINGS, NOW), turns)
    return found


def _reserve(seen: Observation) -> Reserve:
    (reserve,) = decide.decide(seen, SETTINGS, NOW).actions
    assert isinstance(reserve, Reserve)
    return reserve


def _document(number: int) -> Mapping[str, Any]:
    who = f"user-{number % PEOPLE:03}"
    created = NOW - timedelta(seconds=QUEUED - number)
    return {
        "metadata": {
            "namespace": f"team-{number % 10}",
            "name": f"export-{number}",
            "uid": f"uid-{number}",
            "resourceVersion": str(number),
            "generation": 1,
            "creationTimestamp": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "spec": {
            "source": {"name": "app-db", "dataset": "users"},
            "requester": {"username": who},
            "submittedBy": {"username": who, "groups": ["system:authenticated"]},
        },
        "status": {"observedGeneration": -1},
    }


SETTINGS = Settings(pods=PodSettings(namespace="export-runs", image="exporter"), max_concurrent_runs=SLOTS)
POLICY = sample("policy")
POLICY["spec"]["limits"] = {"user": {"requests": QUEUED, "maxConcurrent": 2}}
CATALOGUE = Catalogue(
    sources={"app-db": parse_named(sample("source"))},
    destinations={"exports-bucket": parse_named(sample("destination"))},
    policies={"default": parse_named(POLICY)},
)
