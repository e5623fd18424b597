"""What Kueue says of a Job: its Workload, read as values, and in words why the Job does not start yet.

Kueue makes one Workload for each Job that bears a queue's name, and suspends the Job until the Workload is admitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from export_operator.domain.model import GROUP, Job

API_GROUP = "kueue.x-k8s.io"
API_VERSION = "v1beta2"  # served by Kueue 0.15 and newer, stored by 0.16 and newer
ANNOTATION_SUSPENDED = f"{GROUP}/suspended"
"""On a Workload that is inactive because we say so: whoever else deactivated one shall not see it undone."""

TAKEN_UP_WITHIN = timedelta(seconds=30)
"""Kueue makes the Workload in a moment; one that is missing for so long has nobody who makes it."""
MAX_REASON = 63


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a Workload, with Kueue's own words."""

    holds: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Workload:
    """Kueue's view of one Job, whose UID is `job_uid`. `suspended` means inactive by our word."""

    name: str
    uid: str
    job: str
    job_uid: str
    active: bool
    suspended: bool
    reserved: Condition | None = None
    admitted: Condition | None = None
    evicted: Condition | None = None

    @property
    def starting(self) -> bool:
        """Kueue has decided, and lets its Job go in a moment."""
        evicted = self.evicted is not None and self.evicted.holds
        return self.admitted is not None and self.admitted.holds and not evicted


def parse_workload(body: Mapping[str, Any]) -> Workload:
    metadata, status = body["metadata"], body.get("status") or {}
    owner: Mapping[str, Any] = next(
        (item for item in metadata.get("ownerReferences") or () if item.get("controller") and item["kind"] == "Job"), {}
    )
    conditions = {
        item["type"]: Condition(item.get("status") == "True", item.get("reason", ""), item.get("message", ""))
        for item in status.get("conditions") or ()
    }
    return Workload(
        name=metadata["name"],
        uid=metadata["uid"],
        job=owner.get("name", ""),
        job_uid=owner.get("uid", ""),
        active=(body.get("spec") or {}).get("active", True),
        suspended=ANNOTATION_SUSPENDED in (metadata.get("annotations") or {}),
        reserved=conditions.get("QuotaReserved"),
        admitted=conditions.get("Admitted"),
        evicted=conditions.get("Evicted"),
    )


def unavailable(queue: str) -> tuple[str, str]:
    """Reason and sentence when the policy names a queue and Workloads cannot be read."""
    return "KueueUnavailable", (
        f"the policy gives its runs to Kueue (queue {queue!r}), and the operator cannot read Workloads: the platform"
        " team must install Kueue, and the chart with kueue.enabled"
    )


def handed_over(queue: str) -> tuple[str, str]:
    """Reason and sentence for a Job of which Kueue has said nothing yet."""
    return "KueuePending", f"in Kueue's queue {queue!r}"


def waiting(job: Job, workload: Workload | None, now: datetime) -> tuple[str, str]:
    """Reason and sentence, Kueue's own where it gives one, for a Job that it holds."""
    if workload is None and now - job.created >= TAKEN_UP_WITHIN:
        return "KueueNotResponding", (
            f"in Kueue's queue {job.queue!r}: there is no Workload of Job {job.name}; the platform team must see"
            " whether Kueue runs and manages Jobs of that namespace"
        )
    told = None if workload is None else _telling(workload)
    if told is None:
        return handed_over(job.queue)
    return told.reason[:MAX_REASON], f"in Kueue's queue {job.queue!r}: {told.message or told.reason}"


def _telling(workload: Workload) -> Condition | None:
    """The condition that says why the Job stands still. An evicted Workload stays so until it has a place again, one
    that was deactivated even when it is active again and waits like others."""
    evicted = workload.evicted
    if evicted is not None and evicted.holds and not (workload.active and evicted.reason.startswith("Deactivated")):
        return evicted
    if workload.reserved is not None and workload.reserved.holds:
        return workload.admitted
    return workload.reserved
