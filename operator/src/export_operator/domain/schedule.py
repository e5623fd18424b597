"""What a ScheduledExport is, and the requests that it makes: their names, their manifests, and which are its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from export_operator.domain import times
from export_operator.domain.model import API_VERSION, GROUP, Key, Request, Stamped

KIND = "ScheduledExport"
LABEL_SCHEDULE = f"{GROUP}/schedule"
ANNOTATION_TIME = f"{GROUP}/scheduled-time"

DIGITS = "%y%m%d%H%M"
"""A time in the name of a request, in UTC: ten characters behind a name of at most 52 make the 63 that a request may
have. The name before the last ten digits is the schedule's, so no two schedules and times share one in a century."""


@dataclass(frozen=True, slots=True)
class Schedule(Stamped):
    """A ScheduledExport. What its spec leaves out has the value that the CRD's descriptions promise."""

    @property
    def suspended(self) -> bool:
        return bool(self.spec.get("suspend"))

    @property
    def concurrency(self) -> str:
        return str(self.spec.get("concurrencyPolicy") or "Forbid")

    @property
    def deadline(self) -> timedelta | None:
        """How late a request may be made; None: until the next time."""
        seconds = self.spec.get("startingDeadlineSeconds")
        return None if seconds is None else timedelta(seconds=int(seconds))

    @property
    def offset(self) -> timedelta:
        """How much later than its times it makes requests: of its jitter the same part always."""
        most = int(self.spec.get("jitterSeconds") or 0)
        return timedelta(seconds=int(fraction(str(self.key)) * (most + 1)))

    @property
    def settings(self) -> Mapping[str, str]:
        """Of which times it speaks; in status, what it spoke of when it was last looked at."""
        return {"schedule": self.spec["schedule"], "timeZone": self.spec.get("timeZone") or "UTC"}

    @property
    def turned(self) -> bool:
        """It speaks of other times than when it was last looked at, or was suspended then: what was before the change
        does not count."""
        known = self.status.get("effective")
        return known is not None and (known != self.settings or (self.says("Suspended") and not self.suspended))

    @property
    def handled(self) -> datetime:
        """Up to here nothing is left to do about its times."""
        return times.parse(self.status.get("lastHandledTime")) or self.created

    def says(self, kind: str) -> bool:
        """A condition is True, and speaks of the present spec unless it is `Suspended`."""
        return any(
            item["type"] == kind
            and item["status"] == "True"
            and (kind == "Suspended" or item.get("observedGeneration") == self.generation)
            for item in self.status.get("conditions") or ()
        )

    def limit(self, field: str) -> int:
        """How many ended requests are kept: `successfulHistoryLimit` or `failedHistoryLimit`."""
        given = self.spec.get(field)
        return 3 if given is None else int(given)

    def owns(self, document: Mapping[str, Any]) -> bool:
        """Whether it made the request. Anybody in the namespace can write an owner into a request, but its requester
        is attested."""
        requester = (document["spec"].get("requester") or {}).get("username")
        return controller_of(document) == Owner(self.key, self.uid) and requester == self.requester


def fraction(text: str) -> float:
    """From 0 to below 1, the same for the same text and spread evenly over many."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


class Owner(NamedTuple):
    """Which ScheduledExport an object says that it is of."""

    key: Key
    uid: str


def controller_of(document: Mapping[str, Any]) -> Owner | None:
    """The ScheduledExport that controls an object."""
    metadata = document["metadata"]
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller") and owner["kind"] == KIND and owner["apiVersion"].startswith(f"{GROUP}/"):
            return Owner(Key(metadata["namespace"], owner["name"]), owner["uid"])
    return None


def last_edit(document: Mapping[str, Any], now: datetime) -> datetime:
    """When somebody last changed more than the status of an object, as the API server has it; `now` if it does not
    say."""
    fields = document["metadata"].get("managedFields") or ()
    told = [times.parse(entry.get("time")) for entry in fields if entry.get("subresource") != "status"]
    return min(max((time for time in told if time is not None), default=now), now)


def request_name(schedule: Schedule, time: datetime) -> str:
    """The name of the request for a time of the schedule."""
    return f"{schedule.key.name}-{time.astimezone(UTC).strftime(DIGITS)}"


def request_manifest(schedule: Schedule, time: datetime) -> dict[str, Any]:
    """The ExportRequest for a time of the schedule. It goes when the schedule goes."""
    template = schedule.spec["template"]
    metadata = template.get("metadata") or {}
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": schedule.key.name, "uid": schedule.uid}
    return {
        "apiVersion": API_VERSION,
        "kind": "ExportRequest",
        "metadata": {
            "name": request_name(schedule, time),
            "namespace": schedule.key.namespace,
            "labels": {**(metadata.get("labels") or {}), LABEL_SCHEDULE: schedule.key.name},
            "annotations": {**(metadata.get("annotations") or {}), ANNOTATION_TIME: times.render(time)},
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": False}],
        },
        "spec": {**template["spec"], "requester": {"username": schedule.requester}},
    }


def superfluous(schedule: Schedule, made: tuple[Request, ...]) -> tuple[Request, ...]:
    """Of its requests that have ended, those beyond what is kept; the oldest go."""
    ended = sorted((each for each in made if each.finished), key=lambda each: each.key.name, reverse=True)
    good = [each for each in ended if succeeded(each)]
    other = [each for each in ended if not succeeded(each)]
    return (*good[schedule.limit("successfulHistoryLimit") :], *other[schedule.limit("failedHistoryLimit") :])


def succeeded(request: Request) -> bool:
    """It has ended, and delivered."""
    return request.finished and any(
        item["type"] == "Complete" and item["status"] == "True" for item in request.status.get("conditions") or ()
    )
