"""Who asks for a full window next: the lines of `domain.lines`, before the ledger's windows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from export_operator.adapters.ledger import Ledger
from export_operator.domain import actions, quota
from export_operator.domain.identity import Subject
from export_operator.domain.lines import Lines
from export_operator.domain.model import Key
from export_operator.domain.pages import Page
from export_operator.domain.quota import WindowLimit

LOOK_SECONDS = 1.0  # how late a place in a window may be given


class WindowLines:
    """Reserves windows in the order of those who wait for them. `wake` is told whom to look at again."""

    def __init__(self, ledger: Ledger, wake: Callable[[Key], None], clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._wake = wake
        self._clock = clock
        self.lines = Lines()

    def holds(self, asked: actions.Reserve) -> bool:
        """Whether the run has its place in every window."""
        run = asked.waiting.entry.run
        return all(self._ledger.entry(limit.subject, run) is not None for limit in asked.limits)

    async def reserve(self, asked: actions.Reserve) -> quota.Admission:
        """Reserve the windows, or wait in line. Raises `LedgerError`."""
        order = asked.waiting.order
        if any(limit in self.lines for limit in asked.limits) and (told := self._stopped(asked)):
            return quota.Admission(False, told)
        answer = await self._ledger.reserve(asked.waiting.entry, asked.demand, asked.limits, self._clock())
        full = [state for state in answer.states if state.full]
        moments = [state.next_eligible for state in full if state.next_eligible is not None]
        if answer.granted or answer.over or len(moments) < len(full):
            self.withdraw(order.key)
        else:
            # Reservation ends at the first window without room, so all that is full is of one subject.
            self._call(self.lines.refused(full[0].limit, order, max(moments)))
        return answer

    def _stopped(self, asked: actions.Reserve) -> tuple[quota.WindowState, ...]:
        """How the windows stand for one who must wait behind others; nothing when it may ask."""
        found: list[quota.WindowState] = []
        for limit in asked.limits:
            page = self._ledger.page(limit.subject) or Page()
            states = quota.reserve(page, asked.waiting.entry, asked.demand, limit, self._clock()).states
            eligible = self.lines.stops(limit, asked.waiting.order)
            if eligible is not None and page.find(asked.waiting.entry.run) is None:
                self._call(self.lines.join(limit, asked.waiting.order))
                if not any(state.full for state in states):  # a place is free by now, and of somebody before
                    states = (states[0]._replace(full=True, next_eligible=eligible), *states[1:])
                return (*found, *states)
            if any(state.full for state in states):
                break  # the ledger will say so
            found.extend(states)
        return ()

    def withdraw(self, key: Key) -> None:
        """The request waits for no window."""
        self._call(self.lines.leave(key))

    def window_freed(self, subject: Subject) -> None:
        """Less may be used of a window than before."""
        for limit in self.lines.before(subject):
            if self._room(limit) > 0:
                self._call(limit)

    async def run(self) -> None:
        """Look every second until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Call the first of each line whose window has room by now."""
        for limit in self.lines.due(self._clock()):
            self._call(limit)

    def _call(self, limit: WindowLimit | None) -> None:
        if limit is not None:
            for key in self.lines.call(limit, self._room(limit)):
                self._wake(key)

    def _room(self, limit: WindowLimit) -> int:
        """Requests that the window has room for; at least one where only rows and bytes are limited."""
        page = self._ledger.page(limit.subject)
        if limit.requests is None or page is None:
            return 1
        return limit.requests - quota.used(quota.counting(page, limit.window, self._clock()), "requests")
