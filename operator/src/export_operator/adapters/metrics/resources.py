"""Gauges that are read off what the operator knows of the cluster's objects, at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from export_operator.adapters.metrics import catalogue
from export_operator.adapters.metrics.catalogue import Family
from export_operator.domain.availability import AVAILABLE
from export_operator.domain.breaker import DESTINATION, SOURCE
from export_operator.store import Store

KINDS = {"exportsources": SOURCE, "exportdestinations": DESTINATION}
RESOURCES = ("requests", "rows", "bytes")
VALUES = {"True": 1.0, "False": 0.0}

Samples = Iterable[tuple[tuple[str, ...], float]]


class ResourceCollector(Collector):
    """`slots_used` and `slots` are asked at each scrape; `clock` gives the present moment in UTC."""

    def __init__(self, store: Store, slots_used: Callable[[], int], slots: int, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._slots_used = slots_used
        self._slots = slots
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        census, now = self._store.census, self._clock()
        yield _gauge(catalogue.REQUESTS, census.requests().items())
        yield _gauge(catalogue.TENANT_REQUESTS, census.tenants().items())
        yield _gauge(catalogue.QUEUE_OLDEST, (((reason,), age) for reason, age in census.oldest(now).items()))
        yield _gauge(catalogue.STUCK_RUNS, [((), census.stuck(now))])
        yield _gauge(catalogue.SLOTS_USED, [((), self._slots_used())])
        yield _gauge(catalogue.SLOTS, [((), self._slots)])
        yield _gauge(catalogue.QUOTA_USED, self._used())
        yield _gauge(catalogue.AVAILABLE, self._available())

    def _used(self) -> Iterator[tuple[tuple[str, ...], float]]:
        for name, document in sorted(self._store.documents["exportpolicies"].items()):
            usage = (document.get("status") or {}).get("usage") or {}
            for resource in RESOURCES:
                if resource in usage:
                    yield (name, resource), usage[resource]

    def _available(self) -> Iterator[tuple[tuple[str, ...], float]]:
        for plural, kind in KINDS.items():
            for name, document in sorted(self._store.documents[plural].items()):
                for condition in (document.get("status") or {}).get("conditions") or ():
                    if condition["type"] == AVAILABLE and condition["status"] in VALUES:
                        yield (kind, name), VALUES[condition["status"]]


def _gauge(family: Family, samples: Samples) -> Metric:
    metric = GaugeMetricFamily(family.full_name, family.help, labels=family.labels)
    for labels, value in samples:
        metric.add_metric(labels, value)
    return metric
