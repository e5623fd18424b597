"""What a Job and its pods mean: starting, running, delivered or failed, and why, in words a person understands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from export_contract import failures
from export_contract.codec import ContractError
from export_contract.failures import FAILURES, Failure, FailureClass
from export_contract.report import MAX_COUNT, MAX_RETRIED, MAX_SECONDS, Delivered, Outcome
from export_operator.domain import times
from export_operator.domain.model import Job, Pod
from export_operator.domain.places import Places

OOM_KILLED = "OOMKilled"
READ = "read"  # the step of a run that begins with its query
MAX_LOG_TAIL = 1024
MAX_ATTEMPTS = 2**31 - 1  # int32 in the CRD
SHA256 = re.compile("([0-9a-f]{64})?")  # that of several objects is in their manifest
WORD = re.compile("[A-Za-z][A-Za-z0-9_-]{0,62}")
RETRIED = re.compile("[A-Za-z][A-Za-z0-9]{0,39}/[A-Za-z]{1,40}")
STEP = re.compile("[A-Za-z][A-Za-z0-9_-]{0,31}")
MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2}))?")

WAITING = {
    "ErrImagePull": ("ImageNotPullable", "the exporter's image cannot be pulled"),
    "ImagePullBackOff": ("ImageNotPullable", "the exporter's image cannot be pulled"),
    "InvalidImageName": ("ImageNotPullable", "the exporter's image name is not valid"),
    "ErrImageNeverPull": ("ImageNotPullable", "the exporter's image is not on the node and may not be pulled"),
    "CreateContainerConfigError": ("CredentialsMissing", "a Secret or a key of it is missing in the run namespace"),
    "CreateContainerError": ("PodNotStarting", "the container cannot be created"),
    "RunContainerError": ("PodNotStarting", "the container cannot be run"),
}
"""Reasons of a waiting container (kubelet: `pkg/kubelet/images/types.go`, `kuberuntime`) and what they mean."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a run failed. `advice` says what to do next."""

    reason: str
    failure_class: str
    message: str
    advice: str
    retryable: bool
    exit_code: int | None = None
    log_tail: str = ""
    preflight: bool = False
    """It was refused before the first row was read."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a terminal Job ended: exactly one of `delivered`, `problem`; both None: complete, but no pod can tell."""

    delivered: Delivered | None
    problem: Problem | None
    attempts: int
    peak_memory_bytes: int = 0
    timings: tuple[tuple[str, float], ...] = ()
    warnings: tuple[str, ...] = ()


def start_problem(pods: Sequence[Pod]) -> tuple[str, str] | None:
    """Reason and sentence for a newest pod that does not get to run; None when it runs or is merely new."""
    if not pods:
        return None
    pod = max(pods, key=lambda item: (item.created, item.name))
    if pod.waiting_reason in WAITING:
        reason, meaning = WAITING[pod.waiting_reason]
        return reason, f"{meaning}: {pod.waiting_message or pod.waiting_reason}"[:600]
    if pod.unschedulable:
        return "Unschedulable", f"no node has room for the export pod: {pod.unschedulable}"[:600]
    return None


def running_since(pods: Sequence[Pod]) -> datetime | None:
    """When the first attempt began to run; None when none did."""
    return min((pod.started for pod in pods if pod.started), default=None)


def stop_needed(
    pods: Sequence[Pod], starting_since: datetime | None, start_deadline: timedelta, now: datetime
) -> tuple[str, str] | None:
    """Whether the Job shall be ended early, and as what: out of memory (it would be so again in the next pod, at the
    database's cost), or not started within the start deadline."""
    killed = next((pod for pod in pods if pod.exit_reason == OOM_KILLED), None)
    if killed is not None:
        return "OutOfMemory", "the export pod was killed at its memory limit"
    if starting_since is not None and now - starting_since > start_deadline:
        reason, sentence = start_problem(pods) or ("StartDeadlineExceeded", "the export pod did not start")
        return reason, f"{sentence} (start deadline {int(start_deadline.total_seconds())} s)"
    return None


