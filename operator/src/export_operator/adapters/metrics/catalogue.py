"""Every metric: its name, what it says and how to read it. docs/reference/metrics.md is rendered from here, and a
metric that is not here cannot be told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from export_operator.domain.series import LABELS, TENANT_LABELS
from export_operator.domain.totals import DURATION, SPEED, WAIT

PREFIX = "export_operator"
NO_ANSWER = "none"
BREAKER_STATES = ("closed", "half-open", "open")


class Kind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Scope(StrEnum):
    """Of whom a metric speaks, which says how several replicas are read together."""

    CLUSTER = "cluster"
    """Of the cluster, read off its objects: each replica tells the same. `max without (pod, instance)`."""
    LEADER = "leader"
    """Of what only the leader does; a standby tells nothing or 0. `max without (pod, instance)`."""
    PROCESS = "process"
    """Of this process. `sum`, or each by itself."""


@dataclass(frozen=True, slots=True)
class Family:
    """`name` is without prefix, and without the `_total` that a counter's samples end in."""

    name: str
    kind: Kind
    scope: Scope
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{PREFIX}_{self.name}"

    @property
    def exposed_name(self) -> str:
        """As queries name it; a histogram's samples have `_bucket`, `_sum` and `_count` besides."""
        return f"{self.full_name}_total" if self.kind is Kind.COUNTER else self.full_name


_G, _C, _H = Kind.GAUGE, Kind.COUNTER, Kind.HISTOGRAM
_RUN = tuple(label for label in LABELS if label not in {"phase", "reason", "class"})

# Requests that are there: recomputed from the ExportRequests.
REQUESTS = Family("requests", _G, Scope.CLUSTER, "ExportRequests that are there.", LABELS)
TENANT_REQUESTS = Family("tenant_requests", _G, Scope.CLUSTER, "The same by namespace.", TENANT_LABELS)
QUEUE_OLDEST = Family(
    "queue_oldest_age_seconds",
    _G,
    Scope.CLUSTER,
    "How long the first of the Queued requests has waited, by the reason for which they wait.",
    ("reason",),
)
QUEUE_DEPTH = Family(
    "queue_depth", _G, Scope.LEADER, "Requests that wait for a window, a slot, a source or a destination."
)
STUCK_RUNS = Family(
    "stuck_runs",
    _G,
    Scope.CLUSTER,
    "Runs under way 15 minutes or more after the time that all their attempts may take together.",
)
TTL_LAG = Family(
    "ttl_lag_seconds",
    _G,
    Scope.LEADER,
    "For how long the Job of an ended run has been there beyond its time to live, of the one that is latest; what its"
    " run left is removed before it.",
)
QUOTA_USED = Family(
    "quota_used",
    _G,
    Scope.CLUSTER,
    "What counts in the present window of those whom a policy selects (requests, rows, bytes), from its status.",
    ("policy", "resource"),
)
SLOTS_USED = Family("slots_used", _G, Scope.CLUSTER, "Runs that hold a slot, from the ledger.")
SLOTS = Family("slots", _G, Scope.CLUSTER, "Runs that may hold a slot at once (maxConcurrentRuns).")
AVAILABLE = Family(
    "available",
    _G,
    Scope.CLUSTER,
    "The condition Available of each source and destination: 1 True, 0 False; none while it is unknown.",
    ("kind", "name"),
)
BREAKER_STATE = Family(
    "breaker_state",
    _G,
    Scope.LEADER,
    "1 for the present state of the circuit breaker of each source and destination, 0 for the others.",
    ("kind", "name", "state"),
)
CREDENTIAL_EXPIRY = Family(
    "credential_expiry_timestamp_seconds",
    _G,
    Scope.LEADER,
    "When what a source or destination needs expires, in seconds since 1970: the Secret's annotation"
    " export-operator.io/expires, or its authority's certificates (ca.crt), whichever is first.",
    ("kind", "name"),
)
LEDGER_UNREADABLE = Family(
    "ledger_unreadable", _G, Scope.CLUSTER, "ExportUsages that cannot be read; what they count admits nobody."
)

