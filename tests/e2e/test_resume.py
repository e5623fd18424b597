"""Runs that keep a checkpoint: killed in mid-upload they go on where they were, and who wakes up late spoils nothing.
The object has the bytes of an undisturbed one."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.checkpoints import PARTS, RESUMABLE, checkpoint, until_parts
from tests.e2e.conftest import World
from tests.e2e.furniture import BUCKET, PLENTY, paced
from tests.e2e.killer import Killer
from tests.e2e.team import Team, exit_code, one_object
from tests.platform.api import Json
from tests.platform.names import RUN_NAMESPACE
from tests.platform.waiting import together, until
from tests.services import data

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

RUNS = 10
SECONDS = 240.0
"""For all of them at once, on a machine of two cores."""
SLOWLY = paced(milliseconds=300)
"""Time to reach ten pods at once, on processors that others use as well."""
SHOWN = ("rows", "bytes", "sha256", "complete")
INTERRUPTED = 82
JOB_LABELS = (
    *("batch.kubernetes.io/controller-uid", "controller-uid"),
    *("batch.kubernetes.io/job-name", "job-name"),
)


@pytest.fixture(scope="module")
def team(world: World) -> Iterator[Team]:
    made = world.team(PLENTY, label="resume")
    yield made
    world.leave(made)


@pytest.fixture(scope="module")
def undisturbed(world: World, team: Team) -> Json:
    """The result of a run that nobody disturbs, checked row by row."""
    team.ask("undisturbed", "paced", **RESUMABLE)
    result = team.succeeded("undisturbed")
    assert world.database.compare_csv(world.storage.read(result["uri"]), "users", data.COLUMNS).none
    assert (result["consistency"], result["segments"], result["resumed"]) == ("Snapshot", 1, 0)
    (stored,) = json.loads(world.storage.read(result["manifestURI"]))["objects"]
    assert stored["parts"] == PARTS
    return result


def in_mid_upload(world: World, team: Team, name: str, parts: int = 1) -> Json:
    """The pod of a run, when so many parts of its object are in S3."""
    pod = team.running_pod(name, SECONDS)
    until_parts(world, team, name, parts, SECONDS)
    return pod


def facts(world: World, team: Team, name: str) -> tuple[Any, ...]:
    """All that a late process could spoil."""
    status = team.status(name)
    folder = status["result"]["uri"].removeprefix(f"s3://{BUCKET}/").rpartition("/")[0]
    listed = world.storage.client.list_objects_v2(Bucket=BUCKET, Prefix=folder)["Contents"]
    objects = [(each["Key"], each["ETag"], each["LastModified"]) for each in listed]
    return status, objects, world.storage.read(status["result"]["manifestURI"])


def test_exporters_that_are_killed_in_mid_upload_in_ten_runs_go_on_where_they_were(
    world: World, team: Team, executioner: Killer, undisturbed: Json
) -> None:
    def run(number: int) -> str:
        name = f"cut-{number}"
        team.ask(name, source=SLOWLY, **RESUMABLE)
        pod = in_mid_upload(world, team, name, 1 + number % 2)
        assert executioner.kill(pod), f"{name} was done before it could be killed"
        assert exit_code(team, name, pod) == 137
        return name

    for name in together(run, range(RUNS), at_once=RUNS):
        status = team.until(name, "Succeeded", seconds=SECONDS)
        result = status["result"]
        assert {key: result[key] for key in SHOWN} == {key: undisturbed[key] for key in SHOWN}
        told = (status["attempts"], result["resumed"], result["segments"], result["consistency"])
        assert told == (2, 1, 2, "Segmented")
        segments = json.loads(world.storage.read(result["manifestURI"]))["segments"]
        assert [segment["rows"] > 0 for segment in segments] == [True, True]
        assert sum(segment["rows"] for segment in segments) == data.ROWS
        assert len(team.jobs(name)) == 1
        one_object(world.storage, result)
        assert checkpoint(world, team, name) == {}


@pytest.mark.parametrize("wakes", ["while-another-is-at-work", "when-all-is-done"])
def test_a_pod_that_was_lost_and_wakes_up_spoils_nothing(
    world: World, team: Team, executioner: Killer, undisturbed: Json, wakes: str
) -> None:
    name = f"lost-{wakes}"
    team.ask(name, "paced", **RESUMABLE)
    zombie = in_mid_upload(world, team, name)
    assert executioner.freeze(zombie)
    lose(world, zombie)
    try:
        until("another pod", lambda: len(team.pods(name)) == 2, 60)
        if wakes == "while-another-is-at-work":
            until("it to take over", lambda: checkpoint(world, team, name).get("attempt") == 2, 60)
            assert executioner.thaw(zombie)
        result = team.succeeded(name, SECONDS)
        before = facts(world, team, name)
        if wakes == "when-all-is-done":
            assert executioner.thaw(zombie)
        assert exit_code(team, name, zombie, 60) in {
            0,
            INTERRUPTED,
        }  # it sees that all is done, or that another is at it
        assert facts(world, team, name) == before
        assert {key: result[key] for key in SHOWN} == {key: undisturbed[key] for key in SHOWN}
        assert len(team.jobs(name)) == 1
        one_object(world.storage, result)
    finally:
        world.platform.api.delete("Pod", zombie["metadata"]["name"], RUN_NAMESPACE, grace=0)


def lose(world: World, pod: Json) -> None:
    """The Job knows nothing of this pod any more, and it runs on: what a node that cannot be reached comes to."""
    labels = dict.fromkeys(JOB_LABELS)
    world.platform.api.patch("Pod", pod["metadata"]["name"], RUN_NAMESPACE, {"metadata": {"labels": labels}})
