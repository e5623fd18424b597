"""Nobody has to be there: with operator, S3 or chart away, deleting returns at once and no request is lost."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster import images
from tests.cluster.kubectl import Kubectl
from tests.e2e.conftest import MakeTeam, World
from tests.e2e.furniture import BUCKET, FEW, FICKLE, HASTY, PLENTY, address, destination
from tests.e2e.team import Team, one_object
from tests.platform import chart
from tests.platform.api import Json
from tests.platform.names import DEPLOYMENT, RUN_NAMESPACE
from tests.platform.storage import storage
from tests.platform.waiting import until

pytestmark = pytest.mark.e2e

SLOW: Json = {"source": {"name": "e2e-db", "dataset": "slow", "parameters": {"rows": "500"}}}


@contextmanager
def no_operator(operator: Kubectl) -> Iterator[None]:
    """Nobody serves requests while the block runs."""
    operator.run("scale", f"deployment/{DEPLOYMENT}", "--replicas=0")
    try:
        until("the operator to go", lambda: not operator.output("get", "pods", "-o", "name"), 40)
        yield
    finally:
        operator.run("scale", f"deployment/{DEPLOYMENT}", "--replicas=2")
        operator.run("rollout", "status", f"deployment/{DEPLOYMENT}", "--timeout=60s")


def deleted_at_once(team: Team, name: str) -> None:
    """Nothing holds it up: kubectl, which waits for that, comes back while nobody serves requests."""
    assert "finalizers" not in team.get(name)["metadata"]
    team.kubectl.run("delete", "exportrequest", name, "--timeout=30s")


def namespace_goes(world: World, team: Team) -> None:
    world.platform.kubectl.run("delete", "namespace", team.namespace, "--timeout=60s")


def test_requests_and_namespaces_can_be_deleted_while_the_operator_is_away(
    world: World, operator: Kubectl, teams: MakeTeam
) -> None:
    team, whole = teams(PLENTY), teams(PLENTY)
    for each in (team, whole):
        each.ask("running", **SLOW)
    team.ask("finished")
    result = team.succeeded("finished")
    for each in (team, whole):
        each.until("running", "Running")
    with no_operator(operator):
        team.ask("unseen")
        for name in ("running", "finished", "unseen"):
            deleted_at_once(team, name)
        namespace_goes(world, whole)
    for each in (team, whole):
        orphaned_run_ends(each, "running")
    assert team.jobs("unseen") == []
    one_object(world.storage, result)


def test_a_request_can_be_deleted_while_s3_is_down(world: World, team: Team) -> None:
    services = world.platform.services
    with storage(services, FICKLE) as fickle:
        fickle.have_bucket(BUCKET)
    world.platform.api.apply(destination(services, "e2e-leaving", endpoint=address(FICKLE)))
    team.ask("stuck", **SLOW, destination={"name": "e2e-leaving"})
    team.running_pod("stuck")
    services.kubectl.run("scale", f"deployment/{FICKLE}", "--replicas=0")
    try:
        services.kubectl.run("wait", "--for=delete", "pod", "--selector", f"app={FICKLE}", "--timeout=60s")
        deleted_at_once(team, "stuck")
        until("its pod to go", lambda: not [pod for pod in team.pods("stuck") if at_work(pod)], 60)
        assert len(team.jobs("stuck")) == 1  # the note that there is something to be undone
    finally:
        services.kubectl.run("scale", f"deployment/{FICKLE}", "--replicas=1")
        services.kubectl.rolled_out(FICKLE)
    until("its Job to go", lambda: not team.jobs("stuck"), 90)


def at_work(pod: Json) -> bool:
    return pod["status"].get("phase") in {"Pending", "Running"}


def test_what_ends_while_the_operator_is_away_is_told_when_it_is_back(
    world: World, operator: Kubectl, team: Team
) -> None:
    for name in ("alone", "robbed"):
        team.ask(name, **SLOW)
    team.running_pod("alone")
    pod = team.running_pod("robbed")
    with no_operator(operator):
        team.ask("waiting")
        rob(world, pod)
        until("the Job to end by itself", lambda: job_ended(team, "alone", "Complete"), 60)
        until("the other to fail", lambda: job_ended(team, "robbed", "Failed") and not team.pods("robbed"), 60)
    failure = team.until("robbed", "Failed")["failure"]
    assert (failure["reason"], failure["class"]) == ("JobFailed", "Infrastructure")
    assert "left no pod to ask (BackoffLimitExceeded" in failure["message"]
    results = [team.succeeded(name) for name in ("alone", "waiting")]
    assert [result["rows"] for result in results] == [500, FEW]
    for result in results:
        one_object(world.storage, result)


def rob(world: World, pod: Json) -> None:
    """Its Job has one attempt, and somebody deletes the pod of it."""
    api, metadata = world.platform.api, pod["metadata"]
    job = metadata["labels"]["batch.kubernetes.io/job-name"]
    api.patch("Job", job, RUN_NAMESPACE, {"spec": {"backoffLimit": 0}})
    api.delete("Pod", metadata["name"], RUN_NAMESPACE)


def orphaned_run_ends(team: Team, name: str) -> None:
    until("the Job of a request that is gone to go", lambda: not team.jobs(name), 90)


def job_ended(team: Team, name: str, how: str) -> bool:
    conditions = [each for job in team.jobs(name) for each in job["status"].get("conditions") or []]
    return any(each["type"] == how and each["status"] == "True" for each in conditions)


def may_ask(world: World, team: Team) -> None:
    """By a role of one's own: the chart's additions to the cluster's roles go with the chart."""
    rbac = "rbac.authorization.k8s.io"
    metadata = {"name": "ask", "namespace": team.namespace}
    rules = [{"apiGroups": ["export-operator.io"], "resources": ["exportrequests"], "verbs": ["*"]}]
    role = {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata}
    world.platform.api.apply({**role, "rules": rules})
    subjects = [{"apiGroup": rbac, "kind": "User", "name": team.user}]
    reference = {"apiGroup": rbac, "kind": "Role", "name": "ask"}
    world.platform.api.apply({**role, "kind": "RoleBinding", "roleRef": reference, "subjects": subjects})


