"""The status of a request, composed whole: what is written is always a full document, never a patch of a part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from export_operator.domain import times
from export_operator.domain.endings import Problem
from export_operator.domain.forecast import Forecast
from export_operator.domain.outcome import Ended
from export_operator.domain.places import Places
from export_operator.domain.progress import unforeseen
from export_operator.domain.quota import WindowState

MAX_STATUS = 8 * 1024
# Bytes of JSON, chosen so that the largest status stays below that, but for what `Document.fit` cuts.
MAX_MESSAGE = 1024
MAX_CONDITION_MESSAGE = 480
MAX_LOG_TAIL = 2048
MAX_COLUMNS = 640
MAX_NAME = 128
MAX_QUOTA = 960
MAX_RETRIES = 160
MAX_QUOTAS = 8  # entries, by the CRD


def clip(text: str, limit: int) -> str:
    """The text as far as it fits into `limit` bytes of JSON, with a mark where it was cut."""
    sound = text.encode("utf-8", "replace").decode()  # a pod may write half a surrogate pair
    if _size(sound) <= limit:
        return sound
    # Only what might fit is looked at: each character takes at least a byte.
    kept, room = [], limit - len("…".encode())
    for character in sound[:limit]:
        room -= _size(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _size(value: Any) -> int:
    """Bytes that JSON takes; of a text without its quotes."""
    encoded = len(json.dumps(value, ensure_ascii=False).encode())
    return encoded - 2 if isinstance(value, str) else encoded


@dataclass(frozen=True, slots=True)
class Document:
    """A status under construction. `now` is when its conditions turn."""

    fields: dict[str, Any]
    conditions: list[dict[str, Any]]
    generation: int
    now: datetime

    def phase(self, phase: str, reason: str, message: str) -> None:
        """Phase, with the reason and the sentence that a person reads first."""
        self.fields.update(phase=phase, reason=reason, message=clip(message, MAX_MESSAGE))

    def condition(self, kind: str, value: bool | None, reason: str, message: str) -> None:
        """Set a condition (None: unknown); its transition time moves only when its value does (Kubernetes API
        conventions)."""
        text = "Unknown" if value is None else str(value)
        found = next((item for item in self.conditions if item["type"] == kind), None)
        moved = found is None or found["status"] != text
        condition = {
            "type": kind,
            "status": text,
            "reason": reason,
            "message": clip(message, MAX_CONDITION_MESSAGE),
            "observedGeneration": self.generation,
            "lastTransitionTime": times.render(self.now) if moved or found is None else found["lastTransitionTime"],
        }
        self.drop_condition(kind)
        self.conditions.append(condition)

    def has_condition(self, kind: str) -> bool:
        return any(item["type"] == kind for item in self.conditions)

    def says(self, kind: str) -> bool:
        """The condition is True."""
        return any(item["type"] == kind and item["status"] == "True" for item in self.conditions)

    def drop_condition(self, kind: str) -> None:
        self.conditions[:] = [item for item in self.conditions if item["type"] != kind]

    def queue(
        self, reason: str, message: str, next_eligible: datetime | None = None, forecast: Forecast | None = None
    ) -> None:
        """Waiting: since when, for what, in which place, and until when if that is known."""
        self.fields.setdefault("queuedTime", times.render(self.now))
        queue: dict[str, Any] = {"reason": reason, "since": self.fields["queuedTime"]}
        if next_eligible is not None:
            queue["nextEligibleTime"] = times.render(next_eligible)
        if forecast is not None:
            queue["position"] = forecast.position
            if forecast.start is not None:
                queue["estimatedStartTime"] = times.render(forecast.start)
        self.fields["queue"] = queue
        self.phase("Queued", reason, message)

    def resume(self, text: str = "it goes on") -> None:
        """No longer waiting; nor suspended, if it was."""
        self.fields.pop("queue", None)
        if self.says("Suspended"):
            self.condition("Suspended", False, "Resumed", text)

    def halt(self) -> None:
        """No rows move: nothing says any more when they will all be there."""
        if progress := self.fields.get("progress"):
            self.fields["progress"] = unforeseen(progress)

    def fit(self) -> None:
        """Cut what makes the status too large, which takes names and texts of the largest kind: the beginning of the
        log's tail, then what each attempt said, then the attempts and the columns."""
        for cut in (_shorten_tail, _drop_messages, _drop_attempts, _drop_columns):
            excess = _size(self.compose()) - MAX_STATUS
            if excess <= 0:
                return
            for fields in (self.fields, self.fields.get("failure") or {}):
                cut(fields, excess)

    def compose(self) -> dict[str, Any]:
        return self.fields | {"conditions": sorted(self.conditions, key=lambda item: str(item["type"]))}


def _shorten_tail(fields: dict[str, Any], excess: int) -> None:
    tail = fields.pop("logTail", "")
    room = _size(tail) - excess
    if room > len("…".encode()):
        fields["logTail"] = _clip_beginning(tail, room)


