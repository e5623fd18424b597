"""What the requests that are there have in common, counted as each comes, changes and goes: a look at the numbers
costs the same however many there are, and they are always those that counting anew would give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from export_operator.domain import jobs, times
from export_operator.domain.model import TERMINAL_PHASES, Key
from export_operator.domain.policy import FALLBACKS
from export_operator.domain.series import Labels, Tenant, bounded, bounded_tenant, labels_of

T = TypeVar("T")

STUCK_AFTER = timedelta(minutes=15)
"""Beyond the time that all attempts of a run may take together; a fallback's own time is within it."""


class _Place(NamedTuple):
    """Where a request is counted. `waits` is its reason to wait and since when, `ends` when its run must be over."""

    labels: Labels
    tenant: Tenant
    waits: tuple[str, datetime] | None
    ends: datetime | None


class Census:
    """Of all requests. `put` and `drop` are idempotent."""

    def __init__(self) -> None:
        self._places: dict[Key, _Place] = {}
        self._requests: Counter[Labels] = Counter()
        self._tenants: Counter[Tenant] = Counter()
        self._waiting: dict[str, dict[Key, datetime]] = {}
        self._ends: dict[Key, datetime] = {}

    def put(self, key: Key, document: Mapping[str, Any]) -> None:
        """The request is there, and this is what it says."""
        self.drop(key)
        status = document.get("status") or {}
        labels = bounded(labels_of(status), self._requests)
        tenant = bounded_tenant(Tenant(key.namespace, labels.phase), self._tenants)
        place = _Place(labels, tenant, _waits(status), _must_end(status))
        self._places[key] = place
        self._requests[labels] += 1
        self._tenants[tenant] += 1
        if place.waits is not None:
            reason, since = place.waits
            self._waiting.setdefault(reason, {})[key] = since
        if place.ends is not None:
            self._ends[key] = place.ends

    def drop(self, key: Key) -> None:
        """The request is gone."""
        place = self._places.pop(key, None)
        if place is None:
            return
        _take(self._requests, place.labels)
        _take(self._tenants, place.tenant)
        if place.waits is not None:
            reason, _ = place.waits
            del self._waiting[reason][key]
            if not self._waiting[reason]:
                del self._waiting[reason]
        self._ends.pop(key, None)

    def requests(self) -> Mapping[Labels, int]:
        """How many there are."""
        return self._requests

    def tenants(self) -> Mapping[Tenant, int]:
        """How many there are in each namespace."""
        return self._tenants

    def oldest(self, now: datetime) -> Mapping[str, float]:
        """For how many seconds the first of those has waited that wait for the same reason."""
        return {
            reason: max((now - min(waiting.values())).total_seconds(), 0.0) for reason, waiting in self._waiting.items()
        }

    def stuck(self, now: datetime) -> int:
        """Runs under way that should have been over long ago."""
        return sum(1 for end in self._ends.values() if end + STUCK_AFTER < now)


def _take(counts: Counter[T], one: T) -> None:
    counts[one] -= 1
    if not counts[one]:
        del counts[one]


def _waits(status: Mapping[str, Any]) -> tuple[str, datetime] | None:
    since = times.parse(status.get("queuedTime"))
    if status.get("phase") != "Queued" or since is None:
        return None
    return str(status.get("reason") or ""), since


def _must_end(status: Mapping[str, Any]) -> datetime | None:
    """When the last attempt of a run under way has to be over: the Job's deadline says the same, and somebody watches
    that too. It begins anew when a suspended run is let go on."""
    if status.get("phase") in TERMINAL_PHASES or status.get("phase") == "Queued":
        return None
    started = times.parse(status.get("startTime"))
    if started is None or not status.get("jobRef"):
        return None
    resumed = (
        times.parse(item.get("lastTransitionTime"))
        for item in status.get("conditions") or ()
        if item.get("type") == "Suspended"
    )
    began = max([started, *filter(None, resumed)])
    effective = status.get("effective") or {}
    start, run = (
        int(effective.get(name) or FALLBACKS[name]) for name in ("startDeadlineSeconds", "runDeadlineSeconds")
    )
    return began + timedelta(seconds=jobs.active_deadline_seconds(start, run))