def test_uninstalling_and_installing_loses_no_request_and_no_count(world: World, teams: MakeTeam) -> None:
    team = teams()
    for number in range(5):
        team.ask(f"run-{number}")
    done = {f"run-{number}": team.succeeded(f"run-{number}", 90) for number in range(5)}
    other = teams(PLENTY)
    other.ask("running", **SLOW)
    other.until("running", "Running")
    platform = world.platform
    may_ask(world, other)
    chart.uninstall(platform.cluster)
    try:
        made = other.ask("meanwhile")
        assert made["spec"]["requester"]["username"] == other.user  # attested, though nobody serves
    finally:
        chart.install(platform.cluster, platform.images)
    for name, result in done.items():
        assert team.status(name)["result"] == result
    team.ask("sixth")
    assert team.until("sixth", "Queued")["reason"] == "QuotaExceeded"
    assert other.succeeded("running", 90)["rows"] == 500
    assert other.succeeded("meanwhile")["rows"] == FEW
    assert len(other.jobs("running")) == 1


def test_an_image_that_cannot_be_pulled_is_told_and_ends_at_the_start_deadline(world: World, teams: MakeTeam) -> None:
    platform, patient, hasty = world.platform, teams(PLENTY), teams(HASTY)
    missing = "localhost/export-runner:absent"  # where no registry answers: refused at once
    try:
        chart.install(platform.cluster, images.Images(platform.images.operator, missing, "", ""))
        for team in (patient, hasty):
            team.ask("no-image")
        status = patient.until("no-image", "Pending", reason="ImageNotPullable")
        assert missing in status["message"]
        assert any(event["reason"] == "ImageNotPullable" for event in patient.events("no-image"))
        failed = hasty.until("no-image", "Failed")
        assert failed["reason"] == "ImageNotPullable"
        assert "(start deadline 10 s)" in failed["failure"]["message"]
        assert missing in failed["failure"]["message"]
    finally:
        chart.install(platform.cluster, platform.images)
    hasty.patch("no-image", runID="again")
    assert hasty.succeeded("no-image", run_id="again")["rows"] == FEW
