"""What ends a run from outside, or ends without a word or with a false one: each is told by name, and what was
delivered is never called failed."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from export_contract.failures import FAILURES
from tests.cluster.kubectl import Kubectl
from tests.e2e.conftest import MakeTeam, World
from tests.e2e.furniture import (
    APART,
    BOUNDED,
    DESTINATION,
    FEIGNED,
    FEW,
    HASTY,
    HUMBLE,
    PLENTY,
    PROUD,
    SEAT,
    SOURCE,
)
from tests.e2e.killer import Killer
from tests.e2e.team import Team, one_object
from tests.platform import chart
from tests.platform.api import Api, Json, path
from tests.platform.names import RUN_NAMESPACE
from tests.platform.waiting import together, until

pytestmark = pytest.mark.e2e

IMPOSTOR = Path(__file__).with_name("impostor.py")
SLOW: Json = {"source": {"name": SOURCE, "dataset": "slow", "parameters": {"rows": "1000"}}}
"""Twenty seconds: time to do something to it, once its process reports; one that has just begun hears no signal."""
LATE = 420.0
"""Bound for what waits for Kubernetes' own patience."""


# Pods and Jobs that are not what they should be.


@pytest.fixture(scope="session")
def impostors(world: World) -> Iterator[Team]:
    """In the namespace of this team's requests the exporter is replaced when its pod is made, and one Job is spoilt."""
    api = world.platform.api
    team = world.team(FEIGNED, label="impostors")
    policy = "e2e-impostors.export-operator.io"
    group = "admissionregistration.k8s.io/v1"
    script = json.dumps(IMPOSTOR.read_text())
    instead = {
        "mute-0": "[JSONPatch{op: 'add', path: '/spec/containers/0/terminationMessagePath', value: '/dev/nobody'}]",
        "too-free-0": "[JSONPatch{op: 'add', path: '/spec/hostNetwork', value: true}]",
        "impossible-0": "[JSONPatch{op: 'replace', path: '/spec/restartPolicy', value: 'Sometimes'}]",
        "overlooked-0": "[JSONPatch{op: 'add', path: '/spec/schedulerName', value: 'nobody'}]",
        "misplaced-0": f"[JSONPatch{{op: 'add', path: '/spec/nodeName', value: '{real_node(api)}'}},"
        " JSONPatch{op: 'add', path: '/spec/nodeSelector', value: {'nobody': 'yes'}}]",
        "unfurnished-0": "[JSONPatch{op: 'add', path: '/spec/volumes/-', value: Object.spec.volumes{name: 'nothing',"
        " configMap: Object.spec.volumes.configMap{name: 'nothing'}}}, JSONPatch{op: 'add',"
        " path: '/spec/containers/0/volumeMounts/-', value: Object.spec.containers.volumeMounts{name: 'nothing',"
        " mountPath: '/nothing'}}]",
    }
    other = f"[JSONPatch{{op: 'add', path: '/spec/containers/0/command', value: ['python', '-c', {script}]}}]"
    whose, name = (
        f"object.metadata.annotations['export-operator.io/request-{each}']" for each in ("namespace", "name")
    )
    of_pod = "".join(f"{name} == '{each}' ? {patch} : " for each, patch in instead.items()) + other
    of_job = f"{name} == 'spoilt-0' ? [JSONPatch{{op: 'add', path: '/spec/backoffLimit', value: -1}}] : []"
    expression = f"has(object.spec.template) ? ({of_job}) : ({of_pod})"
    made = {"apiVersions": ["v1"], "operations": ["CREATE"]}
    rules = [
        {**made, "apiGroups": [""], "resources": ["pods"]},
        {**made, "apiGroups": ["batch"], "resources": ["jobs"]},
    ]
    spec: Json = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": rules},
        "matchConditions": [
            {
                "name": "an-export-of-this-team",
                "expression": "has(object.metadata.annotations) && 'export-operator.io/request-namespace' in"
                f" object.metadata.annotations && {whose} == '{team.namespace}'",
            }
        ],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
    }
    for kind, given in (
        ("MutatingAdmissionPolicy", spec),
        ("MutatingAdmissionPolicyBinding", {"policyName": policy}),
    ):
        api.apply({"apiVersion": group, "kind": kind, "metadata": {"name": policy}, "spec": given})
    until("the policy to be in force", lambda: replaced(api, team), 30)
    for each in PRETENDED:
        team.ask(each.name)
    yield team
    for kind in ("MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"):
        api.delete(kind, policy)
    world.leave(team)


