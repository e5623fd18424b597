"""The condition `Available`: what it says, and what a restart reads from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from export_operator.domain import breaker, status
from export_operator.domain.availability import Availability, availability, restored
from export_operator.domain.breaker import Breaker, Cause, State

from .builders import NOW, later

pytestmark = pytest.mark.unit

OPEN = Breaker(State.OPEN, down_since=NOW, cause=Cause.UNREACHABLE, fault="connection refused")
HALF_OPEN = Breaker(State.HALF_OPEN, down_since=NOW, up_since=later(60))
MISSING = ("SecretNotFound", "Secret 'db' does not exist")

SAID: dict[str, tuple[Breaker, tuple[str, str] | None, bool, Availability | None]] = {
    "well": (
        Breaker(),
        None,
        True,
        Availability(True, "Reachable", "it answers, and its Secret, if it names one, is there"),
    ),
    "one probe that failed": (Breaker(missed=1), None, True, None),
    "down": (
        OPEN,
        None,
        True,
        Availability(
            False,
            "Unreachable",
            "db:5432: connection refused; requests for it are held since 2026-11-24T12:00:00Z",
            warning=True,
        ),
    ),
    "down, with a fallback": (
        replace(OPEN, advisory=True),
        None,
        True,
        Availability(
            False,
            "Unreachable",
            "db:5432: connection refused; exports go to the fallback since 2026-11-24T12:00:00Z",
            warning=True,
        ),
    ),
    "down as runs say": (
        replace(OPEN, cause=Cause.RUNS_FAIL, fault="3 runs in a row failed: SourceUnavailable"),
        None,
        False,
        Availability(
            False,
            "RunsFail",
            "db:5432: 3 runs in a row failed: SourceUnavailable; requests for it are held since 2026-11-24T12:00:00Z",
            warning=True,
        ),
    ),
    "coming back": (
        HALF_OPEN,
        None,
        True,
        Availability(
            True, "Recovering", "db:5432 is back after an outage since 2026-11-24T12:00:00Z; runs begin one by one"
        ),
    ),
    "without its Secret": (OPEN, MISSING, True, Availability(False, *MISSING, warning=True)),
    "not to be probed": (
        Breaker(),
        None,
        False,
        Availability(None, "NotProbed", "spec.probe is Disabled: only runs tell how it is"),
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_said_of_one_that_is(case: str) -> None:
    known, secret_fault, probed, expected = SAID[case]
    assert availability(known, "db:5432", secret_fault, probed=probed) == expected


def condition(found: Availability) -> Mapping[str, object]:
    document = status.Document({}, [], 1, later(120))
    document.condition("Available", found.value, found.reason, found.message)
    return document.conditions[0]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("well", Breaker()),
        ("down", replace(OPEN, down_since=later(120), fault="it was down before a restart")),
        ("coming back", replace(HALF_OPEN, down_since=later(120), up_since=later(300), stepped=later(300))),
        ("without its Secret", Breaker()),
        ("not to be probed", Breaker()),
    ],
)
def test_after_a_restart_the_condition_tells_how_it_stood(case: str, expected: Breaker) -> None:
    said = SAID[case][3]
    assert said is not None
    assert restored([condition(said)], later(300)) == expected


def test_without_a_condition_it_begins_closed() -> None:
    assert restored([], NOW) == Breaker()


def test_what_is_restored_is_probed_at_once() -> None:
    said = SAID["down"][3]
    assert said is not None
    found = restored([condition(said)], later(300))
    assert breaker.probe_passed(found, later(300)).limit == 1
