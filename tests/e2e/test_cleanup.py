"""What is left of requests that are gone: nothing that they did not ask to keep, whatever was away when they went."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import pytest

from tests.cluster.kubectl import Kubectl
from tests.e2e.conftest import MakeTeam, World
from tests.e2e.furniture import BUCKET, address, destination
from tests.e2e.team import Team
from tests.platform import catalogue, tenants
from tests.platform.api import Json
from tests.platform.names import DEPLOYMENT, LABEL_REQUEST_UID, LABEL_RUN, RUN_NAMESPACE
from tests.platform.waiting import together, until

pytestmark = pytest.mark.e2e

REQUESTS, AT_ONCE = 1000, 6
DOOR = "s3-door"
"""A Service of its own before the usual S3 server: shut, the server is away for whoever comes through it."""
CROWD = "e2e-crowd"
SLOW: Json = {"source": {"name": "e2e-db", "dataset": "slow", "parameters": {"rows": "3000"}}}
MOST_SECONDS, MOST_TIMES = 60.0, 10.0
"""A minute is promised. Where the machine has other work, Kubernetes' own deleting takes longer too: then it is so many
times what as many objects take that nobody looks after."""


def test_a_request_that_says_so_takes_its_objects_along(world: World, team: Team) -> None:
    for name in ("kept", "removed"):
        team.ask(name, deletionPolicy="Delete" if name == "removed" else "Retain", ttlSecondsAfterFinished=0)
    results = {name: team.succeeded(name) for name in ("kept", "removed")}
    until("the Job to go that nobody needs", lambda: not team.jobs("kept"), 30)
    assert len(team.jobs("removed")) == 1
    for name in results:
        team.delete(name)
    until("the other Job to go", lambda: not team.jobs("removed"), 60)
    assert {name: sorted(world.storage.keys(BUCKET, folder(result))) for name, result in results.items()} == {
        "kept": sorted([key(results["kept"]), f"{folder(results['kept'])}manifest.json"]),
        "removed": [],
    }


def key(result: Json) -> str:
    return str(result["uri"].removeprefix(f"s3://{BUCKET}/"))


def folder(result: Json) -> str:
    return key(result).rpartition("/")[0] + "/"


def test_a_sweep_can_be_tried_in_the_operators_pod(operator: Kubectl) -> None:
    tried = ("exec", f"deployment/{DEPLOYMENT}", "--", "export-operator", "sweep", "--dry-run", "--output", "json")
    done = operator.run(*tried, check=False)
    told = json.loads(done.stdout)
    assert (told["removed"], [each["kind"] for each in told["findings"] if each["kind"] != "Delivered"]) == (
        {"keys": 0, "bytes": 0},
        [],
    )


@contextmanager
def shut(services: Kubectl) -> Iterator[None]:
    """Nobody gets through the door while the block runs."""
    services.run("patch", "service", DOOR, "--type=merge", '--patch={"spec":{"selector":{"app":"nobody"}}}')
    try:
        yield
    finally:
        services.run("patch", "service", DOOR, "--type=merge", '--patch={"spec":{"selector":{"app":"s3"}}}')


def furnish(world: World) -> None:
    services, api = world.platform.services, world.platform.api
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": DOOR, "namespace": services.kubectl.namespace},
            "spec": {"selector": {"app": "s3"}, "ports": [{"name": "s3", "port": 7070, "targetPort": "s3"}]},
        }
    )
    api.apply(destination(services, "e2e-cleanup-door", endpoint=address(DOOR)))
    limits = {"windowSeconds": 86_400, "user": {"requests": REQUESTS, "maxConcurrent": AT_ONCE, "maxQueued": REQUESTS}}
    spec = {"selector": {"groups": [CROWD]}, "limits": limits, "defaults": {"destination": "e2e-cleanup-door"}}
    api.apply(catalogue.named("ExportPolicy", CROWD, spec))


def leave_behind(world: World, team: Team, job: Json) -> str:
    """What a pod that was cut off leaves beside what a good one removes by itself; the run."""
    run, name = job["metadata"]["labels"][LABEL_RUN], job["metadata"]["annotations"]["export-operator.io/request-name"]
    client = world.storage.client
    place = f"tests/{team.namespace}/{name}/{run}/{name}"
    begun = client.create_multipart_upload(Bucket=BUCKET, Key=f"{place}.csv")
    client.upload_part(Bucket=BUCKET, Key=f"{place}.csv", UploadId=begun["UploadId"], PartNumber=1, Body=b"row")
    client.put_object(Bucket=BUCKET, Key=f"{place}-00001.csv", Body=b"row")
    client.put_object(Bucket=BUCKET, Key=f"tests/.export-operator/{run}/checkpoint.json", Body=b"{}")
    return str(run)


def gone(world: World, namespace: str) -> float:
    """Delete it; the seconds until it is not there any more."""
    began = monotonic()
    world.platform.kubectl.run("delete", "namespace", namespace, "--timeout=600s")
    return monotonic() - began


def usual(world: World) -> float:
    """The same of a namespace with as many objects of Kubernetes' own."""
    name = "e2e-plain"
    tenants.namespace(world.platform.api, name)
    made = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"plain-{number}", "namespace": name}}
        for number in range(REQUESTS)
    ]
    together(world.platform.api.create, made, 8)
    return gone(world, name)


def test_a_namespace_of_a_thousand_requests_goes_while_s3_is_away_and_leaves_nothing_there(
    world: World, teams: MakeTeam
) -> None:
    furnish(world)
    team = teams(CROWD)
    names = [f"crowd-{number:04}" for number in range(REQUESTS)]
    through: Json = {"deletionPolicy": "Delete", "destination": {"name": "e2e-cleanup-door"}}
    for name in names[:3]:
        team.ask(name, **through)
    for name in names[:3]:
        team.succeeded(name)
    together(lambda name: team.ask(name, **through, **SLOW), names[3:], 8)
    uids = set(team.asked.values())

    def jobs() -> list[Json]:
        return [
            job
            for job in world.platform.api.items("Job", RUN_NAMESPACE)
            if (job["metadata"].get("labels") or {}).get(LABEL_REQUEST_UID) in uids
        ]

    until("as many as may to run", lambda: len(jobs()) >= 3 + AT_ONCE, 60)
    with shut(world.platform.services.kubectl):
        noted = jobs()
        runs = [leave_behind(world, team, job) for job in noted]
        assert world.storage.uploads(BUCKET, f"tests/{team.namespace}/")
        seconds = gone(world, team.namespace)
        assert {job["metadata"]["uid"] for job in noted} <= {job["metadata"]["uid"] for job in jobs()}
    assert seconds < MOST_SECONDS or seconds < MOST_TIMES * usual(world)
    until("the Jobs to go", lambda: not jobs(), 120)
    documents = [f"tests/.export-operator/{run}/" for run in runs]
    left = [each for place in (f"tests/{team.namespace}/", *documents) for each in world.storage.keys(BUCKET, place)]
    assert (left, world.storage.uploads(BUCKET, f"tests/{team.namespace}/")) == ([], [])