def replaced(api: Api, team: Team) -> bool:
    """Whether a pod of the team would get the other command."""
    about = {"export-operator.io/request-namespace": team.namespace, "export-operator.io/request-name": "exit-0"}
    free = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    safe = {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}}
    pod: Json = {
        "metadata": {"generateName": "tried-", "annotations": about},
        "spec": {"securityContext": safe, "containers": [{"name": "a", "image": "a", "securityContext": free}]},
    }
    made = api.call("POST", path("Pod", "", RUN_NAMESPACE) + "?dryRun=All", pod)
    return "command" in made["spec"]["containers"][0]


@dataclass(frozen=True)
class Pretended:
    """How a pod ends, by the name of its request, and what status makes of it."""

    name: str
    reason: str
    failure_class: str = "Infrastructure"
    says: str = ""
    attempts: int = 1

    @property
    def late(self) -> bool:
        """It takes its time: for back-offs, or for the start deadline."""
        return self.attempts > 1 or "start deadline" in self.says


PERMANENT = [kind for kind in FAILURES.values() if not kind.retryable]
PRETENDED = [
    *(
        Pretended(f"exit-{kind.exit_code}", kind.reason, str(kind.failure_class), f"exit code {kind.exit_code}")
        for kind in PERMANENT
    ),
    *(
        Pretended(f"exit-{kind.exit_code}", kind.reason, str(kind.failure_class), f"exit code {kind.exit_code}", 4)
        for kind in FAILURES.values()
        if kind.retryable
    ),
    Pretended("exit-3", "PodCrashed", says="exit code 3 and no report", attempts=4),
    Pretended("exit-137", "PodKilled", says="exit code 137 and no report", attempts=4),
    Pretended("exit-0", "ResultMissing", says="there is no manifest"),
    Pretended("says-elsewhere-0", "ResultMismatch", says="s3://elsewhere/forged.csv"),
    Pretended("says-too-much-0", "ResultMissing", says="there is no manifest"),
    Pretended("says-nonsense-0", "ResultMissing", says="there is no manifest"),
    Pretended("contradicts-itself-70", "SourceQueryFailed", "Source", "exit code 70"),
    Pretended("claims-a-refund-72", "ValueTooLarge", "User", "not my fault"),
    Pretended("fills-its-folder-1", "Evicted", says='Usage of EmptyDir volume "work" exceeds the limit', attempts=4),
    Pretended("too-free-0", "PodSecurityRefused", says=r"violates PodSecurity .* \(start deadline 45 s\)"),
    Pretended("impossible-0", "PodRefused", says=r"spec.restartPolicy.* \(start deadline 45 s\)"),
    Pretended("spoilt-0", "JobNotCreated", says=r"spec.backoffLimit.* \(start deadline 45 s\)", attempts=0),
    Pretended("overlooked-0", "StartDeadlineExceeded", says=r"did not start \(start deadline 45 s\)"),
    Pretended("unfurnished-0", "PodNotStarting", says=r'configmap "nothing" not found.* \(start deadline 45 s\)'),
    Pretended("misplaced-0", "NodeRefused", says="the node did not take the export pod: .*affinity", attempts=4),
]


