"""Killed at random moments: one Job, one object and the right rows for each run, whatever was killed when."""

import json
import random
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.e2e.conftest import World
from tests.e2e.furniture import PLENTY
from tests.e2e.killer import Killer
from tests.e2e.leader import leader
from tests.e2e.team import Team, exit_code, one_object
from tests.platform.api import Json
from tests.platform.names import NAMESPACE, RUN_NAMESPACE
from tests.platform.waiting import together, until
from tests.services import data

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

RUNS = 10
AT_ONCE = 3
TRIES = 12
SOONER = 0.75
"""Each further try of a run kills so much earlier: a pod that was faster than its killer is not for long."""
SECONDS = 180.0


@pytest.fixture(scope="module")
def team(world: World) -> Iterator[Team]:
    """One tenant for both loops."""
    made = world.team(PLENTY, label="kills")
    yield made
    world.leave(made)


@pytest.fixture(scope="module")
def undisturbed(world: World, team: Team) -> tuple[Json, float, float]:
    """The result of a run that nobody kills, checked row by row; and how long a request takes, and its export."""
    began = time.monotonic()
    team.ask("undisturbed", "users")
    result = team.succeeded("undisturbed")
    ended = time.monotonic()
    content = world.storage.read(result["uri"])
    assert world.database.compare_csv(content, "users", data.COLUMNS).none
    manifest = json.loads(world.storage.read(result["manifestURI"]))
    started, finished = (datetime.fromisoformat(manifest[name]) for name in ("startedAt", "finishedAt"))
    return result, ended - began, (finished - started).total_seconds()


@pytest.fixture(scope="module")
def moments() -> random.Random:
    """Random, and repeatable: the seed is printed with a failure."""
    seed = random.randrange(2**32)
    print(f"seed of the moments: {seed}")
    return random.Random(seed)


def test_an_exporter_that_is_killed_in_ten_runs_delivers_each_once(
    world: World, team: Team, executioner: Killer, undisturbed: tuple[Json, float, float], moments: random.Random
) -> None:
    expected, _, seconds = undisturbed
    delays = [[moments.uniform(0, seconds) * SOONER**each for each in range(TRIES)] for _ in range(RUNS)]

    def run(number: int) -> str:
        for attempt, delay in enumerate(delays[number]):
            name = f"shot-{number}-{attempt}"
            team.ask(name, "users")
            pod = team.running_pod(name)
            time.sleep(delay)
            if executioner.kill(pod) and exit_code(team, name, pod) == 137:
                return name
            team.succeeded(name, SECONDS)  # it had ended before; once more
        raise AssertionError(f"run {number} was always faster than its killer")

    names = together(run, range(RUNS), AT_ONCE)
    for name in names:
        status = team.until(name, "Succeeded", seconds=SECONDS)
        assert status["attempts"] == 2
        delivered_once(world, team, name, expected)


def delivered_once(world: World, team: Team, name: str, expected: Json) -> None:
    result = team.status(name)["result"]
    assert (result["rows"], result["bytes"]) == (expected["rows"], expected["bytes"])
    assert result["sha256"] == expected["sha256"]
    assert len(team.jobs(name)) == 1
    one_object(world.storage, result)


def test_an_operator_that_is_killed_in_ten_runs_changes_nothing_in_their_outcome(
    world: World, team: Team, executioner: Killer, undisturbed: tuple[Json, float, float], moments: random.Random
) -> None:
    expected, seconds, _ = undisturbed
    names = [f"leaderless-{number}" for number in range(RUNS)]
    for number, name in enumerate(names):
        victim = leader(world.platform.api)
        team.ask(name, "users")
        time.sleep(moments.uniform(0, seconds))
        # The container is restarted in its pod; a pod that is deleted is replaced by another.
        if number % 2 == 0:
            assert executioner.kill(victim)
            comes_back(world, victim)
        else:
            world.platform.api.delete("Pod", victim["metadata"]["name"], NAMESPACE, grace=0)
        assert team.succeeded(name, SECONDS)["rows"] == data.ROWS
    for name in names:
        assert team.status(name)["attempts"] == 1
        assert len(team.pods(name)) == 1
        delivered_once(world, team, name, expected)
    until("no slot to be held", lambda: not slots(world, team), 30)
    reserved = reservations(world, team)
    assert len(reserved) == len(set(reserved)) == len(team.asked)


def slots(world: World, team: Team) -> list[str]:
    """Runs of the team that hold one."""
    usage = world.platform.api.get("ExportUsage", "slots", RUN_NAMESPACE)
    return [entry["run"] for entry in usage["spec"].get("entries", []) if entry["namespace"] == team.namespace]


def comes_back(world: World, victim: Json) -> None:
    """The kubelet has started the pod's container anew."""
    before = victim["status"]["containerStatuses"][0]["restartCount"]

    def look() -> bool:
        now = world.platform.api.get("Pod", victim["metadata"]["name"], NAMESPACE)
        return bool(now["status"]["containerStatuses"][0]["restartCount"] > before)

    until("a restarted container", look, 60)


def reservations(world: World, team: Team) -> list[str]:
    """Runs in the ledger of the team's user."""
    usages = world.platform.api.items("ExportUsage", RUN_NAMESPACE)
    (usage,) = (each for each in usages if each["spec"]["subject"]["name"] == team.user)
    return [entry["run"] for entry in usage["spec"]["entries"]]
