"""The breakers of a process: who is told of what, and who is woken."""

from __future__ import annotations

import pytest

from export_operator.domain.breaker import DOUBTED, SOURCE, STEP, Breaker, Failed, State, Verdict
from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.gates import Gates

from .builders import KEY, NOW, later

pytestmark = pytest.mark.unit

HERE, ELSEWHERE = Subject(SOURCE, "app-db"), Subject(SOURCE, "other")
OTHER = Key("team-b", "other")


class Told:
    """Gates, and what they have told of."""

    def __init__(self) -> None:
        self.changes: list[tuple[Subject, State | None]] = []
        self.woken: list[Key] = []
        self.gates = Gates(self._changed, self.woken.extend)

    def _changed(self, subject: Subject, breaker: Breaker | None) -> None:
        self.changes.append((subject, None if breaker is None else breaker.state))

    def fall(self, subject: Subject = HERE) -> None:
        for _ in range(2):
            self.gates.probed(subject, "connection refused", NOW)

    def limit(self, seconds: float = 0) -> int | None:
        return self.gates.limit("Source", "app-db", later(seconds))


@pytest.fixture
def told() -> Told:
    return Told()


def test_what_is_not_known_bounds_nothing(told: Told) -> None:
    assert told.limit() is None


def test_each_change_of_state_is_told_once(told: Told) -> None:
    told.fall()
    told.gates.probed(HERE, "connection refused", NOW + DOUBTED)
    told.gates.probed(HERE, "", later(60))
    assert told.changes == [(HERE, State.CLOSED), (HERE, State.OPEN), (HERE, State.HALF_OPEN)]


def test_those_who_wait_are_woken_once_when_it_comes_back_and_no_others(told: Told) -> None:
    for subject, key in ((HERE, KEY), (ELSEWHERE, OTHER)):
        told.fall(subject)
        told.gates.hold(subject, key)
        told.gates.hold(subject, key)
    for second in (60, 65):
        told.gates.probed(HERE, "", later(second))
    assert told.woken == [KEY]


def test_nobody_is_woken_while_it_stays_down(told: Told) -> None:
    told.fall()
    told.gates.hold(HERE, KEY)
    told.gates.probed(HERE, "connection refused", later(60))
    assert told.woken == []


def test_who_is_held_after_it_came_back_is_woken_at_once(told: Told) -> None:
    told.gates.hold(HERE, KEY)
    assert told.woken == [KEY]


def test_a_request_that_is_deleted_while_it_is_held_is_forgotten(told: Told) -> None:
    told.fall()
    for key in (KEY, OTHER):
        told.gates.hold(HERE, key)
    told.gates.forget(KEY)
    told.gates.probed(HERE, "", later(60))
    assert told.woken == [OTHER]


def test_who_waits_for_what_is_deleted_is_woken_to_learn_it(told: Told) -> None:
    told.fall()
    told.gates.hold(HERE, KEY)
    told.gates.drop(HERE)
    assert (told.woken, told.changes[-1], told.limit()) == ([KEY], (HERE, None), None)


def test_who_waits_for_a_destination_that_gets_a_fallback_is_woken(told: Told) -> None:
    told.fall()
    told.gates.hold(HERE, KEY)
    told.gates.probed(HERE, "connection refused", later(5), advisory=True)
    assert told.woken == [KEY]


def test_time_alone_raises_a_limit(told: Told) -> None:
    told.fall()
    told.gates.probed(HERE, "", NOW)
    assert [told.limit(0), told.limit(STEP.total_seconds())] == [1, 2]


def test_the_ends_of_runs_are_learned_from(told: Told) -> None:
    told.fall()
    told.gates.probed(HERE, "", NOW)
    told.gates.learn([Verdict(HERE)], Failed("a", "alice", later(1)), NOW)
    raised = told.limit()
    told.gates.learn([Verdict(HERE, "SourceUnavailable")], Failed("b", "bob", later(2)), NOW)
    assert (raised, told.limit()) == (2, 0)


def test_what_is_known_now_is_not_replaced_by_what_was_before(told: Told) -> None:
    told.fall()
    told.gates.restore(HERE, Breaker())
    assert told.limit() == 0
