"""What to do about one request, now. Level-triggered: the whole truth goes in, the next actions come out, and any of
them may be cut off by a crash: the next decision continues from what is then true."""

from __future__ import annotations

from datetime import datetime, timedelta

from export_operator.domain import admission, quota, refunds, running, times
from export_operator.domain.actions import (
    Action,
    Decision,
    DeleteJob,
    DeletePods,
    Observation,
    Refund,
    Reserve,
    Settings,
    Settle,
    StopJob,
    TakeSlot,
    Undo,
    WriteStatus,
)
from export_operator.domain.model import Job
from export_operator.domain.policy import FALLBACKS
from export_operator.domain.turn import Turn

NOT_WANTED = "NotWanted"
"""Why a Job was stopped that is no request's any more, or came after its end."""


def decide(seen: Observation, settings: Settings, now: datetime) -> Decision:
    """The next actions for a request that exists."""
    turn = Turn(seen, settings, now)
    if seen.request.finished:
        return _finished(turn)
    if seen.job is None and not seen.request.launched:
        return admission.before_job(turn)
    return running.with_job(turn)


def reserved(
    seen: Observation, reserve: Reserve, answer: quota.Admission, settings: Settings, now: datetime
) -> Decision:
    """The actions that follow from what the windows said to a `Reserve`."""
    return admission.reserved(Turn(seen, settings, now), reserve, answer)


def admitted(seen: Observation, take: TakeSlot, full: str, settings: Settings, now: datetime) -> Decision:
    """The actions that follow from a `TakeSlot`: `full` is the reason why there is no slot, "" when there is."""
    return admission.admitted(Turn(seen, settings, now), take, full)


def held(seen: Observation, reason: str, text: str, settings: Settings, now: datetime) -> Decision:
    """Something of ours is in the way: the ledger, or the API server that takes no Job. A person can read why."""
    return admission.held(Turn(seen, settings, now), reason, text)


def refused(seen: Observation, reason: str, text: str, settings: Settings, now: datetime) -> Decision:
    """The API server does not take the run's Job, for this reason."""
    return admission.refused(Turn(seen, settings, now), reason, text)


def orphaned(job: Job, *, pod_lives: bool, gone: bool) -> Decision:
    """What becomes of a Job that is not its request's any more: that wants another run, or is `gone`."""
    return Decision(retire(job, pod_lives=pod_lives, gone=gone, delivered=job.complete))


def retire(job: Job, *, pod_lives: bool, gone: bool, delivered: bool) -> tuple[Action, ...]:
    """The next step to the end of a Job that nobody needs: it is stopped, what it left is undone, it is deleted. The
    Job itself is the note that this is still to be done, so it goes last; and as long as its request exists, one whose
    objects are to go with the request stays."""
    if job.deleting:
        return ()
    if not (job.terminal or job.suspended):
        reason = "its request was deleted" if gone else "its request has ended, or wants another run"
        return () if job.stop_reason else (StopJob(job, NOT_WANTED, reason),)
    if pod_lives:
        return ()
    if job.deletes_objects and delivered and not gone:
        return (DeletePods(job),)
    objects = job.deletes_objects and gone
    if job.complete and not objects:  # its pod has tidied up behind itself
        return (DeleteJob(job),)
    return (Undo(job.run, job.destination, objects, job),)


def _finished(turn: Turn) -> Decision:
    """After the end: give back what is still held, and delete the Job when its time is over."""
    request, job = turn.request, turn.seen.job
    actions: list[Action] = list(turn.free_slot())
    if turn.seen.unsettled:
        never = job is None and not request.launched
        actions.append(Refund(turn.run) if never else Settle(refunds.settlement(request, turn.policy.refund_on)))
    requeue = None
    if job is not None and not job.deleting:
        left = _seconds_left(turn)
        # A Job that is not over cannot change the outcome any more: it was created late, by an operator that died. One
        # that was cancelled has nothing to tell, and what its pod has begun in the bucket shall go at once.
        if left <= 0 or not job.terminal or job.stop_reason == NOT_WANTED or request.phase == "Cancelled":
            delivered = bool(request.status.get("result"))
            actions.extend(retire(job, pod_lives=turn.seen.pod_lives, gone=False, delivered=delivered))
        else:
            requeue = min(left + 0.5, admission.MAX_WAIT_SECONDS)
    if request.status.get("observedGeneration") != request.generation:
        actions.append(WriteStatus(dict(request.status) | {"observedGeneration": request.generation}))
    return Decision(tuple(actions), requeue)


def _seconds_left(turn: Turn) -> float:
    """Until the Job's time to live after the end is over. The spec's may change at any time, within the policy's."""
    request = turn.request
    completed = times.parse(request.status.get("completionTime")) or turn.now
    ttl = request.spec.get("ttlSecondsAfterFinished")
    if ttl is None:
        ttl = (request.status.get("effective") or {}).get("ttlSecondsAfterFinished")
    if ttl is None:
        ttl = FALLBACKS["ttlSecondsAfterFinished"]
    maximum = turn.policy.maximum("ttlSecondsAfterFinished")
    if maximum is not None:
        ttl = min(int(ttl), int(maximum))
    return (completed + timedelta(seconds=int(ttl)) - turn.now).total_seconds()
