"""While there is a Job, or should be: starting, running, suspended, stopped. Its end is in `closing`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from export_contract import names
from export_operator.domain import (
    admission,
    attempts,
    closing,
    held,
    lookup,
    lost,
    outcome,
    pausing,
    plan,
    starting,
    status,
    times,
)
from export_operator.domain.actions import Action, Decision, Emit, LosePod, StopJob, SuspendJob
from export_operator.domain.endings import Problem
from export_operator.domain.jobs import BACKOFF_LIMIT
from export_operator.domain.model import Job, Pod
from export_operator.domain.pod_ends import end_of
from export_operator.domain.policy import FALLBACKS
from export_operator.domain.progress import progress_status
from export_operator.domain.turn import Turn

FINISHING_SECONDS = 5.0
"""A Job is closed a second or two after its pod is done: not worth a word in status, unless it takes longer."""
LOOK_SECONDS = starting.PATIENCE.total_seconds() + 1
"""Between two looks at what Kubernetes says of a pod that does not start and gives no reason itself."""


def with_job(turn: Turn) -> Decision:
    """A run that was launched. Its Job's absence is an end too: a missing Job never means "create it again"."""
    request, job = turn.request, turn.seen.job
    document = turn.document()
    if job is None:
        return closing.without_job(turn, document)
    if _was_over(turn, job):
        return admission.used(turn)
    if gone := lost.lost(turn.seen.pods, turn.seen.silent_nodes, turn.now):
        return Decision(tuple(map(LosePod, gone)), admission.SLOT_RETRY_SECONDS)
    found = _plan(turn) if job.suspended or not request.launched else None
    if found is not None and not request.launched:  # the operator died between the Job and the status
        document = turn.accepted(found)
        document.condition("QuotaReserved", True, "Reserved", "a place in every window is reserved")
    if turn.settings.pods.tracing is not None:
        document.fields["traceID"] = names.trace_id(turn.run)
    document.fields["jobRef"] = {"namespace": turn.settings.pods.namespace, "name": job.name}
    started = job.started if job.queue else job.created
    if started is not None and not job.held_by_kueue:
        document.fields.setdefault("startTime", times.render(started))
    # What Kueue holds has no deadline that would end it, and what is stuck never says that it has ended.
    if lost.over(job, turn.seen.pods) or (job.held_by_kueue and job.stop_reason) or lost.stuck(job, turn.now):
        return closing.end(turn, job, document)
    if job.deleting and not (job.terminal or job.stop_reason or job.failing) and pausing.stopped(turn):
        return closing.without_job(turn, document)  # what keeps it is of no use: no pod follows
    still_ending = Decision((), lost.look_again(turn.seen.pods, turn.now) or admission.SLOT_RETRY_SECONDS)
    if job.terminal:
        return still_ending
    idle = job.suspended and not job.queue and not job.stop_reason and pausing.stopped(turn)
    if request.spec.get("cancel") and idle:
        return turn.close("Cancelled", "Cancelled", "cancelled while it was suspended", document=document)
    if request.spec.get("cancel") and not job.stop_reason:
        return Decision((StopJob(job, "Cancelled", f"cancelled by spec.cancel at {times.render(turn.now)}"),))
    if job.stop_reason or job.deleting or job.failing is not None:  # its end is an event of its own
        return still_ending
    if request.spec.get("suspend"):
        return held.suspended(turn, document) if job.queue else _suspended(turn, job, document)
    if job.suspended:
        if job.queue and found is not None:
            return held.waiting(turn, job, document)
        problem = _barred(turn, found, document)
        if problem is not None:
            # Nothing runs, so nothing need be stopped: a Job that is let go on to be ended would start a pod.
            if idle:
                return closing.failed(turn, document, problem)
            return Decision((StopJob(job, problem.reason, problem.message),))
        assert found is not None, "what nobody allows is barred"
        return admission.ask(turn, found)
    effective = document.fields.get("effective") or {}
    deadline = timedelta(seconds=int(effective.get("startDeadlineSeconds") or FALLBACKS["startDeadlineSeconds"]))
    since = _starting_since(turn, job, document)
    pods = starting.recent(job, turn.seen.gone, turn.seen.pods)
    if stop := starting.stop_needed(pods, since, deadline, turn.now, turn.seen.told):
        return Decision((StopJob(job, *stop),))
    return _under_way(turn, job, document, None if since is None else since + deadline)


def _was_over(turn: Turn, job: Job) -> bool:
    """The Job is of an earlier run, which `spec.runID` asks for once more: it was there before the end of the run that
    status tells of, and is settled. One that an operator made before it died is not, whatever the clocks say."""
    ended = times.parse(turn.request.status.get("completionTime"))
    return not (turn.known or turn.seen.unsettled) and ended is not None and job.created < ended


def _plan(turn: Turn) -> plan.Plan | None:
    """None when the catalogue has changed since and no longer allows it: a launched run goes on."""
    try:
        return turn.make_plan()
    except lookup.RefusalError:
        return None


def _starting_since(turn: Turn, job: Job, document: status.Document) -> datetime | None:
    """Since when a pod should be starting; None while one runs, or when nothing says how long one has been awaited.
    A Job that was suspended starts anew when it is let go on."""
    pods = starting.recent(job, turn.seen.gone, turn.seen.pods)
    if not pods and document.fields.get("phase") == "Running":
        return None
    since = starting.awaited_since(job, pods)
    if since is None or job.queue or not document.has_condition("Suspended"):
        return since
    return max(since, job.started or turn.now)  # the Job controller notes when it was let go on


