"""While there is a Job, or should be: starting, running, suspended, stopped, ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from export_contract.failures import FailureClass
from export_operator.domain import (
    admission,
    attempts,
    breaker,
    held,
    lookup,
    outcome,
    pausing,
    places,
    plan,
    status,
    times,
)
from export_operator.domain.actions import Action, Decision, Emit, Learn, StopJob, SuspendJob
from export_operator.domain.model import Job
from export_operator.domain.policy import FALLBACKS
from export_operator.domain.turn import Turn

FINISHING_SECONDS = 5.0
"""A Job is closed a second or two after its pod is done: not worth a word in status, unless it takes longer."""
MAX_WARNED = 768
"""Bytes of a message that warnings are added to."""


def with_job(turn: Turn) -> Decision:
    """A run that was launched. Its Job's absence is an end too: a missing Job never means "create it again"."""
    request, job = turn.request, turn.seen.job
    document = turn.document()
    if job is None:
        return _job_deleted(turn, document)
    found = _plan(turn) if job.suspended or not request.launched else None
    if found is not None and not request.launched:  # the operator died between the Job and the status
        document = turn.accepted(found)
        document.condition("QuotaReserved", True, "Reserved", "a place in every window is reserved")
    document.fields["jobRef"] = {"namespace": turn.settings.pods.namespace, "name": job.name}
    started = job.started if job.queue else job.created
    if started is not None and not job.held_by_kueue:
        document.fields.setdefault("startTime", times.render(started))
    if job.terminal or (job.held_by_kueue and job.stop_reason):  # what is held has no deadline that would end it
        return _end(turn, job, document)
    idle = job.suspended and not job.queue and not job.stop_reason and pausing.stopped(turn)
    if request.spec.get("cancel") and idle:
        return turn.close("Cancelled", "Cancelled", "cancelled while it was suspended", document=document)
    if request.spec.get("cancel") and not job.stop_reason:
        return Decision((StopJob(job, "Cancelled", f"cancelled by spec.cancel at {times.render(turn.now)}"),))
    if job.stop_reason or job.deleting:
        return Decision((), admission.SLOT_RETRY_SECONDS)  # its end is an event of its own
    if request.spec.get("suspend"):
        return held.suspended(turn, document) if job.queue else _suspended(turn, job, document)
    if job.suspended:
        if job.queue and found is not None:
            return held.waiting(turn, job, document)
        problem = _barred(turn, found, document)
        if problem is not None:
            # Nothing runs, so nothing need be stopped: a Job that is let go on to be ended would start a pod.
            if idle:
                return _failed(turn, document, problem)
            return Decision((StopJob(job, problem.reason, problem.message),))
        assert found is not None, "what nobody allows is barred"
        return admission.ask(turn, found)
    effective = document.fields.get("effective") or {}
    deadline = timedelta(seconds=int(effective.get("startDeadlineSeconds") or FALLBACKS["startDeadlineSeconds"]))
    since = _starting_since(turn, job, document)
    if stop := outcome.stop_needed(turn.seen.pods, since, deadline, turn.now):
        return Decision((StopJob(job, *stop),))
    return _under_way(turn, job, document, None if since is None else since + deadline)


def _plan(turn: Turn) -> plan.Plan | None:
    """None when the catalogue has changed since and no longer allows it: a launched run goes on."""
    try:
        return turn.make_plan()
    except lookup.RefusalError:
        return None


def _starting_since(turn: Turn, job: Job, document: status.Document) -> datetime | None:
    """Since when a pod should be starting; None while one runs, or when nothing says how long one has been awaited.
    A Job that was suspended starts anew when it is let go on, and so does one whose pod was taken from its node."""
    pods = turn.seen.pods
    if outcome.running_since(pods) is not None:
        return None
    if not pods and document.fields.get("phase") == "Running":
        return None
    # Who lets it go on is Kueue, or whoever suspended it; the Job controller notes when.
    paused = job.queue or document.has_condition("Suspended")
    began = job.started or turn.now if paused else job.created
    return max([began, *(pod.created for pod in pods)])


