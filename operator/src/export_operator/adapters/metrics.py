"""What the process tells of itself at /metrics, in the formats of Prometheus and OpenMetrics. Names of the platform
team's objects stand there; no tenant's, and no secret."""

from __future__ import annotations

from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

PREFIX = "export_operator"
NO_ANSWER = "none"
DECISION_SECONDS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.025)
"""Around the 50 µs that a decision may take."""

BREAKER_STATES = ("closed", "half-open", "open")


class Metrics:
    """The metrics of one process, in a registry of their own. Each method says one fact as it is now."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        self._identity_enforced = Gauge(
            "identity_enforced",
            "1 while the admission policies that attest requesters are at work; nothing is admitted at 0.",
            namespace=PREFIX,
            registry=registry,
        )
        self._ledger_unreadable = Gauge(
            "ledger_unreadable",
            "ExportUsages that cannot be read; what they count admits nobody.",
            namespace=PREFIX,
            registry=registry,
        )
        self._queue_depth = Gauge(
            "queue_depth",
            "Requests that wait for a window, a slot, a source or a destination.",
            namespace=PREFIX,
            registry=registry,
        )
        self._api_calls = Counter(
            "api_calls",
            f"Calls to the API server, by what they are for; code {NO_ANSWER!r} where no answer came.",
            ("purpose", "verb", "code"),
            namespace=PREFIX,
            registry=registry,
        )
        self._decision = Histogram(
            "admission_decision_seconds",
            "Deciding about one request, without the calls before and after.",
            namespace=PREFIX,
            registry=registry,
            buckets=DECISION_SECONDS,
        )
        self._breaker_state = Gauge(
            "breaker_state",
            "1 for the present state of the circuit breaker of each source and destination, 0 for the others.",
            ("kind", "name", "state"),
            namespace=PREFIX,
            registry=registry,
        )

    def identity_enforced(self, enforced: bool) -> None:
        self._identity_enforced.set(enforced)

    def ledger_unreadable(self, objects: int) -> None:
        self._ledger_unreadable.set(objects)

    def queue_depth(self, runs: int) -> None:
        self._queue_depth.set(runs)

    def count_call(self, path: str, verb: str, code: int) -> None:
        """A call to the API server and how it was answered; `code` is the HTTP status, 0 for no answer."""
        self._api_calls.labels(purpose_of(path, verb), verb, str(code or NO_ANSWER)).inc()

    def deciding(self) -> AbstractContextManager[object]:
        """Times the block."""
        return self._decision.time()

    def breaker_state(self, kind: str, name: str, state: str | None) -> None:
        """`kind` is Source or Destination, `state` one of `BREAKER_STATES`; None: the object is gone."""
        for each in BREAKER_STATES:
            if state is None:
                self._breaker_state.remove(kind, name, each)
            else:
                self._breaker_state.labels(kind, name, each).set(each == state)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All of it, and its content type, in the format that an Accept header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


PURPOSES = {"exportusages": "ledger", "jobs": "job", "workloads": "workload", "events": "event", "secrets": "probe"}


def purpose_of(path: str, verb: str) -> str:
    """What a call is for: keeping caches (`list`, `watch`), the canary (`dry-run`), a `status`, a `log`, one of
    `PURPOSES`, `pod`, or else the verb itself. A run costs the sum of all but `list`, `watch`, `dry-run`, `log` and
    `probe`, which do not grow with their number."""
    root, *parts = path.strip("/").split("/")
    place = parts[2 if root == "apis" else 1 :]
    if place[:1] == ["namespaces"] and len(place) > 2:
        place = place[2:]
    plural, subresource = "".join(place[:1]), "".join(place[2:3])
    if plural == "pods" and verb == "list":
        return "pod"  # beyond their cache, pods are listed to learn how one run ended
    if verb in {"list", "watch", "dry-run"}:
        return verb
    return subresource or PURPOSES.get(plural, verb)
