"""What the operator reads of the world, as values: requests, the catalogue, Jobs and pods.

Parsing is lenient on purpose: the API server has validated these objects against their schema, and an object
written under a newer schema must not break an older operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from export_contract import names
from export_operator.domain import times
from export_operator.domain.memo import Memo

GROUP = "export-operator.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
MANAGED_BY = "export-operator"

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_RUN = f"{GROUP}/run"
LABEL_REQUEST_UID = f"{GROUP}/request-uid"
LABEL_KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
ANNOTATION_NAMESPACE = f"{GROUP}/request-namespace"
ANNOTATION_NAME = f"{GROUP}/request-name"
ANNOTATION_REQUESTER = f"{GROUP}/requester"
ANNOTATION_SUBMITTER = f"{GROUP}/submitted-by"
ANNOTATION_DESTINATION = f"{GROUP}/destination"
ANNOTATION_DELETION_POLICY = f"{GROUP}/deletion-policy"
ANNOTATION_EXPIRES = f"{GROUP}/expires"
ANNOTATION_RESEND = f"{GROUP}/resend-notifications"
ANNOTATION_UNDONE = f"{GROUP}/undone"
ANNOTATION_STOP_REASON = f"{GROUP}/stop-reason"
ANNOTATION_STOP_MESSAGE = f"{GROUP}/stop-message"

TERMINAL_PHASES = frozenset({"Succeeded", "PartiallySucceeded", "Failed", "Rejected", "Cancelled", "Expired"})

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Key(NamedTuple):
    """Namespace and name of an object of ours: what work is queued under. A tuple, for the queue compares many."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Stamped:
    """A namespaced object of ours, on which the cluster has written who asks: an ExportRequest, a ScheduledExport, an
    ExportDownload. `spec` and `status` stay as the API server gave them; what decisions need has a name."""

    key: Key
    uid: str
    resource_version: str
    generation: int
    created: datetime
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    scheduled: bool = False
    """A ScheduledExport made it."""

    @property
    def requester(self) -> str:
        return str((self.spec.get("requester") or {}).get("username") or "")

    @property
    def submitter(self) -> str:
        return str((self.spec.get("submittedBy") or {}).get("username") or "")

    @property
    def submitter_groups(self) -> frozenset[str]:
        return frozenset((self.spec.get("submittedBy") or {}).get("groups") or ())

    @property
    def groups(self) -> frozenset[str]:
        """Groups of the requester; empty when somebody else submitted the object, for then nobody attested them."""
        return self.submitter_groups if self.requester == self.submitter else frozenset()


@dataclass(frozen=True, slots=True)
class Request(Stamped):
    """An ExportRequest."""

    @property
    def run_id(self) -> str:
        return str(self.spec.get("runID") or "")

    @property
    def phase(self) -> str:
        return str(self.status.get("phase") or "")

    @property
    def record_run_id(self) -> str:
        """`runID` of the run of record: the status's while one is under way, else the spec's."""
        under_way = bool(self.phase) and self.phase not in TERMINAL_PHASES
        return str(self.status.get("runID") or "") if under_way else self.run_id

    @property
    def run(self) -> str:
        """The run of record."""
        return names.run_id(self.uid, self.record_run_id)

    @property
    def launched(self) -> bool:
        """Status says that the run of record has had a Job."""
        return bool(self.status.get("jobRef")) and self.status.get("run") == self.run

    @property
    def finished(self) -> bool:
        """The run of record has ended. A new `spec.runID` opens another; until then nothing changes the outcome."""
        return self.phase in TERMINAL_PHASES and str(self.status.get("runID") or "") == self.run_id


S = TypeVar("S", bound=Stamped)


