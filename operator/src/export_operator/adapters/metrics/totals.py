"""Counters of runs that have ended, read off the totals that are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from export_contract.failures import FailureClass
from export_operator.adapters.metrics import catalogue
from export_operator.adapters.metrics.catalogue import Family
from export_operator.domain.totals import DOWNLOADS, DURATION, REDELIVERIES, SPEED, WAIT, Buckets, Numbers, Totals
from export_operator.store import Store

COUNTERS: Mapping[Family, str] = {
    catalogue.RUNS_ENDED: "runs",
    catalogue.OUTCOMES: "runs",
    catalogue.ATTEMPTS: "attempts",
    catalogue.RETRIES: "retries",
    catalogue.ROWS: "rows",
    catalogue.BYTES: "bytes",
    catalogue.FALLBACKS: "fallbacks",
    catalogue.REDELIVERIES: REDELIVERIES,
    catalogue.DOWNLOADS: DOWNLOADS,
    catalogue.REFUNDS: "refunds",
    catalogue.NEAR_DEADLINE: "near_deadline",
    catalogue.TENANT_RUNS: "runs",
    catalogue.TENANT_ROWS: "rows",
    catalogue.TENANT_BYTES: "bytes",
}
"""Which of the numbers each counter tells."""
FACTS = frozenset({catalogue.REDELIVERIES, catalogue.DOWNLOADS})
HISTOGRAMS: Mapping[Family, Buckets] = {
    catalogue.QUEUE_WAIT: WAIT,
    catalogue.RUN_DURATION: DURATION,
    catalogue.RUN_SPEED: SPEED,
}
OUTCOMES: Iterable[tuple[str, str]] = (
    *((phase, "") for phase in ("Succeeded", "PartiallySucceeded", "Rejected", "Cancelled")),
    *(("Failed", str(each)) for each in FailureClass),
)
PLURALS = {"policy": "exportpolicies", "source": "exportsources", "destination": "exportdestinations"}
Sums = Mapping[tuple[str, ...], Numbers]
NOTHING: Numbers = defaultdict(float)


class TotalsCollector(Collector):
    """Tells what was last shown: what is kept, never what is only known here, so that no process that comes after
    begins with less. Nothing before the first. What has never happened to a source, destination or policy that is in
    the store is told as 0."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sums: Mapping[Family, Sums] | None = None

    def show(self, totals: Totals) -> None:
        """From now on tell these. Adding up is done here, once, and not at each scrape."""
        self._sums = {family: _sums(totals, family) for family in (*COUNTERS, *HISTOGRAMS)}

    def collect(self) -> Iterator[Metric]:
        for family, sums in (self._sums or {}).items():
            every = {**dict.fromkeys(self._expected(family), NOTHING), **sums}
            if family in COUNTERS:
                yield _counter(family, every)
            else:
                yield _histogram(family, every)

    def _expected(self, family: Family) -> Iterable[tuple[str, ...]]:
        if family is catalogue.OUTCOMES:
            return OUTCOMES
        if family is catalogue.DOWNLOADS:
            return (("Ready", "LinksMade"),)
        plural = PLURALS.get(family.labels[0]) if len(family.labels) == 1 else None
        return ((name,) for name in self._store.documents[plural]) if plural else ()


def _sums(totals: Totals, family: Family) -> Sums:
    if family is catalogue.RETRIES:
        return totals.retries()
    return totals.facts_of(COUNTERS[family]) if family in FACTS else totals.sums(family.labels)


def _counter(family: Family, sums: Sums) -> Metric:
    metric = CounterMetricFamily(family.full_name, family.help, labels=family.labels)
    for labels, numbers in sums.items():
        metric.add_metric(labels, numbers.get(COUNTERS[family], 0))
    return metric


def _histogram(family: Family, sums: Sums) -> Metric:
    metric = HistogramMetricFamily(family.full_name, family.help, labels=family.labels)
    buckets = HISTOGRAMS[family]
    for labels, numbers in sums.items():
        metric.add_metric(labels, buckets.cumulative(numbers), numbers.get(f"{buckets.name}_sum", 0))
    return metric
