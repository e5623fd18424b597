"""Lines before full windows: of those who wait for room in one window, who may ask for it next.

There is one line a limit: who has a larger one does not stand behind those who have reached theirs. Its first asks
again when the window is said to have room; the others do not ask as long as somebody before them has not been answered,
so that no newcomer takes a place that an older request waits for.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.queue import Order
from export_operator.domain.quota import WindowLimit


@dataclass(slots=True)
class _Line:
    """`turns` of the first may ask. `eligible` is what the last of them was told."""

    eligible: datetime
    orders: list[Order] = field(default_factory=list)
    turns: int = 1


class Lines:
    """Who waits in which line. A request waits in one: that of the window that refused it."""

    def __init__(self) -> None:
        self._lines: dict[WindowLimit, _Line] = {}
        self._before: dict[Subject, set[WindowLimit]] = {}
        self._members: dict[Key, tuple[WindowLimit, Order]] = {}
        self._times: list[tuple[datetime, int, WindowLimit]] = []
        self._count = count()

    def __contains__(self, limit: WindowLimit) -> bool:
        return limit in self._lines

    def before(self, subject: Subject) -> tuple[WindowLimit, ...]:
        """The limits of the subject that somebody waits for."""
        return tuple(self._before.get(subject, ()))

    def stops(self, limit: WindowLimit, order: Order) -> datetime | None:
        """When the first of those who must ask before may; None when there are none."""
        line = self._lines.get(limit)
        return None if line is None or bisect_left(line.orders, order) < line.turns else line.eligible

    def join(self, limit: WindowLimit, order: Order) -> WindowLimit | None:
        """Wait behind those who were refused. Answers as `leave` does, for the line that it stood in before."""
        called = self._leave_other(limit, order)
        self._enter(limit, order)
        return called

    def refused(self, limit: WindowLimit, order: Order, eligible: datetime) -> WindowLimit | None:
        """The window has no room before `eligible`: the request waits, and then the first of the line may ask. Answers
        as `leave` does, for the line that it stood in before."""
        called = self._leave_other(limit, order)
        line = self._lines.get(limit)
        if line is None or line.eligible != eligible:
            heapq.heappush(self._times, (eligible, next(self._count), limit))
        if line is None:
            line = self._lines[limit] = _Line(eligible)
            self._before.setdefault(limit.subject, set()).add(limit)
        line.eligible, line.turns = eligible, 1
        self._enter(limit, order)
        return called

    def leave(self, key: Key) -> WindowLimit | None:
        """The request waits no longer. The line whose next one should be called, if it was one that might ask."""
        known = self._members.pop(key, None)
        if known is None:
            return None
        limit, order = known
        line = self._lines[limit]
        place = bisect_left(line.orders, order)
        del line.orders[place]
        if not line.orders:
            self._end(limit)
            return None
        if place < line.turns:
            line.turns -= 1
        return limit if line.turns == 0 else None

    def call(self, limit: WindowLimit, places: int) -> tuple[Key, ...]:
        """Let as many ask as there are places, one at least: it finds out when the next one is free."""
        line = self._lines[limit]
        line.turns = max(places, 1)
        return tuple(order.key for order in line.orders[: line.turns])

    def due(self, now: datetime) -> list[WindowLimit]:
        """Which windows are said to have room by now."""
        found = []
        while self._times and self._times[0][0] <= now:
            eligible, _, limit = heapq.heappop(self._times)
            line = self._lines.get(limit)
            if line is not None and line.eligible == eligible and limit not in found:
                found.append(limit)
        return found

    def position(self, key: Key) -> int | None:
        """1 is next."""
        known = self._members.get(key)
        return None if known is None else bisect_left(self._lines[known[0]].orders, known[1]) + 1

    def positions(self) -> Iterator[tuple[Key, int]]:
        """The position of everybody."""
        for line in self._lines.values():
            for position, order in enumerate(line.orders, 1):
                yield order.key, position

    def _leave_other(self, limit: WindowLimit, order: Order) -> WindowLimit | None:
        return None if self._members.get(order.key) == (limit, order) else self.leave(order.key)

    def _enter(self, limit: WindowLimit, order: Order) -> None:
        if order.key not in self._members:
            insort(self._lines[limit].orders, order)
            self._members[order.key] = limit, order

    def _end(self, limit: WindowLimit) -> None:
        del self._lines[limit]
        limits = self._before[limit.subject]
        limits.discard(limit)
        if not limits:
            del self._before[limit.subject]
