"""All that waits in this process: for windows, for slots, for anything; and what it is told meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime

from export_operator.adapters.cells import LedgerError
from export_operator.adapters.ledger import Ledger
from export_operator.dispatch import Dispatcher
from export_operator.domain import actions, quota, times
from export_operator.domain.forecast import Forecast
from export_operator.domain.identity import Subject
from export_operator.domain.model import Key, Request
from export_operator.domain.queue import Order, Waiting
from export_operator.domain.slots import Gate, no_gate
from export_operator.forecasts import Forecasts
from export_operator.window_lines import WindowLines


class Queueing:
    """What the reconciler asks for places. Until `open` it only takes in who waits: whoever is looked at first after a
    start shall not be served before those who have waited longer. `wake` is told whom to look at again; `gate` limits
    what a source or destination may run; `depth` is told how many wait."""

    def __init__(
        self,
        ledger: Ledger,
        wake: Callable[[Key], None],
        clock: Callable[[], datetime],
        gate: Gate = no_gate,
        depth: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._depth = depth
        self._wake = wake
        self._open = False
        self._closed_by: LedgerError | None = None
        self._asked_early: dict[Key, Order] = {}
        self._counted: dict[Key, frozenset[Subject]] = {}
        self._queued: Counter[Subject] = Counter()
        self.windows = WindowLines(ledger, wake, clock)
        self.slots = Dispatcher(ledger, gate, wake, clock)
        self.forecasts = Forecasts(self.slots, self.windows.lines, gate, wake, clock)

    @property
    def queued(self) -> Mapping[Subject, int]:
        """How many requests of each subject wait."""
        return self._queued

    def waits(self, key: Key) -> bool:
        """Whether the request is one of those."""
        return key in self._counted

    def forecast(self, key: Key) -> Forecast | None:
        """What the request is told of its place."""
        return self.forecasts.of(key)

    async def reserve(self, asked: actions.Reserve) -> quota.Admission | None:
        """Reserve the run's windows, or stand in line before one that is full; None before `open`, for then the request
        is woken. Raises `LedgerError`."""
        if not self._open and not self.windows.holds(asked):
            self._early(asked.waiting)
            return None
        answer = await self.windows.reserve(asked)
        if not answer.granted:
            self.slots.withdraw(asked.waiting.key)
            self.forecasts.welcome(asked.waiting.key)
        return answer

    async def take(self, waiting: Waiting) -> str | None:
        """Take a slot, or stand in the queue: as `Dispatcher.take`; None before `open`, for then the request is woken.
        Raises `LedgerError`."""
        full = await self.slots.take(waiting)
        if full and not self._open:
            self._early(waiting)
            return None
        if full:
            self.forecasts.welcome(waiting.key)
        return full

    def close(self, error: LedgerError) -> None:
        """Tell those who ask why nothing is admitted; until `open`."""
        self._closed_by = error

    def open(self) -> None:
        """Begin to admit. Those who asked before are woken, and ask again in the order of their age."""
        self._open, self._closed_by = True, None
        self.slots.open()
        for order in sorted(self._asked_early.values()):
            self._wake(order.key)
        self._asked_early.clear()

    def _early(self, waiting: Waiting) -> None:
        if self._closed_by is not None:
            raise self._closed_by
        self._asked_early[waiting.key] = waiting.order

    def count(self, key: Key, subjects: frozenset[Subject]) -> None:
        """The request waits, and these have one more that does."""
        self._discount(key)
        self._counted[key] = subjects
        self._queued.update(subjects)
        self._depth(len(self._counted))

    def step_aside(self, key: Key) -> None:
        """The request waits for something else than a window now: those behind it in the line may ask."""
        self.windows.withdraw(key)

    def withdraw(self, key: Key) -> None:
        """The request waits for nothing any more."""
        self._discount(key)
        self.windows.withdraw(key)
        self.slots.withdraw(key)
        self.forecasts.forget(key)
        self._asked_early.pop(key, None)

    def learn(self, request: Request) -> None:
        """How long a run that is over has held its slot."""
        status = request.status
        start, end = times.parse(status.get("startTime")), times.parse(status.get("completionTime"))
        effective = status.get("effective") or {}
        if start is not None and end is not None:
            self.forecasts.durations.learn(
                request.run, str(effective.get("source")), str(effective.get("dataset")), end - start
            )

    def window_freed(self, subject: Subject) -> None:
        """Less may be used of a window than before."""
        self.windows.window_freed(subject)

    async def run(self) -> None:
        """Serve those who wait until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.slots.run(), name="slots")
            group.create_task(self.windows.run(), name="windows")
            group.create_task(self.forecasts.run(), name="forecasts")

    def _discount(self, key: Key) -> None:
        subjects = self._counted.pop(key, frozenset())
        self._queued.subtract(subjects)
        for subject in subjects:
            if not self._queued[subject]:
                del self._queued[subject]
        self._depth(len(self._counted))
