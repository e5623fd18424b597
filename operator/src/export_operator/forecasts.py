"""What those who wait are told of their place and their start: kept up at a bounded rate, however many they are."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from export_operator.dispatch import Dispatcher
from export_operator.domain.forecast import Durations, Forecast, differs, play_forward
from export_operator.domain.lines import Lines
from export_operator.domain.model import Key
from export_operator.domain.slots import Gate

TICK_SECONDS = 1.0
A_TICK = 10  # requests that are told anew; each costs a status write
EACH = timedelta(seconds=30)  # between two tellings of one request
PAUSE = timedelta(milliseconds=2)  # for each one that waits, after playing forward: some twenty times what it takes
AT_ONCE = 200  # so few are played forward for a newcomer; in a longer queue it is told with the others
SLICE = 50  # requests between two breaths of the event loop


@dataclass(frozen=True, slots=True)
class _Told:
    forecast: Forecast
    time: datetime


class Forecasts:
    """Plays the queue forward now and then, and wakes those whose forecast has changed, the longest untold first."""

    def __init__(
        self,
        slots: Dispatcher,
        lines: Lines,
        gate: Gate,
        wake: Callable[[Key], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._slots = slots
        self._queue = slots.queue
        self._lines = lines
        self._gate = gate
        self._wake = wake
        self._clock = clock
        self._told: dict[Key, _Told] = {}
        self._changed: deque[tuple[Key, Forecast]] = deque()
        self._rested = clock()
        self.durations = Durations()

    def of(self, key: Key) -> Forecast | None:
        """What the request is told for now; None while nobody knows."""
        told = self._told.get(key)
        return None if told is None else told.forecast

    def welcome(self, key: Key) -> None:
        """Tell a request that has just begun to wait, if that is cheap."""
        now = self._clock()
        if key in self._told:
            return
        position = self._lines.position(key)
        if position is not None:
            self._told[key] = _Told(Forecast(position), now)
        elif len(self._queue) <= AT_ONCE and now >= self._rested:
            found = dict(self._played(now))
            if key in found:
                self._told[key] = _Told(found[key], now)
            self._rested = now + PAUSE * len(found)

    def forget(self, key: Key) -> None:
        """The request waits no longer."""
        self._told.pop(key, None)

    async def run(self) -> None:
        """Keep everybody told until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if self._clock() >= self._rested:
                await self.renew()
            self.tell()

    async def renew(self) -> None:
        """Find out whose forecast has changed."""
        now = self._clock()
        found = [(key, Forecast(position)) for key, position in self._lines.positions()]
        for number, foretold in enumerate(self._played(now), 1):
            found.append(foretold)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        self._rested = self._clock() + PAUSE * len(found)
        changed = [(key, forecast) for key, forecast in found if self._stale(key, forecast, now)]
        # Stable: of those who were never told, or at the same time, the next to start comes first.
        self._changed = deque(sorted(changed, key=lambda each: self._since(each[0])))

    def tell(self) -> None:
        """Wake a few of them; what they write is `of`."""
        now = self._clock()
        for _ in range(min(A_TICK, len(self._changed))):
            key, forecast = self._changed.popleft()
            if self._queue.get(key) is not None or self._lines.position(key) is not None:
                self._told[key] = _Told(forecast, now)
                self._wake(key)

    def _played(self, now: datetime) -> Iterator[tuple[Key, Forecast]]:
        return play_forward(self._queue.copy(), self._slots.live(), self.durations, now, self._gate)

    def _stale(self, key: Key, forecast: Forecast, now: datetime) -> bool:
        told = self._told.get(key)
        return told is None or (now - told.time >= EACH and differs(told.forecast, forecast, now))

    def _since(self, key: Key) -> float:
        told = self._told.get(key)
        return 0.0 if told is None else told.time.timestamp()