def _barred(turn: Turn, found: plan.Plan | None, document: status.Document) -> outcome.Problem | None:
    """Why a run that was suspended and is let go on must not."""
    if found is None:
        text = "while it was suspended, its source, destination or policy changed and no longer allow it"
        return outcome.stopped("NoLongerAllowed", text)
    effective = document.fields.get("effective") or {}
    seconds = int(effective.get("queueDeadlineSeconds") or FALLBACKS["queueDeadlineSeconds"])
    late = turn.now - turn.waiting_since > timedelta(seconds=seconds)
    return outcome.queue_deadline(seconds) if late else None


def _job_deleted(turn: Turn, document: status.Document) -> Decision:
    problem = outcome.Problem(
        "JobDeleted",
        str(FailureClass.INFRASTRUCTURE),
        "the run's Job is gone from the run namespace: somebody deleted it before it ended",
        "Set a new spec.runID to run again.",
        retryable=True,
    )
    return _failed(turn, document, problem)


def _failed(turn: Turn, document: status.Document, problem: outcome.Problem) -> Decision:
    """End a run that has no Job, or one of which nothing runs."""
    _dead_letter(turn, document, problem, int(document.fields.get("attempts") or 1))
    text = f"{problem.message.rstrip('.')}. {problem.advice}".strip()
    return turn.close("Failed", problem.reason, text, document=document)


def _dead_letter(turn: Turn, document: status.Document, problem: outcome.Problem, number: int) -> None:
    """All that is known of the failure goes into `status.failure`."""
    known = document.fields.pop("recentAttempts", ())
    recent = attempts.ring(known, (*turn.seen.gone, *turn.seen.pods), turn.run)
    tail = outcome.readable(turn.seen.log_tail) or problem.log_tail
    document.fields["failure"] = status.failure_status(
        replace(problem, log_tail=tail), number, recent, pausing.kept_rows(turn)
    )


def _suspended(turn: Turn, job: Job, document: status.Document) -> Decision:
    pausing.suspend(turn, document)
    _note_attempts(turn, document)
    event = turn.event("Normal", "Suspended", "suspended; its pod is being stopped")
    if not job.suspended:
        return Decision((SuspendJob(job, suspend=True), *event, *turn.write(document)))
    # The slot is free only when nothing runs any more.
    return Decision((*event, *(turn.free_slot() if pausing.stopped(turn) else ()), *turn.write(document)))


def _note_attempts(turn: Turn, document: status.Document) -> None:
    """Those that have ended are told of while the run goes on: their pods may be gone by its end."""
    ended = attempts.ring(document.fields.get("recentAttempts", ()), (*turn.seen.gone, *turn.seen.pods), turn.run)
    if ended:
        document.fields["recentAttempts"] = ended


def _under_way(turn: Turn, job: Job, document: status.Document, start_by: datetime | None) -> Decision:
    actions: tuple[Action, ...] = ()
    requeue: float | None = None
    pods = turn.seen.pods
    if job.queue and turn.known.get("phase") == "Queued":
        actions = (turn.started(document),)
    document.resume(pausing.going_on(turn, document))
    pausing.went_on(turn, document)
    _note_attempts(turn, document)
    document.fields["attempts"] = max(1, len(pods) + len(turn.seen.gone), job.failed_pods)
    if outcome.running_since(pods) is None:
        if start_by is not None:
            requeue = max((start_by - turn.now).total_seconds() + 1, 1.0)
        problem = outcome.start_problem(pods)
        if problem is None:
            document.phase("Pending", "PodStarting", "the export pod is starting")
        elif (turn.known.get("phase"), turn.known.get("reason")) != ("Pending", problem[0]):
            # The kubelet words the same trouble anew at each try; the first wording stays.
            document.phase("Pending", *problem)
            actions += turn.event("Warning", *problem)
    elif done := [pod.finished or turn.now for pod in pods if pod.exit_code == 0]:
        left = FINISHING_SECONDS - (turn.now - max(done)).total_seconds()
        if left > 0 and not actions:
            return Decision((), left)
        document.phase("Running", "Finishing", "the export pod is done; its Job is being closed")
    elif all(pod.exit_code is not None for pod in pods):
        document.phase("Running", "PodStarting", "an attempt ended; the next export pod is starting")
    else:
        document.phase("Running", "Exporting", "rows are being exported")
    progress = status.progress_status(document.fields.get("progress"), turn.seen.progress, turn.now)
    if progress is not None:
        document.fields["progress"] = progress
    return Decision((*actions, *turn.write(document)), requeue)