@pytest.mark.parametrize(
    "pretended",
    [pytest.param(each, id=each.name, marks=[pytest.mark.late] if each.late else []) for each in PRETENDED],
)
def test_a_pod_that_ends_by_its_exit_code_or_with_a_lie(impostors: Team, pretended: Pretended) -> None:
    status = impostors.until(pretended.name, "Failed", seconds=LATE)
    failure = status["failure"]
    assert (failure["reason"], failure["class"], failure["attempts"]) == (
        pretended.reason,
        pretended.failure_class,
        pretended.attempts,
    )
    assert re.search(pretended.says, failure["message"]), failure["message"]
    assert failure["advice"] in status["message"]
    assert "result" not in status


def test_a_delivery_that_no_pod_tells_of_is_read_from_its_manifest(world: World, impostors: Team, team: Team) -> None:
    impostors.ask("mute-0")
    team.ask("mute-0")
    told, read = team.succeeded("mute-0"), impostors.succeeded("mute-0")
    of_the_pod_alone = ("uri", "manifestURI", "snapshotTime", "timings", "peakMemoryBytes")
    assert {name: value for name, value in read.items() if name not in of_the_pod_alone} == {
        name: value for name, value in told.items() if name not in of_the_pod_alone
    }
    assert read["rows"] == FEW
    one_object(world.storage, read)


# What is taken away.


@dataclass
class Disturbed:
    """Requests that something happened to while they ran."""

    team: Team
    humble: Team
    pods: dict[str, Json] = field(default_factory=dict)


def evict(world: World, pod: Json) -> None:
    """As a node that is drained does."""
    name = pod["metadata"]["name"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": RUN_NAMESPACE}}
    world.platform.api.call("POST", path("Pod", name, RUN_NAMESPACE) + "/eviction", body)


def remove(world: World, pod: Json) -> None:
    world.platform.api.delete("Pod", pod["metadata"]["name"], RUN_NAMESPACE)


def remove_its_job(world: World, pod: Json) -> None:
    world.platform.api.delete("Job", pod["metadata"]["labels"]["batch.kubernetes.io/job-name"], RUN_NAMESPACE)


ACTIONS: dict[str, Callable[[World, Json], None]] = {
    "evicted": evict,
    "pod-deleted": remove,
    "job-deleted": remove_its_job,
}


@pytest.fixture(scope="module")
def disturbed(world: World) -> Iterator[Disturbed]:
    """All at once, for each runs for a while."""
    made = Disturbed(world.team(PLENTY, label="disturbed"), world.team(HUMBLE, label="humble"))
    api = world.platform.api
    node = real_node(api)
    seats: Json = {"status": {"capacity": {SEAT: "1"}, "allocatable": {SEAT: "1"}}}
    api.call("PATCH", path("Node", node) + "/status", seats, "application/merge-patch+json")

    def disturb(name: str) -> None:
        team = made.humble if name == "preempted" else made.team
        team.ask(name, **SLOW)
        made.pods[name] = team.running_pod(name)
        until(
            f"{name} to report", lambda: '"progress"' in api.log(made.pods[name]["metadata"]["name"], RUN_NAMESPACE), 60
        )
        ACTIONS.get(name, lambda *_: api.create(proud(world, made.humble)))(world, made.pods[name])

    together(disturb, [*ACTIONS, "preempted"], 4)
    yield made
    for team in (made.team, made.humble):
        world.leave(team)
    seats = {"status": {"capacity": {SEAT: None}, "allocatable": {SEAT: None}}}
    api.call("PATCH", path("Node", node) + "/status", seats, "application/merge-patch+json")


def real_node(api: Api) -> str:
    """One that pods run on."""
    names: list[str] = [each["metadata"]["name"] for each in api.items("Node")]
    return next(name for name in names if name != APART)


def proud(world: World, team: Team) -> Json:
    """A pod that needs the seat more."""
    resources = {"requests": {"cpu": "1m", "memory": "8Mi", SEAT: "1"}, "limits": {SEAT: "1"}}
    container = {"name": "proud", "image": world.platform.images.postgres, "command": ["sleep", "600"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "proud", "namespace": team.namespace},
        "spec": {
            "priorityClassName": PROUD,
            "terminationGracePeriodSeconds": 0,
            "containers": [{**container, "imagePullPolicy": "IfNotPresent", "resources": resources}],
        },
    }


def retried(team: Team, name: str, seconds: float = 60) -> str:
    """The Event that says why another attempt follows."""

    def look() -> list[str]:
        return [event["message"] for event in team.events(name) if event["reason"] == "Retrying"]

    return until(f"{name} to be tried again", look, seconds)[0]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("evicted", "attempt 1 ended as Evicted: the export pod was evicted, as for a node that is drained"),
        ("pod-deleted", "attempt 1 ended as PodDeleted: somebody deleted the export pod before it ended"),
    ],
)
def test_a_pod_that_is_taken_away_is_replaced_and_why_is_told(
    world: World, disturbed: Disturbed, name: str, says: str
) -> None:
    assert retried(disturbed.team, name).startswith(says)
    result = disturbed.team.succeeded(name, 120)
    assert (result["rows"], disturbed.team.status(name)["attempts"]) == (FEW, 2)
    one_object(world.storage, result)


