"""While there is a Job, or should be: starting, running, suspended, stopped, ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from export_contract.failures import FailureClass
from export_operator.domain import admission, breaker, held, lookup, outcome, places, plan, status, times
from export_operator.domain.actions import Action, Decision, Emit, Learn, StopJob, SuspendJob
from export_operator.domain.model import Job, Request
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
    if request.spec.get("cancel") and not job.stop_reason:
        return Decision((StopJob(job, "Cancelled", f"cancelled by spec.cancel at {times.render(turn.now)}"),))
    if job.stop_reason or job.deleting:
        return Decision((), admission.SLOT_RETRY_SECONDS)  # its end is an event of its own
    if request.spec.get("suspend"):
        return held.suspended(turn, document) if job.queue else _suspended(turn, job, document)
    if job.suspended:
        if found is None:
            text = "while it was suspended, its source, destination or policy changed and no longer allow it"
            return Decision((StopJob(job, "NoLongerAllowed", text),))
        return held.waiting(turn, job, document) if job.queue else admission.ask(turn, found)
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
    if job.queue:  # Kueue, not the request, says when; the Job controller notes it
        return max([job.started or turn.now, *(pod.created for pod in pods)])
    suspended = next((item for item in document.conditions if item["type"] == "Suspended"), None)
    resumed = None
    if suspended is not None:
        resumed = turn.now if suspended["status"] == "True" else times.parse(suspended["lastTransitionTime"])
    return max(job.created, resumed or job.created, *(pod.created for pod in pods))


def _job_deleted(turn: Turn, document: status.Document) -> Decision:
    problem = outcome.Problem(
        "JobDeleted",
        str(FailureClass.INFRASTRUCTURE),
        "the run's Job is gone from the run namespace: somebody deleted it before it ended",
        "Set a new spec.runID to run again.",
        retryable=True,
    )
    document.fields["failure"] = status.failure_status(problem, int(document.fields.get("attempts") or 1))
    return turn.close("Failed", problem.reason, f"{problem.message}. {problem.advice}", document=document)


def _suspended(turn: Turn, job: Job, document: status.Document) -> Decision:
    text = "suspended; set spec.suspend to false to let it go on, from the first row"
    document.condition("Suspended", True, "Suspended", text)
    document.queue("Suspended", text)
    first: tuple[Action, ...] = () if job.suspended else (SuspendJob(job, suspend=True),)
    # The slot is free only when nothing runs any more.
    gone = job.suspended and all(pod.exit_code is not None for pod in turn.seen.pods)
    return Decision((*first, *(turn.free_slot() if gone else ()), *turn.write(document)))


def _under_way(turn: Turn, job: Job, document: status.Document, start_by: datetime | None) -> Decision:
    actions: tuple[Action, ...] = ()
    requeue: float | None = None
    pods = turn.seen.pods
    if job.queue and turn.known.get("phase") == "Queued":
        actions = (turn.started(document),)
    document.resume()
    document.fields["attempts"] = max(1, len(pods), job.failed_pods)
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
    ways = result_places(turn.request, effective, destination.spec if destination else {}, turn.run)
    ended = outcome.ended(job, turn.seen.pods, ways)
    finished = job.finished or turn.now
    document = replace(document, now=finished)
    document.resume()
    # One that Kueue holds may never have had a pod; those it had are gone.
    attempts = int(fields.get("attempts") or 0) if job.held_by_kueue else ended.attempts
    fields["attempts"] = attempts
    close = partial(turn.close, document=document, finished=finished, then=_lesson(turn, job, ended, effective))
    problem = ended.problem
    if problem is not None and problem.reason == "Cancelled":
        return close("Cancelled", "Cancelled", problem.message)
    if problem is not None:
        fields["failure"] = status.failure_status(problem, attempts)
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


def result_places(
    request: Request, effective: Mapping[str, Any], destination: Mapping[str, Any], run: str
) -> places.Places:
    """Where the run may have delivered."""
    return places.places(
        places.Coordinates(
            namespace=request.key.namespace,
            key_prefix=(request.spec.get("destination") or {}).get("keyPrefix") or "",
            name=request.key.name,
            run=run,
            format=str(effective.get("format") or FALLBACKS["format"]),
            compression=str(effective.get("compression") or FALLBACKS["compression"]),
            layout=effective.get("layout") or FALLBACKS["layout"],
        ),
        destination,
    )