# Runs that have ended: counted from their status, once each, in totals that are kept in the run namespace.
RUNS_ENDED = Family(
    "runs_ended", _C, Scope.CLUSTER, "Runs that reached an end, those that were refused before they began too.", LABELS
)
OUTCOMES = Family(
    "outcomes",
    _C,
    Scope.CLUSTER,
    "The same by phase and class of failure alone. Each is there from the start, at 0, so that rate() misses no first"
    " one.",
    ("phase", "class"),
)
ATTEMPTS = Family("attempts", _C, Scope.CLUSTER, "Pods of the runs that ended.", _RUN)
RETRIES = Family(
    "retries",
    _C,
    Scope.CLUSTER,
    "Calls of exporters that were tried again, by operation of S3 or PostgreSQL and by the failure that it was.",
    ("call", "reason"),
)
ROWS = Family("exported_rows", _C, Scope.CLUSTER, "Rows delivered.", _RUN)
BYTES = Family("exported_bytes", _C, Scope.CLUSTER, "Bytes delivered, as stored.", _RUN)
TENANT_RUNS = Family("tenant_runs_ended", _C, Scope.CLUSTER, "Runs that reached an end, by namespace.", TENANT_LABELS)
TENANT_ROWS = Family("tenant_exported_rows", _C, Scope.CLUSTER, "Rows delivered, by namespace.", TENANT_LABELS[:1])
TENANT_BYTES = Family("tenant_exported_bytes", _C, Scope.CLUSTER, "Bytes delivered, by namespace.", TENANT_LABELS[:1])
FALLBACKS = Family(
    "fallback_deliveries", _C, Scope.CLUSTER, "Runs delivered to their destination's fallback.", ("destination",)
)
REDELIVERIES = Family(
    "redeliveries",
    _C,
    Scope.CLUSTER,
    "Exports that `export-runner redeliver` has moved out of a fallback, as its pods in the run namespace say.",
    ("destination",),
)
DOWNLOADS = Family(
    "downloads",
    _C,
    Scope.CLUSTER,
    "ExportDownloads that were answered: Ready, links were made; Failed, there will be none.",
    ("phase", "reason"),
)
REFUNDS = Family(
    "refunds", _C, Scope.CLUSTER, "Runs that ended and whose place in the quota was given back.", ("policy",)
)
NEAR_DEADLINE = Family(
    "runs_near_deadline",
    _C,
    Scope.CLUSTER,
    "Runs that took 80 % of their run deadline or more, or were ended by it.",
    ("source",),
)
QUEUE_WAIT = Family(
    "queue_wait_seconds",
    _H,
    Scope.CLUSTER,
    "From the request to the run's start, or to the end of those that never started; told when the run has ended.",
    ("policy",),
    WAIT.bounds,
)
RUN_DURATION = Family(
    "run_duration_seconds",
    _H,
    Scope.CLUSTER,
    "From a run's start to its end, pods' starts and retries within.",
    ("source",),
    DURATION.bounds,
)
RUN_SPEED = Family(
    "run_rows_per_second",
    _H,
    Scope.CLUSTER,
    "Rows a second of the attempt that delivered, its connecting and planning within.",
    ("source",),
    SPEED.bounds,
)

# Clean-up.
ORPHANED_BYTES = Family(
    "orphaned_bytes",
    _G,
    Scope.LEADER,
    "What the last sweep found in a destination to no use, by kind; Delivered are exports whose request is gone.",
    ("destination", "kind"),
)
CLEAN_UPS_WAITING = Family(
    "clean_ups_waiting",
    _G,
    Scope.LEADER,
    "Ended runs whose uploads, checkpoint or objects are still to be removed.",
    ("destination",),
)
SWEPT = Family(
    "last_sweep_timestamp_seconds",
    _G,
    Scope.LEADER,
    "When a destination was last swept to its end, in seconds since 1970; while this leader has not seen its end, when"
    " it first tried.",
    ("destination",),
)

HISTORY_BACKLOG = Family(
    "history_backlog",
    _G,
    Scope.LEADER,
    "Ended runs whose row is not in the history's table yet; 0 where there is no history.",
)