def test_a_pod_that_is_preempted_waits_until_there_is_room_again(world: World, disturbed: Disturbed) -> None:
    team = disturbed.humble
    assert "ended as Preempted: the export pod had to make room" in retried(team, "preempted")
    status = team.until("preempted", "Pending", reason="Unschedulable")
    assert f"Insufficient {SEAT}" in status["message"]
    world.platform.api.delete("Pod", "proud", team.namespace)
    result = team.succeeded("preempted", 120)
    assert (result["rows"], team.status("preempted")["attempts"]) == (FEW, 2)
    one_object(world.storage, result)


def test_a_job_that_is_deleted_is_told_and_not_made_again(disturbed: Disturbed) -> None:
    status = disturbed.team.until("job-deleted", "Failed")
    failure = status["failure"]
    assert (status["reason"], failure["class"], failure["retryable"]) == ("JobDeleted", "Infrastructure", True)
    assert "somebody deleted it before it ended" in failure["message"]
    assert disturbed.team.jobs("job-deleted") == []


# What has no room.


def quota(name: str, hard: Json, **spec: Json) -> Json:
    metadata = {"name": name, "namespace": RUN_NAMESPACE}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard, **spec}}


def in_force(api: Api, name: str) -> bool:
    return bool((api.get("ResourceQuota", name, RUN_NAMESPACE).get("status") or {}).get("hard"))


@pytest.fixture
def no_room(world: World) -> Iterator[Callable[[Json], None]]:
    """Puts a ResourceQuota upon the run namespace while the test runs."""
    api, made = world.platform.api, []

    def put(document: Json) -> None:
        made.append(document["metadata"]["name"])
        api.apply(document)
        until("the quota to be in force", lambda: in_force(api, made[-1]), 30)

    yield put
    for name in made:
        api.delete("ResourceQuota", name, RUN_NAMESPACE)


def test_a_quota_without_room_for_a_pod_is_told_and_counts_against_nobody(
    world: World, teams: MakeTeam, no_room: Callable[[Json], None]
) -> None:
    of_these = {"operator": "In", "scopeName": "PriorityClass", "values": [BOUNDED]}
    no_room(quota("e2e-no-pod", {"pods": "0"}, scopeSelector={"matchExpressions": [of_these]}))
    team = teams(BOUNDED)
    team.ask("no-pod")
    message = team.until("no-pod", "Pending", reason="ResourceQuotaExceeded")["message"]
    assert "exceeded quota: e2e-no-pod" in message
    status = team.until("no-pod", "Failed")
    failure = status["failure"]
    assert (status["reason"], failure["class"], failure["retryable"]) == ("ResourceQuotaExceeded", "Quota", True)
    assert "(start deadline 20 s)" in failure["message"]
    until("its place to be given back", lambda: refunded(world, team), 30)


