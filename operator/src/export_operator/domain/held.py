"""While Kueue decides when a Job runs: waiting for it, suspended through it. The operator never lets such a Job go on
itself, and never suspends it: both are Kueue's, which would undo it."""

from __future__ import annotations

from datetime import timedelta

from export_operator.domain import admission, kueue, outcome, pausing, status, times
from export_operator.domain.actions import Action, Decision, SetActive, StopJob
from export_operator.domain.model import Job
from export_operator.domain.policy import FALLBACKS
from export_operator.domain.turn import Turn


def suspended(turn: Turn, document: status.Document) -> Decision:
    """`spec.suspend` with Kueue: its Workload becomes inactive, so the Job gives its place to others."""
    pausing.suspend(turn, document, "queue again, and ")
    workload = turn.seen.workload
    first: tuple[Action, ...] = ()
    if workload is not None and workload.active:
        first = (SetActive(workload, active=False),)
    return Decision((*first, *pausing.told(turn), *turn.write(document)))


def waiting(turn: Turn, job: Job, document: status.Document) -> Decision:
    """Kueue has not admitted the Job, or has evicted it: say why, until the queue deadline."""
    first: tuple[Action, ...] = ()
    workload = turn.seen.workload
    if workload is not None and workload.suspended:
        first = (SetActive(workload, active=True),)
    # A run that was evicted begins to wait anew.
    since = turn.waiting_since if turn.known.get("phase") == "Queued" else times.whole(turn.now)
    effective = document.fields.get("effective") or {}
    seconds = int(effective.get("queueDeadlineSeconds") or FALLBACKS["queueDeadlineSeconds"])
    left = (since + timedelta(seconds=seconds) - turn.now).total_seconds()
    if left < 0:
        problem = outcome.queue_deadline(seconds)
        return Decision((StopJob(job, problem.reason, problem.message),))
    if workload is not None and workload.starting:
        return Decision(first, admission.SLOT_RETRY_SECONDS)
    reason, text = kueue.waiting(job, workload, turn.now) if turn.seen.workloads_seen else kueue.unavailable(job.queue)
    document.resume(pausing.going_on(turn, document))
    document.fields["queuedTime"] = times.render(since)
    document.queue(reason, text)
    wait = min(left + 1, admission.SLOT_RETRY_SECONDS if workload is None else admission.MAX_WAIT_SECONDS)
    return Decision((*first, *turn.event("Normal", reason, text), *turn.write(document)), wait)
