"""The end of a run that was launched: what came of it, and what status says of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from export_operator.domain import attempts, breaker, lost, outcome, pausing, places, status, times
from export_operator.domain.actions import Action, Decision, DeletePods, Emit, Learn, LosePod, Seek
from export_operator.domain.endings import Problem, problem
from export_operator.domain.model import Job
from export_operator.domain.pod_ends import readable, retries
from export_operator.domain.turn import Turn

ENDING_SECONDS = 2.0  # between looks at pods that outlive their Job: they wake nobody
SEEK_SECONDS = 30.0
"""The answer wakes the request; this is for a wake-up that was lost."""
MAX_WARNED = 768
"""Bytes of a message that warnings are added to."""


def without_job(turn: Turn, document: status.Document) -> Decision:
    """The run's Job is gone. When its pods are too, for somebody may have left them (`--cascade=orphan`), only the
    manifest can tell whether it had delivered."""
    if gone := lost.lost(turn.seen.pods, turn.seen.silent_nodes, turn.now):
        return Decision(tuple(map(LosePod, gone)), ENDING_SECONDS)
    if not (pausing.stopped(turn) or turn.seen.namespace_missing):
        return Decision((DeletePods(turn.run),), ENDING_SECONDS)
    ways = _ways(turn, document)
    if turn.seen.sought is None:
        return _seek(turn, document)
    sought = outcome.believed(turn.seen.sought, ways)
    if sought.delivered is not None:
        ended = outcome.Ended(sought.delivered, None, int(document.fields.get("attempts") or 1))
        return _delivered(turn, document, ended, ways)
    if turn.seen.namespace_missing:
        text = f"the run namespace {turn.settings.pods.namespace!r} is gone, and the run's Job with it"
        found = problem("RunNamespaceMissing", text)
    else:
        text = "the run's Job is gone from the run namespace: somebody deleted it before it ended"
        found = problem("JobDeleted", text)
    return failed(turn, document, outcome.doubted(found, sought))


def failed(turn: Turn, document: status.Document, found: Problem) -> Decision:
    """End a run that has no Job, or one of which nothing runs."""
    _dead_letter(turn, document, found, int(document.fields.get("attempts") or 1))
    text = f"{found.message.rstrip('.')}. {found.advice}".strip()
    return turn.close("Failed", found.reason, text, document=document)


def _dead_letter(turn: Turn, document: status.Document, found: Problem, number: int) -> None:
    """All that is known of the failure goes into `status.failure`."""
    known = document.fields.pop("recentAttempts", ())
    recent = attempts.ring(known, (*turn.seen.gone, *turn.seen.pods), turn.run)
    tail = readable(turn.seen.log_tail) or found.log_tail
    document.fields["failure"] = status.failure_status(
        replace(found, log_tail=tail), number, recent, pausing.kept_rows(turn)
    )


def _seek(turn: Turn, document: status.Document) -> Decision:
    """Nothing is said of the end before the run's manifest was looked for."""
    name = str((document.fields.get("effective") or {}).get("destination"))
    destination = turn.seen.catalogue.destinations.get(name)
    seek = Seek(
        turn.run,
        turn.request.key,
        name,
        None if destination is None else destination.spec,
        places.coordinates(turn.request, document.fields.get("effective") or {}, turn.run),
    )
    return Decision((seek,), SEEK_SECONDS)


def end(turn: Turn, job: Job, document: status.Document) -> Decision:
    """The Job is over: say how, once somebody has told or the manifest was looked for."""
    fields = document.fields
    effective: Mapping[str, Any] = fields.get("effective") or {}
    ways = _ways(turn, document)
    # One that Kueue holds may never have had a pod; those it had are gone.
    number, pods = int(fields.get("attempts") or 0), (*turn.seen.gone, *turn.seen.pods)
    never = job.held_by_kueue and number == 0
    if turn.seen.sought is None and not never and outcome.silent(job, pods):
        return _seek(turn, document)
    ended = outcome.ended(job, pods, ways, turn.seen.told, turn.seen.sought)
    if not job.held_by_kueue:
        number = max(ended.attempts, number)
    ended = replace(ended, attempts=number)
    finished = job.finished or turn.now
    document = replace(document, now=finished)
    document.resume("it has ended")
    fields["attempts"] = number
    if tried := status.retries_status(retries(pods, turn.run)):
        fields["retries"] = tried
    if ended.delivered is not None:
        return _delivered(turn, document, ended, ways, job)
    close = partial(turn.close, document=document, finished=finished, then=_lesson(turn, job, ended, effective))
    found = ended.problem
    if found is not None and found.reason == "Cancelled":
        return close("Cancelled", "Cancelled", found.message)
    if found is not None:
        _dead_letter(turn, document, found, number)
        text = f"{found.message.rstrip('.')}. {found.advice}".strip()
        return close("Failed", found.reason, text)
    fields["result"] = _result(turn, ended, ways, finished)
    text = f"delivered; its pod is gone, rows and checksum are in {ways.destination.manifest}"
    return close("Succeeded", "Delivered", text)


def _delivered(
    turn: Turn, document: status.Document, ended: outcome.Ended, ways: places.Places, job: Job | None = None
) -> Decision:
    """The run was delivered: its pod says so, or its manifest. `job` is None when it is gone."""
    fields, delivered = document.fields, ended.delivered
    assert delivered is not None, "it was delivered"
    finished = (job.finished if job is not None else None) or turn.now
    lesson = () if job is None else _lesson(turn, job, ended, fields.get("effective") or {})
    close = partial(turn.close, document=document, finished=finished, then=lesson)
    fields["result"] = _result(turn, ended, ways, finished)
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


def _result(turn: Turn, ended: outcome.Ended, ways: places.Places, finished: datetime) -> dict[str, Any]:
    """What was delivered, and until when it is kept if the policy says so."""
    result = status.result_status(ended, ways)
    ttl = turn.policy.object_ttl(fallback=bool(ended.delivered and ended.delivered.used_fallback))
    return result if ttl is None else result | {"expirationTime": times.render(finished + ttl)}


def _warned(text: str, warnings: Sequence[str]) -> str:
    """As far as there is room: a status is small."""
    return max(text, status.clip(". ".join([text, *warnings]), MAX_WARNED), key=len)


def _ways(turn: Turn, document: status.Document) -> places.Places:
    """Where the run may have delivered."""
    effective: Mapping[str, Any] = document.fields.get("effective") or {}
    destination = turn.seen.catalogue.destinations.get(str(effective.get("destination")))
    at = places.coordinates(turn.request, effective, turn.run)
    return places.places(at, destination.spec if destination else {})
