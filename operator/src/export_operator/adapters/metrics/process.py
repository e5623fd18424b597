"""The metrics of one process: what it is told, and what it reads off others' values when it is scraped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from export_operator import __version__
from export_operator.adapters.metrics import catalogue
from export_operator.adapters.metrics.catalogue import BREAKER_STATES, NO_ANSWER, PREFIX, Family
from export_operator.adapters.metrics.purposes import purpose_of

TEXT = "text/plain"


class Metrics:
    """In a registry of its own. Each method says one fact as it is now."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)

        def gauge(family: Family) -> Gauge:
            return Gauge(family.name, family.help, family.labels, namespace=PREFIX, registry=registry)

        def counter(family: Family) -> Counter:
            return Counter(family.name, family.help, family.labels, namespace=PREFIX, registry=registry)

        def histogram(family: Family) -> Histogram:
            return Histogram(
                family.name,
                family.help,
                family.labels,
                namespace=PREFIX,
                registry=registry,
                buckets=family.buckets,
            )

        gauge(catalogue.BUILD_INFO).labels(__version__).set(1)
        self._leader = gauge(catalogue.LEADER)
        self._identity_enforced = gauge(catalogue.IDENTITY_ENFORCED)
        self._identity_enforced.set(math.nan)
        self._ledger_unreadable = gauge(catalogue.LEDGER_UNREADABLE)
        self._queue_depth = gauge(catalogue.QUEUE_DEPTH)
        self._ttl_lag = gauge(catalogue.TTL_LAG)
        self._breaker_state = gauge(catalogue.BREAKER_STATE)
        self._credential_expiry = gauge(catalogue.CREDENTIAL_EXPIRY)
        self._orphaned_bytes = gauge(catalogue.ORPHANED_BYTES)
        self._clean_ups_waiting = gauge(catalogue.CLEAN_UPS_WAITING)
        self._swept = gauge(catalogue.SWEPT)
        self._sweeps: dict[str, datetime] = {}
        self._history_backlog = gauge(catalogue.HISTORY_BACKLOG)
        self._cache_age = gauge(catalogue.CACHE_AGE)
        self._workqueue_length = gauge(catalogue.WORKQUEUE_LENGTH)
        self._reconcile = histogram(catalogue.RECONCILE)
        self._reconcile_errors = counter(catalogue.RECONCILE_ERRORS)
        self._decision = histogram(catalogue.DECISION)
        self._api_calls = counter(catalogue.API_CALLS)

    def leader(self, leads: Callable[[], bool]) -> None:
        """`leads` is asked at each scrape."""
        self._leader.set_function(leads)

    def identity_enforced(self, enforced: bool) -> None:
        self._identity_enforced.set(enforced)

    def ledger_unreadable(self, objects: int) -> None:
        self._ledger_unreadable.set(objects)

    def queue_depth(self, runs: int) -> None:
        self._queue_depth.set(runs)

    def ttl_lag(self, seconds: float) -> None:
        """0 when nothing is overdue."""
        self._ttl_lag.set(seconds)

    def swept(
        self, orphaned: Mapping[tuple[str, str], int], whole: Iterable[str], unseen: Iterable[str], now: datetime
    ) -> None:
        """What a sweep found, in bytes by destination and kind, the destinations that it saw the whole of, and those
        that it did not: they are late since they were first tried. Any other is gone."""
        self._orphaned_bytes.clear()
        for (destination, kind), size in orphaned.items():
            self._orphaned_bytes.labels(destination, kind).set(size)
        late = {destination: self._sweeps.get(destination, now) for destination in unseen}
        self._sweeps = late | dict.fromkeys(whole, now)
        self._swept.clear()
        for destination, moment in self._sweeps.items():
            self._swept.labels(destination).set(moment.timestamp())

    def clean_ups_waiting(self, destination: str, runs: int) -> None:
        self._clean_ups_waiting.labels(destination).set(runs)

    def history_backlog(self, runs: int) -> None:
        self._history_backlog.set(runs)

    def credential_expiry(self, kind: str, name: str, moment: datetime | None) -> None:
        """None: nobody says when, or the object is gone."""
        if moment is None:
            self._credential_expiry.remove(kind, name)
        else:
            self._credential_expiry.labels(kind, name).set(moment.timestamp())

    def cache_age(self, resource: str, seconds: Callable[[], float]) -> None:
        """`seconds` is asked at each scrape."""
        self._cache_age.labels(resource).set_function(seconds)

    def workqueue(self, name: str, length: Callable[[], int]) -> Callable[[float, str], None]:
        """`length` is asked at each scrape. What it returns is to be told of each look: its seconds, and how it failed
        (`expected` or `bug`), "" when it did not."""
        self._workqueue_length.labels(name).set_function(length)

        def looked(seconds: float, failed: str) -> None:
            self._reconcile.labels(name).observe(seconds)
            if failed:
                self._reconcile_errors.labels(name, failed).inc()

        return looked

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

    def register(self, collector: Collector) -> None:
        """Tell what it collects as well."""
        self._registry.register(collector)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All of it, and its content type, in a format that an Accept header asks for. Prometheus likes OpenMetrics
        best and takes text, which says the same of ours and takes 40 % less time to write."""
        encode, content_type = choose_encoder("" if TEXT in accept else accept)
        return encode(self._registry), content_type
