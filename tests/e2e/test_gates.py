"""What is down holds its requests: no Job, no attempt, no quota. When it is back they run by themselves."""

from collections.abc import Iterator

import pytest

from tests.cluster.kubectl import Kubectl
from tests.e2e.conftest import MakeTeam, World
from tests.e2e.furniture import FEW, PLENTY
from tests.platform import catalogue
from tests.platform.api import Json
from tests.platform.names import DEPLOYMENT, NAMESPACE, RUN_NAMESPACE
from tests.platform.waiting import until
from tests.services.cluster import NAMESPACE as SERVICES

pytestmark = pytest.mark.e2e

DOOR = "e2e-door"
"""A Service before PostgreSQL that can be shut, and the source behind it."""
FOUND_OUT, BACK = 60.0, 120.0
"""Bounds: for two probes that fail, and for the next one when it is down already, with the runs that follow."""


def condition(world: World, kind: str, name: str) -> Json:
    found: Json = world.platform.api.get(kind, name).get("status") or {}
    return next((each for each in found.get("conditions") or [] if each["type"] == "Available"), {})


def until_it_is(world: World, kind: str, name: str, reason: str, seconds: float = FOUND_OUT) -> Json:
    def look() -> Json | None:
        found = condition(world, kind, name)
        return found if found.get("reason") == reason else None

    return until(f"{kind} {name} {reason}", look, seconds)


@pytest.fixture
def door(world: World) -> Iterator[str]:
    """The source; its door is shut, and the operator has seen it."""
    api, services = world.platform.api, world.platform.services
    shut(world)
    spec = {**api.get("ExportSource", "e2e-db")["spec"], "host": f"{DOOR}.{SERVICES}.svc"}
    api.apply(catalogue.named("ExportSource", DOOR, spec))
    until_it_is(world, "ExportSource", DOOR, "Unreachable")
    yield DOOR
    api.delete("ExportSource", DOOR)
    services.kubectl.run("delete", "service", DOOR)


def shut(world: World, selector: str = "nobody") -> None:
    world.platform.api.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": DOOR, "namespace": SERVICES},
            "spec": {"selector": {"app": selector}, "ports": [{"port": 5432, "targetPort": "postgres"}]},
        }
    )


def breaker(operator: Kubectl, name: str) -> set[str]:
    """The states of a source that the leader's metrics tell."""
    pods = operator.output("get", "pods", "-l", f"app.kubernetes.io/name={DEPLOYMENT}", "-o", "name").split()
    pages = [f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.removeprefix('pod/')}:8080/proxy/metrics" for pod in pods]
    lines = [line for page in pages for line in operator.output("get", "--raw", page).splitlines()]
    of_it = f'export_operator_breaker_state{{kind="Source",name="{name}",'
    found = [line for line in lines if line.startswith(of_it)]
    return {line.split('state="')[1].split('"')[0] for line in found if float(line.split()[-1]) == 1}


def test_requests_wait_for_a_source_that_is_down_and_run_when_it_is_back(
    world: World, operator: Kubectl, teams: MakeTeam, door: str
) -> None:
    """The user may have five runs a day: the sixth shows that none of them was spent on the outage."""
    team, api = teams(), world.platform.api
    names = [f"held-{number}" for number in range(6)]
    for name in names:
        team.ask(name, source={"name": door, "dataset": "few"})
    for name in names:
        status = team.until(name, "Queued", reason="SourceUnavailable")
        assert f"source '{door}' is down since" in status["message"]
        assert "connection refused" in status["message"]
        assert SERVICES not in str(status)
        assert "quota" not in status
        assert team.jobs(name) == []
    runs = {team.status(name)["run"] for name in names}
    usages = api.items("ExportUsage", RUN_NAMESPACE)
    assert usages
    assert [each["metadata"]["name"] for each in usages if any(run in str(each["spec"]) for run in runs)] == []
    until("the breaker to be told as open", lambda: breaker(operator, door) == {"open"}, 30)

    shut(world, "postgres")
    left = set(names)

    def ended() -> bool:
        left.difference_update({name for name in left if team.status(name)["phase"] == "Succeeded"})
        return len(left) == 1

    until("five of six to succeed", ended, BACK)
    (last,) = left
    assert team.until(last, "Queued")["reason"] == "QuotaExceeded"
    for name in set(names) - left:
        status = team.status(name)
        assert (status["result"]["rows"], status["attempts"], len(team.jobs(name))) == (FEW, 1, 1)
    until_it_is(world, "ExportSource", door, "Recovering")
    said = {
        (event["type"], event["reason"])
        for event in api.items("Event", "default")
        if event["involvedObject"]["name"] == door
    }
    assert {("Warning", "Unreachable"), ("Normal", "Recovering")} <= said


def test_requests_wait_for_a_destination_that_is_down_and_go_at_once_when_they_are_deleted(
    world: World, teams: MakeTeam
) -> None:
    team = teams(PLENTY)
    until_it_is(world, "ExportDestination", "e2e-unreachable", "Unreachable")
    team.ask("held", destination={"name": "e2e-unreachable"})
    status = team.until("held", "Queued", reason="DestinationUnavailable")
    assert "destination 'e2e-unreachable' is down since" in status["message"]
    team.kubectl.run("delete", "exportrequest", "held", "--timeout=10s")
    assert team.jobs("held") == []


def test_a_request_that_waits_for_its_source_longer_than_it_may_fails_and_has_cost_nothing(
    world: World, teams: MakeTeam
) -> None:
    team = teams()
    until_it_is(world, "ExportSource", "e2e-down", "Unreachable")
    team.ask("hasty", source={"name": "e2e-down", "dataset": "few"}, queueDeadlineSeconds=5)
    team.until("hasty", "Queued", reason="SourceUnavailable")
    status = team.until("hasty", "Failed")
    assert (status["reason"], status["failure"]["attempts"], team.jobs("hasty")) == ("QueueDeadlineExceeded", 0, [])
