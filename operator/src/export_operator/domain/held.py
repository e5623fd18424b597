"""While Kueue decides when a Job runs: waiting for it, suspended through it. The operator never lets such a Job go on
itself, and never suspends it: both are Kueue's, which would undo it."""

from __future__ import annotations

from datetime import datetime, timedelta

from export_operator.domain import admission, kueue, outcome, status, times
from export_operator.domain.actions import Action, Decision, SetActive, StopJob
from export_operator.domain.model import Job
from export_operator.domain.policy import FALLBACKS
from export_operator.domain.turn import Turn


def suspended(turn: Turn, document: status.Document) -> Decision:
    """`spec.suspend` with Kueue: its Workload becomes inactive, so the Job gives its place to others."""
    text = "suspended; set spec.suspend to false to let it queue again"
    document.condition("Suspended", True, "Suspended", text)
    document.queue("Suspended", text)
    workload = turn.seen.workload
    first: tuple[Action, ...] = ()
    if workload is not None and workload.active:
        first = (SetActive(workload, active=False),)
    return Decision((*first, *turn.write(document)))


def waiting(turn: Turn, job: Job, document: status.Document) -> Decision:
    """Kueue has not admitted the Job, or has evicted it: say why, until the queue deadline."""
    first: tuple[Action, ...] = ()
    workload = turn.seen.workload
    if workload is not None and workload.suspended:
        first = (SetActive(workload, active=True),)
    since = _queued_since(turn, document)
    effective = document.fields.get("effective") or {}
    seconds = int(effective.get("queueDeadlineSeconds") or FALLBACKS["queueDeadlineSeconds"])
    left = (since + timedelta(seconds=seconds) - turn.now).total_seconds()
    if left < 0:
        problem = outcome.queue_deadline(seconds)
        return Decision((StopJob(job, problem.reason, problem.message),))
    if workload is not None and workload.starting:
        return Decision(first, admission.SLOT_RETRY_SECONDS)
    reason, text = kueue.waiting(job, workload, turn.now) if turn.seen.workloads_seen else kueue.unavailable(job.queue)
    document.resume()
    document.fields["queuedTime"] = times.render(since)
    document.queue(reason, text)
    wait = min(left + 1, admission.SLOT_RETRY_SECONDS if workload is None else admission.MAX_WAIT_SECONDS)
    return Decision((*first, *turn.event("Normal", reason, text), *turn.write(document)), wait)


def _queued_since(turn: Turn, document: status.Document) -> datetime:
    """Since when it waits. A run that was evicted, or suspended by its owner, begins anew."""
    queued = times.parse(document.fields.get("queuedTime"))
    paused = any(item["type"] == "Suspended" and item["status"] == "True" for item in document.conditions)
    waits = turn.known.get("phase") == "Queued" and not paused
    return queued if waits and queued is not None else turn.now
