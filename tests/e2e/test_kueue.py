"""Kueue itself decides when exports run: the release that tests/cluster/kueue pins, with webhooks and all."""

from collections.abc import Callable, Iterator
from datetime import datetime

import pytest

from tests.e2e import guides
from tests.e2e.conftest import MakeTeam, World
from tests.e2e.furniture import DESTINATION, FEW
from tests.e2e.team import Team, one_object
from tests.platform import catalogue, chart, kueue
from tests.platform.api import Json
from tests.platform.names import RUN_NAMESPACE
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

BATCH, URGENT, LOST = "batch", "e2e-urgent", "e2e-lost"
"""Groups: of the page's own policy; of one whose pods are more important; of one whose queue does not exist."""
SLOW: Json = {"source": {"name": "e2e-db", "dataset": "slow", "parameters": {"rows": "400"}}}
"""Eight seconds: long enough to do something to it."""
ONE_RUN = [{"name": "cpu", "nominalQuota": "1"}, {"name": "memory", "nominalQuota": "300Mi"}]
"""Room for one pod, which asks for 192Mi."""


def policy(name: str, **spec: Json) -> Json:
    defaults = {"destination": DESTINATION}
    return catalogue.named("ExportPolicy", name, {"selector": {"groups": [name]}, "defaults": defaults, **spec})


