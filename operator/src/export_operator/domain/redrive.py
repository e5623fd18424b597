"""Which failed requests are run anew, and by what change. A request that failed is the dead letter itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from export_operator.domain import times
from export_operator.domain.model import EPOCH, Key, parse_request


@dataclass(frozen=True, slots=True)
class Letter:
    """A request as it failed. `version` is the resourceVersion that it was read at."""

    key: Key
    version: str
    requester: str
    reason: str
    failure_class: str
    source: str
    destination: str
    failed: datetime
    obstacle: str = ""
    """Why it is left alone, if it is."""


def read_letter(document: Mapping[str, Any]) -> Letter:
    """The request of this document, whatever became of it."""
    request = parse_request(document)
    status = request.status
    effective, failure = status.get("effective") or {}, status.get("failure") or {}
    return Letter(
        key=request.key,
        version=request.resource_version,
        requester=request.requester,
        reason=str(failure.get("reason") or status.get("reason") or ""),
        failure_class=str(failure.get("class") or ""),
        source=str(effective.get("source") or request.spec["source"]["name"]),
        destination=str(effective.get("destination") or ""),
        failed=times.parse(status.get("completionTime")) or EPOCH,
        obstacle=_obstacle(request.phase, finished=request.finished, spec=request.spec),
    )


def _obstacle(phase: str, *, finished: bool, spec: Mapping[str, Any]) -> str:
    if phase != "Failed":
        return f"it has not failed: its phase is {phase or 'not known yet'}"
    if not finished:
        return "a new run of it is asked for already"
    if spec.get("cancel"):
        return "spec.cancel is true: whoever set it must set it to false first"
    if spec.get("suspend"):
        return "spec.suspend is true: the new run would only wait"
    return ""


def wanted(*, failure_class: str = "", reason: str = "", source: str = "", destination: str = "") -> dict[str, str]:
    """What failed requests have in which field, of those alone that agree with what is given."""
    fields = {
        "status.phase": "Failed",
        "status.failure.class": failure_class,
        "status.failure.reason": reason,
        "spec.source.name": source,
        "status.effective.destination": destination,
    }
    return {field: value for field, value in fields.items() if value}


def selector(fields: Mapping[str, str]) -> str:
    """The field selector of `fields` with these values."""
    return ",".join(f"{field}={value}" for field, value in fields.items())


def matches(document: Mapping[str, Any], fields: Mapping[str, str]) -> bool:
    """Whether the selector would choose it."""
    return all(_value(document, field) == value for field, value in fields.items())


def _value(document: Any, field: str) -> str:
    for name in field.split("."):
        document = (document or {}).get(name)
    return str(document or "")


def new_run_id(now: datetime) -> str:
    """A `spec.runID` that no earlier redrive has used, and that says what it is."""
    return now.astimezone(UTC).strftime("redrive-%Y%m%dT%H%M%S.%fZ")


def change(letter: Letter, run_id: str) -> dict[str, Any]:
    """The merge patch that asks for the new run, if the request still is as it was read."""
    return {"metadata": {"resourceVersion": letter.version}, "spec": {"runID": run_id}}
