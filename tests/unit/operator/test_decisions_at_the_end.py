"""What is done about a run that ends, and about what is left of it."""

from __future__ import annotations

import pytest

from export_operator.domain.actions import (
    Action,
    Decision,
    DeleteJob,
    DeletePods,
    LosePod,
    Observation,
    StopJob,
    Undo,
)
from export_operator.domain.decide import decide, orphaned
from export_operator.domain.manifests import Sought
from export_operator.domain.model import Job, Named

from .builders import (
    BUCKET_FALLBACK,
    RUN,
    SETTINGS,
    catalogue,
    delivered,
    destination,
    ended_pod,
    failure,
    job,
    later,
    request,
    running_pod,
    seen,
    source,
    success,
)
from .deciding import (
    EFFECTIVE,
    ENDED,
    EXPIRED,
    FAILED,
    LAUNCHED,
    LEAVING,
    SPARE_URI,
    outcome,
)

pytestmark = pytest.mark.unit


SITUATIONS: dict[str, tuple[Observation, float, list[str], float | None]] = {
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
        ["settle soon", "delete the Job"],
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
    "an end that failed, and what it may have left": (
        seen(request(status=FAILED), job=job(failed=True)),
        5,
        ["undo what is left"],
        3600,
    ),
    "an end that failed, while a pod of it is still at work": (
        seen(request(status=FAILED), job=job(failed=True), pod_lives=True),
        5,
        [],
        3600,
    ),
    "an end that failed and has left nothing any more": (
        seen(request(status=FAILED), job=job(failed=True, undone=True)),
        5,
        [],
        3600,
    ),
    "an end that failed before anything ran": (
        seen(request(status=FAILED), job=job(failed=True, stop_reason="ImageNotPullable")),
        5,
        [],
        3600,
    ),
    "an old runID, and the Job of its run": (
        seen(request(status=FAILED | {"run": "other", "runID": "other"}), job=job(suspended=True, created=later(-9))),
        5,
        ["Warning event Rejected", "status Rejected RunIDUsed"],
        None,
    ),
    "a new runID, and its Job, which by its clock is older": (
        seen(
            request(status=FAILED | {"run": "other", "runID": "other"}),
            job=job(created=later(-9)),
            pods=(running_pod(),),
            unsettled=True,
        ),
        5,
        ["status Running Exporting"],
        None,
    ),
    "a new runID, and its Job, of which status does not tell yet": (
        seen(request(status=FAILED | {"run": "other", "runID": "other"}), job=job(), pods=(running_pod(),)),
        5,
        ["status Running Exporting"],
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
    assert outcome(observed, seconds) == (expected, requeue)


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
        (DeletePods(RUN),),
    ),
    "one that somebody has deleted, and whose pod goes on, is stopped": (
        job(deleting=True),
        True,
        True,
        (StopJob(job(deleting=True), "NotWanted", "its request was deleted"),),
    ),
    "one that only waits to go is left alone": (job(deleting=True, failed=True), False, True, ()),
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
