"""How one attempt ended: what the pod told, as far as its exit code bears it out, and what Kubernetes says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.failures import FAILURES, FailureKind
from export_contract.report import Outcome
from export_operator.domain.endings import AGAIN, LOOK, Problem
from export_operator.domain.model import Pod, parse_pod
from export_operator.domain.notices import Notice
from export_operator.domain.pod_ends import end_of, read_outcome, readable, retries

from .builders import NOW, RUN, delivered, ended_pod, failure, later, pod, success

pytestmark = pytest.mark.unit

KINDS = [pytest.param(kind, id=kind.reason) for kind in FAILURES.values()]


def told(kind: FailureKind, **changes: Any) -> str:
    """The report of an exporter that ends with this failure after some rows."""
    fields: dict[str, Any] = {
        "reason": kind.reason,
        "failure_class": str(kind.failure_class),
        "message": "that is why",
        "retryable": kind.retryable,
        "exit_code": kind.exit_code,
    }
    return failure(read=0.1, **(fields | changes))


def of(kind: FailureKind, message: str, tail: str = "") -> Problem:
    return Problem(
        kind.reason, str(kind.failure_class), message, kind.advice, kind.retryable, kind.exit_code, log_tail=tail
    )


@pytest.mark.parametrize("kind", KINDS)
def test_each_failure_is_told_by_its_report(kind: FailureKind) -> None:
    assert end_of(ended_pod(kind.exit_code, told(kind)), RUN) == of(kind, "that is why")


@pytest.mark.parametrize("kind", KINDS)
def test_each_exit_code_tells_the_same_without_a_report(kind: FailureKind) -> None:
    text = f"the export pod ended with exit code {kind.exit_code}, which stands for this, and no report"
    assert end_of(ended_pod(kind.exit_code, "last words"), RUN) == of(kind, text, "last words")


@pytest.mark.parametrize("kind", KINDS)
def test_whose_a_failure_is_does_not_depend_on_what_the_pod_says(kind: FailureKind) -> None:
    """A class that is refunded, or a promise that another try may help, must not be had by claiming it."""
    forged = told(kind, failure_class="Infrastructure", retryable=True)
    assert end_of(ended_pod(kind.exit_code, forged), RUN) == of(kind, "that is why")


NOVEL: dict[str, Any] = {"reason": "Novel", "exit_code": 99}
FORGED = {
    "a reason that its exit code does not stand for": (67, failure(reason="SourceUnavailable")),
    "an exit code that it did not end with": (1, failure()),
    "a known reason under a new code": (99, failure(exit_code=99)),
    "success, and it failed": (67, success()),
    "of another run": (67, failure().replace(RUN, "0" * 20)),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_report_is_not_believed_when_it_is(case: str) -> None:
    code, message = FORGED[case]
    found = end_of(ended_pod(code, message), RUN)
    assert (found.message.endswith("no report"), found.exit_code) == (True, code)


def test_a_report_of_a_newer_exporter_is_believed_but_for_a_class_that_does_not_exist() -> None:
    expected = Problem("Novel", "Source", 'password authentication failed for user "exporter"', "", False, 99)
    assert end_of(ended_pod(99, failure(**NOVEL)), RUN) == expected
    strange = failure(**NOVEL, failure_class="Nobody")
    assert end_of(ended_pod(99, strange), RUN) == replace(expected, failure_class="Infrastructure")


def test_a_report_from_just_before_a_kill_is_believed() -> None:
    assert end_of(ended_pod(137, failure()), RUN).reason == "SourceAuthenticationFailed"


INTERRUPTED = failure(reason="Interrupted", failure_class="Infrastructure", retryable=True, exit_code=82)
STOPPED = Notice("Killing", "Stopping container exporter", NOW)
HUNG = (Notice("Unhealthy", "Liveness probe failed: ", NOW), STOPPED)
TAKEN: dict[str, tuple[Pod, tuple[Notice, ...], str, str]] = {
    "evicted by the API": (
        ended_pod(82, INTERRUPTED, disruption="EvictionByEvictionAPI", disruption_message="Eviction API: evicting"),
        (),
        "Evicted",
        "the export pod was evicted, as for a node that is drained: Eviction API: evicting",
    ),
    "evicted by the kubelet": (
        ended_pod(137, reason="Evicted", message='Usage of EmptyDir volume "work" exceeds the limit "64Mi".'),
        (),
        "Evicted",
        'the node evicted the export pod: Usage of EmptyDir volume "work" exceeds the limit "64Mi".',
    ),
    "evicted before its container began": (
        pod(phase="Failed", reason="Evicted"),
        (),
        "Evicted",
        "the node evicted the export pod",
    ),
    "preempted": (
        ended_pod(82, INTERRUPTED, disruption="PreemptionByScheduler"),
        (),
        "Preempted",
        "the export pod had to make room for a pod of a higher priority",
    ),
    "on a node that is lost": (
        pod(phase="Failed", reason="NodeLost", message="node 'a' does not answer"),
        (),
        "NodeLost",
        "the node of the export pod did not answer any more: node 'a' does not answer",
    ),
    "on a node that is gone": (
        ended_pod(137, disruption="DeletionByPodGC"),
        (),
        "NodeLost",
        "the node of the export pod is gone",
    ),
    "on a node that was shut down": (
        ended_pod(143, reason="Terminated", message="Pod was terminated in response to imminent node shutdown."),
        (),
        "NodeShutdown",
        "the node of the export pod was shut down: Pod was terminated in response to imminent node shutdown.",
    ),
    "refused by its node": (
        pod(phase="Failed", reason="OutOfcpu", message="Node didn't have enough resource: cpu"),
        (),
        "NodeRefused",
        "the node did not take the export pod: Node didn't have enough resource: cpu",
    ),
    "for another reason of Kubernetes": (
        ended_pod(137, reason="SomethingNew"),
        (),
        "PodFailed",
        "the export pod ended: SomethingNew",
    ),
    "without a container": (
        pod(phase="Failed"),
        (),
        "PodFailed",
        "the export pod ended before its container did",
    ),
    "hung, and killed": (
        ended_pod(137),
        HUNG,
        "PodHung",
        "the export pod hung: its heartbeat stood still, and the kubelet ended it",
    ),
    "hung, and told so": (
        ended_pod(82, INTERRUPTED),
        HUNG,
        "PodHung",
        "the export pod hung: its heartbeat stood still, and the kubelet ended it",
    ),
    "deleted, and a probe had failed before": (
        ended_pod(82, INTERRUPTED, deleting=True),
        HUNG,
        "PodDeleted",
        "somebody deleted the export pod before it ended",
    ),
    "stopped, and no probe had failed": (
        ended_pod(137, "x"),
        (STOPPED,),
        "PodKilled",
        "the export pod ended with exit code 137 and no report",
    ),
    "deleted": (
        ended_pod(82, INTERRUPTED, deleting=True),
        (),
        "PodDeleted",
        "somebody deleted the export pod before it ended",
    ),
    "killed": (ended_pod(137, "x"), (), "PodKilled", "the export pod ended with exit code 137 and no report"),
    "crashed": (ended_pod(1, "x"), (), "PodCrashed", "the export pod ended with exit code 1 and no report"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_an_attempt_that_did_not_end_by_itself(case: str) -> None:
    given_pod, notices, reason, message = TAKEN[case]
    found = end_of(given_pod, RUN, notices)
    advice = LOOK if reason in {"PodKilled", "PodCrashed", "PodFailed", "PodHung"} else AGAIN
    tail = "x" if reason in {"PodKilled", "PodCrashed"} else ""
    code = given_pod.exit_code
    assert found == Problem(reason, "Infrastructure", message, advice, True, code, log_tail=tail)


def test_who_took_a_pod_away_is_of_no_interest_when_it_had_failed_by_itself() -> None:
    found = end_of(ended_pod(67, failure(), disruption="EvictionByEvictionAPI", deleting=True), RUN, HUNG)
    assert found.reason == "SourceAuthenticationFailed"


def test_a_pod_is_read_with_its_node_its_disruption_and_when_it_shall_be_gone() -> None:
    body = {
        "metadata": {
            "name": "export-pod-1",
            "uid": "pod-uid",
            "creationTimestamp": "2026-11-24T12:00:00Z",
            "deletionTimestamp": "2026-11-24T12:00:30Z",
            "labels": {"export-operator.io/run": RUN},
        },
        "spec": {"nodeName": "node"},
        "status": {
            "phase": "Failed",
            "reason": "NodeLost",
            "conditions": [
                {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "taints"}
            ],
            "containerStatuses": [{"state": {"running": {"startedAt": "2026-11-24T12:00:01Z"}}}],
        },
    }
    expected = pod(
        phase="Failed",
        reason="NodeLost",
        started=later(1),
        deleting=True,
        node="node",
        gone_by=later(30),
        disruption="DeletionByTaintManager",
        disruption_message="taints",
    )
    assert (parse_pod(body), expected.over, expected.running) == (expected, True, False)


def test_a_disruption_that_did_not_happen_is_none() -> None:
    conditions = [{"type": "DisruptionTarget", "status": "False", "reason": "EvictionByEvictionAPI"}]
    body = {"metadata": {"name": "a", "uid": "b"}, "status": {"conditions": conditions}}
    assert parse_pod(body).disruption == ""


def changed(message: str, *path: str, to: Any) -> str:
    document = json.loads(message)
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return json.dumps(document)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "null",
        "[" * 4096,
        '{"a":' * 800,
        "1" * 4096,
        success()[:100],
        success() + "}",
        changed(success(), "version", to=2),
        changed(success(), "delivered", "rows", to=-1),
        changed(success(), "delivered", "rows", to=2**53 + 1),
        changed(success(), "delivered", "bytes", to=10**30),
        changed(success(), "delivered", "sha256", to="x" * 64),
        changed(success(), "delivered", "sha256", to="ab" * 33),
        changed(success(), "delivered", "consistency", to="x" * 64),
        changed(success(), "delivered", "snapshotTime", to="yesterday"),
        changed(success(), "delivered", "snapshotTime", to="2026-13-01T00:00:00Z"),
        changed(success(), "peakMemoryBytes", to=-1),
        changed(success(), "timings", to={"fetch": float("nan")}),
        success().replace("1.25", "1e999"),
        success().replace("1.25", "9" * 400),
        changed(success(), "timings", to={"a step": 1.0}),
        changed(success(), "timings", to={"x" * 33: 1.0}),
        changed(success(), "retries", to={"UploadPart/DestinationUnavailable": -1}),
        changed(success(), "retries", to={"a call": 1}),
        changed(success(), "retries", to={f"Call{number}/SourceUnavailable": 1 for number in range(9)}),
        changed(failure(), "failure", "reason", to="x" * 129),
        changed(failure(), "failure", "reason", to="two words"),
        changed(failure(), "failure", "failureClass", to=""),
        changed(success(), "failure", to=json.loads(failure())["failure"]),
    ],
    ids=lambda text: text[:60],
)
def test_a_message_that_status_could_not_hold_is_none(message: str) -> None:
    assert read_outcome(ended_pod(0, message), RUN) is None


def test_a_sound_message_is_read_whole() -> None:
    assert read_outcome(ended_pod(0, success()), RUN) == Outcome(
        run=RUN, delivered=delivered(), timings={"total": 1.25}, peak_memory_bytes=1 << 20, rows=100
    )


def test_retries_of_all_attempts_add_up() -> None:
    tried = {"UploadPart/DestinationUnavailable": 2, "PostgreSQL/SourceUnavailable": 1}
    messages = (
        changed(failure(), "retries", to=tried),
        changed(success(), "retries", to=tried),
        "no report",
        success(),
    )
    pods = [ended_pod(0, message, name=f"pod-{number}") for number, message in enumerate(messages)]
    assert retries(pods, RUN) == {"UploadPart/DestinationUnavailable": 4, "PostgreSQL/SourceUnavailable": 2}
    assert retries(pods, "another run") == {}


@given(st.text(max_size=4096) | st.binary(max_size=4096).map(lambda data: data.decode("utf-8", "replace")))
def test_no_garbage_keeps_an_attempt_from_ending(message: str) -> None:
    text = "the export pod ended with exit code 1 and no report"
    expected = Problem("PodCrashed", "Infrastructure", text, LOOK, True, 1, readable(message))
    assert end_of(ended_pod(1, message), RUN) == expected


@pytest.mark.parametrize("field", ["segments", "resumed", "objects", "connections"])
def test_a_count_that_status_cannot_hold_is_no_outcome(field: str) -> None:
    assert read_outcome(ended_pod(0, success(**{field: 2**31})), RUN) is None
