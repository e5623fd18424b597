"""Turns at the free places, on the cluster: who has much waiting is in nobody's way."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import MakeTeam, World
from tests.e2e.furniture import DESTINATION, FEW
from tests.e2e.team import Team
from tests.platform import catalogue
from tests.platform.api import Json
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

POLICY = "e2e-queue"
MANY = 40
MAY_WAIT = 35


@pytest.fixture
def crowd(world: World, teams: MakeTeam) -> Iterator[tuple[Team, Team]]:
    """Two users who share one place; so many requests of each may wait."""
    busy, other = teams(), teams()
    spec = {
        "selector": {"users": [busy.user, other.user]},
        "limits": {"user": {"requests": 100, "maxQueued": MAY_WAIT}, "all": {"maxConcurrent": 1}},
        "defaults": {"destination": DESTINATION},
    }
    world.platform.api.apply(catalogue.named("ExportPolicy", POLICY, spec))
    yield busy, other
    world.platform.api.delete("ExportPolicy", POLICY)


def test_the_first_request_of_one_user_starts_at_the_next_free_place_whatever_another_has_waiting(
    crowd: tuple[Team, Team],
) -> None:
    busy, other = crowd
    names = [f"many-{number:02}" for number in range(MANY)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(busy.ask, names))

    def found() -> dict[str, Json]:
        items = busy.api.items("ExportRequest", busy.namespace)
        return {each["metadata"]["name"]: each.get("status") or {} for each in items}

    def decided() -> dict[str, Json] | None:
        statuses = found()
        return statuses if all(status.get("phase") for status in statuses.values()) else None

    statuses = until("all of many are decided on", decided, 60)
    rejected = {name: status for name, status in statuses.items() if status["phase"] == "Rejected"}
    assert {status["reason"] for status in rejected.values()} == {"TooManyQueued"}
    # Each that has begun meanwhile has made room for another to wait.
    begun = [name for name, status in statuses.items() if status["phase"] not in {"Rejected", "Queued"}]
    assert MANY - MAY_WAIT - len(begun) <= len(rejected) <= MANY - MAY_WAIT - 1

    other.ask("first")
    assert other.succeeded("first", 90)["rows"] == FEW
    first = other.status("first")
    # The one that ran when it came has ended, and no other was let in before it.
    queued = first.get("queuedTime") or first["startTime"]
    before = [status for status in found().values() if queued < (status.get("startTime") or "") < first["startTime"]]
    assert before == []

    def told() -> list[Json] | None:
        waiting = [status["queue"] for status in found().values() if status["phase"] == "Queued"]
        return waiting if all("position" in each and "estimatedStartTime" in each for each in waiting) else None

    waiting = until("all who wait are told their place and their start", told, 60)
    assert len(waiting) > MAY_WAIT // 2
    assert {each["reason"] for each in waiting} == {"PolicyConcurrency"}
    assert len({each["position"] for each in waiting}) > len(waiting) // 2
