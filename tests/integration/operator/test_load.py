"""Many people at one moment, on a real API server, while two operators both lead and each is killed once. Its larger
sister is `make load`."""

from __future__ import annotations

import asyncio

import pytest

from tests.load import judging, scenario
from tests.load.plane import plane
from tests.load.scenario import Scenario

pytestmark = pytest.mark.integration

STORM = Scenario(
    name="storm",
    title="two operators, each killed once",
    users=30,
    each=4,
    limit=3,
    slots=10,
    run_seconds=0.2,
    operators=2,
    kills=2,
    usurp=True,
)

NODES = Scenario(
    name="nodes",
    title="on simulated nodes",
    users=4,
    each=5,
    limit=5,
    run_seconds=0.5,
    nodes=2,
)
RUN_CALLS = ("event", "job", "ledger", "pod", "request", "status")
"""Purposes of what is called for runs; the others are of a start, or of time that goes by."""


def test_nobody_gets_more_than_the_quota_and_nothing_runs_twice() -> None:
    with plane() as fresh:
        fresh.install()
        seen = asyncio.run(scenario.play(STORM, fresh))
    assert judging.faults(STORM, seen) == []


@pytest.mark.timeout(1800)  # kwok is built the first time
def test_a_run_takes_at_most_ten_calls_on_nodes_whose_pods_kubernetes_itself_starts_and_clears_away() -> None:
    with plane() as fresh:
        fresh.install()
        seen = asyncio.run(scenario.play(NODES, fresh))
    assert judging.faults(NODES, seen) == []
    made = {name: count for name, count in seen.calls.made.items() if name.partition(" ")[0] in RUN_CALLS}
    assert {name: made[name] for name in ("job create", "job delete")} == {
        "job create": NODES.requests,
        "job delete": NODES.requests,
    }
    assert sum(made.values()) <= 10 * NODES.requests, made