@pytest.fixture(scope="module", autouse=True)
def queue(world: World) -> Iterator[None]:
    """What the page of the guide says to do, and a queue of the size of one run."""
    platform, api = world.platform, world.platform.api
    examples = [example for _, example in guides.examples(guides.GUIDES / "kueue.md")]
    important = {"name": URGENT}
    with kueue.installed(platform.cluster):
        chart.install(platform.cluster, platform.images, "kueue.enabled=true")
        try:
            for example in examples:
                api.apply(example)
            (cluster_queue,) = [example for example in examples if example["kind"] == "ClusterQueue"]
            cluster_queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"] = ONE_RUN
            api.apply(cluster_queue)
            api.apply(
                {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": important, "value": 10}
            )
            api.apply(policy(URGENT, kueue={"queueName": "exports"}, pod={"priorityClassName": URGENT}))
            api.apply(policy(LOST, kueue={"queueName": "nowhere"}))
            yield
        finally:
            for name in (BATCH, URGENT, LOST):
                api.delete("ExportPolicy", name)
            api.delete("PriorityClass", URGENT)
            chart.install(platform.cluster, platform.images)


@pytest.fixture
def batch(teams: MakeTeam) -> Team:
    """A tenant whose runs go through the queue of the page."""
    return teams(BATCH)


@pytest.fixture
def busy(batch: Team) -> Iterator[str]:
    """The queue is full: a run of `batch` of this name is under way for as long as the test likes."""
    batch.ask("long", **SLOW | {"source": {**SLOW["source"], "parameters": {"rows": "1000"}}})
    batch.until("long", "Running")
    yield "long"
    batch.delete("long")


def workload(team: Team, name: str) -> Json | None:
    """Kueue's Workload of the request's Job."""
    jobs = {each["metadata"]["uid"] for each in team.jobs(name)}
    found = [
        each
        for each in team.admin.items("Workload", RUN_NAMESPACE)
        if jobs & {owner["uid"] for owner in each["metadata"].get("ownerReferences") or []}
    ]
    return found[0] if found else None


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def condition(found: Json, kind: str) -> Json:
    (only,) = [each for each in found["status"]["conditions"] if each["type"] == kind]
    return dict(only)


def test_an_export_runs_when_kueue_admits_it_and_needs_no_slot(world: World, batch: Team) -> None:
    batch.ask("first", **SLOW)
    batch.until("first", "Running")
    slots = world.platform.api.find("ExportUsage", "slots", RUN_NAMESPACE) or {"spec": {}}
    assert batch.status("first")["run"] not in {each["run"] for each in slots["spec"].get("entries") or []}
    result = batch.succeeded("first")
    assert result["rows"] == 400
    one_object(world.storage, result)
    (job,) = batch.jobs("first")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "exports"
    found = until("its Workload to finish", lambda: finished(batch, "first"), 30)
    assert condition(found, "Finished")["reason"] == "Succeeded"


def finished(team: Team, name: str) -> Json | None:
    found = workload(team, name)
    kinds = {each["type"] for each in (found or {}).get("status", {}).get("conditions") or []}
    return found if "Finished" in kinds else None


def test_one_for_which_there_is_no_room_waits_in_kueues_words_and_then_starts_its_clock(batch: Team, busy: str) -> None:
    batch.ask("second", runDeadlineSeconds=5)
    status = batch.until("second", "Queued", reason="Pending")
    assert "in Kueue's queue 'exports': couldn't assign flavors" in status["message"]
    assert "insufficient unused quota for memory in flavor default-flavor" in status["message"]
    assert "startTime" not in status
    (job,) = batch.jobs("second")
    assert (job["spec"]["suspend"], job["status"].get("startTime")) == (True, None)
    batch.patch(busy, cancel=True)
    assert batch.succeeded("second")["rows"] == FEW
    (job,) = batch.jobs("second")
    found = workload(batch, "second")
    assert found is not None
    admitted = moment(condition(found, "Admitted")["lastTransitionTime"])
    assert moment(job["status"]["startTime"]) >= admitted
    assert batch.status("second")["startTime"] == job["status"]["startTime"]


def test_a_queue_that_does_not_exist_is_named(teams: MakeTeam) -> None:
    lost = teams(LOST)
    lost.ask("nowhere")
    status = lost.until("nowhere", "Queued", reason="Inadmissible")
    assert status["message"] == "in Kueue's queue 'nowhere': LocalQueue nowhere doesn't exist"
    assert status["queue"]["reason"] == "Inadmissible"


def test_a_suspended_run_gives_its_place_to_who_waits_and_comes_back(world: World, batch: Team, busy: str) -> None:
    batch.ask("next")
    batch.until("next", "Queued", reason="Pending")
    batch.patch(busy, suspend=True)
    batch.until(busy, "Queued", reason="Suspended")
    assert batch.succeeded("next")["rows"] == FEW
    found = workload(batch, busy)
    assert found is not None
    assert found["spec"]["active"] is False
    batch.patch(busy, suspend=False)
    result = batch.succeeded(busy, 90)
    assert result["rows"] == 1000
    one_object(world.storage, result)
    assert len(batch.jobs(busy)) == 1


def test_a_preempted_run_says_so_and_delivers_when_it_is_let_again(
    world: World, teams: MakeTeam, batch: Team, busy: str
) -> None:
    urgent = teams(URGENT)
    urgent.ask("now", **SLOW)
    status = batch.until(busy, "Queued", reason="Preempted")
    assert "Preempted to accommodate a workload" in status["message"]
    assert urgent.succeeded("now")["rows"] == 400
    result = batch.succeeded(busy, 120)
    assert result["rows"] == 1000
    one_object(world.storage, result)
    assert len(batch.jobs(busy)) == 1


@pytest.mark.parametrize(
    ("end", "phase", "reason"),
    [
        (lambda team: team.patch("waiting", cancel=True), "Cancelled", "Cancelled"),
        (lambda _: None, "Failed", "QueueDeadlineExceeded"),
    ],
    ids=["cancelled", "waited too long"],
)
@pytest.mark.usefixtures("busy")
def test_a_run_that_ends_in_the_queue_leaves_nothing_there(
    batch: Team, end: Callable[[Team], None], phase: str, reason: str
) -> None:
    batch.ask("waiting", queueDeadlineSeconds=60 if phase == "Cancelled" else 3)
    batch.until("waiting", "Queued", reason="Pending")
    end(batch)
    status = batch.until("waiting", phase)
    assert (status["reason"], status["attempts"], "startTime" in status) == (reason, 0, False)
    until("its Job and Workload to go", lambda: not batch.jobs("waiting") and not workload(batch, "waiting"), 30)


@pytest.mark.usefixtures("busy")
def test_a_request_deleted_in_the_queue_leaves_nothing_there(batch: Team) -> None:
    batch.ask("forgotten")
    batch.until("forgotten", "Queued", reason="Pending")
    found = workload(batch, "forgotten")
    assert found is not None
    batch.delete("forgotten")
    until("its Job to go", lambda: not batch.jobs("forgotten"), 30)
    name = found["metadata"]["name"]
    until("its Workload to go", lambda: batch.admin.find("Workload", name, RUN_NAMESPACE) is None, 30)


def test_a_running_export_can_be_cancelled(world: World, batch: Team, busy: str) -> None:
    batch.patch(busy, cancel=True)
    assert batch.until(busy, "Cancelled")["reason"] == "Cancelled"
    folder = f"tests/{batch.namespace}/{busy}/"
    until("its pod to end", lambda: all(each["status"].get("phase") != "Running" for each in batch.pods(busy)), 40)
    assert (world.storage.keys("e2e", folder), world.storage.uploads("e2e", folder)) == ([], [])
