"""What is done about a run that goes on."""

from __future__ import annotations

import pytest

from export_operator.domain.actions import (
    Observation,
)
from export_operator.domain.manifests import Sought
from export_operator.domain.model import Catalogue
from export_operator.domain.notices import Notice

from .builders import (
    NOW,
    ended_pod,
    failure,
    job,
    later,
    pod,
    request,
    running_pod,
    seen,
)
from .deciding import (
    FOUR_ENDED,
    LAUNCHED,
    LEAVING,
    OVER_QUOTA,
    RESUMED,
    SUSPENDED,
    WAITING_POD,
    outcome,
)

pytestmark = pytest.mark.unit


SITUATIONS: dict[str, tuple[Observation, float, list[str], float | None]] = {
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
    "a Job that has failed while its pod has its grace, as before Kubernetes 1.31": (
        seen(
            request(status=LAUNCHED, cancel=True),
            job=job(failed=True, stop_reason="Cancelled", finished=later(0)),
            pods=(LEAVING,),
        ),
        5,
        [],
        36,
    ),
    "the same when its pod does not end": (
        seen(
            request(status=LAUNCHED, cancel=True),
            job=job(failed=True, stop_reason="Cancelled", finished=later(0)),
            pods=(LEAVING,),
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
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_is_done_about(situation: str) -> None:
    observed, seconds, expected, requeue = SITUATIONS[situation]
    assert outcome(observed, seconds) == (expected, requeue)