def _drop_messages(fields: dict[str, Any], _: int) -> None:
    if attempts := fields.get("recentAttempts"):
        fields["recentAttempts"] = [
            {name: value for name, value in each.items() if name != "message"} for each in attempts
        ]


def _drop_attempts(fields: dict[str, Any], _: int) -> None:
    fields.pop("recentAttempts", None)


def _drop_columns(fields: dict[str, Any], _: int) -> None:
    if effective := fields.get("effective"):
        fields["effective"] = {name: value for name, value in effective.items() if name != "columns"}


def _clip_beginning(text: str, limit: int) -> str:
    """The end of the text, as far as it fits."""
    return clip(text[::-1], limit)[::-1]


def ended_as(told: Mapping[str, Any]) -> str:
    """The phase in which a request ended; when it is kept as Expired, read off what its status says besides."""
    phase = str(told.get("phase") or "")
    if phase != "Expired":
        return phase
    said = {item["type"] for item in told.get("conditions") or () if item["status"] == "True"}
    if "Complete" in said:
        return "Succeeded" if (told.get("result") or {}).get("complete", True) else "PartiallySucceeded"
    if "Stalled" in said:
        return "Rejected"
    return "Failed" if told.get("failure") else "Cancelled"


def effective_status(effective: Mapping[str, Any]) -> dict[str, Any]:
    """`status.effective`. A list of columns too long for it is left out: request, dataset and manifest have it. The
    name that the policy was selected by, which stands in the request as well, is cut."""
    by = {name: clip(value, MAX_NAME) for name, value in effective["policySelectedBy"].items()}
    shown = {**effective, "policySelectedBy": by}
    if _size(effective["columns"]) > MAX_COLUMNS:
        del shown["columns"]
    return shown


def quota_status(states: Sequence[WindowState]) -> list[dict[str, Any]]:
    """`status.quota`: the limits that bind, how much is used, and when those that are full have room; the tightest
    first, and as many as fit."""
    ordered = sorted(states, key=lambda state: (not state.full, state.maximum - state.used, state.resource))
    found: list[dict[str, Any]] = []
    for state in ordered:
        told = {
            "policy": state.limit.policy,
            "scope": state.limit.scope,
            "resource": state.resource,
            "used": state.used,
            "limit": state.maximum,
        }
        if state.next_eligible:
            told["nextEligibleTime"] = times.render(state.next_eligible)
        if len(found) == MAX_QUOTAS or _size([*found, told]) > MAX_QUOTA:
            break
        found.append(told)
    return found


def retries_status(found: Mapping[str, int]) -> dict[str, int]:
    """`status.retries`: as many kinds of calls that were tried again as fit, the most frequent first."""
    told: dict[str, int] = {}
    for name, number in found.items():
        if _size(told | {name: number}) > MAX_RETRIES:
            break
        told[name] = number
    return told


def result_status(ended: Ended, places: Places) -> dict[str, Any]:
    """`status.result`. Where no pod could tell, the destination's place is still known: the manifest there holds the
    rest, unless the run went to the fallback."""
    if ended.delivered is None:
        return {"uri": places.destination.object, "manifestURI": places.destination.manifest}
    place = places.of(ended.delivered)
    assert place is not None, "an outcome is read only when it names one of the run's places"
    delivered = ended.delivered
    result: dict[str, Any] = {
        "uri": place.object,
        "manifestURI": place.manifest,
        "rows": delivered.rows,
        "bytes": delivered.bytes,
        "sha256": delivered.sha256,
        "objects": delivered.objects,
        "connections": delivered.connections,
        "complete": delivered.complete,
        "consistency": delivered.consistency,
        "snapshotTime": delivered.snapshot_time,
        "segments": delivered.segments,
        "resumed": delivered.resumed,
        "usedFallback": delivered.used_fallback,
        "peakMemoryBytes": ended.peak_memory_bytes,
        "timings": {name: round(seconds, 3) for name, seconds in ended.timings[:16]},
    }
    return {name: value for name, value in result.items() if value not in ("", {})}


def failure_status(
    problem: Problem, attempts: int, recent: Sequence[Mapping[str, Any]] = (), checkpoint_rows: int | None = None
) -> dict[str, Any]:
    """`status.failure`: the dead letter. `recent` are its last attempts, `checkpoint_rows`: how far it was."""
    failure: dict[str, Any] = {
        "reason": problem.reason,
        "class": problem.failure_class,
        "message": clip(problem.message, MAX_MESSAGE),
        "advice": problem.advice,
        "retryable": problem.retryable,
        "attempts": attempts,
    }
    if problem.exit_code is not None:
        failure["exitCode"] = problem.exit_code
    if problem.preflight:
        failure["preflight"] = True
    if problem.log_tail:
        failure["logTail"] = _clip_beginning(problem.log_tail, MAX_LOG_TAIL)  # its end says most
    if recent:
        failure["recentAttempts"] = list(recent)
    if checkpoint_rows is not None:
        failure["checkpoint"] = {"rows": checkpoint_rows}
    return failure
