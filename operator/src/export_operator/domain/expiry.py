"""After the end: what is still held is given back, and each thing goes when its own time to live is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from export_operator.domain import admission, adoption, gitops, leftovers, lost, places, refunds, status, times
from export_operator.domain.actions import (
    Action,
    Bury,
    Decision,
    DeleteJob,
    DeletePods,
    DeleteRequest,
    LosePod,
    Refund,
    Settle,
    StopJob,
    Unbury,
    Undo,
    WriteStatus,
)
from export_operator.domain.endings import NEVER_STARTED
from export_operator.domain.model import Job
from export_operator.domain.policy import FALLBACKS
from export_operator.domain.turn import Turn

NOT_WANTED = "NotWanted"
"""Why a Job was stopped that is no request's any more, or came after its end."""
UNDO_SECONDS = 5.0  # between looks whether the objects are gone
MINUTE = timedelta(minutes=1)
SETTLING_SECONDS = 5.0  # a request does not go before what it has used is written down
RECORDING_SECONDS = 60.0  # nor before the history has it; in an outage all wait, and each looks this often


def finished(turn: Turn) -> Decision:
    """What is left to do about a request that has ended, and when to look again."""
    request, job = turn.request, _job(turn)
    actions: list[Action] = list(turn.free_slot())
    left = (_ended(turn) + request_ttl(turn) - turn.now).total_seconds()
    due = left <= 0
    if turn.seen.unsettled:
        actions.append(_settled(turn, due))
    looks: list[float] = []
    actions.extend(map(LosePod, lost.lost(turn.seen.pods, turn.seen.silent_nodes, turn.now)))
    if (again := lost.look_again(turn.seen.pods, turn.now)) is not None:
        looks.append(again)
    objects = _objects(turn)
    if job is not None:
        left_of_job = _left_of(turn, job, objects)
        if left_of_job is not None and left_of_job > 0:
            looks.append(left_of_job + 0.5)
            actions += _tidy(turn, job)
        elif left_of_job is not None:
            delivered = job.complete or bool(request.status.get("result"))
            actions.extend(retire(job, pod_lives=turn.seen.pod_lives, gone=False, delivered=delivered))
    manager = gitops.manager(request, turn.settings.markers)
    stays = _stays(turn, manager)
    if not due:
        looks.append(left + 0.5)
    elif turn.seen.unsettled:
        looks.append(SETTLING_SECONDS)
        left = SETTLING_SECONDS
    elif turn.seen.unrecorded and not stays and -left < turn.settings.history_hold.total_seconds():
        left = RECORDING_SECONDS if -left >= RECORDING_SECONDS else SETTLING_SECONDS
        looks.append(left)
    wanted = dict(request.status) | {"observedGeneration": request.generation}
    over = left <= 0
    goes = over and not stays and objects is None  # the request is the note that they are to go
    if objects is not None and objects.left <= 0 and turn.seen.undone and job is None:
        wanted["result"] = {**request.status["result"], "deleted": True}
    elif objects is not None:
        actions += _undo(turn, job, objects)
        looks.append(max(objects.left + 0.5, UNDO_SECONDS))
    if over and stays and request.phase != "Expired":
        wanted |= _expired(turn, manager)
    remembered, patience = _remember(turn, bool(manager), goes=goes, due=due), _patience(turn) + left
    if isinstance(remembered, Bury) and goes and patience > 0:
        remembered, goes = replace(remembered, along=True), False
        looks.append(patience + 0.5)
    if remembered is not None:
        actions.append(remembered)
    if wanted != dict(request.status):
        actions.append(WriteStatus(wanted))
    if goes:
        actions.append(DeleteRequest(request))
    return Decision(tuple(actions), min(*looks, admission.MAX_WAIT_SECONDS) if looks else None)


def _job(turn: Turn) -> Job | None:
    """The run's, unless somebody else's finalizer is all that keeps it."""
    job = turn.seen.job
    return None if job is None or job.leaving else job


def _settled(turn: Turn, due: bool) -> Action:
    """What the run has used is written down before the request goes (`due`), and before somebody deletes it that
    something is given back: nobody could tell that any more."""
    if turn.seen.job is None and not turn.request.launched:
        return Refund(turn.run)
    found = refunds.settlement(turn.request, turn.policy.refund_on)
    return Settle(found, soon=due or found.refunded)


def _left_of(turn: Turn, job: Job, objects: _Objects | None) -> float | None:
    """For how many seconds the Job is still kept; None when it is what deletes the objects, and goes with them."""
    if objects is not None and objects.left <= 0 and job.terminal:
        return None
    # A Job that is not over cannot change the outcome any more: it was created late, by an operator that died. One that
    # was cancelled has nothing to tell, and what its pod has begun in the bucket shall go at once.
    if not job.terminal or job.stop_reason == NOT_WANTED or turn.request.phase == "Cancelled":
        return 0.0
    left = (_ended(turn) + job_ttl(turn) - turn.now).total_seconds()
    # Nothing but the Job's pods may reach the objects.
    return max(left, objects.left) if objects is not None and objects.at.by_pod else left


@dataclass(frozen=True, slots=True)
class _Objects:
    """What was delivered and has a time of its own; `left` of it, in seconds."""

    at: leftovers.Leftovers
    left: float


