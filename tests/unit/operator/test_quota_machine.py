"""The window as a machine: reservations, settlements, refunds, deletions and time in any order, against what a limit
means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import Entry, Page
from export_operator.domain.quota import (
    LAUNCHES,
    Demand,
    Settlement,
    Size,
    WindowLimit,
    give_back,
    reserve,
    settle,
)
from export_operator.domain.windows import CalendarDay, Sliding, Window

from .builders import NOW

REQUESTS, ROWS = 3, 100
WINDOWS = (Sliding(timedelta(seconds=100)), CalendarDay(ZoneInfo("Europe/Berlin")))


@dataclass
class Granted:
    """What the machine itself remembers of a run."""

    time: datetime
    rows: int
    open: bool = True
    refunded: bool = False


class Life(RuleBasedStateMachine):
    """`granted` is the machine's own memory of every reservation that was never given back, whatever the page holds."""

    @initialize(window=st.sampled_from(WINDOWS))
    def begin(self, window: Window) -> None:
        self.limit = WindowLimit(Subject("User", "alice"), "User", window, "default", REQUESTS, ROWS)
        self.now: datetime = NOW
        self.page = Page()
        self.granted: dict[str, Granted] = {}
        self.created = 0
        self.eligible: datetime | None = None

    def ask(self, run: str, expected: int) -> bool:
        entry = Entry(run=run, request=Key("team-a", run), uid=run, time=self.now, user="alice")
        answer = reserve(self.page, entry, Demand(Size(expected)), self.limit, self.now)
        self.page = answer.page
        moments = [state.next_eligible for state in answer.states if state.full]
        self.eligible = None if None in moments else max((time for time in moments if time), default=None)
        if answer.granted:
            self.granted.setdefault(run, Granted(self.now, answer.entry.rows))
        return answer.granted

    def counting(self) -> list[Granted]:
        return [run for run in self.granted.values() if self.now < self.limit.window.leaves(run.time)]

    @rule(expected=st.integers(0, 150))
    def a_new_request_is_granted_exactly_when_there_is_room(self, expected: int) -> None:
        """A request that was deleted and made anew is one of these too: it has another UID, hence another run."""
        self.created += 1
        runs = self.counting()
        room = (
            sum(not run.refunded for run in runs) < REQUESTS
            and len(runs) < LAUNCHES * REQUESTS
            and sum(run.rows for run in runs) + min(max(expected, 1), ROWS) <= ROWS
        )
        assert self.ask(f"run-{self.created}", expected) == room

    @precondition(lambda self: self.granted)
    @rule(data=st.data(), expected=st.integers(0, 150))
    def a_run_that_asks_again_is_granted_at_no_cost(self, data: st.DataObject, expected: int) -> None:
        before = self.page
        run = data.draw(st.sampled_from(sorted(self.granted)))
        assert (self.ask(run, expected), self.page) == (True, before)

    @precondition(lambda self: any(run.open for run in self.granted.values()))
    @rule(data=st.data())
    def a_run_without_a_job_gives_its_place_back(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from([name for name, run in self.granted.items() if run.open]))
        self.page = give_back(give_back(self.page, run), run)
        del self.granted[run]

    @precondition(lambda self: any(run.open for run in self.granted.values()))
    @rule(data=st.data(), share=st.floats(0, 1), refunded=st.booleans())
    def a_run_is_over(self, data: st.DataObject, share: float, refunded: bool) -> None:
        name = data.draw(st.sampled_from([name for name, run in self.granted.items() if run.open]))
        run = self.granted[name]
        delivered = int(run.rows * share)  # never more than was reserved: so the pod is told
        for settlement in (Settlement(name, refunded, delivered, 0), Settlement(name, not refunded, 7, 7)):
            self.page = settle(self.page, {name: settlement})
        run.open, run.refunded, run.rows = False, refunded, 0 if refunded else delivered

    @precondition(lambda self: any(not run.open for run in self.granted.values()))
    @rule(data=st.data())
    def a_run_that_is_over_gives_nothing_back(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from([name for name, run in self.granted.items() if not run.open]))
        assert give_back(self.page, run) == self.page

    @rule(seconds=st.sampled_from([1, 30, 60, 40_000]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.eligible is not None and self.eligible > self.now)
    @rule()
    def whoever_waits_for_the_next_eligible_time_is_granted_then(self) -> None:
        assert self.eligible is not None
        self.now = self.eligible
        self.created += 1
        assert self.ask(f"run-{self.created}", 1)

    @invariant()
    def the_window_never_holds_more_than_its_limits(self) -> None:
        if not hasattr(self, "page"):
            return
        runs = self.counting()
        assert sum(not run.refunded for run in runs) <= REQUESTS
        assert sum(run.rows for run in runs) <= ROWS
        assert len(runs) <= LAUNCHES * REQUESTS


TestWindow = pytest.mark.unit(Life.TestCase)
TestWindow.settings = settings(max_examples=100, stateful_step_count=40)
