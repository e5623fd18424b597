"""Upgraded to a later release and rolled back while requests run, wait and are suspended: nothing is lost, nothing is
done twice, and each release understands what the other's pods tell."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.cluster import images
from tests.e2e import release
from tests.e2e.conftest import World
from tests.e2e.furniture import DESTINATION, SOURCE
from tests.e2e.team import Team, one_object
from tests.platform import catalogue, chart
from tests.platform.api import Api, Json
from tests.platform.names import NAMESPACE, OPERATOR, RELEASE
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

SECONDS = 150.0
POLICY = "e2e-upgrade"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/exportrequests.export-operator.io"


def slow(rows: int) -> Json:
    """Fifty a second."""
    return {"source": {"name": SOURCE, "dataset": "slow", "parameters": {"rows": str(rows)}}}


@dataclass
class Told:
    """What was seen on the way. Images are those of the one container."""

    team: Team
    present: images.Images
    later: images.Images
    operators: list[set[str]] = field(default_factory=list)
    """Images of the operator's pods: after the upgrade, and after the rollback."""
    knows_field: list[bool] = field(default_factory=list)
    """Whether the CRD has the later release's field, at the same moments."""
    asked_with: object = None
    """What the API server kept of that field."""


@pytest.fixture(scope="module")
def told(world: World) -> Iterator[Told]:
    platform, api = world.platform, world.platform.api
    team = world.team(label="upgrade")
    limits = {"user": {"requests": 100, "maxConcurrent": 3}}
    spec = {"selector": {"users": [team.user]}, "limits": limits, "defaults": {"destination": DESTINATION}}
    api.apply(catalogue.named("ExportPolicy", POLICY, spec))
    with release.later(platform.cluster, platform.images) as later:
        told = Told(team, platform.images, later.built)
        try:
            upgrade_and_roll_back(world, later, told)
            yield told
        finally:
            chart.install(platform.cluster, platform.images)  # nothing to do, unless it has failed half-way
    world.leave(team)
    api.delete("ExportPolicy", POLICY)


def upgrade_and_roll_back(world: World, later: release.Release, told: Told) -> None:
    platform, team = world.platform, told.team
    team.ask("asleep", **slow(100))
    team.running_pod("asleep")
    team.patch("asleep", suspend=True)
    for name in ("first", "second", "third"):
        team.ask(name, **slow(1000))
        team.running_pod(name)
    team.ask("waiting", **slow(100))
    team.until("waiting", "Queued")
    until("nothing of what sleeps to run", lambda: not team.pods("asleep"), 60)

    chart.install(platform.cluster, later.built, directory=later.chart)
    note(told, platform.api)
    team.patch("asleep", suspend=False)
    more: Json = {release.FIELD: True}
    asked = team.ask("between", **slow(1000), **more)
    told.asked_with = asked["spec"].get(release.FIELD)
    team.running_pod("between", SECONDS)

    chart.helm(platform.cluster, "rollback", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout=120s")
    note(told, platform.api)
    team.ask("after")


def note(told: Told, api: Api) -> None:
    pods = [pod for pod in api.items("Pod", NAMESPACE, OPERATOR) if "deletionTimestamp" not in pod["metadata"]]
    told.operators.append({pod["spec"]["containers"][0]["image"] for pod in pods})
    (version,) = api.call("GET", CRD)["spec"]["versions"]
    fields = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    told.knows_field.append(release.FIELD in fields)


def test_an_upgrade_and_a_rollback_replace_the_operator_and_bring_its_crds_along(told: Told) -> None:
    assert told.operators == [{told.later.operator}, {told.present.operator}]
    assert told.knows_field == [True, False]
    assert told.asked_with is True


@pytest.mark.parametrize("name", ["first", "second", "third", "asleep", "waiting", "between", "after"])
def test_whatever_stage_a_request_was_in_it_is_delivered_once(world: World, told: Told, name: str) -> None:
    result = told.team.succeeded(name, SECONDS)
    assert len(told.team.jobs(name)) == 1
    one_object(world.storage, result)
    assert name == "asleep" or told.team.status(name)["attempts"] == 1


def test_a_run_keeps_the_exporter_that_it_began_with(told: Told) -> None:
    for name in ("first", "asleep", "between"):
        told.team.succeeded(name, SECONDS)
    used = {}
    for name in ("first", "asleep", "between", "after"):
        (job,) = told.team.jobs(name)
        used[name] = job["spec"]["template"]["spec"]["containers"][0]["image"]
    present, later = told.present.exporter, told.later.exporter
    assert used == {"first": present, "asleep": present, "between": later, "after": present}


def test_what_a_pod_of_the_later_release_tells_is_understood_after_the_rollback(told: Told) -> None:
    result = told.team.succeeded("between", SECONDS)
    (pod,) = told.team.pods("between")
    assert "ofALaterRelease" in pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"]
    # Of these nobody but the pod itself tells: the manifest does not have them.
    assert {"timings", "peakMemoryBytes"} <= result.keys()
    assert told.team.status("between")["progress"]["rows"] == result["rows"] == 1000
