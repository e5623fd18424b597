"""What goes wrong while it runs is told by name, with what to do next, in status and in an Event."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import World
from tests.e2e.furniture import HASTY, NOWHERE, PLANTED, PLENTY, TINY
from tests.e2e.team import Team
from tests.platform.api import Json
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

AT_ONCE, WITH_RETRIES = 60.0, 240.0
"""Bounds: for what is permanent, and for what is tried in four pods, between which Kubernetes waits 10, 20 and 40 s."""


@dataclass(frozen=True)
class Failing:
    """A request that is valid and cannot end well."""

    name: str
    spec: Json
    reason: str
    failure_class: str
    says: str
    group: str = PLENTY
    attempts: int = 1
    seconds: float = AT_ONCE
    retryable: bool = False


def of(name: str, dataset: str = "few", **parameters: str) -> Json:
    return {"source": {"name": name, "dataset": dataset, **({"parameters": parameters} if parameters else {})}}


def to(name: str) -> Json:
    return {"destination": {"name": name}}


FAILING = [
    Failing(
        "postgresql-has-no-connection-left",
        of("e2e-full"),
        "SourceUnavailable",
        "Source",
        "too many connections",
        attempts=4,
        seconds=WITH_RETRIES,
        retryable=True,
    ),
    Failing("a-wrong-password", of("e2e-wrong-password"), "SourceAuthenticationFailed", "Source", "(?i)password"),
    Failing("no-such-database", of("e2e-no-database"), "SourceDatabaseNotFound", "Source", '"nothing"'),
    Failing("no-permission", of("e2e-db", "forbidden"), "SourceAccessDenied", "Source", "pg_read_file"),
    Failing(
        "a-query-that-is-wrong", of("e2e-db", "broken"), "SourceQueryFailed|DatasetInvalid", "Source", "no_such_table"
    ),
    Failing("the-bucket-is-missing", to("e2e-no-bucket"), "BucketNotFound", "Destination", "e2e-nowhere"),
    Failing(
        "access-is-denied", to("e2e-read-only"), "DestinationAccessDenied", "Destination", "(?i)denied|not allowed"
    ),
    Failing("a-wrong-key", to("e2e-wrong-key"), "DestinationAuthenticationFailed", "Destination", "(?i)signature|key"),
    Failing(
        "the-memory-limit-is-hit",
        {},
        "OutOfMemory",
        "Infrastructure",
        "memory limit",
        group=TINY,
    ),
    Failing(
        "a-secret-is-missing",
        of("e2e-no-secret"),
        "CredentialsMissing",
        "Infrastructure",
        '"e2e-absent" not found.*start deadline 10 s',
        group=HASTY,
    ),
    Failing(
        "no-node-takes-it",
        {},
        "Unschedulable",
        "Infrastructure",
        "didn't match Pod's node affinity/selector.*start deadline 10 s",
        group=NOWHERE,
        retryable=True,
    ),
    Failing(
        "the-run-deadline-passes",
        {**of("e2e-db", "slow", rows="1000"), "runDeadlineSeconds": 3},
        "DeadlineExceeded",
        "Deadline",
        "3 s",
    ),
]


CASES = [
    pytest.param(failing, id=failing.name, marks=[pytest.mark.late] if failing.seconds > AT_ONCE else [])
    for failing in FAILING
]


@pytest.fixture(scope="session")
def asked(world: World) -> Iterator[dict[str, Team]]:
    """All of them at once: what waits for a back-off does so while other tests run."""
    by_group = {group: world.team(group, label="failures") for group in (PLENTY, HASTY, TINY, NOWHERE)}
    for failing in FAILING:
        by_group[failing.group].ask(failing.name, **failing.spec)
    yield by_group
    for team in by_group.values():
        world.leave(team)


@pytest.mark.parametrize("failing", CASES)
def test_is_told_by_name_with_what_to_do(asked: dict[str, Team], failing: Failing) -> None:
    team = asked[failing.group]
    status = team.until(failing.name, "Failed", seconds=failing.seconds)
    failure = status["failure"]
    assert re.fullmatch(failing.reason, status["reason"])
    assert failure["reason"] == status["reason"]
    assert failure["class"] == failing.failure_class
    assert re.search(failing.says, failure["message"]), failure["message"]
    assert failure["advice"]
    assert failure["advice"] in status["message"]
    assert failure["retryable"] is failing.retryable
    assert failure["attempts"] == failing.attempts
    assert "result" not in status
    assert PLANTED not in str(status)
    events = until("its Event", lambda: [e for e in team.events(failing.name) if e["reason"] == status["reason"]], 5)
    assert {event["type"] for event in events} == {"Warning"}
    assert len(team.jobs(failing.name)) == 1


def test_a_failed_request_runs_anew_when_its_cause_is_mended(world: World, team: Team) -> None:
    api = world.platform.api
    source = api.get("ExportSource", "e2e-db")
    spec = {**source["spec"], "database": "nothing"}
    metadata = {"name": f"e2e-mended-{team.namespace}"}
    api.apply({**source, "metadata": metadata, "spec": spec, "status": {}})
    team.ask("again", source={"name": metadata["name"], "dataset": "few"})
    assert team.until("again", "Failed")["reason"] == "SourceDatabaseNotFound"
    api.apply({**source, "metadata": metadata, "status": {}})
    team.patch("again", runID="second")
    assert team.succeeded("again", run_id="second")["rows"] == 1000
    assert "failure" not in team.status("again")
    api.delete("ExportSource", metadata["name"])
