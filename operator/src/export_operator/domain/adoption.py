"""A request that is made again takes over the result of the earlier one: nothing runs, and nothing is charged.

Only if somebody whom nobody asked may have made it again: a tool has its mark on it, or our own time to live had
deleted the earlier one. A person who deletes a request and applies it again wants it to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from export_contract.manifest import Manifest
from export_operator.domain import gitops, places, status, times
from export_operator.domain.actions import Action, Decision
from export_operator.domain.model import Key, Request
from export_operator.domain.plan import Plan
from export_operator.domain.tombstones import Tombstone
from export_operator.domain.turn import Turn

BURIED = frozenset({"Succeeded", "PartiallySucceeded", "Failed", "Cancelled"})
"""Ends that are remembered. What was rejected has cost nothing, and may be allowed the next time."""
RESULT = (
    "uri",
    "manifestURI",
    "rows",
    "bytes",
    "sha256",
    "objects",
    "complete",
    "consistency",
    "snapshotTime",
    "usedFallback",
    "expirationTime",
    "deleted",
)
FAILURE = ("reason", "class", "message", "advice", "retryable", "attempts", "exitCode")
MAX_TEXT = 256  # bytes of each text of a failure that is remembered


def stone_of(request: Request, *, expired: datetime | None = None) -> Tombstone | None:
    """What to remember of a request that has ended; `expired` is when its time to live was over, if it goes for that.
    None where there is nothing to take over."""
    told = request.status
    adopted: Mapping[str, Any] = told.get("adopted") or {}
    phase, asked = status.ended_as(told), (told.get("effective") or {}).get("digest")
    completed = times.parse(told.get("completionTime"))
    if phase not in BURIED or not asked or completed is None or request.scheduled:
        return None  # the name of a schedule's request never comes again
    result, failure = dict(told.get("result") or {}), told.get("failure") or {}
    if expired and result and request.spec.get("deletionPolicy") == "Delete":
        result |= {"expirationTime": times.render(expired), "deleted": True}
    return Tombstone(
        request=request.key,
        uid=request.uid,
        user=request.requester,
        digest=str(asked),
        run=str(adopted.get("run") or request.run),
        run_id=request.run_id,
        phase=phase,
        ended=times.parse(adopted.get("completionTime")) or completed,
        time=times.whole(expired or completed),
        expired=expired is not None,
        result={name: result[name] for name in RESULT if name in result},
        failure={
            name: status.clip(value, MAX_TEXT) if isinstance(value, str) else value
            for name, value in failure.items()
            if name in FAILURE
        },
    )


def find(turn: Turn, found: Plan) -> Tombstone | None:
    """The earlier end that the request takes over; None when it shall run. `found` says that it still may."""
    request, seen = turn.request, turn.seen
    stone = seen.tombstones.find(request.key)
    if stone is None or stone.uid == request.uid or seen.job is not None or seen.unsettled or seen.slot_held:
        return None
    asked = (stone.user, stone.run_id, stone.digest)
    if asked != (request.requester, request.run_id, found.effective.digest) or gitops.hook(request):
        return None
    return stone if stone.expired or gitops.manager(request, turn.settings.markers) else None


def forgotten(turn: Turn) -> bool:
    """Whether there may be an earlier end that the manifests alone know of. They tell neither of failures nor who
    deleted a request, so only one that a tool manages asks them, and only before it has asked for a place."""
    request, seen = turn.request, turn.seen
    return (
        seen.tombstones.forgotten
        and seen.tombstones.find(request.key) is None
        and bool(gitops.manager(request, turn.settings.markers))
        and not (seen.job is not None or seen.unsettled or seen.slot_held)
        and all(item["type"] != "QuotaReserved" for item in turn.known.get("conditions") or ())
    )


def folder(found: Plan) -> str:
    """Where the objects of all runs of the request's name are, each run's in a folder of its own."""
    return found.run_spec.destination.manifest_key.rsplit("/", 2)[0]


def of_manifests(turn: Turn, found: Plan, manifests: Iterable[Manifest]) -> Tombstone | None:
    """The newest of these, as the tombstone of its request, if it is one to be taken over."""
    request = turn.request
    asked = (request.key, request.requester, request.run_id, found.effective.digest)
    stones = [
        stone
        for manifest in manifests
        if (stone := _stone(turn, found, manifest)) is not None
        and (stone.request, stone.user, stone.run_id, stone.digest) == asked
        and stone.uid != request.uid
    ]
    return max(stones, key=lambda stone: stone.ended, default=None)


def _stone(turn: Turn, found: Plan, manifest: Manifest) -> Tombstone | None:
    run, ended = manifest.run, times.parse(manifest.finished_at)
    if ended is None or not manifest.objects:
        return None
    spec = turn.seen.catalogue.destinations[found.effective.destination].spec
    where = places.places(found.coordinates(run.id), spec).destination
    result = {
        "uri": where.object,
        "manifestURI": where.manifest,
        "rows": manifest.rows,
        "bytes": sum(each.bytes for each in manifest.objects),
        "sha256": manifest.objects[0].sha256 if len(manifest.objects) == 1 else "",
        "objects": len(manifest.objects),
        "complete": manifest.complete,
        "consistency": manifest.consistency,
        "snapshotTime": manifest.snapshot_time,
        "usedFallback": False,
    }
    return Tombstone(
        request=Key(run.namespace, run.name),
        uid=run.uid,
        user=run.requester,
        digest=run.digest,
        run=run.id,
        run_id=run.run_id,
        phase="Succeeded" if manifest.complete else "PartiallySucceeded",
        ended=ended,
        time=ended,
        result={name: value for name, value in result.items() if value != ""},
    )


def adopt(turn: Turn, found: Plan, stone: Tombstone, first: tuple[Action, ...] = ()) -> Decision:
    """End the request as the earlier one ended, and say whose result that is, how old it is, and how to run anew."""
    document = turn.accepted(found)
    fields = document.fields
    fields["adopted"] = {"run": stone.run, "uid": stone.uid, "completionTime": times.render(stone.ended)}
    for name, value in (("result", stone.result), ("failure", stone.failure)):
        if value:
            fields[name] = dict(value)
    if "rows" in stone.result:
        fields["progress"] = {name: stone.result[name] for name in ("rows", "bytes") if name in stone.result}
    fields["attempts"] = 0
    text = (
        f"adopted: an earlier request of this name {_ended(stone)} at {times.render(stone.ended)},"
        f" {_age(turn.now - stone.ended)} ago. Nothing ran and nothing was charged."
        f"{_lost(stone, turn.now)} Set a spec.runID that it has not had to run it anew."
    )
    document.condition("Adopted", True, "Expired" if stone.expired else "Managed", text)
    return turn.close(stone.phase, "Adopted", text, document=document, first=first, event="Adopted")


def _ended(stone: Tombstone) -> str:
    match stone.phase:
        case "Failed":
            return f"failed ({stone.failure.get('reason')})"
        case "Cancelled":
            return "was cancelled"
        case "PartiallySucceeded":
            return "delivered in part"
    return "delivered"


def _lost(stone: Tombstone, now: datetime) -> str:
    """What became of the objects, if that is known."""
    went = times.parse(stone.result.get("expirationTime"))
    return "" if went is None or went > now else f" The time of its objects was over at {times.render(went)}."


def _age(age: timedelta) -> str:
    """As a person says it: `12 days`."""
    seconds = max(int(age.total_seconds()), 0)
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if number := seconds // length:
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