def _barred(turn: Turn, found: plan.Plan | None, document: status.Document) -> Problem | None:
    """Why a run that was suspended and is let go on must not."""
    if found is None:
        text = "while it was suspended, its source, destination or policy changed and no longer allow it"
        return outcome.stopped("NoLongerAllowed", text)
    effective = document.fields.get("effective") or {}
    seconds = int(effective.get("queueDeadlineSeconds") or FALLBACKS["queueDeadlineSeconds"])
    late = turn.now - turn.waiting_since > timedelta(seconds=seconds)
    return outcome.queue_deadline(seconds) if late else None


def _suspended(turn: Turn, job: Job, document: status.Document) -> Decision:
    pausing.suspend(turn, document)
    _note_attempts(turn, document)
    told = (*pausing.told(turn), *turn.write(document))
    if not job.suspended:
        return Decision((SuspendJob(job, suspend=True), *told))
    # The slot is free only when nothing runs any more.
    free = turn.free_slot() if pausing.stopped(turn) else ()
    return Decision((*free, *told), lost.look_again(turn.seen.pods, turn.now))


def _note_attempts(turn: Turn, document: status.Document) -> None:
    """Those that have ended are told of while the run goes on: their pods may be gone by its end."""
    ended = attempts.ring(document.fields.get("recentAttempts", ()), (*turn.seen.gone, *turn.seen.pods), turn.run)
    if ended:
        document.fields["recentAttempts"] = ended


def _under_way(turn: Turn, job: Job, document: status.Document, start_by: datetime | None) -> Decision:
    actions: tuple[Action, ...] = ()
    pods = starting.recent(job, turn.seen.gone, turn.seen.pods)
    requeue = lost.look_again(pods, turn.now)
    if job.queue and turn.known.get("phase") == "Queued":
        actions = (turn.started(document),)
    document.resume(pausing.going_on(turn, document))
    pausing.went_on(turn, document)
    _note_attempts(turn, document)
    seen = len(turn.seen.pods) + len(turn.seen.gone)
    document.fields["attempts"] = max(1, seen, job.failed_pods, int(document.fields.get("attempts") or 0))
    newest = starting.newest(pods)
    if newest is None or not (newest.over or newest.started):
        starts, requeue = _starting(turn, document, pods, start_by)
        actions += starts
    elif done := [pod.finished or turn.now for pod in pods if pod.exit_code == 0]:
        left = FINISHING_SECONDS - (turn.now - max(done)).total_seconds()
        if left > 0 and not actions:
            return Decision((), left)
        document.phase("Running", "Finishing", "the export pod is done; its Job is being closed")
    elif newest.over:
        refused, requeue = _between(turn, document, pods, start_by)
        actions += refused
    else:
        document.phase("Running", "Exporting", "rows are being exported")
    progress = progress_status(document.fields.get("progress"), turn.seen.progress, turn.now)
    if progress is not None:
        document.fields["progress"] = progress
    if document.fields.get("reason") != "Exporting":
        document.halt()
    return Decision((*actions, *turn.write(document)), requeue)


def _starting(
    turn: Turn, document: status.Document, pods: Sequence[Pod], start_by: datetime | None
) -> tuple[tuple[Action, ...], float | None]:
    """The newest pod, or the first, is still to start: what status says of it, and when to look again."""
    requeue = None if start_by is None else max((start_by - turn.now).total_seconds() + 1, 1.0)
    trouble = starting.start_problem(pods, turn.seen.told)
    if trouble is None:
        document.phase("Pending", "PodStarting", "the export pod is starting")
        return (), LOOK_SECONDS if requeue is None else min(requeue, LOOK_SECONDS)
    if (turn.known.get("phase"), turn.known.get("reason")) == ("Pending", trouble[0]):
        return (), requeue  # the kubelet words the same trouble anew at each try; the first wording stays
    document.phase("Pending", *trouble)
    return turn.event("Warning", *trouble), requeue


def _between(
    turn: Turn, document: status.Document, pods: Sequence[Pod], start_by: datetime | None
) -> tuple[tuple[Action, ...], float | None]:
    """An attempt has failed, and the next is to come: say why, and whether something keeps it from coming."""
    if starting.start_problem(pods, turn.seen.told) is not None:
        return _starting(turn, document, pods, start_by)
    newest = starting.newest(pods)
    assert newest is not None, "an attempt has ended"
    again = None if start_by is None else LOOK_SECONDS
    ordinal = f"attempt {document.fields['attempts']} ended"
    if str(turn.known.get("message")).startswith(ordinal):
        return (), again
    end = end_of(newest, turn.run, turn.seen.told)
    counted = sum(not pod.disruption for pod in pods)  # what disrupts a pod costs no attempt (podFailurePolicy)
    if not end.retryable or counted > BACKOFF_LIMIT:
        return (), None  # none follows: the Job's end is an event of its own
    document.phase("Running", "Retrying", f"{ordinal} as {end.reason}: {end.message.rstrip('. ')}. The next follows.")
    return (Emit("Warning", "Retrying", str(document.fields["message"]), turn.run),), again