def _end(turn: Turn, job: Job, document: status.Document) -> Decision:
    fields = document.fields
    effective: Mapping[str, Any] = fields.get("effective") or {}
    destination = turn.seen.catalogue.destinations.get(str(effective.get("destination")))
    at = places.coordinates(turn.request, effective, turn.run)
    ways = places.places(at, destination.spec if destination else {})
    ended = outcome.ended(job, (*turn.seen.gone, *turn.seen.pods), ways)
    finished = job.finished or turn.now
    document = replace(document, now=finished)
    document.resume("it has ended")
    # One that Kueue holds may never have had a pod; those it had are gone.
    number = int(fields.get("attempts") or 0) if job.held_by_kueue else ended.attempts
    fields["attempts"] = number
    if tried := status.retries_status(outcome.retries((*turn.seen.gone, *turn.seen.pods), turn.run)):
        fields["retries"] = tried
    close = partial(turn.close, document=document, finished=finished, then=_lesson(turn, job, ended, effective))
    problem = ended.problem
    if problem is not None and problem.reason == "Cancelled":
        return close("Cancelled", "Cancelled", problem.message)
    if problem is not None:
        _dead_letter(turn, document, problem, number)
        text = f"{problem.message.rstrip('.')}. {problem.advice}".strip()
        return close("Failed", problem.reason, text)
    fields["result"] = status.result_status(ended, ways)
    delivered = ended.delivered
    if delivered is None:
        text = f"delivered; its pod is gone, rows and checksum are in {ways.destination.manifest}"
        return close("Succeeded", "Delivered", text)
    before = fields.get("progress") or {}
    fields["progress"] = before | {
        "rows": delivered.rows,
        "bytes": delivered.bytes,
        "percent": 100 if delivered.complete else before.get("percent", 99),
        "heartbeatTime": times.render(finished),
    }
    if seconds := dict(ended.timings).get("total"):
        fields["progress"]["rowsPerSecond"] = int(delivered.rows / seconds)
    text = f"delivered {delivered.rows} rows ({delivered.bytes} bytes) to {fields['result']['uri']}"
    first: tuple[Action, ...] = ()
    reason = "Delivered"
    if delivered.used_fallback:
        text = f"{text}, the fallback, since the destination could not be reached"
        reason = "DeliveredToFallback"
        # A success for the tenant, and work for the platform team: to move it.
        first = (Emit("Warning", reason, text, turn.run),)
    if delivered.complete:
        text = _warned(text, ended.warnings)
        return close("Succeeded", reason, text, first=first)
    text = _warned(f"{text}, cut at the run deadline", ended.warnings)
    return close("PartiallySucceeded", "DeadlineReached", text, first=first)


def _lesson(turn: Turn, job: Job, ended: outcome.Ended, effective: Mapping[str, Any]) -> tuple[Action, ...]:
    """What the end tells of source and destination."""
    verdicts = breaker.verdicts(ended, str(effective.get("source")), str(effective.get("destination")))
    told = breaker.Failed(turn.run, turn.request.requester, job.finished or turn.now)
    began = max((pod.started for pod in turn.seen.pods if pod.started), default=job.created)
    return (Learn(verdicts, told, began),) if verdicts else ()


def _warned(text: str, warnings: Sequence[str]) -> str:
    """As far as there is room: a status is small."""
    return max(text, status.clip(". ".join([text, *warnings]), MAX_WARNED), key=len)
