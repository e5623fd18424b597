"""When those who wait will start: the queue played forward on a copy, with what recent runs have taken.

A forecast is for people. It takes every limit into account and no request that comes later.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from statistics import median

from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import Entry
from export_operator.domain.queue import FairQueue
from export_operator.domain.slots import Gate, Occupancy, no_gate

REMEMBERED = 15  # runs of a dataset, of a source, of all: enough for a median, few enough to follow a change
ASSUMED = timedelta(minutes=1)  # for the order of ends where no run has told anything yet
UNRELATED = Subject("Run", "any")


@dataclass(frozen=True, slots=True)
class Forecast:
    """The place in the order of starts (1 is next), and when that is; None while nobody can know."""

    position: int
    start: datetime | None = None


def differs(told: Forecast, found: Forecast, now: datetime) -> bool:
    """Whether the difference is worth a write: another place, or a start that is off by more than a minute and more
    than a tenth of the wait."""
    if told.position != found.position or (told.start is None) != (found.start is None):
        return True
    if told.start is None or found.start is None:
        return False
    return abs(found.start - told.start) > max(timedelta(minutes=1), (found.start - now) / 10)


class Durations:
    """How long recent runs have held their slots. Telling of a run again changes nothing."""

    def __init__(self) -> None:
        self._recent: dict[Subject, deque[tuple[str, timedelta]]] = {}

    def learn(self, run: str, source: str, dataset: str, duration: timedelta) -> None:
        """A run has ended."""
        for kind in _kinds(source, dataset):
            recent = self._recent.setdefault(kind, deque(maxlen=REMEMBERED))
            if all(known != run for known, _ in recent):
                recent.append((run, duration))

    def expected(self, source: str, dataset: str) -> timedelta | None:
        """The median of the dataset's runs; without any the source's, then all runs'."""
        for kind in _kinds(source, dataset):
            if recent := self._recent.get(kind):
                return timedelta(seconds=median(duration.total_seconds() for _, duration in recent))
        return None


def _kinds(source: str, dataset: str) -> tuple[Subject, ...]:
    return Subject("Dataset", f"{source}/{dataset}"), Subject("Source", source), UNRELATED


def play_forward(
    queue: FairQueue,
    live: Iterable[Entry],
    durations: Durations,
    now: datetime,
    gate: Gate = no_gate,
) -> Iterator[tuple[Key, Forecast]]:
    """Every waiting request with its forecast, in the order of starts. `queue` is emptied: give a copy. The time of
    a live run's entry is when it began. One at a time, so that the caller can do something else in between."""
    occupancy = Occupancy(live, gate)
    order = count()
    ends: list[tuple[datetime, int, str]] = []
    known = durations.expected("", "") is not None
    for entry in occupancy.entries:
        expected = durations.expected(entry.source, "") or ASSUMED
        heapq.heappush(ends, (max(entry.time + expected, now), next(order), entry.run))
    moment, position = now, 0
    while True:
        item = queue.take(occupancy)
        if item is not None:
            position += 1
            yield item.key, Forecast(position, moment if known else None)
            expected = durations.expected(item.entry.source, item.dataset) or ASSUMED
            heapq.heappush(ends, (moment + expected, next(order), item.entry.run))
        elif ends:
            moment, _, run = heapq.heappop(ends)
            queue.free(occupancy.remove(run))
        else:
            break
    # What is left waits for a source or destination that is down.
    for item in sorted(queue, key=lambda item: item.order):
        position += 1
        yield item.key, Forecast(position)
