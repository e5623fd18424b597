"""What channels have delivered and what waits for them, read off the outbox that is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from export_operator.adapters.metrics.catalogue import NOTIFICATIONS, NOTIFICATIONS_AGE, NOTIFICATIONS_WAITING
from export_operator.domain.outbox import Tally


class OutboxCollector(Collector):
    """Tells what was last shown: what is kept, never what is only known here, so that no process that comes after
    begins with less. Nothing before the first. `clock` gives the present moment in UTC."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._tallies: Mapping[str, Tally] = {}

    def show(self, tallies: Mapping[str, Tally]) -> None:
        """From now on tell these, by channel (policy/name)."""
        self._tallies = tallies

    def collect(self) -> Iterator[Metric]:
        told = CounterMetricFamily(NOTIFICATIONS.full_name, NOTIFICATIONS.help, labels=NOTIFICATIONS.labels)
        waiting, age = (
            GaugeMetricFamily(family.full_name, family.help, labels=family.labels)
            for family in (NOTIFICATIONS_WAITING, NOTIFICATIONS_AGE)
        )
        now = self._clock()
        for key, tally in self._tallies.items():
            channel = key.split("/", 1)
            for result, number in tally.counts.items():
                told.add_metric([*channel, result], number)
            waiting.add_metric(channel, tally.waiting)
            age.add_metric(channel, max((now - tally.oldest).total_seconds(), 0) if tally.oldest is not None else 0)
        yield from (told, waiting, age)