# Notifications: read off the outbox that is kept in the run namespace.
NOTIFICATIONS = Family(
    "notifications",
    _C,
    Scope.CLUSTER,
    "Deliveries to channels: delivered; failed, which are tried again; dead, which were given up after that. Each is"
    " there from the channel's start, at 0.",
    ("policy", "channel", "result"),
)
NOTIFICATIONS_WAITING = Family(
    "notifications_waiting", _G, Scope.CLUSTER, "Notifications that wait to be delivered.", ("policy", "channel")
)
NOTIFICATIONS_AGE = Family(
    "notifications_oldest_age_seconds",
    _G,
    Scope.CLUSTER,
    "How long the first of those that wait has waited; 0 when none does.",
    ("policy", "channel"),
)

# The operator itself.
BUILD_INFO = Family("build_info", _G, Scope.PROCESS, "1, and the release.", ("version",))
LEADER = Family("leader", _G, Scope.PROCESS, "1 in the process that holds the Lease.")
IDENTITY_ENFORCED = Family(
    "identity_enforced",
    _G,
    Scope.LEADER,
    "1 while the admission policies that attest requesters are at work; nothing is admitted at 0. NaN where nobody has"
    " looked: a standby does not.",
)
CACHE_AGE = Family(
    "cache_age_seconds",
    _G,
    Scope.PROCESS,
    "Seconds since the API server last said anything of a kind: an event, a bookmark or a list; of exportrequests since"
    " the leader last listed them (NaN in a standby).",
    ("resource",),
)
RECONCILE = Family(
    "reconcile_seconds",
    _H,
    Scope.PROCESS,
    "One look at one object, with its calls to the API server.",
    ("queue",),
    (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
RECONCILE_ERRORS = Family(
    "reconcile_errors",
    _C,
    Scope.PROCESS,
    "Looks that failed and are tried again; `kind` is expected (the API server or the ledger refused) or bug.",
    ("queue", "kind"),
)
WORKQUEUE_LENGTH = Family("workqueue_length", _G, Scope.PROCESS, "Objects that wait for a look.", ("queue",))
DECISION = Family(
    "admission_decision_seconds",
    _H,
    Scope.PROCESS,
    "Deciding about one request, without the calls before and after.",
    (),
    (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.025),
)
API_CALLS = Family(
    "api_calls",
    _C,
    Scope.PROCESS,
    f"Calls to the API server, by what they are for; code {NO_ANSWER!r} where no answer came. kopf's own watches are"
    " not among them. What a run costs is the sum over the purposes but list, watch, dry-run, log and probe.",
    ("purpose", "verb", "code"),
)

GROUPS: dict[str, tuple[Family, ...]] = {
    "Requests": (REQUESTS, TENANT_REQUESTS, QUEUE_DEPTH, QUEUE_OLDEST, STUCK_RUNS, TTL_LAG),
    "Quota and slots": (QUOTA_USED, SLOTS_USED, SLOTS, LEDGER_UNREADABLE),
    "Sources and destinations": (AVAILABLE, BREAKER_STATE, CREDENTIAL_EXPIRY),
    "Runs that have ended": (
        RUNS_ENDED,
        OUTCOMES,
        ATTEMPTS,
        RETRIES,
        ROWS,
        BYTES,
        FALLBACKS,
        REDELIVERIES,
        REFUNDS,
        NEAR_DEADLINE,
        QUEUE_WAIT,
        RUN_DURATION,
        RUN_SPEED,
        TENANT_RUNS,
        TENANT_ROWS,
        TENANT_BYTES,
        DOWNLOADS,
    ),
    "Clean-up": (ORPHANED_BYTES, CLEAN_UPS_WAITING, SWEPT),
    "History": (HISTORY_BACKLOG,),
    "Notifications": (NOTIFICATIONS, NOTIFICATIONS_WAITING, NOTIFICATIONS_AGE),
    "The operator": (
        BUILD_INFO,
        LEADER,
        IDENTITY_ENFORCED,
        CACHE_AGE,
        RECONCILE,
        RECONCILE_ERRORS,
        WORKQUEUE_LENGTH,
        DECISION,
        API_CALLS,
    ),
}
"""As the reference has them."""