def read_outcome(pod: Pod, run: str) -> Outcome | None:
    """The pod's termination message, if it is one and of this run: a pod may write anything there."""
    try:
        outcome = Outcome.from_json(pod.exit_message)
    except ContractError:
        return None
    return outcome if outcome.run == run and _plausible(outcome) else None


def retries(pods: Sequence[Pod], run: str) -> Mapping[str, int]:
    """How often all attempts together tried calls again, by call and failure."""
    found: Counter[str] = Counter()
    for pod in pods:
        outcome = read_outcome(pod, run)
        found.update({} if outcome is None else outcome.retries)
    return {name: min(number, MAX_ATTEMPTS) for name, number in found.most_common(MAX_RETRIED)}


def _plausible(outcome: Outcome) -> bool:
    """Whether status can hold it: an API server that refuses the status would keep the run from ending."""
    delivered, failure = outcome.delivered, outcome.failure
    counts = [outcome.peak_memory_bytes, outcome.checkpoint_rows or 0, *outcome.retries.values()]
    if len(outcome.retries) > MAX_RETRIED or not all(RETRIED.fullmatch(name) for name in outcome.retries):
        return False
    words = []
    if delivered is not None:
        counts += [delivered.rows, delivered.bytes]
        small = (delivered.segments, delivered.resumed, delivered.objects, delivered.connections)
        if not all(0 <= count <= MAX_ATTEMPTS for count in small):
            return False
        words += [delivered.consistency]
        if SHA256.fullmatch(delivered.sha256) is None or MOMENT.fullmatch(delivered.snapshot_time) is None:
            return False
        if delivered.snapshot_time and times.parse(delivered.snapshot_time) is None:
            return False
    if failure is not None:
        words += [failure.reason, failure.failure_class]
    return (
        all(0 <= count <= MAX_COUNT for count in counts)
        and all(WORD.fullmatch(word) for word in words)
        and all(STEP.fullmatch(step) and 0 <= seconds <= MAX_SECONDS for step, seconds in outcome.timings.items())
    )


def ended(job: Job, pods: Sequence[Pod], places: Places) -> Ended:
    """Interpret a terminal Job. A delivered object counts only under a URI that follows from the run."""
    attempts = max(1, len(pods), job.failed_pods + (1 if job.complete else 0))
    finished = sorted(
        (pod for pod in pods if pod.exit_code is not None), key=lambda pod: (pod.finished or pod.created, pod.name)
    )
    for pod in reversed(finished):
        outcome = read_outcome(pod, job.run)
        if pod.exit_code == 0 and outcome is not None and outcome.delivered is not None:
            if places.of(outcome.delivered) is not None:
                return Ended(
                    outcome.delivered,
                    None,
                    attempts,
                    outcome.peak_memory_bytes,
                    tuple(outcome.timings.items()),
                    outcome.warnings,
                )
            return Ended(None, _forged(outcome.delivered, places), attempts)
    if job.complete:
        return Ended(None, None, attempts)
    return Ended(None, _problem(job, finished, attempts), attempts)


def _problem(job: Job, finished: Sequence[Pod], attempts: int) -> Problem:
    last = finished[-1] if finished else None
    if job.stop_reason:
        return _stopped(job, last)
    if last is not None:
        problem = of_attempt(last, job.run)
        return problem if attempts == 1 else replace(problem, preflight=False)
    if job.failed_reason == "DeadlineExceeded":
        kind = FAILURES[Failure.DEADLINE_EXCEEDED]
        return Problem(
            kind.reason,
            str(kind.failure_class),
            "the run did not end within its time, pending time included",
            kind.advice,
            False,
        )
    return Problem(
        job.failed_reason or "JobFailed",
        str(FailureClass.INFRASTRUCTURE),
        job.failed_message or "the Job failed and left no pod to ask",
        "Set a new spec.runID to run again.",
        True,
    )


