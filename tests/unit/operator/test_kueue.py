"""What Kueue says of a Job, in a request's status; and what the operator does about a Job that is Kueue's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from export_operator.domain import kueue
from export_operator.domain.actions import (
    CreateJob,
    Decision,
    Observation,
    ReleaseSlot,
    Reserve,
    SetActive,
    StopJob,
    WriteStatus,
)
from export_operator.domain.decide import decide, reserved
from export_operator.domain.kueue import Condition, Workload, parse_workload
from export_operator.domain.manifests import Sought
from export_operator.domain.model import Catalogue, Job, Named, parse_job
from export_operator.domain.quota import Admission

from .builders import NOW, RUN, SETTINGS, UID, catalogue, job, later, pod, request, running_pod, seen
from .deciding import SUSPENDED, summary

pytestmark = pytest.mark.unit

POLICY = Named("queued", {"kueue": {"queueName": "exports"}})
KNOWN = catalogue(policies=(POLICY,))
HELD = job(queue="exports", suspended=True)
LET_GO = job(queue="exports", started=later(100))
WORKLOAD = Workload("job-export-1-abcde", "workload-uid", HELD.name, HELD.uid, active=True, suspended=False)
RESERVED = Condition(True, "QuotaReserved", "Quota reserved in ClusterQueue exports")
LAUNCHED: dict[str, Any] = {
    "phase": "Queued",
    "reason": "KueuePending",
    "run": RUN,
    "runID": "",
    "observedGeneration": 1,
    "queuedTime": "2026-11-24T12:00:00Z",
    "jobRef": {"namespace": "export-runs", "name": HELD.name},
    "effective": {
        "policy": "queued",
        "source": "app-db",
        "dataset": "users",
        "format": "CSV",
        "queueDeadlineSeconds": 600,
        "startDeadlineSeconds": 300,
    },
}


def look(held: Job | None, workload: Workload | None = None, status: Any = None, **changes: Any) -> Observation:
    given = request(status=status if status is not None else LAUNCHED, **changes)
    return seen(given, catalogue=KNOWN, job=held, workload=workload, workloads_seen=True)


def written(decision: Decision) -> dict[str, Any]:
    (status,) = [dict(action.status) for action in decision.actions if isinstance(action, WriteStatus)]
    return status


def test_a_workload_is_read_as_kueue_writes_it() -> None:
    document = {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {
            "name": "job-export-1-abcde",
            "uid": "workload-uid",
            "annotations": {"export-operator.io/suspended": "true"},
            "ownerReferences": [
                {"kind": "Job", "name": "other", "uid": "other-uid"},
                {"kind": "Job", "name": "export-1", "uid": "job-uid", "controller": True},
            ],
        },
        "spec": {"active": False, "queueName": "exports"},
        "status": {
            "conditions": [
                {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "no room"},
                {
                    "type": "Evicted",
                    "status": "True",
                    "reason": "Deactivated",
                    "message": "The workload is deactivated",
                },
            ]
        },
    }
    assert parse_workload(document) == Workload(
        name="job-export-1-abcde",
        uid="workload-uid",
        job="export-1",
        job_uid="job-uid",
        active=False,
        suspended=True,
        reserved=Condition(False, "Pending", "no room"),
        admitted=None,
        evicted=Condition(True, "Deactivated", "The workload is deactivated"),
    )


def test_a_workload_that_was_just_made_is_active_and_says_nothing() -> None:
    bare = {"metadata": {"name": "w", "uid": "u"}}
    assert parse_workload(bare) == Workload("w", "u", "", "", active=True, suspended=False)


def test_a_job_bears_its_queue_and_when_it_was_last_let_go() -> None:
    document = {
        "metadata": {
            "name": HELD.name,
            "uid": HELD.uid,
            "creationTimestamp": "2026-11-24T12:00:00Z",
            "labels": {
                "export-operator.io/run": RUN,
                "export-operator.io/request-uid": UID,
                "kueue.x-k8s.io/queue-name": "exports",
            },
            "annotations": {
                "export-operator.io/request-namespace": "team-a",
                "export-operator.io/request-name": "users-2026-11",
            },
        },
        "spec": {"suspend": False},
        "status": {"startTime": "2026-11-24T12:01:40Z"},
    }
    assert parse_job(document) == LET_GO


WORDS: dict[str, tuple[Workload | None, float, str, str]] = {
    "just handed over": (None, 29, "KueuePending", ""),
    "nobody takes it up": (
        None,
        30,
        "KueueNotResponding",
        (
            f": there is no Workload of Job {HELD.name}; the platform team must see whether Kueue runs and manages Jobs"
            " of that namespace"
        ),
    ),
    "taken up": (WORKLOAD, 60, "KueuePending", ""),
    "a queue that is not there": (
        replace(WORKLOAD, reserved=Condition(False, "Inadmissible", "LocalQueue exports doesn't exist")),
        1,
        "Inadmissible",
        ": LocalQueue exports doesn't exist",
    ),
    "no room": (
        replace(WORKLOAD, reserved=Condition(False, "Pending", "insufficient unused quota for memory")),
        1,
        "Pending",
        ": insufficient unused quota for memory",
    ),
    "a reservation and nothing else": (replace(WORKLOAD, reserved=RESERVED), 1, "KueuePending", ""),
    "admission checks": (
        replace(WORKLOAD, reserved=RESERVED, admitted=Condition(False, "UnsatisfiedAdmissionChecks", "checks")),
        1,
        "UnsatisfiedAdmissionChecks",
        ": checks",
    ),
    "preempted": (
        replace(
            WORKLOAD,
            reserved=Condition(False, "Pending", "Preempted to accommodate another"),
            evicted=Condition(True, "Preempted", "Preempted to accommodate another"),
        ),
        1,
        "Preempted",
        ": Preempted to accommodate another",
    ),
    "deactivated": (
        replace(
            WORKLOAD,
            active=False,
            reserved=Condition(False, "Pending", "no room"),
            evicted=Condition(True, "DeactivatedDueToRequeuingLimitExceeded", "The workload is deactivated"),
        ),
        1,
        "DeactivatedDueToRequeuingLimitExceeded",
        ": The workload is deactivated",
    ),
    "activated again": (
        replace(
            WORKLOAD,
            reserved=Condition(False, "Pending", "no room"),
            evicted=Condition(True, "Deactivated", "The workload is deactivated"),
        ),
        1,
        "Pending",
        ": no room",
    ),
    "an eviction that is over": (
        replace(
            WORKLOAD,
            reserved=Condition(False, "Pending", "no room"),
            evicted=Condition(False, "QuotaReserved", "Previously: Preempted"),
        ),
        1,
        "Pending",
        ": no room",
    ),
    "a reason without words": (
        replace(WORKLOAD, reserved=Condition(False, "Pending", "")),
        1,
        "Pending",
        ": Pending",
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_a_job_that_waits_says_why_in_kueues_words(name: str) -> None:
    workload, seconds, reason, told = WORDS[name]
    found, text = kueue.waiting(HELD, workload, later(seconds))
    assert (found, text) == (reason, f"in Kueue's queue 'exports'{told}")


NO_ROOM = replace(WORKLOAD, reserved=Condition(False, "Pending", "no room"))
OURS = replace(NO_ROOM, active=False, suspended=True)
THEIRS = replace(NO_ROOM, active=False, evicted=Condition(True, "Deactivated", "The workload is deactivated"))
RUNNING = LAUNCHED | {"phase": "Running", "reason": "Exporting"}
PAUSED = LAUNCHED | {"reason": "Suspended", "conditions": SUSPENDED["conditions"]}

SITUATIONS: dict[str, tuple[Observation, float, list[str], float | None]] = {
    "a request whose policy names a queue": (look(None, status={}), 0, ["ask the windows"], None),
    "a request whose policy names a queue that nobody can see": (
        replace(look(None, status={}), workloads_seen=False),
        0,
        ["status Queued KueueUnavailable"],
        30,
    ),
    "a Job that Kueue has not seen": (look(HELD), 1, ["status Queued KueuePending"], 30),
    "a Job for which there is no room": (
        look(HELD, NO_ROOM),
        1,
        ["Normal event Pending", "status Queued Pending"],
        600,
    ),
    "a Job that Kueue is about to let go": (
        look(HELD, replace(WORKLOAD, reserved=RESERVED, admitted=Condition(True, "Admitted", "it is admitted"))),
        1,
        [],
        30,
    ),
    "a Job that was admitted and then evicted": (
        look(
            HELD,
            replace(
                WORKLOAD,
                reserved=RESERVED,
                admitted=Condition(True, "Admitted", "it is admitted"),
                evicted=Condition(True, "Preempted", "preempted"),
            ),
        ),
        1,
        ["Normal event Preempted", "status Queued Preempted"],
        600,
    ),
    "a Job whose Workload cannot be read": (
        replace(look(HELD), workloads_seen=False),
        1,
        ["Normal event KueueUnavailable", "status Queued KueueUnavailable"],
        30,
    ),
    "a Job that waited too long": (look(HELD, NO_ROOM), 601, ["stop QueueDeadlineExceeded"], None),
    "a Job that waited too long is ended": (
        look(replace(HELD, stop_reason="QueueDeadlineExceeded", stop_message="it waited"), NO_ROOM),
        602,
        ["Warning event QueueDeadlineExceeded", "status Failed QueueDeadlineExceeded"],
        None,
    ),
    "a Job that was evicted waits from then on": (
        look(HELD, NO_ROOM, status=RUNNING),
        5000,
        ["Normal event Pending", "status Queued Pending"],
        601,
    ),
    "a Job that is let go": (
        look(LET_GO, NO_ROOM),
        101,
        ["Normal event Started", "status Pending PodStarting"],
        6,
    ),
    "a Job that is let go and not yet noticed by the Job controller": (
        look(replace(LET_GO, started=None), NO_ROOM),
        5000,
        ["Normal event Started", "status Pending PodStarting"],
        6,
    ),
    "a Job that does not start after it is let go": (
        look(LET_GO, NO_ROOM),
        401,
        ["stop StartDeadlineExceeded"],
        None,
    ),
    "a Job that waited long has its whole time to start": (
        look(LET_GO, NO_ROOM, status=LAUNCHED | {"phase": "Pending", "reason": "PodStarting"}),
        391,
        ["status Pending PodStarting"],
        6,
    ),
    "a request cancelled while Kueue holds it": (look(HELD, NO_ROOM, cancel=True), 1, ["stop Cancelled"], None),
    "a request cancelled while Kueue holds it ends": (
        look(replace(HELD, stop_reason="Cancelled", stop_message="cancelled"), NO_ROOM, cancel=True),
        1,
        ["Normal event Cancelled", "status Cancelled Cancelled"],
        None,
    ),
    "a request suspended while Kueue holds it": (
        look(HELD, NO_ROOM, suspend=True),
        1,
        ["out of Kueue's queue", "Normal event Suspended", "status Queued Suspended"],
        None,
    ),
    "a request suspended while it runs": (
        replace(look(LET_GO, NO_ROOM, status=RUNNING, suspend=True), pods=(running_pod(),)),
        200,
        ["out of Kueue's queue", "Normal event Suspended", "status Queued Suspended"],
        None,
    ),
    "a request suspended before Kueue has seen it": (
        look(HELD, suspend=True),
        1,
        ["Normal event Suspended", "status Queued Suspended"],
        None,
    ),
    "a request that was suspended and is not any more": (
        look(HELD, OURS, status=PAUSED),
        4000,
        ["back into Kueue's queue", "Normal event Pending", "status Queued Pending"],
        601,
    ),
    "a Workload that somebody else has deactivated": (
        look(HELD, THEIRS),
        1,
        ["Normal event Deactivated", "status Queued Deactivated"],
        600,
    ),
    "a request whose source was withdrawn while Kueue held it": (
        replace(look(HELD, NO_ROOM), catalogue=Catalogue()),
        1,
        ["stop NoLongerAllowed"],
        None,
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_is_done_in_a_situation(name: str) -> None:
    observation, seconds, actions, requeue = SITUATIONS[name]
    decision = decide(observation, SETTINGS, later(seconds))
    assert (summary(decision), decision.requeue_after) == (actions, requeue)


@pytest.mark.parametrize("name", SITUATIONS)
def test_no_job_of_kueues_is_ever_suspended_or_let_go_by_the_operator(name: str) -> None:
    observation, seconds, _, _ = SITUATIONS[name]
    done = summary(decide(observation, SETTINGS, later(seconds)))
    assert {"suspend", "let go on"}.isdisjoint(done)


def test_an_admitted_request_makes_a_job_for_the_queue_and_gives_up_its_slot() -> None:
    observation = replace(look(None, status={}), slot_held=True)
    (reserve,) = decide(observation, SETTINGS, NOW).actions
    assert isinstance(reserve, Reserve)
    decision = reserved(observation, reserve, Admission(granted=True), SETTINGS, NOW)
    (create, _, release) = decision.actions
    assert isinstance(create, CreateJob)
    assert (create.manifest["spec"]["suspend"], release) == (True, ReleaseSlot(RUN))
    status = written(decision)
    assert (status["phase"], status["reason"], status["message"], "startTime" in status) == (
        "Queued",
        "KueuePending",
        "in Kueue's queue 'exports'",
        False,
    )


def test_a_job_made_without_kueue_stays_without_it_when_its_policy_changes() -> None:
    observation = look(job(suspended=True), status=PAUSED)
    reserve = decide(observation, SETTINGS, NOW).actions[-1]
    assert isinstance(reserve, Reserve)
    assert reserve.plan.queue == ""
    assert summary(reserved(observation, reserve, Admission(granted=True), SETTINGS, NOW)) == ["ask for a slot"]


def test_a_run_that_kueue_never_admitted_had_no_attempt() -> None:
    ended = look(replace(HELD, stop_reason="QueueDeadlineExceeded", stop_message="it waited"), NO_ROOM)
    status = written(decide(ended, SETTINGS, later(602)))
    assert (status["attempts"], "startTime" in status, status["failure"]) == (
        0,
        False,
        {
            "reason": "QueueDeadlineExceeded",
            "class": "Deadline",
            "message": "it waited",
            "advice": "Raise spec.queueDeadlineSeconds, or ask the platform team for a larger quota; then set a new"
            " spec.runID.",
            "retryable": True,
            "attempts": 0,
        },
    )


def test_a_run_that_was_evicted_keeps_the_attempts_it_had() -> None:
    had = LAUNCHED | {"attempts": 2}
    ended = look(replace(HELD, stop_reason="Cancelled", stop_message="cancelled"), NO_ROOM, status=had)
    assert written(decide(replace(ended, sought=Sought()), SETTINGS, later(602)))["attempts"] == 2


def test_only_a_workload_of_ours_is_put_back() -> None:
    given = look(HELD, OURS, status=PAUSED)
    acts = [action for action in decide(given, SETTINGS, NOW).actions if isinstance(action, SetActive)]
    assert acts == [SetActive(OURS, active=True)]


def test_a_stopped_job_that_kueue_let_go_meanwhile_ends_by_its_deadline() -> None:
    stopped = replace(LET_GO, stop_reason="Cancelled", stop_message="cancelled")
    decision = decide(replace(look(stopped, NO_ROOM, cancel=True), pods=(pod(),)), SETTINGS, later(101))
    assert [action for action in decision.actions if isinstance(action, StopJob)] == []
    assert decision.requeue_after == 30
