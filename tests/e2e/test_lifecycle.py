"""A request's life: cancelled, suspended, run anew, forgotten, applied over and over, and gone after its time."""

import pytest
import yaml

from tests.e2e.conftest import World
from tests.e2e.furniture import FEW
from tests.e2e.team import Team, one_object
from tests.platform.api import Json
from tests.platform.names import RUN_NAMESPACE
from tests.platform.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.older]

SLOW: Json = {"source": {"name": "e2e-db", "dataset": "slow", "parameters": {"rows": "400"}}}
"""Eight seconds: long enough to do something to it."""


def bucket_and_folder(team: Team, name: str) -> tuple[str, str]:
    """Where the objects of a request's runs are."""
    return "e2e", f"tests/{team.namespace}/{name}/"


def gone(team: Team, name: str) -> bool:
    return not team.jobs(name) and not team.pods(name)


def test_a_running_export_can_be_cancelled_and_leaves_nothing(world: World, team: Team) -> None:
    # Twenty seconds: a Job controller that has just seen an older version of its Job looks again after ten.
    team.ask("stop", source={**SLOW["source"], "parameters": {"rows": "1000"}})
    team.until("stop", "Running")
    team.patch("stop", cancel=True)
    status = team.until("stop", "Cancelled")
    assert status["reason"] == "Cancelled"
    # Nothing is said of its end before its pod has ended, whenever Kubernetes says that the Job has failed.
    assert not any(works(pod) for pod in team.pods("stop"))
    bucket, folder = bucket_and_folder(team, "stop")
    assert world.storage.keys(bucket, folder) == []
    assert world.storage.uploads(bucket, folder) == []
    assert len(team.jobs("stop")) <= 1


def works(pod: Json) -> bool:
    return any("running" in each["state"] for each in pod["status"].get("containerStatuses") or [])


def running(pod: Json) -> bool:
    return pod["status"].get("phase") in {"Pending", "Running"}


def test_a_suspended_export_frees_its_place_and_goes_on_when_it_is_let(world: World, team: Team) -> None:
    team.ask("pause", **SLOW)
    team.until("pause", "Running")
    team.patch("pause", suspend=True)
    status = team.until("pause", "Queued", reason="Suspended")
    assert {each["type"]: each["status"] for each in status["conditions"]}["Suspended"] == "True"
    until("its pod to go", lambda: not any(running(pod) for pod in team.pods("pause")), 40)
    until("its place to be free", lambda: status["run"] not in slots(world), 30)
    team.patch("pause", suspend=False)
    result = team.succeeded("pause", 90)
    assert result["rows"] == 400
    one_object(world.storage, result)
    assert len(team.jobs("pause")) == 1


def slots(world: World) -> list[str]:
    """The runs that hold a place."""
    usage = world.platform.api.get("ExportUsage", "slots", RUN_NAMESPACE)
    return [entry["run"] for entry in usage["spec"].get("entries") or []]


def test_a_request_that_is_suspended_from_the_start_starts_when_it_is_let(team: Team) -> None:
    team.ask("later", suspend=True)
    assert team.until("later", "Queued")["reason"] == "Suspended"
    assert team.jobs("later") == []
    team.patch("later", suspend=False)
    assert team.succeeded("later")["rows"] == FEW


def test_a_new_run_id_runs_it_anew_and_leaves_the_earlier_object(world: World, team: Team) -> None:
    team.ask("twice")
    first = team.succeeded("twice")
    team.patch("twice", runID="second")
    second = team.succeeded("twice", run_id="second")
    assert second["uri"] != first["uri"]
    assert second["sha256"] == first["sha256"]
    for result in (first, second):
        one_object(world.storage, result)


def test_after_its_time_to_live_job_and_pods_go_and_the_object_stays(world: World, team: Team) -> None:
    team.ask("short", ttlSecondsAfterFinished=2, expiry="Keep")
    team.ask("long", ttlSecondsAfterFinished=3600, expiry="Keep")
    until("the end of its time", lambda: team.status("short").get("phase") == "Expired", 60)
    until("Job and pods to go", lambda: gone(team, "short"), 30)
    one_object(world.storage, team.status("short")["result"])
    team.succeeded("long")
    assert len(team.jobs("long")) == 1
    team.patch("long", ttlSecondsAfterFinished=0)  # it may be shortened afterwards
    until("Job and pods to go", lambda: gone(team, "long"), 30)


def test_deleting_a_running_request_ends_its_run(world: World, team: Team) -> None:
    team.ask("forget", **SLOW)
    team.until("forget", "Running")
    # Nothing holds it up: it goes at once, whoever is away.
    assert "finalizers" not in team.get("forget")["metadata"]
    team.kubectl.run("delete", "exportrequest", "forget", "--timeout=30s")
    until("Job and pods to go", lambda: gone(team, "forget"), 60)
    bucket, folder = bucket_and_folder(team, "forget")
    assert world.storage.keys(bucket, folder) == []
    assert world.storage.uploads(bucket, folder) == []


def test_deleting_a_finished_request_keeps_its_object(world: World, team: Team) -> None:
    team.ask("done")
    result = team.succeeded("done")
    team.delete("done")
    until("Job and pods to go", lambda: gone(team, "done"), 30)
    one_object(world.storage, result)


def test_a_loop_of_server_side_applies_changes_nothing(world: World, team: Team) -> None:
    """What a GitOps tool does every few minutes, here as fast as it goes."""
    manifest = yaml.safe_dump(team.request("synced"))
    apply = ("apply", "--server-side", "--field-manager=gitops", "-f", "-")
    team.kubectl.run(*apply, stdin=manifest)
    team.asked["synced"] = team.get("synced")["metadata"]["uid"]
    for _ in range(5):
        team.kubectl.run(*apply, stdin=manifest)
    result = team.succeeded("synced")
    before = team.get("synced")
    for _ in range(5):
        told = team.kubectl.output(*apply, stdin=manifest)
        assert "serverside-applied" in told
        difference = team.kubectl.run("diff", "--server-side", "--field-manager=gitops", "-f", "-", stdin=manifest)
        assert difference.stdout == ""
    after = team.get("synced")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert after["status"] == before["status"]
    assert len(team.jobs("synced")) == 1
    one_object(world.storage, result)
    assert after["spec"]["requester"] == {"username": team.user}


def test_kubectl_wait_returns_at_its_end(team: Team) -> None:
    manifest = yaml.safe_dump(team.request("waited-for"))
    team.kubectl.run("apply", "-f", "-", stdin=manifest)
    team.kubectl.run("wait", "--for=condition=Complete", "exportrequest/waited-for", "--timeout=60s")
    line = team.kubectl.output("get", "exreq", "waited-for", "--no-headers")
    assert "Succeeded" in line
    assert str(FEW) in line
    told = team.kubectl.output("describe", "exreq", "waited-for")
    assert "Started" in told
    assert "delivered 1000 rows" in told