def of_attempt(pod: Pod, run: str) -> Problem:
    """Why an attempt ended that did not deliver, as if it had been the only one."""
    outcome = read_outcome(pod, run)
    if outcome is None or outcome.failure is None:
        return _untold(pod)
    told = outcome.failure
    kind = failures.by_exit_code(told.exit_code)
    # Time that ran out is no refusal: else a deadline of one second would be a run for nothing.
    refused = told.failure_class != FailureClass.DEADLINE and READ not in outcome.timings
    return Problem(
        told.reason,
        told.failure_class,
        told.message,
        kind.advice if kind else "",
        told.retryable,
        pod.exit_code,
        preflight=outcome.rows == 0 and refused,
    )


def readable(log: str) -> str:
    """The end of an exporter's log as a person reads it: without the lines for programs (progress, outcome; the first
    may be cut), which say nothing that status does not, and without characters that steer a terminal."""
    lines = [line for line in log.splitlines() if line.strip() and not (line.startswith("{") or line.endswith("}"))]
    plain = "\n".join("".join(each if each.isprintable() else "�" for each in line) for line in lines)
    return plain[-MAX_LOG_TAIL:]


def queue_deadline(seconds: int) -> Problem:
    """It waited longer than it may."""
    return Problem(
        "QueueDeadlineExceeded",
        str(FailureClass.DEADLINE),
        f"it waited longer than its queue deadline of {seconds} s",
        "Raise spec.queueDeadlineSeconds, or ask the platform team for a larger quota; then set a new spec.runID.",
        retryable=True,
    )


def _stopped(job: Job, last: Pod | None) -> Problem:
    """The operator ended the Job itself and wrote the reason on it."""
    waited = queue_deadline(0)
    if job.stop_reason == waited.reason:
        return replace(waited, message=job.stop_message)
    return stopped(job.stop_reason, job.stop_message, last.exit_code if last else None)


def stopped(reason: str, message: str, exit_code: int | None = None) -> Problem:
    """The operator itself ended the run, for something that the platform team must mend."""
    kind = FAILURES[Failure.OUT_OF_MEMORY]
    advice = kind.advice if reason == kind.reason else "The platform team must mend this; then set a new spec.runID."
    return Problem(reason, str(FailureClass.INFRASTRUCTURE), message, advice, False, exit_code)


def _untold(pod: Pod) -> Problem:
    """A pod that ended without a word of its own: killed, evicted, or crashed."""
    if pod.exit_reason == OOM_KILLED:
        kind = FAILURES[Failure.OUT_OF_MEMORY]
        return Problem(
            kind.reason,
            str(kind.failure_class),
            "the export pod was killed at its memory limit",
            kind.advice,
            False,
            pod.exit_code,
        )
    if pod.reason:
        return Problem(
            pod.reason,
            str(FailureClass.INFRASTRUCTURE),
            pod.message or f"the export pod ended: {pod.reason}",
            "Set a new spec.runID to run again.",
            True,
            pod.exit_code,
        )
    return Problem(
        "PodKilled" if pod.exit_code in {137, 143} else "PodCrashed",
        str(FailureClass.INFRASTRUCTURE),
        f"the export pod ended with exit code {pod.exit_code} and no report",
        "Set a new spec.runID to run again; if it repeats, ask the platform team to look at the pod's log.",
        True,
        pod.exit_code,
        readable(pod.exit_message),  # by FallbackToLogsOnError: what the exporter logged last
    )


def _forged(claimed: Delivered, places: Places) -> Problem:
    expected = places.fallback if claimed.used_fallback else places.destination
    where = f"this run's place is {expected.object!r}" if expected else "its destination has no fallback"
    return Problem(
        "ResultMismatch",
        str(FailureClass.INFRASTRUCTURE),
        f"the pod reported an object at {claimed.uri[:200]!r}, but {where}",
        "Ask the platform team to look at the pod: its image may not be the exporter's.",
        False,
    )
