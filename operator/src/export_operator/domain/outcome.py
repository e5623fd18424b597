"""What a Job that is over means: delivered or failed, and why, in words a person understands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from export_contract.failures import FAILURES, Failure, FailureClass
from export_contract.report import Delivered
from export_operator.domain.endings import ENDINGS, MEND, NEVER_STARTED, Ending, Problem, problem
from export_operator.domain.manifests import Sought
from export_operator.domain.model import Job, Pod
from export_operator.domain.notices import Notice
from export_operator.domain.places import Places
from export_operator.domain.pod_ends import end_of, read_outcome, told_failure

MAX_FAULT = 200


@dataclass(frozen=True, slots=True)
class Ended:
    """How a terminal Job ended: exactly one of `delivered`, `problem`; both None: complete, but nobody can tell."""

    delivered: Delivered | None
    problem: Problem | None
    attempts: int
    peak_memory_bytes: int = 0
    timings: tuple[tuple[str, float], ...] = ()
    warnings: tuple[str, ...] = ()


def silent(job: Job, pods: Sequence[Pod]) -> bool:
    """No pod tells how the run ended, so its manifest is to be looked for: it may have been delivered."""
    finished = _finished(pods)
    if not finished:
        return job.stop_reason not in NEVER_STARTED
    last = finished[-1]
    if last.exit_code == 0:
        outcome = read_outcome(last, job.run)
        return outcome is None or outcome.delivered is None
    return told_failure(last, job.run) is None


def ended(
    job: Job, pods: Sequence[Pod], places: Places, told: Sequence[Notice] = (), sought: Sought | None = None
) -> Ended:
    """Interpret a terminal Job. A delivered object counts only under a URI that follows from the run. `told` are
    Kubernetes' Events of the last pod, `sought` what was found of the run's manifest, where they were asked for."""
    attempts = max(1, len(pods), job.failed_pods + (1 if job.complete else 0))
    finished = _finished(pods)
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
    sought = None if sought is None else believed(sought, places)
    if sought is not None and sought.delivered is not None:
        return Ended(sought.delivered, None, attempts)
    if job.complete:
        if sought is None or sought.fault:
            return Ended(None, None, attempts)
        text = f"the export pod said that it had ended well, and there is no manifest {places.destination.manifest!r}"
        return Ended(None, problem("ResultMissing", text, exit_code=0), attempts)
    found = _problem(job, finished, attempts, told)
    return Ended(None, found if sought is None else doubted(found, sought), attempts)


def believed(sought: Sought, places: Places) -> Sought:
    """What was found, if it still is at the run's place: the destination may have been changed since."""
    if sought.delivered is None or places.of(sought.delivered) is not None:
        return sought
    return Sought(fault="the destination was changed meanwhile")


def doubted(found: Problem, sought: Sought) -> Problem:
    """The failure, and what is not known of it: whether the run had delivered before."""
    if not sought.fault:
        return found
    text = f"{found.message.rstrip('.')}. Whether it had delivered before could not be seen: {sought.fault[:MAX_FAULT]}"
    return replace(found, message=text)


def _finished(pods: Sequence[Pod]) -> list[Pod]:
    return sorted((pod for pod in pods if pod.over), key=lambda pod: (pod.finished or pod.created, pod.name))


def _problem(job: Job, finished: Sequence[Pod], attempts: int, told: Sequence[Notice]) -> Problem:
    last = finished[-1] if finished else None
    if job.stop_reason:
        return _stopped(job, last)
    if job.failed_reason == "DeadlineExceeded":
        return _out_of_time(job, last)
    if last is not None:
        return end_of(last, job.run, told, first=attempts == 1)
    text = "the Job failed and left no pod to ask"
    words = f"{job.failed_reason}: {job.failed_message}".strip(": ")
    return problem("JobFailed", f"{text} ({words})" if words else text)


def _out_of_time(job: Job, last: Pod | None) -> Problem:
    """Kubernetes ended the Job at its deadline, which every attempt and all waiting fit into."""
    kind = FAILURES[Failure.DEADLINE_EXCEEDED]
    text = "the run did not end within its time, pending time included"
    if last is not None:
        before = end_of(last, job.run)
        if before.reason not in {Failure.INTERRUPTED, "PodDeleted"}:  # which the deadline itself does
            text = f"{text}; its last attempt ended as {before.reason}: {before.message}"
    code = last.exit_code if last is not None else None
    return Problem(kind.reason, str(kind.failure_class), text, kind.advice, kind.retryable, code)


def queue_deadline(seconds: int) -> Problem:
    """It waited longer than it may."""
    return problem("QueueDeadlineExceeded", f"it waited longer than its queue deadline of {seconds} s")


def _stopped(job: Job, last: Pod | None) -> Problem:
    return stopped(job.stop_reason, job.stop_message, last.exit_code if last else None)


def stopped(reason: str, message: str, exit_code: int | None = None) -> Problem:
    """The operator itself ended the run, and said why."""
    if reason == Failure.OUT_OF_MEMORY:
        kind = FAILURES[Failure.OUT_OF_MEMORY]
        return Problem(kind.reason, str(kind.failure_class), message, kind.advice, kind.retryable, exit_code)
    ending = ENDINGS.get(reason, Ending(FailureClass.INFRASTRUCTURE, False, MEND))
    return Problem(reason, str(ending.failure_class), message, ending.advice, ending.retryable, exit_code)


def _forged(claimed: Delivered, places: Places) -> Problem:
    expected = places.fallback if claimed.used_fallback else places.destination
    where = f"this run's place is {expected.object!r}" if expected else "its destination has no fallback"
    return problem("ResultMismatch", f"the pod reported an object at {claimed.uri[:200]!r}, but {where}")