def _objects(turn: Turn) -> _Objects | None:
    """None when they stay, are gone, or nobody knows any more where they are."""
    told = turn.request.status
    result, effective = told.get("result") or {}, told.get("effective") or {}
    expires = times.parse(result.get("expirationTime"))
    destination = turn.seen.catalogue.destinations.get(str(effective.get("destination")))
    if expires is None or result.get("deleted") or destination is None:
        return None
    run = str((told.get("adopted") or {}).get("run") or turn.run)
    where = places.coordinates(turn.request, effective, run)
    return _Objects(leftovers.at(where, destination.name, destination.spec), (expires - turn.now).total_seconds())


def _undo(turn: Turn, job: Job | None, objects: _Objects) -> tuple[Action, ...]:
    """Delete them when their time is over: by the Job, as long as there is one."""
    if objects.left > 0 or turn.seen.pod_lives or (job is not None and not job.terminal):
        return ()
    if job is None:
        return (Undo(objects.at.run, objects.at.destination, objects=True, at=objects.at),)
    return (Undo(job.run, job.destination, True, job),)


def _tidy(turn: Turn, job: Job) -> tuple[Action, ...]:
    """A run that failed may have left an upload and a checkpoint, and nobody goes on with them: a new runID is another
    run. Its Job stays."""
    ran = job.failed and job.stop_reason not in NEVER_STARTED
    if not ran or job.undone or turn.seen.pod_lives:
        return ()
    return (Undo(job.run, job.destination, objects=False, job=job, stays=True),)


def retire(job: Job, *, pod_lives: bool, gone: bool, delivered: bool) -> tuple[Action, ...]:
    """The next step to the end of a Job that nobody needs: it is stopped, what it left is undone, it is deleted. The
    Job itself is the note that this is still to be done, so it goes last; and as long as its request exists, one whose
    objects are to go with the request stays."""
    if not (job.terminal or job.suspended):
        reason = "its request was deleted" if gone else "its request has ended, or wants another run"
        return () if job.stop_reason else (StopJob(job, NOT_WANTED, reason),)
    if pod_lives or job.deleting:
        return ()
    if job.deletes_objects and delivered and not gone:
        return (DeletePods(job.run),)
    objects = job.deletes_objects and gone
    if job.complete and not objects:  # its pod has tidied up behind itself
        return (DeleteJob(job),)
    return (Undo(job.run, job.destination, objects, job),)


def job_ttl(turn: Turn) -> timedelta:
    """How long the Job and its pods are kept. The spec's may change at any time, within the policy's."""
    request = turn.request
    ttl = wanted_ttl(request.spec, request.status)
    maximum = turn.policy.maximum("ttlSecondsAfterFinished")
    return timedelta(seconds=ttl if maximum is None else min(ttl, int(maximum)))


def wanted_ttl(spec: Mapping[str, Any], status: Mapping[str, Any]) -> int:
    """The time to live of a request's Job, in seconds, as long as no policy asks for less."""
    ttl = spec.get("ttlSecondsAfterFinished")
    if ttl is None:
        ttl = (status.get("effective") or {}).get("ttlSecondsAfterFinished")
    return int(FALLBACKS["ttlSecondsAfterFinished"] if ttl is None else ttl)


def request_ttl(turn: Turn) -> timedelta:
    """How long the request itself is kept: as long as its Job, unless the policy says otherwise."""
    seconds = turn.policy.section("retention").get("requestTTLSeconds")
    return job_ttl(turn) if seconds is None else timedelta(seconds=int(seconds))


def _patience(turn: Turn) -> float:
    """For how many seconds a request whose time is over waits for its tombstone to go along with another write: one a
    request would be a third of all that the ledger writes. Whoever wants it gone within a minute does not wait."""
    return min(max((request_ttl(turn) - MINUTE).total_seconds() / 2, 0.0), MINUTE.total_seconds())


def _ended(turn: Turn) -> datetime:
    return times.parse(turn.request.status.get("completionTime")) or turn.now


def _stays(turn: Turn, manager: str) -> bool:
    """After its time to live: a request that a tool would only bring back is kept."""
    expiry = turn.request.spec.get("expiry") or "Auto"
    return expiry == "Keep" or (expiry == "Auto" and bool(manager))


def _expired(turn: Turn, manager: str) -> dict[str, str]:
    """What status says of a request that is kept: its conditions still say how it ended."""
    told = turn.request.status
    why = f"{manager} manages it" if manager else "its spec.expiry is Keep"
    text = (
        f"it ended as {status.ended_as(told)} at {told.get('completionTime')}, and its time to live is over: Job and"
        f" pods are gone. It stays because {why}. Set a spec.runID that it has not had to run it anew."
    )
    reason = "TTLExpired"
    return {"phase": "Expired", "reason": reason, "message": status.clip(text, status.MAX_MESSAGE)}


def _remember(turn: Turn, managed: bool, *, goes: bool, due: bool) -> Bury | Unbury | None:
    """Bring the tombstone up to date: one that a tool manages has it from its end on, for others may delete it; any
    other when its time to live deletes it, and never when somebody else does. Where its objects go with the request,
    whoever deletes that leaves nothing to take over.

    One that says so of this very request stays as long as its time is over (`due`): it was written along with something
    else, or by an operator that died, and its deletion may still be on its way."""
    request, known = turn.request, turn.seen.tombstones
    present = known.find(request.key)
    own = None if present is None or not present.expired else (present.uid, present.run_id)
    if due and own == (request.uid, request.run_id):
        return None
    stone = None
    if not gitops.hook(request) and (goes or (managed and request.spec.get("deletionPolicy") != "Delete")):
        stone = adoption.stone_of(request, expired=turn.now if goes else None)
    if stone is None:
        return None if present is None else Unbury(turn.terms.owner, request.key)
    return None if known.put(stone, turn.now) == known else Bury(turn.terms.owner, stone)
