"""The window as a machine: reservations, refunds, deletions and time in any order, against what a limit means."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.quota import Entry, WindowLimit, release, reserve

from .builders import NOW

WINDOW = timedelta(seconds=100)
LIMIT = WindowLimit(Subject("User", "alice"), "User", 3, WINDOW, "default")


class Window(RuleBasedStateMachine):
    """`granted` is the machine's own memory of every reservation that was never refunded, whatever the page holds."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self.entries: tuple[Entry, ...] = ()
        self.granted: dict[str, datetime] = {}
        self.created = 0
        self.eligible: datetime | None = None

    def ask(self, run: str) -> bool:
        entry = Entry(run=run, request=Key("team-a", run), uid=run, time=self.now, user="alice")
        answer = reserve(self.entries, entry, LIMIT, self.now)
        self.entries = answer.entries
        self.eligible = answer.state.next_eligible
        if answer.granted:
            self.granted.setdefault(run, self.now)
        return answer.granted

    @rule()
    def a_new_request_is_granted_exactly_when_there_is_room(self) -> None:
        """A request that was deleted and made anew is one of these too: it has another UID, hence another run."""
        self.created += 1
        room = sum(self.now - time < WINDOW for time in self.granted.values()) < LIMIT.limit
        assert self.ask(f"run-{self.created}") == room

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def a_run_that_asks_again_is_granted_at_no_cost(self, data: st.DataObject) -> None:
        before = self.entries
        run = data.draw(st.sampled_from(sorted(self.granted)))
        assert (self.ask(run), self.entries) == (True, before)

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def a_run_without_a_job_is_refunded(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.granted)))
        self.entries = release(release(self.entries, run), run)
        del self.granted[run]

    @rule(seconds=st.integers(1, 60))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.eligible is not None and self.eligible > self.now)
    @rule()
    def whoever_waits_for_the_next_eligible_time_is_granted_then(self) -> None:
        assert self.eligible is not None
        self.now = max(self.now, self.eligible)
        self.created += 1
        assert self.ask(f"run-{self.created}")

    @invariant()
    def no_window_of_any_position_holds_more_than_the_limit(self) -> None:
        times = sorted(self.granted.values())
        most = max((sum(start <= time < start + WINDOW for time in times) for start in times), default=0)
        assert most <= LIMIT.limit


TestWindow = pytest.mark.unit(Window.TestCase)
TestWindow.settings = settings(max_examples=60, stateful_step_count=40)