def refunded(world: World, team: Team) -> bool:
    usages = world.platform.api.items("ExportUsage", RUN_NAMESPACE)
    (usage,) = (each for each in usages if each["spec"]["subject"]["name"] == team.user)
    return [entry.get("state") for entry in usage["spec"].get("entries") or []] == ["Refunded"]


def test_a_quota_without_room_for_a_job_is_waited_for_until_the_start_deadline(
    teams: MakeTeam, no_room: Callable[[Json], None], world: World
) -> None:
    hasty, patient = teams(HASTY), teams(PLENTY)
    no_room(quota("e2e-no-job", {"count/jobs.batch": "0"}))
    for team in (hasty, patient):
        team.ask("no-job")
        message = team.until("no-job", "Pending", reason="ResourceQuotaExceeded")["message"]
        assert "exceeded quota: e2e-no-job" in message
    failure = hasty.until("no-job", "Failed")["failure"]
    assert (failure["reason"], failure["class"], failure["attempts"]) == ("ResourceQuotaExceeded", "Quota", 0)
    world.platform.api.delete("ResourceQuota", "e2e-no-job", RUN_NAMESPACE)
    assert patient.succeeded("no-job")["rows"] == FEW


# What nobody ends: begun early, looked at late.


@dataclass(frozen=True)
class Left:
    """Requests that wait for Kubernetes' patience to end."""

    hung: Team
    apart: Team
    node: str


ENDED_BY_KUBELET = {"shut-down": "Terminated", "for-a-new-reason": "Whim"}
"""Reasons that a kubelet writes on pods which it ends: at the shutdown of its node, and one that nobody knows here."""


@pytest.fixture(scope="session")
def left(world: World, executioner: Killer) -> Iterator[Left]:
    api = world.platform.api
    found = Left(world.team(PLENTY, label="hung"), world.team(APART, label="apart"), APART)
    found.hung.ask("hung", "paced")
    assert executioner.freeze(found.hung.running_pod("hung"))
    api.delete("Node", found.node)
    made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": found.node}}
    alone = {"key": APART, "value": "yes", "effect": "NoSchedule"}
    api.create({**made, "spec": {"taints": [alone]}})
    say(api, found.node, "True")
    for name in ("apart", *ENDED_BY_KUBELET):
        found.apart.ask(name)
    for name in ("apart", *ENDED_BY_KUBELET):
        pod = until("its pod", lambda name=name: found.apart.pods(name), 60)[0]  # type: ignore[misc]
        place_and_start(api, pod, found.node)
        found.apart.until(name, "Running")
        if name in ENDED_BY_KUBELET:
            end(api, pod, ENDED_BY_KUBELET[name])
    say(api, found.node, "False")
    # Whenever Kubernetes gives the pod up, the next one has a node to go to.
    api.patch("Node", real_node(api), "", {"metadata": {"labels": {APART: "yes"}}})
    yield found
    api.delete("Node", found.node)
    api.patch("Node", real_node(api), "", {"metadata": {"labels": {APART: None}}})
    for team in (found.hung, found.apart):
        world.leave(team)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def say(api: Api, node: str, ready: str) -> None:
    """What the kubelet of a node that has none says."""
    condition = {"type": "Ready", "status": ready, "reason": "Test", "lastHeartbeatTime": now()}
    size = {"cpu": "1", "memory": "1Gi", "pods": "9"}
    status = {"conditions": [condition], "capacity": size, "allocatable": size}
    api.call("PATCH", path("Node", node) + "/status", {"status": status}, "application/strategic-merge-patch+json")


def place_and_start(api: Api, pod: Json, node: str) -> None:
    """What the scheduler and that kubelet would do."""
    where = path("Pod", pod["metadata"]["name"], RUN_NAMESPACE)
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]}, "target": target}
    api.call("POST", f"{where}/binding", binding)
    state = {"running": {"startedAt": now()}}
    container = {"name": "exporter", "image": "x", "imageID": "x", "ready": True, "restartCount": 0, "state": state}
    status = {"phase": "Running", "containerStatuses": [container]}
    api.call("PATCH", f"{where}/status", {"status": status}, "application/merge-patch+json")


