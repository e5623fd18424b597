"""What Jobs and pods mean."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.report import Outcome
from export_operator.domain.model import Job, Pod
from export_operator.domain.outcome import (
    Ended,
    Problem,
    ended,
    read_outcome,
    readable,
    retries,
    running_since,
    start_problem,
    stop_needed,
)
from export_operator.domain.places import Places, Uris

from .builders import PLACES, RUN, URI, delivered, ended_pod, failure, job, later, pod, running_pod, success

pytestmark = pytest.mark.unit

AGAIN = "Set a new spec.runID to run again."
LOOK = "Set a new spec.runID to run again; if it repeats, ask the platform team to look at the pod's log."
MEMORY = "Ask the platform team to raise the memory limit of export pods."
COMPLETE = job(complete=True)
FAILED = job(
    failed=True, failed_reason="BackoffLimitExceeded", failed_message="Job has reached the limit", failed_pods=1
)
DELIVERED = Ended(delivered(), None, 1, 1 << 20, (("total", 1.25),))


def failed_with(problem: Problem, attempts: int = 1) -> Ended:
    return Ended(None, problem, attempts)


def crashed(code: int, tail: str) -> Problem:
    text = f"the export pod ended with exit code {code} and no report"
    return Problem("PodCrashed", "Infrastructure", text, LOOK, True, code, tail)


ENDS: dict[str, tuple[Job, tuple[Pod, ...], Ended]] = {
    "delivered": (COMPLETE, (ended_pod(0, success()),), DELIVERED),
    "delivered by the second attempt": (
        job(complete=True, failed_pods=1),
        (ended_pod(82, failure(), name="a"), ended_pod(0, success(), name="b", finished=later(9))),
        Ended(delivered(), None, 2, 1 << 20, (("total", 1.25),)),
    ),
    "delivered just before the Job was failed": (FAILED, (ended_pod(0, success()),), DELIVERED),
    "delivered although it was cancelled meanwhile": (
        job(failed=True, failed_reason="DeadlineExceeded", stop_reason="Cancelled", stop_message="by a person"),
        (ended_pod(0, success()),),
        DELIVERED,
    ),
    "complete, and the pods are gone": (COMPLETE, (), Ended(None, None, 1)),
    "complete, and the message is garbage": (COMPLETE, (ended_pod(0, "done!"),), Ended(None, None, 1)),
    "complete, and the message is another run's": (
        COMPLETE,
        (ended_pod(0, success().replace(RUN, "0" * 20)),),
        Ended(None, None, 1),
    ),
    "delivered to a place that is not this run's": (
        COMPLETE,
        (ended_pod(0, success(uri="s3://elsewhere/x.csv")),),
        failed_with(
            Problem(
                "ResultMismatch",
                "Infrastructure",
                f"the pod reported an object at 's3://elsewhere/x.csv', but this run's place is {URI!r}",
                "Ask the platform team to look at the pod: its image may not be the exporter's.",
                False,
            )
        ),
    ),
    "delivered to a fallback that the destination does not have": (
        COMPLETE,
        (ended_pod(0, success(uri="s3://elsewhere/x.csv", used_fallback=True)),),
        failed_with(
            Problem(
                "ResultMismatch",
                "Infrastructure",
                "the pod reported an object at 's3://elsewhere/x.csv', but its destination has no fallback",
                "Ask the platform team to look at the pod: its image may not be the exporter's.",
                False,
            )
        ),
    ),
    "a success message from a pod that failed": (
        FAILED,
        (ended_pod(1, success()),),
        failed_with(crashed(1, "")),  # which is no line for people
    ),
    "failed, and the pod says why": (
        FAILED,
        (ended_pod(67, failure()),),
        failed_with(
            Problem(
                "SourceAuthenticationFailed",
                "Source",
                'password authentication failed for user "exporter"',
                "The platform team must renew the source's credentials; then set a new spec.runID.",
                False,
                67,
                preflight=True,
            )
        ),
    ),
    "failed, with a reason from a newer exporter": (
        FAILED,
        (ended_pod(99, failure(reason="Novel", exit_code=99, retryable=True)),),
        failed_with(
            Problem(
                "Novel", "Source", 'password authentication failed for user "exporter"', "", True, 99, preflight=True
            )
        ),
    ),
    "failed after the first row": (
        FAILED,
        (ended_pod(78, failure(reason="RowLimitExceeded", failure_class="User", exit_code=78, read=0.2)),),
        failed_with(
            Problem(
                "RowLimitExceeded",
                "User",
                'password authentication failed for user "exporter"',
                "Export fewer rows, or ask the platform team to raise maxRows in your policy.",
                False,
                78,
            )
        ),
    ),
    "out of time before the first row": (
        FAILED,
        (ended_pod(77, failure(reason="DeadlineExceeded", failure_class="Deadline", exit_code=77)),),
        failed_with(
            Problem(
                "DeadlineExceeded",
                "Deadline",
                'password authentication failed for user "exporter"',
                "Raise spec.runDeadlineSeconds, export fewer rows or columns, or use onDeadline: Partial.",
                False,
                77,
            )
        ),
    ),
    "refused before the first row, after an attempt that read some": (
        job(failed=True, failed_pods=2),
        (ended_pod(82, "", name="a"), ended_pod(67, failure(), name="b", finished=later(9))),
        failed_with(
            Problem(
                "SourceAuthenticationFailed",
                "Source",
                'password authentication failed for user "exporter"',
                "The platform team must renew the source's credentials; then set a new spec.runID.",
                False,
                67,
            ),
            2,
        ),
    ),
    "the newest of several failures counts": (
        job(failed=True, failed_reason="BackoffLimitExceeded", failed_pods=3),
        (ended_pod(1, "old", finished=later(3)), ended_pod(2, "new", finished=later(8))),
        failed_with(crashed(2, "new"), 3),
    ),
    "killed at the memory limit": (
        FAILED,
        (ended_pod(137, "", exit_reason="OOMKilled"),),
        failed_with(
            Problem(
                "OutOfMemory",
                "Infrastructure",
                "the export pod was killed at its memory limit",
                MEMORY,
                False,
                137,
            )
        ),
    ),
    "stopped by us after a kill at the memory limit": (
        job(failed=True, failed_reason="DeadlineExceeded", stop_reason="OutOfMemory", stop_message="it was killed"),
        (ended_pod(137, "", exit_reason="OOMKilled"),),
        failed_with(Problem("OutOfMemory", "Infrastructure", "it was killed", MEMORY, False, 137)),
    ),
    "stopped by us because its image cannot be pulled": (
        job(failed=True, failed_reason="DeadlineExceeded", stop_reason="ImageNotPullable", stop_message="no image"),
        (pod(),),
        failed_with(
            Problem(
                "ImageNotPullable",
                "Infrastructure",
                "no image",
                "The platform team must mend this; then set a new spec.runID.",
                False,
            )
        ),
    ),
    "evicted": (
        FAILED,
        (ended_pod(137, "", reason="Evicted", message="The node was low on resource: memory."),),
        failed_with(Problem("Evicted", "Infrastructure", "The node was low on resource: memory.", AGAIN, True, 137)),
    ),
    "taken away without a word": (
        FAILED,
        (ended_pod(143, "", reason="NodeShutdown"),),
        failed_with(Problem("NodeShutdown", "Infrastructure", "the export pod ended: NodeShutdown", AGAIN, True, 143)),
    ),
    "killed": (
        FAILED,
        (ended_pod(137, "last words"),),
        failed_with(
            Problem(
                "PodKilled",
                "Infrastructure",
                "the export pod ended with exit code 137 and no report",
                LOOK,
                True,
                137,
                "last words",
            )
        ),
    ),
    "crashed with a long log": (FAILED, (ended_pod(1, "x" * 4096),), failed_with(crashed(1, "x" * 1024))),
    "no pod, and the Job's time was over": (
        job(failed=True, failed_reason="DeadlineExceeded", failed_message="Job was active longer"),
        (),
        failed_with(
            Problem(
                "DeadlineExceeded",
                "Deadline",
                "the run did not end within its time, pending time included",
                "Raise spec.runDeadlineSeconds, export fewer rows or columns, or use onDeadline: Partial.",
                False,
            )
        ),
    ),
    "no pod, and the Job gave up": (
        FAILED,
        (),
        failed_with(Problem("BackoffLimitExceeded", "Infrastructure", "Job has reached the limit", AGAIN, True)),
    ),
    "no pod and no reason": (
        job(failed=True),
        (),
        failed_with(Problem("JobFailed", "Infrastructure", "the Job failed and left no pod to ask", AGAIN, True)),
    ),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_terminal_job_means(case: str) -> None:
    given_job, pods, expected = ENDS[case]
    assert ended(given_job, pods, PLACES) == expected


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
def test_no_garbage_keeps_a_run_from_ending(message: str) -> None:
    assert ended(FAILED, (ended_pod(1, message),), PLACES) == failed_with(crashed(1, readable(message)))


WAITING = [
    (
        "ErrImagePull",
        "not found",
        ("ImageNotPullable", "the exporter's image cannot be pulled: not found"),
    ),
    ("ImagePullBackOff", "", ("ImageNotPullable", "the exporter's image cannot be pulled: ImagePullBackOff")),
    (
        "InvalidImageName",
        "a b",
        ("ImageNotPullable", "the exporter's image name is not valid: a b"),
    ),
    (
        "ErrImageNeverPull",
        "x",
        ("ImageNotPullable", "the exporter's image is not on the node and may not be pulled: x"),
    ),
    (
        "CreateContainerConfigError",
        'secret "app-db" not found',
        ("CredentialsMissing", 'a Secret or a key of it is missing in the run namespace: secret "app-db" not found'),
    ),
    ("CreateContainerError", "x", ("PodNotStarting", "the container cannot be created: x")),
    ("RunContainerError", "x", ("PodNotStarting", "the container cannot be run: x")),
    ("ContainerCreating", "", None),
    ("PodInitializing", "", None),
]


@pytest.mark.parametrize(("reason", "message", "expected"), WAITING)
def test_a_waiting_container_means(reason: str, message: str, expected: tuple[str, str] | None) -> None:
    assert start_problem((pod(waiting_reason=reason, waiting_message=message),)) == expected


def test_no_pods_are_no_problem_yet() -> None:
    assert start_problem(()) is None


def test_a_pod_without_a_node_says_what_is_missing() -> None:
    found = start_problem((pod(unschedulable="0/3 nodes are available: Insufficient memory."),))
    assert found == (
        "Unschedulable",
        "no node has room for the export pod: 0/3 nodes are available: Insufficient memory.",
    )


def test_only_the_newest_pod_tells_why_nothing_starts() -> None:
    old = pod(name="old", waiting_reason="ErrImagePull")
    assert start_problem((pod(name="new", created=later(9)), old)) is None


def test_a_long_sentence_of_the_kubelet_is_cut() -> None:
    found = start_problem((pod(waiting_reason="ErrImagePull", waiting_message="x" * 5000),))
    assert found is not None
    assert len(found[1]) == 600


def test_a_run_runs_since_its_first_attempt() -> None:
    pods = (pod(started=later(9)), pod(started=later(4)), pod())
    assert running_since(pods) == later(4)


FIVE = timedelta(seconds=300)
STOPS: dict[str, tuple[tuple[Pod, ...], float | None, float, tuple[str, str] | None]] = {
    "a new Job is waited for": ((), 0, 300, None),
    "nothing at all for too long": (
        (),
        0,
        301,
        ("StartDeadlineExceeded", "the export pod did not start (start deadline 300 s)"),
    ),
    "an image that does not come": (
        (pod(waiting_reason="ErrImagePull", waiting_message="no"),),
        0,
        301,
        ("ImageNotPullable", "the exporter's image cannot be pulled: no (start deadline 300 s)"),
    ),
    "an image that may still come": ((pod(waiting_reason="ErrImagePull"),), 0, 299, None),
    "a pod that runs": ((running_pod(),), None, 9999, None),
    "a pod that was killed at its memory limit": (
        (ended_pod(137, exit_reason="OOMKilled"),),
        None,
        2,
        ("OutOfMemory", "the export pod was killed at its memory limit"),
    ),
}


@pytest.mark.parametrize("case", STOPS)
def test_a_job_is_ended_early_when_it_must(case: str) -> None:
    pods, since, now, expected = STOPS[case]
    assert stop_needed(pods, None if since is None else later(since), FIVE, later(now)) == expected


SPARE = Uris("s3://spare/held.csv", "s3://spare/manifest.json")


@pytest.mark.parametrize(
    ("uri", "used_fallback", "counts"),
    [
        pytest.param(SPARE.object, True, True, id="the fallback's place"),
        pytest.param(SPARE.object, False, False, id="the fallback's place, called the destination's"),
        pytest.param(URI, True, False, id="the destination's place, called the fallback's"),
        pytest.param("s3://spare/other.csv", True, False, id="another place in the fallback"),
    ],
)
def test_what_the_fallback_took_counts_under_its_own_uri_alone(uri: str, used_fallback: bool, counts: bool) -> None:
    pods = (ended_pod(0, success(uri=uri, used_fallback=used_fallback)),)
    found = ended(COMPLETE, pods, Places(PLACES.destination, SPARE))
    assert (found.delivered is not None, found.problem is None) == (counts, counts)


@pytest.mark.parametrize("field", ["segments", "resumed", "objects", "connections"])
def test_a_count_that_status_cannot_hold_is_no_outcome(field: str) -> None:
    assert read_outcome(ended_pod(0, success(**{field: 2**31})), RUN) is None
