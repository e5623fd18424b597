"""What Jobs and pods mean."""

from __future__ import annotations

from dataclasses import replace

import pytest

from export_operator.domain.endings import AGAIN, LOOK, Problem
from export_operator.domain.manifests import Sought
from export_operator.domain.model import Job, Pod
from export_operator.domain.outcome import Ended, ended, silent
from export_operator.domain.places import Places, Uris

from .builders import (
    MANIFEST_URI,
    PLACES,
    RUN,
    URI,
    delivered,
    ended_pod,
    failure,
    job,
    later,
    pod,
    success,
)

pytestmark = pytest.mark.unit

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


OUT_OF_TIME = job(failed=True, failed_reason="DeadlineExceeded", failed_message="Job was active longer")
LATE = Problem(
    "DeadlineExceeded",
    "Deadline",
    "the run did not end within its time, pending time included",
    "Raise spec.runDeadlineSeconds, export fewer rows or columns, or use onDeadline: Partial.",
    False,
)
INTERRUPTED = failure(reason="Interrupted", failure_class="Infrastructure", retryable=True, exit_code=82)

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
        failed_with(
            Problem(
                "Evicted",
                "Infrastructure",
                "the node evicted the export pod: The node was low on resource: memory.",
                AGAIN,
                True,
                137,
            )
        ),
    ),
    "taken away without a word": (
        FAILED,
        (ended_pod(143, "", reason="NodeShutdown"),),
        failed_with(
            Problem("NodeShutdown", "Infrastructure", "the node of the export pod was shut down", AGAIN, True, 143)
        ),
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
    "no pod, and the Job's time was over": (OUT_OF_TIME, (), failed_with(LATE)),
    "out of time while an attempt went on": (
        OUT_OF_TIME,
        (ended_pod(82, INTERRUPTED, deleting=True),),
        failed_with(replace(LATE, exit_code=82)),
    ),
    "out of time after an attempt that failed": (
        OUT_OF_TIME,
        (ended_pod(80, failure(reason="SourceUnavailable", message="connection refused", exit_code=80)),),
        failed_with(
            replace(
                LATE,
                message=f"{LATE.message}; its last attempt ended as SourceUnavailable: connection refused",
                exit_code=80,
            )
        ),
    ),
    "no pod, and the Job gave up": (
        FAILED,
        (),
        failed_with(
            Problem(
                "JobFailed",
                "Infrastructure",
                "the Job failed and left no pod to ask (BackoffLimitExceeded: Job has reached the limit)",
                AGAIN,
                True,
            )
        ),
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


CANCELLED = job(failed=True, failed_reason="DeadlineExceeded", stop_reason="Cancelled")
SILENT: dict[str, tuple[Job, tuple[Pod, ...], bool]] = {
    "delivered": (COMPLETE, (ended_pod(0, success()),), False),
    "complete, and the pods are gone": (COMPLETE, (), True),
    "complete, and the message is none": (COMPLETE, (ended_pod(0, "done!"),), True),
    "complete, and the message was cut": (COMPLETE, (ended_pod(0, success()[:4096] + "x"),), True),
    "failed, and told why": (FAILED, (ended_pod(67, failure()),), False),
    "failed, and contradicts itself": (FAILED, (ended_pod(1, failure()),), True),
    "killed": (FAILED, (ended_pod(137),), True),
    "killed when it had told": (FAILED, (ended_pod(137, success()),), True),
    "killed after an attempt that told": (
        FAILED,
        (ended_pod(82, INTERRUPTED), ended_pod(137, name="z", finished=later(9))),
        True,
    ),
    "lost with its node": (FAILED, (pod(phase="Failed", reason="NodeLost"),), True),
    "failed, and the pods are gone": (FAILED, (), True),
    "cancelled, and the pods are gone": (CANCELLED, (), True),
    "cancelled, and told so": (CANCELLED, (ended_pod(82, INTERRUPTED),), False),
    "never started": (job(failed=True, stop_reason="ImageNotPullable"), (pod(),), False),
}


@pytest.mark.parametrize("case", SILENT)
def test_the_manifest_is_looked_for_where_nobody_tells(case: str) -> None:
    given_job, pods, expected = SILENT[case]
    assert silent(given_job, pods) is expected


FOUND, NONE, UNKNOWN = Sought(delivered()), Sought(), Sought(fault="bucket 'exports': EndpointConnectionError")
KILLED = Problem(
    "PodKilled", "Infrastructure", "the export pod ended with exit code 137 and no report", LOOK, True, 137
)


@pytest.mark.parametrize(
    ("given_job", "pods", "sought", "expected"),
    [
        pytest.param(FAILED, (ended_pod(137),), FOUND, Ended(delivered(), None, 1), id="killed, and had delivered"),
        pytest.param(FAILED, (ended_pod(137),), NONE, failed_with(KILLED), id="killed, and had not delivered"),
        pytest.param(
            FAILED,
            (ended_pod(137),),
            UNKNOWN,
            failed_with(
                replace(
                    KILLED,
                    message=f"{KILLED.message}. Whether it had delivered before could not be seen: {UNKNOWN.fault}",
                )
            ),
            id="killed, and nobody knows",
        ),
        pytest.param(CANCELLED, (), FOUND, Ended(delivered(), None, 1), id="cancelled, and had delivered"),
        pytest.param(COMPLETE, (), FOUND, Ended(delivered(), None, 1), id="complete, and had delivered"),
        pytest.param(COMPLETE, (), UNKNOWN, Ended(None, None, 1), id="complete, and nobody knows"),
        pytest.param(
            COMPLETE,
            (ended_pod(0),),
            NONE,
            failed_with(
                Problem(
                    "ResultMissing",
                    "Infrastructure",
                    f"the export pod said that it had ended well, and there is no manifest {MANIFEST_URI!r}",
                    LOOK,
                    True,
                    0,
                )
            ),
            id="complete, and had not delivered",
        ),
        pytest.param(
            COMPLETE,
            (ended_pod(0, success(rows=7)),),
            FOUND,
            replace(DELIVERED, delivered=delivered(rows=7)),
            id="what the pod tells of a delivery is not asked for twice",
        ),
    ],
)
def test_what_is_found_of_the_manifest_decides(
    given_job: Job, pods: tuple[Pod, ...], sought: Sought, expected: Ended
) -> None:
    assert ended(given_job, pods, PLACES, sought=sought) == expected