def parse_stamped(body: Mapping[str, Any], kind: type[S]) -> S:
    """`body` as a `Stamped` or one of its subclasses."""
    metadata = body["metadata"]
    return kind(
        key=Key(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=int(metadata.get("generation") or 0),
        created=times.parse(metadata.get("creationTimestamp")) or EPOCH,
        spec=body.get("spec") or {},
        status=body.get("status") or {},
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        scheduled=any(
            owner.get("kind") == "ScheduledExport" and owner.get("controller")
            for owner in metadata.get("ownerReferences") or ()
        ),
    )


def parse_request(body: Mapping[str, Any]) -> Request:
    return parse_stamped(body, Request)


def going(body: Mapping[str, Any]) -> bool:
    """Somebody has deleted the object, and a finalizer keeps it for a while: it never comes back."""
    return bool(body["metadata"].get("deletionTimestamp"))


@dataclass(frozen=True)
class Named:
    """A cluster-scoped object that the platform team made: source, destination or policy."""

    name: str
    spec: Mapping[str, Any]
    generation: int = 0

    @cached_property
    def selectors(self) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """Users, groups and namespaces that a policy selects; an empty set selects all."""
        selector = self.spec.get("selector") or {}
        users, groups, namespaces = (frozenset(selector.get(kind) or ()) for kind in ("users", "groups", "namespaces"))
        return users, groups, namespaces

    @cached_property
    def specificity(self) -> tuple[bool, bool, bool, str]:
        """A key to order policies by, the most specific first. No two policies share one, for names are unique."""
        users, groups, namespaces = self.selectors
        return (not users, not groups, not namespaces, self.name)


def parse_named(body: Mapping[str, Any]) -> Named:
    metadata = body["metadata"]
    return Named(metadata["name"], body.get("spec") or {}, int(metadata.get("generation") or 0))


@dataclass(frozen=True, slots=True)
class Job:
    """A Job of the run namespace. `complete` and `failed` are its terminal conditions, and only those count. One with a
    `queue` is Kueue's to suspend and to let go on; `started` is when the Job controller last did so."""

    name: str
    uid: str
    run: str
    request_uid: str
    request: Key
    created: datetime
    suspended: bool
    deleting: bool
    """No pod of it follows, though a finalizer may keep it for long."""
    complete: bool = False
    failed: bool = False
    failed_reason: str = ""
    failed_message: str = ""
    failed_pods: int = 0
    failing: datetime | None = None
    """When the Job controller decided that it has failed; `failed` follows when all its pods have ended."""
    stop_reason: str = ""
    stop_message: str = ""
    finished: datetime | None = None
    queue: str = ""
    started: datetime | None = None
    requester: str = ""
    destination: str = ""
    deletes_objects: bool = False
    """What the run delivered goes when its request is deleted."""
    undone: bool = False
    """What the run had left was removed after it failed."""
    resource_version: str = field(default="", compare=False)

    @property
    def held_by_kueue(self) -> bool:
        """Kueue has not admitted it, or has taken its admission away."""
        return bool(self.queue) and self.suspended and not self.terminal

    @property
    def terminal(self) -> bool:
        return self.complete or self.failed

    @property
    def leaving(self) -> bool:
        """It only waits to go: nobody need do anything about it any more."""
        return self.deleting and (self.terminal or self.suspended)


def parse_job(body: Mapping[str, Any]) -> Job:
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    conditions = {item["type"]: item for item in status.get("conditions") or () if item.get("status") == "True"}
    end = conditions.get("Complete") or conditions.get("Failed") or {}
    failing = conditions.get("FailureTarget") or {}
    failed = conditions.get("Failed") or failing
    return Job(
        name=metadata["name"],
        uid=metadata["uid"],
        run=labels.get(LABEL_RUN, ""),
        request_uid=labels.get(LABEL_REQUEST_UID, ""),
        request=Key(annotations.get(ANNOTATION_NAMESPACE, ""), annotations.get(ANNOTATION_NAME, "")),
        created=times.parse(metadata.get("creationTimestamp")) or EPOCH,
        suspended=bool(spec.get("suspend")),
        deleting=going(body),
        complete="Complete" in conditions,
        failed="Failed" in conditions,
        failed_reason=failed.get("reason", ""),
        failed_message=failed.get("message", ""),
        failed_pods=int(status.get("failed") or 0),
        failing=times.parse(failing.get("lastTransitionTime")),
        stop_reason=annotations.get(ANNOTATION_STOP_REASON, ""),
        stop_message=annotations.get(ANNOTATION_STOP_MESSAGE, ""),
        finished=times.parse(end.get("lastTransitionTime")),
        queue=labels.get(LABEL_KUEUE_QUEUE, ""),
        started=times.parse(status.get("startTime")),
        requester=annotations.get(ANNOTATION_REQUESTER, ""),
        destination=annotations.get(ANNOTATION_DESTINATION, ""),
        deletes_objects=annotations.get(ANNOTATION_DELETION_POLICY) == "Delete",
        undone=ANNOTATION_UNDONE in annotations,
        resource_version=metadata.get("resourceVersion", ""),
    )


@dataclass(frozen=True, slots=True)
class Pod:
    """One attempt. `waiting_*` says why its container does not start; the exit fields how it ended."""

    name: str
    uid: str
    run: str
    created: datetime
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    unschedulable: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    running: bool = False
    started: datetime | None = None
    exit_code: int | None = None
    exit_reason: str = ""
    exit_message: str = ""
    finished: datetime | None = None
    deleting: bool = False
    node: str = ""
    gone_by: datetime | None = None
    """When it shall have ended, its grace included: it is being deleted."""
    disruption: str = ""
    """Why it was taken away (condition DisruptionTarget); "" when it was not."""
    disruption_message: str = ""

    @property
    def over(self) -> bool:
        """It runs no more. One that its node refused, or whose node is lost, has no exit code."""
        return self.exit_code is not None or self.phase in {"Succeeded", "Failed"}


def parse_pod(body: Mapping[str, Any]) -> Pod:
    metadata, status = body["metadata"], body.get("status") or {}
    conditions = {item.get("type"): item for item in status.get("conditions") or ()}
    scheduled: Mapping[str, Any] = conditions.get("PodScheduled") or {}
    disrupted: Mapping[str, Any] = conditions.get("DisruptionTarget") or {}
    if disrupted.get("status") != "True":
        disrupted = {}
    containers = status.get("containerStatuses") or ()
    state = (containers[0].get("state") or {}) if containers else {}
    waiting, running, ended = state.get("waiting") or {}, state.get("running") or {}, state.get("terminated") or {}
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        run=(metadata.get("labels") or {}).get(LABEL_RUN, ""),
        created=times.parse(metadata.get("creationTimestamp")) or EPOCH,
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        unschedulable=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        running=bool(running) and status.get("phase") not in {"Succeeded", "Failed"},
        started=times.parse(running.get("startedAt") or ended.get("startedAt")),
        exit_code=ended.get("exitCode"),
        exit_reason=ended.get("reason", ""),
        exit_message=ended.get("message", ""),
        finished=times.parse(ended.get("finishedAt")),
        deleting=going(body),
        node=(body.get("spec") or {}).get("nodeName", ""),
        gone_by=times.parse(metadata.get("deletionTimestamp")),
        disruption=disrupted.get("reason", ""),
        disruption_message=disrupted.get("message", ""),
    )


@dataclass(frozen=True, slots=True)
class DeliveredSize:
    """How much a finished run delivered of a dataset."""

    run: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the platform team offers. A name that is absent does not exist."""

    sources: Mapping[str, Named] = field(default_factory=dict)
    destinations: Mapping[str, Named] = field(default_factory=dict)
    policies: Mapping[str, Named] = field(default_factory=dict)
    deliveries: Mapping[tuple[str, str], Sequence[DeliveredSize]] = field(default_factory=dict)
    """What was delivered of late, by source and dataset."""
    memo: Memo = field(init=False, compare=False, default_factory=Memo)
    """What follows from sources, destinations and policies: another catalogue has another."""
