"""The vocabulary of decisions: what is seen, what may be done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from export_contract.report import Progress
from export_operator.domain import breaker, identity, jobs, kueue, leftovers, plan, policy, queue, quota
from export_operator.domain.forecast import Forecast
from export_operator.domain.identity import Subject
from export_operator.domain.manifests import Sought
from export_operator.domain.model import Catalogue, Job, Key, Pod, Request
from export_operator.domain.notices import Notice
from export_operator.domain.places import Coordinates
from export_operator.domain.tombstones import NOTHING, Tombstone, Tombstones


@dataclass(frozen=True, slots=True)
class Settings:
    """What decisions depend on besides facts."""

    pods: jobs.PodSettings
    defaults: policy.Defaults = field(default_factory=policy.Defaults)
    max_concurrent_runs: int = 20
    history_hold: timedelta = timedelta(days=1)
    """For how long after its time to live a request stays for the sake of the history."""
    markers: tuple[str, ...] = ()
    """Of the platform team's own GitOps tools (see `gitops.manager`)."""


@dataclass(frozen=True, slots=True)
class Observation:
    """All that is known about one request. `job` is None only if the API server said so."""

    request: Request
    catalogue: Catalogue
    identity: identity.Enforcement
    job: Job | None = None
    pods: tuple[Pod, ...] = ()
    pod_lives: bool = False
    """A pod of the run may still be at work."""
    undone: bool = False
    """What the run left was removed since this operator started, with its objects."""
    slot_held: bool = False
    unsettled: bool = False
    """The run holds places in windows that nobody has settled."""
    unrecorded: bool = False
    """The run has ended, and the history has no row of it yet."""
    progress: Progress | None = None
    gone: tuple[Pod, ...] = ()
    """Pods of the run that ended and were removed since this process began."""
    log_tail: str = ""
    """The end of the last attempt's log, once the Job has failed."""
    told: tuple[Notice, ...] = ()
    """Kubernetes' Events of what `starting.unexplained` names."""
    silent_nodes: frozenset[str] = frozenset()
    """Nodes of the pods that are overdue (`lost.overdue`) which do not answer."""
    sought: Sought | None = None
    """What came of `Seek`; None when nobody asked, or the answer is not there yet."""
    namespace_missing: bool = False
    """There is no Job, for there is no run namespace."""
    workloads_seen: bool = False
    """Workloads can be read; `workload` is the Job's, None while Kueue has made none."""
    workload: kueue.Workload | None = None
    breakers: breaker.Breakers = field(default_factory=dict)
    waits: bool = False
    """The request is one of those that wait; `queued` counts them by subject."""
    queued: Mapping[Subject, int] = field(default_factory=dict)
    forecast: Forecast | None = None
    tombstones: Tombstones = NOTHING
    """Of whom the request counts against."""


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Replace the status, if the request is still the one that was seen."""

    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Emit:
    """An Event on the request. One of a reason and run: its name follows from both."""

    kind: str
    reason: str
    message: str
    run: str


@dataclass(frozen=True, slots=True)
class Recall:
    """Look for manifests of earlier runs in this folder of the plan's destination; what is there goes to
    `admission.recalled`, and that they cannot be read to `admission.not_recalled`."""

    plan: plan.Plan
    folder: str


@dataclass(frozen=True, slots=True)
class Reserve:
    """Reserve the windows; what came of it goes to `admission.reserved`."""

    plan: plan.Plan
    limits: tuple[quota.WindowLimit, ...]
    waiting: queue.Waiting
    demand: quota.Demand


@dataclass(frozen=True, slots=True)
class TakeSlot:
    """Take a slot, the windows being reserved; what came of it goes to `admission.admitted`."""

    plan: plan.Plan
    waiting: queue.Waiting
    windows: quota.Admission


@dataclass(frozen=True, slots=True)
class Wait:
    """The request waits, and is one of those of these subjects that do. A decision without this ends its waiting."""

    subjects: frozenset[Subject]


@dataclass(frozen=True, slots=True)
class CreateJob:
    """Create the run's Job; one that is there already with the run's label is the one. `confirm`: only if the request
    still is as it was seen. Another operator may have begun and ended the run since, and its Job be gone: then its name
    is free, and the status alone tells."""

    manifest: Mapping[str, Any]
    confirm: bool = True


@dataclass(frozen=True, slots=True)
class StopJob:
    """End a Job early. The reason stands on it, so that whoever reads its end knows why."""

    job: Job
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class SuspendJob:
    """Suspend a Job (its pod goes) or let it go on."""

    job: Job
    suspend: bool


@dataclass(frozen=True, slots=True)
class SetActive:
    """Take a Job's Workload out of Kueue's queue, or put it back."""

    workload: kueue.Workload
    active: bool


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Delete a Job and its pods, if it is still the one that was seen."""

    job: Job


@dataclass(frozen=True, slots=True)
class DeletePods:
    """Delete the pods of a run whose Job has ended and stays, or is gone."""

    run: str


@dataclass(frozen=True, slots=True)
class Undo:
    """Remove what a run that has ended left outside the cluster (uploads, checkpoint, objects that no manifest makes an
    export; with `objects` the export itself), then delete its `job`, which tells where, or if that `stays` note it on
    it. A run without a Job needs `at`. Done in the background, and tried again until it is; a Job that is not noted is
    what an operator that starts goes on from."""

    run: str
    destination: str
    objects: bool
    job: Job | None = None
    at: leftovers.Leftovers | None = None
    stays: bool = False


@dataclass(frozen=True, slots=True)
class LosePod:
    """Tell Kubernetes that a pod is over: its node does not answer and never will say so."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class Seek:
    """Look for the manifest of a run whose end nobody tells; the answer is `Observation.sought`. `spec` is that of the
    ExportDestination, None when it is gone."""

    run: str
    request: Key
    destination: str
    spec: Mapping[str, Any] | None
    at: Coordinates


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """Delete a request, if it is still the one that was seen."""

    request: Request


@dataclass(frozen=True, slots=True)
class Bury:
    """Write the tombstone down, durably; `along`: if anything else of its page is written before the next look."""

    owner: Subject
    stone: Tombstone
    along: bool = False


@dataclass(frozen=True, slots=True)
class Unbury:
    """Forget the tombstone of requests of this name."""

    owner: Subject
    request: Key


@dataclass(frozen=True, slots=True)
class ReleaseSlot:
    """Let others have the run's slot."""

    run: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Look again when the breaker of this source or destination lets runs through."""

    subject: Subject


@dataclass(frozen=True, slots=True)
class Learn:
    """Tell the breakers how a run ended. `told` names it and its end, `began` is when its last attempt did."""

    verdicts: tuple[breaker.Verdict, ...]
    told: breaker.Failed
    began: datetime


@dataclass(frozen=True, slots=True)
class Refund:
    """Give back the windows of a run that never had a Job."""

    run: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Settle the windows of a run that is over, `soon` where something waits until that is written."""

    settlement: quota.Settlement
    soon: bool = False


Action = (
    WriteStatus
    | Emit
    | Recall
    | Reserve
    | TakeSlot
    | Wait
    | CreateJob
    | StopJob
    | SuspendJob
    | SetActive
    | DeleteJob
    | DeletePods
    | Undo
    | LosePod
    | Seek
    | DeleteRequest
    | Bury
    | Unbury
    | ReleaseSlot
    | Refund
    | Settle
    | Hold
    | Learn
)


@dataclass(frozen=True, slots=True)
class Decision:
    """Actions in order, and when to look again if nothing happens before (seconds)."""

    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
