"""Pods and Jobs that should have ended."""

from __future__ import annotations

import pytest

from export_operator.domain.lost import lost, over, overdue, stuck
from export_operator.domain.model import Job, parse_job

from .builders import NOW, ended_pod, job, later, pod, running_pod

pytestmark = pytest.mark.unit

LEAVING = running_pod(node="a", deleting=True, gone_by=later(30))


def test_a_pod_is_overdue_when_its_grace_is_long_over() -> None:
    assert (overdue((LEAVING,), later(40)), overdue((LEAVING,), later(41))) == ((), (LEAVING,))


def test_a_pod_that_nobody_has_deleted_or_that_is_over_is_never_overdue() -> None:
    assert overdue((running_pod(), pod(), ended_pod(137, deleting=True, gone_by=later(30))), later(9999)) == ()


def test_only_pods_of_nodes_that_do_not_answer_are_lost() -> None:
    elsewhere = running_pod(name="b", node="b", deleting=True, gone_by=later(30))
    assert lost((LEAVING, elsewhere), {"b"}, later(41)) == (elsewhere,)


@pytest.mark.parametrize(
    ("given", "seconds", "expected"),
    [
        (job(failing=NOW), 120, False),
        (job(failing=NOW), 121, True),
        (job(failed=True, finished=NOW), 120, False),
        (job(failed=True, finished=NOW), 121, True),
        (job(), 9999, False),
    ],
    ids=["may end", "should have ended", "may end, before 1.31", "should have ended, before 1.31", "it goes on"],
)
def test_a_job_is_stuck_when_it_has_failed_and_its_pods_do_not_end(given: Job, seconds: int, expected: bool) -> None:
    assert stuck(given, later(seconds)) is expected


def test_a_run_is_over_when_its_job_and_its_pods_are() -> None:
    """Before Kubernetes 1.31 a Job fails before its pods have ended."""
    failed = job(failed=True, finished=NOW)
    assert [over(failed, pods) for pods in ((), (ended_pod(143),), (ended_pod(143), LEAVING))] == [True, True, False]
    assert not over(job(failing=NOW), ())


def test_a_job_that_is_failing_has_its_reason_before_it_has_failed() -> None:
    body = {
        "metadata": {"name": "export-x", "uid": "u"},
        "status": {
            "conditions": [
                {
                    "type": "FailureTarget",
                    "status": "True",
                    "reason": "DeadlineExceeded",
                    "message": "too long",
                    "lastTransitionTime": "2026-11-24T12:00:09Z",
                }
            ]
        },
    }
    found = parse_job(body)
    assert (found.failing, found.terminal, found.failed_reason, found.failed_message) == (
        later(9),
        False,
        "DeadlineExceeded",
        "too long",
    )
