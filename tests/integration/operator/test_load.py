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


def test_nobody_gets_more_than_the_quota_and_nothing_runs_twice() -> None:
    with plane() as fresh:
        fresh.install()
        seen = asyncio.run(scenario.play(STORM, fresh))
    assert judging.faults(STORM, seen) == []
