"""What is done about what is seen: one table of situations, and the rules that hold in all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.report import Progress
from export_operator.domain.actions import (
    Action,
    Bury,
    CreateJob,
    Decision,
    DeleteJob,
    DeletePods,
    DeleteRequest,
    Emit,
    Hold,
    Learn,
    LosePod,
    Observation,
    Recall,
    Refund,
    ReleaseSlot,
    Reserve,
    Seek,
    SetActive,
    Settle,
    StopJob,
    SuspendJob,
    TakeSlot,
    Unbury,
    Undo,
    Wait,
    WriteStatus,
)
from export_operator.domain.admission import MAX_WAIT_SECONDS
from export_operator.domain.breaker import DESTINATION, SOURCE, Breaker, Failed, State, Verdict
from export_operator.domain.decide import admitted, decide, held, orphaned, refused, reserved
from export_operator.domain.forecast import Forecast
from export_operator.domain.identity import Subject
from export_operator.domain.jobs import build_job
from export_operator.domain.manifests import Sought
from export_operator.domain.model import TERMINAL_PHASES, Catalogue, Job, Named
from export_operator.domain.notices import Notice
from export_operator.domain.pages import Entry
from export_operator.domain.queue import Waiting
from export_operator.domain.quota import Admission, WindowState
from export_operator.domain.slots import Level

from .builders import (
    BUCKET_FALLBACK,
    NOW,
    RUN,
    SETTINGS,
    catalogue,
    delivered,
    destination,
    ended_pod,
    failure,
    job,
    later,
    plan,
    pod,
    request,
    running_pod,
    seen,
    source,
    success,
)
from .world import run_spec

pytestmark = pytest.mark.unit

ENDED = {
    "phase": "Succeeded",
    "runID": "",
    "run": RUN,
    "observedGeneration": 1,
    "completionTime": "2026-11-24T12:00:00Z",
}
EXPIRED = {"phase": "Expired", "reason": "TTLExpired", "message": ""}
SPARE_URI = f"s3://spare/held/team-a/users-2026-11/{RUN}/users-2026-11.csv"
EFFECTIVE = plan().effective.as_status()
LAUNCHED = {
    "phase": "Running",
    "reason": "Exporting",
    "message": "rows are being exported",
    "runID": "",
    "run": RUN,
    "observedGeneration": 1,
    "jobRef": {"namespace": "export-runs", "name": job().name},
    "startTime": "2026-11-24T12:00:00Z",
    "attempts": 1,
    "effective": EFFECTIVE,
    "conditions": [],
}
QUEUED = {
    "phase": "Queued",
    "reason": "QuotaExceeded",
    "runID": "",
    "run": RUN,
    "queuedTime": "2026-11-24T12:00:00Z",
}
SUSPENDED = LAUNCHED | {
    "phase": "Queued",
    "reason": "Suspended",
    "conditions": [
        {
            "type": "Suspended",
            "status": "True",
            "reason": "Suspended",
            "message": "",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-11-24T12:00:00Z",
        }
    ],
}
RESUMED = SUSPENDED | {
    "phase": "Pending",
    "conditions": [
        SUSPENDED["conditions"][0]  # type: ignore[index]
        | {"status": "False", "reason": "Resumed", "lastTransitionTime": "2026-11-24T13:00:00Z"}
    ],
}


def told(action: Action) -> str:
    """An action in a word, with what matters about it here."""
    match action:
        case WriteStatus(status):
            return f"status {status['phase']} {status['reason']}"
        case Emit(kind, reason, _, _):
            return f"{kind} event {reason}"
        case StopJob(_, reason, _):
            return f"stop {reason}"
        case SuspendJob(_, suspend):
            return "suspend" if suspend else "let go on"
        case SetActive(_, active):
            return "back into Kueue's queue" if active else "out of Kueue's queue"
        case CreateJob(_):
            return "create the Job"
        case DeleteJob(_):
            return "delete the Job"
        case DeletePods():
            return "delete its pods"
        case Undo(objects=objects):
            return "undo what is left, and the objects" if objects else "undo what is left"
        case LosePod(each):
            return f"give up {each.name}"
        case Seek():
            return "look for the manifest"
        case DeleteRequest(_):
            return "delete the request"
        case Bury():
            return "bury"
        case Unbury():
            return "unbury"
        case ReleaseSlot(_):
            return "release the slot"
        case Refund(_):
            return "refund"
        case Settle(_):
            return "settle"
        case Reserve():
            return "ask the windows"
        case TakeSlot():
            return "ask for a slot"
        case Hold(subject):
            return f"hold for {subject.kind}"
        case Learn(verdicts, _, _):
            return "learn " + ", ".join(f"{each.subject.kind} {each.failure or 'works'}" for each in verdicts)
        case Wait(_):
            return "wait"
        case Recall():
            return "recall"


def summary(decision: Decision) -> list[str]:
    return [told(action) for action in decision.actions]


HERE, THERE = Subject(SOURCE, "app-db"), Subject(DESTINATION, "bucket")
OPEN = Breaker(State.OPEN, down_since=later(-60), fault="connection refused")
DOWN = {HERE: OPEN}
OVER_QUOTA = Notice("FailedCreate", 'pods "x" is forbidden: exceeded quota: few, requested: pods=1', NOW)
FOUR_ENDED = tuple(ended_pod(82, name=f"pod-{number}", finished=later(20 * number)) for number in range(4))
LEAVING = running_pod(node="node", deleting=True, gone_by=later(30))
WAITING_POD = pod(waiting_reason="ErrImagePull", waiting_message="no")
SITUATIONS: dict[str, tuple[Observation, float, list[str], float | None]] = {
    "a new request": (seen(), 0, ["ask the windows"], None),
    "a request that waits for quota": (seen(request(status=QUEUED)), 60, ["wait", "ask the windows"], None),
    "a request whose source is down": (
        seen(breakers=DOWN),
        0,
        ["wait", "hold for Source", "Normal event SourceUnavailable", "status Queued SourceUnavailable"],
        300,
    ),
    "a request whose source is still down": (
        seen(request(status=QUEUED | {"reason": "SourceUnavailable"}), breakers=DOWN),
        0,
        ["wait", "hold for Source", "status Queued SourceUnavailable"],
        300,
    ),
    "a request whose destination is down": (
        seen(request(queueDeadlineSeconds=60), breakers={THERE: OPEN}),
        0,
        ["wait", "hold for Destination", "Normal event DestinationUnavailable", "status Queued DestinationUnavailable"],
        61,
    ),
    "a request whose destination is down and has a fallback": (
        seen(breakers={THERE: replace(OPEN, advisory=True)}),
        0,
        ["ask the windows"],
        None,
    ),
    "a request whose source comes back": (
        seen(breakers={HERE: Breaker(State.HALF_OPEN)}),
        0,
        ["ask the windows"],
        None,
    ),
    "a request that has its slot when its source goes down, and hence perhaps a Job": (
        seen(breakers=DOWN, slot_held=True),
        0,
        ["ask the windows"],
        None,
    ),
    "a request that waited too long for its source": (
        seen(request(status=QUEUED, queueDeadlineSeconds=59), breakers=DOWN),
        60,
        ["refund", "Warning event QueueDeadlineExceeded", "status Failed QueueDeadlineExceeded"],
        None,
    ),
    "a run whose source goes down": (
        seen(request(status=LAUNCHED), job=job(), pods=(running_pod(),), breakers=DOWN, slot_held=True),
        2,
        [],
        None,
    ),
    "a suspended run that is let go on while its source is down": (
        seen(request(status=SUSPENDED), job=job(suspended=True), breakers=DOWN),
        0,
        ["wait", "hold for Source", "Normal event SourceUnavailable", "status Queued SourceUnavailable"],
        300,
    ),
    "a request that waited too long": (
        seen(request(status=QUEUED, queueDeadlineSeconds=59), slot_held=False),
        60,
        ["refund", "Warning event QueueDeadlineExceeded", "status Failed QueueDeadlineExceeded"],
        None,
    ),
    "a request cancelled before it began": (
        seen(request(cancel=True), slot_held=True),
        0,
        ["refund", "Normal event Cancelled", "status Cancelled Cancelled", "release the slot"],
        None,
    ),
    "a request suspended before it began": (
        seen(request(suspend=True), slot_held=True),
        0,
        ["release the slot", "Normal event Suspended", "status Queued Suspended"],
        3600,
    ),
    "a request that nobody attested": (
        seen(request(submittedBy=None)),
        0,
        ["Warning event Rejected", "status Rejected IdentityNotAttested"],
        None,
    ),
    "a source that may yet appear": (
        seen(catalogue=Catalogue()),
        4,
        ["status Pending SourceNotFound"],
        6.1,
    ),
    "a source that did not appear": (
        seen(catalogue=Catalogue()),
        10,
        ["refund", "Warning event Rejected", "status Rejected SourceNotFound"],
        None,
    ),
    "a column that is not there is not waited for": (
        seen(request(source={"name": "app-db", "dataset": "users", "columns": ["x"]})),
        0,
        ["refund", "Warning event Rejected", "status Rejected ColumnNotFound"],
        None,
    ),
    "a Job and no status: the operator died in between": (
        seen(job=job()),
        5,
        ["status Pending PodStarting"],
        6,
    ),
    "a Job that gets no pod": (
        seen(request(status=LAUNCHED | {"phase": "Pending"}), job=job(), told=(OVER_QUOTA,)),
        5,
        ["Warning event ResourceQuotaExceeded", "status Pending ResourceQuotaExceeded"],
        296,
    ),
    "a Job that never got a pod": (
        seen(request(status=LAUNCHED | {"phase": "Pending"}), job=job(), told=(OVER_QUOTA,)),
        301,
        ["stop ResourceQuotaExceeded"],
        None,
    ),
    "a pod that is not made ready": (
        seen(request(status=LAUNCHED), job=job(), pods=(pod(),), told=(Notice("FailedMount", "no volume", NOW),)),
        5,
        ["Warning event PodNotStarting", "status Pending PodNotStarting"],
        296,
    ),
    "a pod that runs": (
        seen(request(status=LAUNCHED), job=job(), pods=(running_pod(),), slot_held=True),
        5,
        [],
        None,
    ),
    "a pod that begins to run": (
        seen(request(status=LAUNCHED | {"phase": "Pending"}), job=job(), pods=(running_pod(),)),
        5,
        ["status Running Exporting"],
        None,
    ),
    "a pod whose image does not come": (
        seen(request(status=LAUNCHED), job=job(), pods=(WAITING_POD,)),
        5,
        ["Warning event ImageNotPullable", "status Pending ImageNotPullable"],
        296,
    ),
    "the same image still does not come": (
        seen(request(status=LAUNCHED | {"reason": "ImageNotPullable"}), job=job(), pods=(WAITING_POD,)),
        6,
        ["status Pending ImageNotPullable"],
        295,
    ),
    "an image that never came": (
        seen(request(status=LAUNCHED), job=job(), pods=(WAITING_POD,)),
        301,
        ["stop ImageNotPullable"],
        None,
    ),
    "an attempt ended and the next is to come": (
        seen(request(status=LAUNCHED), job=job(failed_pods=1), pods=(ended_pod(82),)),
        5,
        ["Warning event Retrying", "status Running Retrying"],
        6,
    ),
    "an attempt ended for good, and its Job is still to say so": (
        seen(request(status=LAUNCHED), job=job(failed_pods=1), pods=(ended_pod(67, failure()),)),
        5,
        ["status Running Exporting"],  # with what is known of the attempt
        None,
    ),
    "the last attempt ended, and its Job is still to say so": (
        seen(request(status=LAUNCHED | {"attempts": 4}), job=job(failed_pods=4), pods=FOUR_ENDED),
        99,
        ["status Running Exporting"],  # with what is known of the attempt
        None,
    ),
    "an attempt ended and the next gets no pod": (
        seen(request(status=LAUNCHED), job=job(failed_pods=1), pods=(ended_pod(82),), told=(OVER_QUOTA,)),
        60,
        ["Warning event ResourceQuotaExceeded", "status Pending ResourceQuotaExceeded"],
        5 + 40 + 300 + 1 - 60,
    ),
    "an attempt ended and the next never got a pod": (
        seen(request(status=LAUNCHED), job=job(failed_pods=1), pods=(ended_pod(82),), told=(OVER_QUOTA,)),
        5 + 40 + 301,
        ["stop ResourceQuotaExceeded"],
        None,
    ),
    "an attempt ended and the next finds no room": (
        seen(
            request(status=LAUNCHED),
            job=job(failed_pods=1),
            pods=(ended_pod(82), pod(name="next", created=later(15), unschedulable="0/1 nodes")),
        ),
        60,
        ["Warning event Unschedulable", "status Pending Unschedulable"],
        15 + 300 + 1 - 60,
    ),
    "a pod that is being deleted has its grace": (
        seen(request(status=LAUNCHED), job=job(), pods=(LEAVING,)),
        5,
        [],
        36,
    ),
    "a pod that should have ended, on a node that answers": (
        seen(request(status=LAUNCHED), job=job(), pods=(LEAVING,)),
        50,
        [],
        10,
    ),
    "a pod that should have ended, on a node that does not answer": (
        seen(request(status=LAUNCHED), job=job(), pods=(LEAVING,), silent_nodes=frozenset({"node"})),
        50,
        ["give up export-pod-1"],
        30,
    ),
    "a pod that has its grace yet, on a node that does not answer": (
        seen(request(status=LAUNCHED), job=job(), pods=(LEAVING,), silent_nodes=frozenset({"node"})),
        39,
        [],
        10,
    ),
    "a Job that is failing": (
        seen(request(status=LAUNCHED), job=job(failing=later(0)), pods=(running_pod(),)),
        100,
        [],
        30,
    ),
    "a Job whose pod does not end": (
        seen(
            request(status=LAUNCHED, cancel=True),
            job=job(failing=later(0), stop_reason="Cancelled"),
            pods=(running_pod(),),
            sought=Sought(),
        ),
        121,
        ["Normal event Cancelled", "status Cancelled Cancelled"],
        None,
    ),
    "the export is done and its Job not yet closed": (
        seen(request(status=LAUNCHED), job=job(), pods=(ended_pod(0),)),
        6,
        [],
        4,
    ),
    "the export is long done and its Job still not closed": (
        seen(request(status=LAUNCHED), job=job(), pods=(ended_pod(0),)),
        10,
        ["status Running Finishing"],
        None,
    ),
    "a pod was taken from its node after long work": (
        seen(request(status=LAUNCHED), job=job(), pods=(pod(created=later(5000)),)),
        5001,
        ["status Pending PodStarting"],
        6,
    ),
    "no pod at all, in the middle of the work": (
        seen(request(status=LAUNCHED), job=job()),
        5001,
        ["status Pending PodStarting"],
        6,
    ),
    "a pod killed at its memory limit": (
        seen(request(status=LAUNCHED), job=job(), pods=(ended_pod(137, exit_reason="OOMKilled"),)),
        5,
        ["stop OutOfMemory"],
        None,
    ),
    "a run cancelled while it goes on": (
        seen(request(status=LAUNCHED, cancel=True), job=job(), pods=(running_pod(),)),
        5,
        ["stop Cancelled"],
        None,
    ),
    "a run that was told to stop": (
        seen(request(status=LAUNCHED, cancel=True), job=job(stop_reason="Cancelled"), pods=(running_pod(),)),
        5,
        [],
        30,
    ),
    "a run whose Job is being deleted": (
        seen(request(status=LAUNCHED), job=job(deleting=True), pods=(running_pod(),)),
        5,
        [],
        30,
    ),
    "a run suspended while it goes on": (
        seen(request(status=LAUNCHED, suspend=True), job=job(), pods=(running_pod(),), slot_held=True),
        5,
        ["suspend", "Normal event Suspended", "status Queued Suspended"],
        None,
    ),
    "a suspended run whose pod still ends": (
        seen(request(status=SUSPENDED, suspend=True), job=job(suspended=True), pods=(running_pod(),), slot_held=True),
        5,
        ["status Queued Suspended"],
        None,
    ),
    "a suspended run whose pod is gone": (
        seen(request(status=SUSPENDED, suspend=True), job=job(suspended=True), slot_held=True),
        5,
        ["release the slot", "status Queued Suspended"],
        None,
    ),
    "a suspended run that may go on": (
        seen(request(status=SUSPENDED), job=job(suspended=True)),
        5,
        ["wait", "ask the windows"],
        None,
    ),
    "a suspended run whose source has gone meanwhile": (
        seen(request(status=SUSPENDED), job=job(suspended=True), catalogue=Catalogue()),
        5,
        ["Warning event NoLongerAllowed", "status Failed NoLongerAllowed"],
        None,
    ),
    "a suspended run that is cancelled": (
        seen(request(status=SUSPENDED, cancel=True), job=job(suspended=True)),
        5,
        ["Normal event Cancelled", "status Cancelled Cancelled"],
        None,
    ),
    "a run that goes on after a long suspension has its start deadline anew": (
        seen(request(status=RESUMED), job=job(started=later(3600)), pods=(pod(created=later(3600)),)),
        3700,
        ["status Pending PodStarting"],
        6,
    ),
    "a run that does not start after a suspension": (
        seen(request(status=RESUMED), job=job(started=later(3600))),
        3600 + 301,
        ["stop StartDeadlineExceeded"],
        None,
    ),
    "a run that goes on although its source has gone": (
        seen(request(status=LAUNCHED), job=job(), pods=(running_pod(),), catalogue=Catalogue()),
        5,
        [],
        None,
    ),
    "a run that delivered": (
        seen(request(status=LAUNCHED), job=job(complete=True), pods=(ended_pod(0, success()),), slot_held=True),
        5,
        [
            "Normal event Succeeded",
            "status Succeeded Delivered",
            "learn Source works, Destination works",
            "release the slot",
        ],
        None,
    ),
    "a run that delivered a part": (
        seen(request(status=LAUNCHED), job=job(complete=True), pods=(ended_pod(0, success(complete=False)),)),
        5,
        [
            "Normal event PartiallySucceeded",
            "status PartiallySucceeded DeadlineReached",
            "learn Source works, Destination works",
        ],
        None,
    ),
    "a run whose rows the fallback took, which is also told to who moves them": (
        seen(
            request(status=LAUNCHED),
            job=job(complete=True),
            pods=(ended_pod(0, success(uri=SPARE_URI, used_fallback=True)),),
            catalogue=catalogue(source(), destination(fallback=BUCKET_FALLBACK)),
        ),
        5,
        [
            "Warning event DeliveredToFallback",
            "Normal event Succeeded",
            "status Succeeded DeliveredToFallback",
            "learn Source works, Destination DestinationUnavailable",
        ],
        None,
    ),
    "a run that is over, and nobody tells how": (
        seen(request(status=LAUNCHED), job=job(complete=True), slot_held=True),
        5,
        ["look for the manifest"],
        30,
    ),
    "a run that delivered, as its manifest says": (
        seen(request(status=LAUNCHED), job=job(failed=True), pods=(ended_pod(137),), sought=Sought(delivered())),
        5,
        ["Normal event Succeeded", "status Succeeded Delivered", "learn Source works, Destination works"],
        None,
    ),
    "a run that said it had delivered, and there is nothing": (
        seen(request(status=LAUNCHED), job=job(complete=True), sought=Sought()),
        5,
        ["Warning event ResultMissing", "status Failed ResultMissing"],
        None,
    ),
    "a run that was killed, and had not delivered": (
        seen(request(status=LAUNCHED), job=job(failed=True), pods=(ended_pod(137),), sought=Sought()),
        5,
        ["Warning event PodKilled", "status Failed PodKilled"],
        None,
    ),
    "a run that delivered, and nobody can tell any more": (
        seen(request(status=LAUNCHED), job=job(complete=True), sought=Sought(fault="S3 does not answer")),
        5,
        ["Normal event Succeeded", "status Succeeded Delivered", "learn Source works, Destination works"],
        None,
    ),
    "a run that failed": (
        seen(request(status=LAUNCHED), job=job(failed=True), pods=(ended_pod(67, failure()),), slot_held=True),
        5,
        [
            "Warning event SourceAuthenticationFailed",
            "status Failed SourceAuthenticationFailed",
            "learn Source SourceAuthenticationFailed",
            "release the slot",
        ],
        None,
    ),
    "a run that ended because it was cancelled": (
        seen(
            request(status=LAUNCHED, cancel=True),
            job=job(failed=True, stop_reason="Cancelled"),
            slot_held=True,
            sought=Sought(),
        ),
        5,
        ["Normal event Cancelled", "status Cancelled Cancelled", "release the slot"],
        None,
    ),
    "a run whose Job is gone": (
        seen(request(status=LAUNCHED), slot_held=True),
        5,
        ["look for the manifest"],
        30,
    ),
    "a run whose Job was deleted when it had delivered": (
        seen(request(status=LAUNCHED), slot_held=True, sought=Sought(delivered())),
        5,
        ["Normal event Succeeded", "status Succeeded Delivered", "release the slot"],
        None,
    ),
    "a run whose Job went with the run namespace": (
        seen(request(status=LAUNCHED), slot_held=True, sought=Sought(), namespace_missing=True),
        5,
        ["Warning event RunNamespaceMissing", "status Failed RunNamespaceMissing", "release the slot"],
        None,
    ),
    "a run whose Job somebody deleted": (
        seen(request(status=LAUNCHED), slot_held=True, sought=Sought()),
        5,
        ["Warning event JobDeleted", "status Failed JobDeleted", "release the slot"],
        None,
    ),
    "an end that is in status already": (
        seen(request(status=ENDED), job=job(complete=True)),
        5,
        [],
        3600,
    ),
    "an end whose slot was not released": (
        seen(request(status=ENDED), slot_held=True),
        5,
        ["release the slot"],
        3600,
    ),
    "an end just before its time to live is over": (
        seen(request(status=ENDED, ttlSecondsAfterFinished=60), job=job(complete=True)),
        59,
        [],
        1.5,
    ),
    "an end whose time to live is over": (
        seen(request(status=ENDED, ttlSecondsAfterFinished=60), job=job(complete=True)),
        60,
        ["delete the Job", "delete the request"],
        None,
    ),
    "an end whose time to live is over before it is settled": (
        seen(request(status=ENDED, ttlSecondsAfterFinished=60), job=job(complete=True), unsettled=True),
        60,
        ["settle", "delete the Job"],
        5,
    ),
    "an end whose time to live the policy gave": (
        seen(request(status=ENDED | {"effective": {"ttlSecondsAfterFinished": 5}}), job=job(complete=True)),
        5,
        ["delete the Job", "delete the request"],
        None,
    ),
    "an end whose request the policy keeps longer than its Job": (
        seen(
            request(status=ENDED, ttlSecondsAfterFinished=60),
            job=job(complete=True),
            catalogue=catalogue(policies=(Named("p", {"retention": {"requestTTLSeconds": 90}}),)),
        ),
        60,
        ["delete the Job"],
        30.5,
    ),
    "an end whose Job is being deleted": (
        seen(request(status=ENDED, ttlSecondsAfterFinished=6), job=job(complete=True, deleting=True)),
        5,
        [],
        1.5,
    ),
    "an end that is remembered when its request goes": (
        seen(request(status=ENDED | {"effective": EFFECTIVE}, ttlSecondsAfterFinished=5)),
        5,
        ["bury", "delete the request"],
        None,
    ),
    "an end that is to be kept": (
        seen(request(status=ENDED, ttlSecondsAfterFinished=60, expiry="Keep"), job=job(complete=True)),
        60,
        ["delete the Job", "status Expired TTLExpired"],
        None,
    ),
    "an end that is kept": (
        seen(request(status=ENDED | EXPIRED, ttlSecondsAfterFinished=60, expiry="Keep")),
        60,
        [],
        None,
    ),
    "an end, and a Job that came late": (
        seen(request(status=ENDED), job=job(), slot_held=True),
        5,
        ["release the slot", "stop NotWanted"],
        3600,
    ),
    "an end, and a Job that came late and was stopped": (
        seen(request(status=ENDED), job=job(failed=True, stop_reason="NotWanted")),
        5,
        ["undo what is left"],
        3600,
    ),
    "an end, and the Job of an export that goes with its request": (
        seen(
            request(status=ENDED | {"result": {"uri": "s3://exports/x"}}, ttlSecondsAfterFinished=5, expiry="Keep"),
            job=job(complete=True, deletes_objects=True),
        ),
        5,
        ["delete its pods", "status Expired TTLExpired"],
        None,
    ),
    "an end that is cancelled stays as it is": (
        seen(request(status=ENDED, cancel=True)),
        5,
        [],
        3600,
    ),
    "a new runID after the end": (seen(request(status=ENDED, runID="again")), 5, ["ask the windows"], None),
    "a new runID while a run goes on waits for its end": (
        seen(request(status=LAUNCHED, runID="again"), job=job(), pods=(running_pod(),)),
        5,
        [],
        None,
    ),
    "a Job that could not be created under a runID": (
        seen(request(status={"phase": "Pending", "runID": "x", "run": request(runID="x").run}, runID="x")),
        5,
        ["ask the windows"],
        None,
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_is_done_about(situation: str) -> None:
    observed, seconds, expected, requeue = SITUATIONS[situation]
    decision = decide(observed, SETTINGS, later(seconds))
    again = None if decision.requeue_after is None else pytest.approx(decision.requeue_after)
    assert (summary(decision), again) == (expected, requeue)


def test_a_job_that_the_api_server_does_not_take_is_tried_until_the_start_deadline() -> None:
    told = "ResourceQuotaExceeded", "exceeded quota: few"
    first = refused(seen(slot_held=True), *told, SETTINGS, NOW)
    status = status_of(first)
    assert (summary(first), first.requeue_after) == (
        ["Warning event ResourceQuotaExceeded", "status Pending ResourceQuotaExceeded"],
        10,
    )
    again = refused(seen(request(status=status), slot_held=True), *told, SETTINGS, later(300))
    assert (summary(again), again.requeue_after) == ([], 10)
    last = refused(seen(request(status=status), slot_held=True), *told, SETTINGS, later(301))
    assert summary(last) == [
        "refund",
        "Warning event ResourceQuotaExceeded",
        "status Failed ResourceQuotaExceeded",
        "release the slot",
    ]
    failure = status_of(last)["failure"]
    assert (failure["class"], failure["message"]) == ("Quota", "exceeded quota: few (start deadline 300 s)")


def test_what_it_waited_for_before_is_not_counted_to_the_start_deadline() -> None:
    """`Reconciling` holds since the request could not be admitted at all."""
    since = [
        {
            "type": "Reconciling",
            "status": "True",
            "reason": "IdentityNotEnforced",
            "message": "",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-11-24T12:00:00Z",
        }
    ]
    observed = seen(request(status={"phase": "Pending", "runID": "", "run": RUN, "conditions": since}))
    found = status_of(refused(observed, "JobNotCreated", "no", SETTINGS, later(9000)))
    assert (found["phase"], found["conditions"][0]["lastTransitionTime"]) == ("Pending", "2026-11-24T14:30:00Z")


QUOTA_RESERVED = {
    "type": "QuotaReserved",
    "status": "True",
    "reason": "Reserved",
    "message": "a place in every window is reserved",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-11-24T12:00:00Z",
}


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ((), {"QuotaReserved": ("False", "LedgerUnavailable")}),
        ((QUOTA_RESERVED,), {"QuotaReserved": ("True", "Reserved")}),  # what is reserved stays so
    ],
    ids=["nothing is reserved", "a place is reserved"],
)
def test_a_ledger_that_cannot_be_read_is_a_condition(
    known: tuple[dict[str, Any], ...], expected: dict[str, tuple[str, str]]
) -> None:
    observed = seen(request(status=QUEUED | {"conditions": list(known)}))
    found = status_of(held(observed, "LedgerUnavailable", "it is damaged", SETTINGS, NOW))
    conditions = {item["type"]: (item["status"], item["reason"]) for item in found["conditions"]}
    assert (found["phase"], conditions) == ("Pending", expected)


def status_of(decision: Decision) -> dict[str, Any]:
    return dict(next(action.status for action in decision.actions if isinstance(action, WriteStatus)))


def ask(observed: Observation) -> Reserve:
    action = decide(observed, SETTINGS, NOW).actions[-1]
    assert isinstance(action, Reserve)
    return action


def answered(observed: Observation, answer: Admission, full: str = "") -> Decision:
    """What follows when the windows say this and, where they have room, the slots say that."""
    decision = reserved(observed, ask(observed), answer, SETTINGS, NOW)
    take = decision.actions[0]
    return admitted(observed, take, full, SETTINGS, NOW) if isinstance(take, TakeSlot) else decision


ROOM = Admission(granted=True)
ALICE, TEAM, POLICY = Subject("User", "alice"), Subject("Namespace", "team-a"), Subject("Policy", "crowded")
CROWDED = (
    Named("crowded", {"limits": {"user": {"maxQueued": 2}, "namespace": {"maxQueued": 3}, "all": {"maxQueued": 4}}}),
)


def full(free: float | None, **changes: Any) -> Admission:
    state = WindowState(ask(seen()).limits[0], "requests", 5, 5, True, None if free is None else later(free))
    return Admission(False, (replace(state, **changes),))


ADMITTED: dict[str, tuple[Decision, list[str], float | None]] = {
    "a place and a slot": (
        answered(seen(), ROOM),
        ["create the Job", "Normal event Started", "status Pending PodStarting"],
        None,
    ),
    "a place but no slot": (
        answered(seen(), ROOM, "UserConcurrency"),
        ["wait", "status Queued UserConcurrency"],
        MAX_WAIT_SECONDS,
    ),
    "no place, and it will wait": (
        answered(seen(), full(100)),
        ["wait", "refund", "Normal event QuotaExceeded", "status Queued QuotaExceeded"],
        MAX_WAIT_SECONDS,
    ),
    "no slot, and little time to wait": (
        answered(seen(request(status=QUEUED, queueDeadlineSeconds=90)), ROOM, "UserConcurrency"),
        ["wait", "status Queued UserConcurrency"],
        91,
    ),
    "no slot, and as many wait as may": (
        answered(seen(queued={ALICE: 2}, catalogue=catalogue(policies=CROWDED)), ROOM, "UserConcurrency"),
        ["refund", "Warning event Rejected", "status Rejected TooManyQueued"],
        None,
    ),
    "no place, and as many of the namespace wait as may": (
        answered(seen(queued={TEAM: 3}, catalogue=catalogue(policies=CROWDED)), full(100)),
        ["refund", "Warning event Rejected", "status Rejected TooManyQueued"],
        None,
    ),
    "no slot, and as many of the policy wait as may": (
        answered(seen(queued={POLICY: 4}, catalogue=catalogue(policies=CROWDED)), ROOM, "ClusterConcurrency"),
        ["refund", "Warning event Rejected", "status Rejected TooManyQueued"],
        None,
    ),
    "no slot, as many wait as may, and it is one of them": (
        answered(seen(queued={ALICE: 2}, waits=True, catalogue=catalogue(policies=CROWDED)), ROOM, "UserConcurrency"),
        ["wait", "status Queued UserConcurrency"],
        MAX_WAIT_SECONDS,
    ),
    "no slot, as many wait as may, and it waited before the operator began": (
        answered(
            seen(request(status=QUEUED), queued={ALICE: 2}, catalogue=catalogue(policies=CROWDED)),
            ROOM,
            "UserConcurrency",
        ),
        ["wait", "status Queued UserConcurrency"],
        MAX_WAIT_SECONDS,
    ),
    "no slot for a run that was suspended, and as many wait as may": (
        answered(
            seen(
                request(status=LAUNCHED | {"phase": "Queued", "reason": "Suspended"}),
                job=job(suspended=True),
                queued={ALICE: 2},
                catalogue=catalogue(policies=CROWDED),
            ),
            ROOM,
            "UserConcurrency",
        ),
        ["wait", "status Queued UserConcurrency"],
        MAX_WAIT_SECONDS,
    ),
    "no place although it holds a slot": (
        answered(seen(slot_held=True), full(100)),
        ["wait", "refund", "release the slot", "Normal event QuotaExceeded", "status Queued QuotaExceeded"],
        MAX_WAIT_SECONDS,
    ),
    "no place, and it wants no wait": (
        answered(seen(request(onQuotaExceeded="Reject")), full(100)),
        ["refund", "Warning event Rejected", "status Rejected QuotaExceeded"],
        None,
    ),
    "no place, ever": (
        answered(seen(), full(None)),
        ["refund", "Warning event Rejected", "status Rejected QuotaExceeded"],
        None,
    ),
    "a slot for a run that was suspended": (
        answered(seen(request(status=SUSPENDED), job=job(suspended=True)), ROOM),
        ["let go on", "Normal event Resumed", "status Pending PodStarting"],
        None,
    ),
}


@pytest.mark.parametrize("case", ADMITTED)
def test_what_follows_from_the_ledgers_answer(case: str) -> None:
    decision, expected, requeue = ADMITTED[case]
    assert (summary(decision), decision.requeue_after) == (expected, requeue)


def test_a_held_request_says_since_when_and_what_was_seen_and_reserves_nothing() -> None:
    found = status_of(decide(seen(breakers=DOWN), SETTINGS, NOW))
    seen_wrong = "source 'app-db' is down since 2026-11-24T11:59:00Z: connection refused."
    assert (found["queue"], found["message"], "quota" in found) == (
        {"reason": "SourceUnavailable", "since": "2026-11-24T12:00:00Z"},
        f"{seen_wrong} It starts by itself when that is mended.",
        False,
    )


def test_the_breakers_learn_who_failed_when_and_since_when_the_run_was_there() -> None:
    ended = seen(request(status=LAUNCHED), job=job(failed=True, finished=later(9)), pods=(ended_pod(67, failure()),))
    learned = [action for action in decide(ended, SETTINGS, later(20)).actions if isinstance(action, Learn)]
    assert learned == [Learn((Verdict(HERE, "SourceAuthenticationFailed"),), Failed(RUN, "alice", later(9)), later(1))]


@pytest.mark.parametrize(
    ("maxima", "reserved_rows", "expected"),
    [({}, None, 0), ({}, 70, 70), ({"rows": 50}, None, 50), ({"rows": 50}, 70, 50), ({"rows": 50}, 40, 40)],
)
def test_a_pod_may_deliver_what_is_reserved_and_the_policy_allows(
    maxima: dict[str, int], reserved_rows: int | None, expected: int
) -> None:
    known = catalogue(policies=(Named("capped", {"maxima": maxima}),))
    decision = answered(seen(catalogue=known), Admission(True, max_rows=reserved_rows))
    (create,) = (action for action in decision.actions if isinstance(action, CreateJob))
    assert run_spec(create.manifest).limits.max_rows == expected


def test_the_job_that_is_created_is_the_plans() -> None:
    decision = answered(seen(), ROOM)
    assert decision.actions[0] == CreateJob(build_job(request(), plan(), SETTINGS.pods))


def test_a_queued_request_says_why_since_when_and_until_when() -> None:
    found = status_of(answered(seen(), full(100)))
    assert (found["queue"], found["message"]) == (
        {
            "reason": "QuotaExceeded",
            "since": "2026-11-24T12:00:00Z",
            "nextEligibleTime": "2026-11-24T12:01:40Z",
        },
        (
            "5 of 5 requests of 'alice' within 24 h are used (policy 'built-in'). It starts by itself at"
            " 2026-11-24T12:01:40Z."
        ),
    )


def test_a_queued_request_is_told_its_place_and_its_start() -> None:
    found = status_of(answered(seen(forecast=Forecast(3, later(100))), ROOM, "ClusterConcurrency"))
    assert found["queue"] == {
        "reason": "ClusterConcurrency",
        "since": "2026-11-24T12:00:00Z",
        "position": 3,
        "estimatedStartTime": "2026-11-24T12:01:40Z",
    }


def test_one_who_stands_behind_others_is_not_told_that_it_starts_when_the_first_may() -> None:
    found = status_of(answered(seen(forecast=Forecast(3)), full(100)))
    assert (found["queue"]["position"], found["message"]) == (
        3,
        (
            "5 of 5 requests of 'alice' within 24 h are used (policy 'built-in'). It is number 3 in line; the first"
            " starts at 2026-11-24T12:01:40Z."
        ),
    )


def test_one_too_many_is_told_who_waits_and_what_to_do() -> None:
    observed = seen(queued={ALICE: 2}, catalogue=catalogue(policies=CROWDED))
    assert status_of(answered(observed, ROOM, "UserConcurrency"))["message"] == (
        "2 requests of user 'alice' wait already, as many as policy 'crowded' allows. Wait until one has ended, or"
        " cancel one; then set a new spec.runID."
    )


def test_what_asks_for_a_place_is_the_plans_run_in_the_users_name() -> None:
    given = request(status=QUEUED | {"queuedTime": "2026-11-24T11:00:00Z"}, priority="Low")
    found = ask(seen(given, catalogue=catalogue(policies=(Named("heavy", {"weight": 7}),)))).waiting
    assert found == Waiting(
        entry=Entry(
            run=RUN,
            request=given.key,
            uid=given.uid,
            time=NOW,
            user="alice",
            source="app-db",
            destination="bucket",
            policy="heavy",
        ),
        levels=(
            Level(Subject("Source", "app-db"), None),
            Level(Subject("Destination", "bucket"), None),
            Level(Subject("Cluster", "all"), 20),
        ),
        owner=ALICE,
        since=later(-3600),
        weight=7,
        priority="Low",
        dataset="users",
    )


def test_a_rejected_request_is_this_status() -> None:
    text = "spec.source.columns[0]: dataset 'users' has no column 'x'. Known: created_at, email, id."
    rejected = {
        "status": "True",
        "reason": "ColumnNotFound",
        "message": text,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-24T12:00:00Z",
    }
    observed = seen(request(source={"name": "app-db", "dataset": "users", "columns": ["x"]}))
    assert status_of(decide(observed, SETTINGS, NOW)) == {
        "phase": "Rejected",
        "reason": "ColumnNotFound",
        "message": text,
        "observedGeneration": 1,
        "runID": "",
        "run": RUN,
        "completionTime": "2026-11-24T12:00:00Z",
        "conditions": [
            rejected | {"type": "Accepted", "status": "False"},
            rejected | {"type": "Failed"},
            rejected | {"type": "Stalled"},
        ],
    }


def test_a_delivered_run_tells_object_progress_and_how_long_it_took() -> None:
    observed = seen(request(status=LAUNCHED), job=job(complete=True), pods=(ended_pod(0, success()),))
    found = status_of(decide(observed, SETTINGS, NOW))
    assert {name: found[name] for name in ("result", "progress")} == {
        "result": {
            "uri": f"s3://exports/prod/team-a/users-2026-11/{RUN}/users-2026-11.csv",
            "manifestURI": f"s3://exports/prod/team-a/users-2026-11/{RUN}/manifest.json",
            "rows": 100,
            "bytes": 2048,
            "sha256": "ab" * 32,
            "objects": 1,
            "connections": 1,
            "complete": True,
            "consistency": "Snapshot",
            "snapshotTime": "2026-11-24T12:00:01Z",
            "segments": 1,
            "resumed": 0,
            "usedFallback": False,
            "peakMemoryBytes": 1 << 20,
            "timings": {"total": 1.25},
        },
        "progress": {
            "rows": 100,
            "bytes": 2048,
            "percent": 100,
            "rowsPerSecond": 80,
            "heartbeatTime": "2026-11-24T12:00:00Z",
        },
    }


FORESEEN = LAUNCHED | {"progress": {"rows": 50, "percent": 5, "estimatedCompletionTime": "2026-11-24T12:09:00Z"}}
UNREACHABLE = failure(reason="SourceUnavailable", exit_code=80, retryable=True)


@pytest.mark.parametrize(
    ("observed", "phase"),
    [
        (seen(request(status=FORESEEN, suspend=True), job=job(), pods=(running_pod(),)), "Queued"),
        (seen(request(status=FORESEEN), job=job(), pods=(ended_pod(80, UNREACHABLE),)), "Running"),
        (seen(request(status=FORESEEN), job=job(failed=True), pods=(ended_pod(67, failure()),)), "Failed"),
        (seen(request(status=FORESEEN), job=job(complete=True), pods=(ended_pod(0, success()),)), "Succeeded"),
    ],
    ids=["it is suspended", "an attempt has failed", "it has failed", "it is delivered"],
)
def test_no_end_is_foreseen_any_more_when(observed: Observation, phase: str) -> None:
    status = status_of(decide(observed, SETTINGS, later(6)))
    assert (status["phase"], "estimatedCompletionTime" in status["progress"]) == (phase, False)


def test_what_the_exporter_warns_of_stands_in_the_message() -> None:
    told = success()[:-1].replace(',"warnings":[]', "") + ',"warnings":["The source is a hot standby."]}'
    found = status_of(
        decide(seen(request(status=LAUNCHED), job=job(complete=True), pods=(ended_pod(0, told),)), SETTINGS, NOW)
    )
    assert found["message"] == (
        f"delivered 100 rows (2048 bytes) to s3://exports/prod/team-a/users-2026-11/{RUN}/users-2026-11.csv."
        " The source is a hot standby."
    )


def test_of_several_objects_the_result_has_the_pattern_and_the_number() -> None:
    pattern = f"s3://exports/prod/team-a/users-2026-11/{RUN}/users-2026-11-*.csv"
    status = LAUNCHED | {"effective": EFFECTIVE | {"layout": "PartObjects"}}
    told = success(uri=pattern, objects=7, sha256="")
    result = status_of(
        decide(seen(request(status=status), job=job(complete=True), pods=(ended_pod(0, told),)), SETTINGS, NOW)
    )["result"]
    assert {name: result.get(name) for name in ("uri", "objects", "sha256")} == {
        "uri": pattern,
        "objects": 7,
        "sha256": None,
    }


def test_a_run_that_is_held_up_stays_the_run_of_record() -> None:
    observed = seen(request(runID="x", status=ENDED))
    found = status_of(held(observed, "JobNotCreated", "no room", SETTINGS, NOW))
    after = replace(observed.request, status=found)
    assert (found["phase"], found["reason"], after.run, after.launched) == (
        "Pending",
        "JobNotCreated",
        request(runID="x").run,
        False,
    )


STOPPED = {"stop_reason": "NotWanted"}
UNWANTED: dict[str, tuple[Job, bool, bool, tuple[Action, ...]]] = {
    "one that runs is stopped": (
        job(),
        True,
        True,
        (StopJob(job(), "NotWanted", "its request was deleted"),),
    ),
    "one whose request wants another run is stopped": (
        job(),
        True,
        False,
        (StopJob(job(), "NotWanted", "its request has ended, or wants another run"),),
    ),
    "one that was stopped is waited for": (job(**STOPPED), True, True, ()),
    "one whose pod has not ended yet is waited for": (job(failed=True), True, True, ()),
    "what one left that failed is undone": (
        job(failed=True, destination="bucket"),
        False,
        True,
        (Undo(RUN, "bucket", False, job(failed=True, destination="bucket")),),
    ),
    "one that is suspended is undone as it is": (
        job(suspended=True),
        False,
        True,
        (Undo(RUN, "", False, job(suspended=True)),),
    ),
    "one that was delivered is deleted": (job(complete=True), False, True, (DeleteJob(job(complete=True)),)),
    "one whose objects go with its request takes them along": (
        job(complete=True, deletes_objects=True),
        False,
        True,
        (Undo(RUN, "", True, job(complete=True, deletes_objects=True)),),
    ),
    "one whose objects go with its request stays as long as that, without its pods": (
        job(complete=True, deletes_objects=True),
        False,
        False,
        (DeletePods(job(complete=True, deletes_objects=True)),),
    ),
    "one that is being deleted is left alone": (job(deleting=True), False, True, ()),
}


@pytest.mark.parametrize(("unwanted", "pod_lives", "gone", "expected"), UNWANTED.values(), ids=list(UNWANTED))
def test_a_job_that_nobody_wants(unwanted: Job, pod_lives: bool, gone: bool, expected: tuple[Action, ...]) -> None:
    assert orphaned(unwanted, (), pod_lives=pod_lives, gone=gone) == Decision(expected)


def test_a_job_that_nobody_wants_does_not_wait_for_a_node_that_does_not_answer() -> None:
    stopped = job(stop_reason="NotWanted")
    assert orphaned(stopped, (LEAVING,), pod_lives=True, gone=True) == Decision((LosePod(LEAVING),))


def test_nor_does_a_request_that_has_ended() -> None:
    observed = seen(
        request(status=ENDED), job=job(failed=True), pods=(LEAVING,), silent_nodes=frozenset({"node"}), pod_lives=True
    )
    early, late = (decide(observed, SETTINGS, later(seconds)) for seconds in (39, 50))
    assert [action for action in early.actions if isinstance(action, LosePod)] == []
    assert early.requeue_after == 10
    assert [action for action in late.actions if isinstance(action, LosePod)] == [LosePod(LEAVING)]


jobs = st.none() | st.builds(
    job,
    suspended=st.booleans(),
    deleting=st.booleans(),
    complete=st.booleans(),
    failed=st.booleans(),
    failing=st.none() | st.just(NOW),
    stop_reason=st.sampled_from(["", "Cancelled", "OutOfMemory"]),
)
pods = st.lists(
    st.sampled_from([pod(), running_pod(), LEAVING, ended_pod(0, success()), ended_pod(67, failure()), WAITING_POD]),
    max_size=2,
).map(tuple)
observations = st.builds(
    lambda given_status, changes, **rest: seen(request(status=given_status, **changes), **rest),
    st.sampled_from([{"observedGeneration": -1}, QUEUED, LAUNCHED, SUSPENDED, RESUMED, ENDED]),
    st.fixed_dictionaries(
        {}, optional={"cancel": st.booleans(), "suspend": st.booleans(), "runID": st.sampled_from(["", "again"])}
    ),
    job=jobs,
    pods=pods,
    slot_held=st.booleans(),
    told=st.sampled_from([(), (OVER_QUOTA,)]),
    silent_nodes=st.sampled_from([frozenset(), frozenset({"node"})]),
    sought=st.sampled_from([None, Sought(), Sought(delivered()), Sought(fault="S3 does not answer")]),
    namespace_missing=st.booleans(),
    progress=st.none() | st.just(Progress(run=RUN, rows=1, bytes=1, elapsed_seconds=1.0)),
)


@given(observations, st.integers(0, 10**6))
def test_nothing_leaves_a_terminal_phase_without_a_new_run_id(observed: Observation, seconds: int) -> None:
    decision = decide(observed, SETTINGS, later(seconds))
    phases = [action.status["phase"] for action in decision.actions if isinstance(action, WriteStatus)]
    assert not observed.request.finished or set(phases) <= {observed.request.phase}


@given(observations, st.integers(0, 10**6))
def test_a_job_is_never_created_without_the_ledgers_word(observed: Observation, seconds: int) -> None:
    assert [a for a in decide(observed, SETTINGS, later(seconds)).actions if isinstance(a, CreateJob)] == []


@given(observations, st.integers(0, 10**6))
def test_a_launched_run_is_never_refunded(observed: Observation, seconds: int) -> None:
    refunds = [a for a in decide(observed, SETTINGS, later(seconds)).actions if isinstance(a, Refund)]
    assert not refunds or (observed.job is None and not observed.request.launched)


@given(observations, st.integers(0, 10**6))
def test_no_run_is_said_to_have_failed_before_somebody_has_told_or_its_manifest_was_looked_for(
    observed: Observation, seconds: int
) -> None:
    said = {a.status["phase"] for a in decide(observed, SETTINGS, later(seconds)).actions if isinstance(a, WriteStatus)}
    told = any(each.exit_code is not None for each in observed.pods) or observed.sought is not None
    assert told or not observed.request.launched or observed.request.finished or "Failed" not in said


@given(observations, st.integers(0, 10**6))
def test_the_slot_of_a_run_is_released_last(observed: Observation, seconds: int) -> None:
    """A crash in between leaves a slot too many, which is mended; never a run without one."""
    found = summary(decide(observed, SETTINGS, later(seconds)))
    ends = [f"status {phase} " for phase in TERMINAL_PHASES]
    closing = [index for index, text in enumerate(found) if text.startswith(tuple(ends))]
    assert not (closing and "release the slot" in found) or closing[0] < found.index("release the slot")
