"""What a suspended request tells: where it stands, and whether it will go on there or begin anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from export_contract.report import Progress
from export_operator.domain.actions import Decision, Emit, Observation, SuspendJob, WriteStatus
from export_operator.domain.decide import decide
from export_operator.domain.manifests import Sought
from export_operator.domain.model import Pod

from .builders import RUN, SETTINGS, ended_pod, failure, job, later, request, running_pod, seen
from .deciding import LAUNCHED, ROOM, SUSPENDED, answered

pytestmark = pytest.mark.unit

STOPPED = failure(reason="Interrupted", failure_class="Infrastructure", retryable=True, exit_code=82)
KEPT = STOPPED[:-1] + ',"checkpointRows":420}'
EFFECTIVE: Mapping[str, Any] = {"consistency": "Auto", "resume": "Auto"}


LET_GO_ON: Mapping[str, Any] = {
    "type": "Suspended",
    "status": "False",
    "reason": "Resumed",
    "message": "it goes on behind row 400",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-11-24T12:00:00Z",
}


def progress(**changes: Any) -> Progress:
    return replace(Progress(run=RUN, rows=500, bytes=5000, elapsed_seconds=2.0), **changes)


def paused(
    *, effective: Mapping[str, Any] = EFFECTIVE, shown: Mapping[str, Any] | None = None, **rest: Any
) -> Observation:
    """A run that its owner has suspended, as its Job is."""
    status = SUSPENDED | {"effective": effective} | ({} if shown is None else {"progress": shown})
    return seen(request(status=status, suspend=True), job=job(suspended=True), slot_held=True, **rest)


def written(decision: Decision) -> Mapping[str, Any]:
    (status,) = [action.status for action in decision.actions if isinstance(action, WriteStatus)]
    return status


def said(decision: Decision) -> tuple[str, str, str]:
    """Of the condition Suspended: its status, reason and message."""
    (found,) = [each for each in written(decision)["conditions"] if each["type"] == "Suspended"]
    return found["status"], found["reason"], found["message"]


ANEW = "suspended; set spec.suspend to false to let it begin anew, from the first row: "
TELLING: dict[str, tuple[Observation, str]] = {
    "while its pod ends": (paused(pods=(running_pod(deleting=True),)), "suspended; its pod is being stopped"),
    "its pod wrote down how far it was": (
        paused(pods=(ended_pod(82, KEPT),)),
        "suspended at row 420; set spec.suspend to false to let it go on behind that row",
    ),
    "the pod that wrote it down is gone": (
        paused(gone=(ended_pod(82, KEPT),)),
        "suspended at row 420; set spec.suspend to false to let it go on behind that row",
    ),
    "the operator did not see the pod's end": (
        paused(shown={"rows": 500, "checkpointRows": 400}),
        "suspended at row 400; set spec.suspend to false to let it go on behind that row",
    ),
    "the pod's last word counts, not what it said before": (
        paused(gone=(ended_pod(82, STOPPED),), shown={"rows": 500, "checkpointRows": 400}),
        f"{ANEW}no checkpoint was kept",
    ),
    "one snapshot was asked for": (
        paused(effective={"consistency": "Snapshot", "resume": "Auto"}),
        f"{ANEW}with consistency: Snapshot all rows are of one moment, which has passed",
    ),
    "no resuming was asked for": (
        paused(effective={"consistency": "Auto", "resume": "Never"}),
        f"{ANEW}with resume: Never no checkpoint is kept",
    ),
}


@pytest.mark.parametrize("name", TELLING)
def test_a_suspended_run_says(name: str) -> None:
    observed, text = TELLING[name]
    decision = decide(observed, SETTINGS, later(60))
    assert said(decision) == ("True", "Suspended", text)
    assert written(decision)["message"] == text


def test_where_it_was_stands_in_status_so_that_it_is_known_after_a_restart() -> None:
    status = written(decide(paused(gone=(ended_pod(82, KEPT),), shown={"rows": 500}), SETTINGS, later(60)))
    assert status["progress"] == {"rows": 500, "checkpointRows": 420}
    status = written(
        decide(paused(gone=(ended_pod(82, STOPPED),), shown={"rows": 500, "checkpointRows": 9}), SETTINGS, later(60))
    )
    assert status["progress"] == {"rows": 500}


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ({"rows": 500, "checkpointRows": 400}, "it goes on behind row 400"),
        ({"rows": 500}, "it begins anew, from the first row: no checkpoint was kept"),
    ],
)
def test_one_that_is_let_go_on_says_which_it_will_be(shown: Mapping[str, Any], text: str) -> None:
    status = SUSPENDED | {"effective": EFFECTIVE, "progress": shown}
    observed = seen(request(status=status), job=job(suspended=True))
    decision = answered(observed, ROOM)
    let_go, event = decision.actions[0], decision.actions[1]
    assert let_go == SuspendJob(job(suspended=True), suspend=False)
    assert event == Emit("Normal", "Resumed", text, RUN)
    assert said(decision) == ("False", "Resumed", text)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (progress(resumed_rows=400), "it went on behind row 400"),
        (progress(), "it began anew, from the first row"),
        (progress(rows=0), "it goes on behind row 400"),  # it has not found out yet
    ],
)
def test_once_it_runs_it_says_which_it_was(told: Progress, text: str) -> None:
    status = LAUNCHED | {"conditions": [LET_GO_ON]}
    observed = seen(request(status=status), job=job(started=later(50)), pods=(running_pod(),), progress=told)
    assert said(decide(observed, SETTINGS, later(60))) == ("False", "Resumed", text)


GOING: dict[str, Any] = SUSPENDED | {"queuedTime": "2026-11-24T12:00:00Z", "effective": {"queueDeadlineSeconds": 100}}


def test_the_time_for_which_it_was_suspended_is_no_waiting() -> None:
    observed = seen(request(status=GOING), job=job(suspended=True))
    assert [type(action).__name__ for action in decide(observed, SETTINGS, later(10_000)).actions] == [
        "Wait",
        "Reserve",
    ]


def test_one_that_waits_too_long_after_it_was_let_go_on_fails_without_a_pod() -> None:
    observed = seen(request(status=GOING | {"conditions": [LET_GO_ON]}), job=job(suspended=True))
    decision = decide(observed, SETTINGS, later(101))
    status = written(decision)
    assert (status["phase"], status["failure"]["reason"], status["failure"]["class"]) == (
        "Failed",
        "QueueDeadlineExceeded",
        "Deadline",
    )
    assert [action for action in decision.actions if isinstance(action, SuspendJob)] == []


def test_a_suspended_run_that_is_cancelled_ends_without_a_pod() -> None:
    observed = seen(request(status=SUSPENDED, suspend=True, cancel=True), job=job(suspended=True))
    decision = decide(observed, SETTINGS, later(5))
    assert (written(decision)["phase"], written(decision)["message"]) == (
        "Cancelled",
        "cancelled while it was suspended",
    )
    assert [action for action in decision.actions if isinstance(action, SuspendJob)] == []


def ended(*pods: Pod) -> Observation:
    return seen(
        request(status=LAUNCHED), job=job(failed=True, failed_pods=len(pods)), pods=pods, log_tail="{}\nGave up.\n"
    )


def test_the_dead_letter_has_all_that_is_known() -> None:
    first = ended_pod(137, name="export-pod-0", finished=later(3))
    status = written(decide(ended(first, ended_pod(82, KEPT)), SETTINGS, later(60)))
    assert status["failure"] == {
        "reason": "Interrupted",
        "class": "Infrastructure",
        "message": 'password authentication failed for user "exporter"',
        "advice": "The pod was asked to stop; set a new spec.runID to run again.",
        "retryable": True,
        "attempts": 2,
        "exitCode": 82,
        "logTail": "Gave up.",
        "recentAttempts": [
            {
                "pod": "export-pod-0",
                "reason": "PodKilled",
                "message": "the export pod ended with exit code 137 and no report",
                "startTime": "2026-11-24T12:00:01Z",
                "completionTime": "2026-11-24T12:00:03Z",
                "exitCode": 137,
            },
            {
                "pod": "export-pod-1",
                "reason": "Interrupted",
                "message": 'password authentication failed for user "exporter"',
                "startTime": "2026-11-24T12:00:01Z",
                "completionTime": "2026-11-24T12:00:05Z",
                "exitCode": 82,
            },
        ],
        "checkpoint": {"rows": 420},
    }
    assert "recentAttempts" not in status


def test_while_the_run_goes_on_its_attempts_are_told_of_and_move_into_the_dead_letter() -> None:
    going = seen(request(status=LAUNCHED), job=job(failed_pods=1), pods=(ended_pod(82, KEPT),))
    status = written(decide(going, SETTINGS, later(6)))
    (attempt,) = status["recentAttempts"]
    assert attempt["reason"] == "Interrupted"
    lost = seen(request(status=status), job=None, sought=Sought())
    assert written(decide(lost, SETTINGS, later(60)))["failure"]["recentAttempts"] == [attempt]