def end(api: Api, pod: Json, reason: str) -> None:
    """What that kubelet does to a pod when its node is shut down, say."""
    status = {"phase": "Failed", "reason": reason, "message": "its time has come"}
    where = path("Pod", pod["metadata"]["name"], RUN_NAMESPACE)
    api.call("PATCH", f"{where}/status", {"status": status}, "application/merge-patch+json")


@pytest.mark.late
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("shut-down", "ended as NodeShutdown: the node of the export pod was shut down: its time has come"),
        ("for-a-new-reason", "ended as PodFailed: the export pod ended: Whim: its time has come"),
    ],
)
def test_a_pod_that_its_kubelet_ends_is_replaced_and_why_is_told(left: Left, name: str, says: str) -> None:
    assert says in retried(left.apart, name)
    assert left.apart.succeeded(name, 120)["rows"] == FEW
    assert left.apart.status(name)["attempts"] == 2


def test_a_log_that_cannot_be_read_is_no_sign_that_a_run_is_stuck(left: Left) -> None:
    """Nobody can read logs on a node without a kubelet."""
    status = left.apart.status("apart")
    assert (status["phase"], status["reason"], "progress" in status) == ("Running", "Exporting", False)


@pytest.mark.late
@pytest.mark.timeout(600)
def test_a_pod_on_a_node_that_does_not_answer_is_given_up_and_another_goes_on(world: World, left: Left) -> None:
    says = retried(left.apart, "apart", LATE)
    assert "ended as NodeLost: the node of the export pod did not answer any more" in says
    result = left.apart.succeeded("apart", 120)
    assert (result["rows"], left.apart.status("apart")["attempts"]) == (FEW, 2)
    one_object(world.storage, result)


@pytest.mark.late
@pytest.mark.timeout(600)
def test_a_pod_that_hangs_is_ended_by_its_heartbeat_and_another_goes_on(world: World, left: Left) -> None:
    assert "ended as PodHung: the export pod hung" in retried(left.hung, "hung", LATE)
    result = left.hung.succeeded("hung", LATE)
    assert left.hung.status("hung")["attempts"] == 2
    one_object(world.storage, result)


# Where nothing is left.


@pytest.mark.late
def test_without_its_run_namespace_nothing_is_admitted_and_what_ran_there_has_failed(
    world: World, operator: Kubectl, teams: MakeTeam
) -> None:
    platform, team, other = world.platform, teams(PLENTY), "e2e-gone-runs"
    api = platform.api
    try:
        # Whoever else asks meanwhile waits: this operator would not find their Jobs.
        chart.install(
            platform.cluster, platform.images, f"runNamespace.name={other}", f"watchNamespaces={{{team.namespace}}}"
        )
        for name in (SOURCE, DESTINATION, "e2e-mask"):
            secret = api.get("Secret", name, RUN_NAMESPACE)
            api.apply({**secret, "metadata": {"name": name, "namespace": other}})
        team.ask("running", **SLOW)
        until("its pod runs", lambda: team.status("running").get("phase") == "Running", 60)
        operator.run("delete", "namespace", other, "--wait=false")
        status = team.until("running", "Failed", seconds=120)
        assert (status["reason"], status["failure"]["class"]) == ("RunNamespaceMissing", "Infrastructure")
        assert f"the run namespace {other!r} is gone" in status["failure"]["message"]
        team.ask("waiting")
        message = team.until("waiting", "Pending", reason="RunNamespaceMissing")["message"]
        assert f"{other!r}, where Jobs, credentials and the ledger live, does not exist" in message
    finally:
        chart.install(platform.cluster, platform.images)
        operator.run("delete", "namespace", other, "--ignore-not-found", "--wait=false")
    assert team.succeeded("waiting", 120)["rows"] == FEW
