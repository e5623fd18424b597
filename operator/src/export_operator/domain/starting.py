"""Whether an export pod is still to start, why it does not, and when that has lasted too long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from export_contract.failures import FAILURES, Failure
from export_operator.domain import notices
from export_operator.domain.jobs import LONGEST_BACKOFF_SECONDS
from export_operator.domain.model import Job, Pod
from export_operator.domain.notices import Notice
from export_operator.domain.pod_ends import KILLED, OOM_KILLED

PATIENCE = timedelta(seconds=5)
"""A pod is made, and its container, in less; after this Kubernetes is asked why not."""

_NO_IMAGE = "the exporter's image cannot be pulled"
WAITING = {
    "ErrImagePull": ("ImageNotPullable", _NO_IMAGE),
    "ImagePullBackOff": ("ImageNotPullable", _NO_IMAGE),
    "RegistryUnavailable": ("ImageNotPullable", _NO_IMAGE),
    "ImageInspectError": ("ImageNotPullable", "the exporter's image on the node is damaged"),
    "SignatureValidationFailed": ("ImageNotPullable", "the signature of the exporter's image is not valid"),
    "InvalidImageName": ("ImageNotPullable", "the exporter's image name is not valid"),
    "ErrImageNeverPull": ("ImageNotPullable", "the exporter's image is not on the node and may not be pulled"),
    "CreateContainerConfigError": ("PodNotStarting", "the container cannot be configured"),
    "CreateContainerError": ("PodNotStarting", "the container cannot be created"),
    "RunContainerError": ("PodNotStarting", "the container cannot be run"),
}
"""Reasons of a waiting container (kubelet: `pkg/kubelet/images/types.go`, `kuberuntime`) and what they mean."""


def newest(pods: Sequence[Pod]) -> Pod | None:
    return max(pods, key=lambda pod: (pod.created, pod.name), default=None)


def recent(job: Job, gone: Sequence[Pod], pods: Sequence[Pod]) -> tuple[Pod, ...]:
    """The pods since the Job was last let go on, those that were removed after their end among them."""
    began = job.started or job.created
    return (*(pod for pod in gone if pod.created >= began), *pods)


def start_problem(pods: Sequence[Pod], told: Sequence[Notice] = ()) -> tuple[str, str] | None:
    """Reason and sentence for a newest pod that does not get to run, or for a Job that gets none; None when it runs or
    is merely new. `told` are Kubernetes' Events of it, where they were asked for."""
    pod = newest(pods)
    if pod is None or pod.over:
        return notices.no_pod(told)
    if pod.waiting_reason in WAITING:
        reason, meaning = WAITING[pod.waiting_reason]
        message = pod.waiting_message or pod.waiting_reason
        if pod.waiting_reason == "CreateContainerConfigError" and "secret" in message.lower():
            return "CredentialsMissing", notices.missing_secret(message)
        return reason, f"{meaning}: {message}"[:600]
    if pod.unschedulable:
        return "Unschedulable", f"no node has room for the export pod: {pod.unschedulable}"[:600]
    return notices.no_start(told)


def awaited_since(job: Job, pods: Sequence[Pod]) -> datetime | None:
    """Since when a pod is awaited to start; None while one runs. After an attempt the Job controller waits for a while
    before it makes the next pod, which does not count."""
    pod = newest(pods)
    if pod is None:  # Kueue, not the request, says when its Jobs start; the Job controller notes it
        return job.started if job.queue else max(job.created, job.started or job.created)
    if pod.over:
        return (pod.finished or pod.created) + timedelta(seconds=LONGEST_BACKOFF_SECONDS)
    return None if pod.started else pod.created


def unexplained(job: Job, pods: Sequence[Pod], now: datetime) -> str:
    """The UID of the Job or pod whose Events would say why nothing starts, or why the last attempt ended; "" when they
    are not needed. They cost a call, so they are asked for only when all else is silent."""
    if job.suspended or job.deleting:
        return ""
    pod, since = newest(pods), awaited_since(job, pods)
    waits = since is not None and now - since >= PATIENCE and not job.terminal and job.failing is None
    if waits and start_problem(pods) is None:
        return job.uid if pod is None or pod.over else pod.uid
    silent = pod is not None and pod.over and not (job.complete or job.stop_reason) and _silent_end(pod)
    return pod.uid if pod is not None and silent else ""


def _silent_end(pod: Pod) -> bool:
    """It was told to stop, or was killed, and nothing says by whom."""
    killed = pod.exit_code in KILLED or pod.exit_code == FAILURES[Failure.INTERRUPTED].exit_code
    return killed and pod.exit_reason != OOM_KILLED and not (pod.reason or pod.disruption)


def stop_needed(
    pods: Sequence[Pod],
    starting_since: datetime | None,
    start_deadline: timedelta,
    now: datetime,
    told: Sequence[Notice] = (),
) -> tuple[str, str] | None:
    """Whether the Job shall be ended early, and as what: out of memory (it would be so again in the next pod, at the
    database's cost), or not started within the start deadline."""
    killed = next((pod for pod in pods if pod.exit_reason == OOM_KILLED), None)
    if killed is not None:
        return "OutOfMemory", "the export pod was killed at its memory limit"
    if starting_since is not None and now - starting_since > start_deadline:
        reason, sentence = start_problem(pods, told) or ("StartDeadlineExceeded", "the export pod did not start")
        return reason, f"{sentence} (start deadline {int(start_deadline.total_seconds())} s)"
    return None
