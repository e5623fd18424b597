"""What is done about a request that has no Job yet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from export_operator.domain.actions import (
    Observation,
)
from export_operator.domain.breaker import Breaker, State
from export_operator.domain.decide import held, refused
from export_operator.domain.model import Catalogue

from .builders import (
    NOW,
    RUN,
    SETTINGS,
    job,
    later,
    request,
    running_pod,
    seen,
)
from .deciding import (
    DOWN,
    HERE,
    LAUNCHED,
    OPEN,
    QUEUED,
    SUSPENDED,
    THERE,
    outcome,
    status_of,
    summary,
)

pytestmark = pytest.mark.unit


SITUATIONS: dict[str, tuple[Observation, float, list[str], float | None]] = {
    "a new request": (seen(), 0, ["ask the windows"], None),
    "a request that waits for quota": (seen(request(status=QUEUED)), 60, ["wait", "ask the windows"], None),
    "a request whose source is down": (
        seen(breakers=DOWN),
        0,
        ["wait", "hold for Source", "Normal event SourceUnavailable", "status Queued SourceUnavailable"],
        300,
    ),
    "a request whose source is still down": (
        seen(request(status=QUEUED | {"reason": "SourceUnavailable"}), breakers=DOWN),
        0,
        ["wait", "hold for Source", "status Queued SourceUnavailable"],
        300,
    ),
    "a request whose destination is down": (
        seen(request(queueDeadlineSeconds=60), breakers={THERE: OPEN}),
        0,
        ["wait", "hold for Destination", "Normal event DestinationUnavailable", "status Queued DestinationUnavailable"],
        61,
    ),
    "a request whose destination is down and has a fallback": (
        seen(breakers={THERE: replace(OPEN, advisory=True)}),
        0,
        ["ask the windows"],
        None,
    ),
    "a request whose source comes back": (
        seen(breakers={HERE: Breaker(State.HALF_OPEN)}),
        0,
        ["ask the windows"],
        None,
    ),
    "a request that has its slot when its source goes down, and hence perhaps a Job": (
        seen(breakers=DOWN, slot_held=True),
        0,
        ["ask the windows"],
        None,
    ),
    "a request that waited too long for its source": (
        seen(request(status=QUEUED, queueDeadlineSeconds=59), breakers=DOWN),
        60,
        ["refund", "Warning event QueueDeadlineExceeded", "status Failed QueueDeadlineExceeded"],
        None,
    ),
    "a run whose source goes down": (
        seen(request(status=LAUNCHED), job=job(), pods=(running_pod(),), breakers=DOWN, slot_held=True),
        2,
        [],
        None,
    ),
    "a suspended run that is let go on while its source is down": (
        seen(request(status=SUSPENDED), job=job(suspended=True), breakers=DOWN),
        0,
        ["wait", "hold for Source", "Normal event SourceUnavailable", "status Queued SourceUnavailable"],
        300,
    ),
    "a request that waited too long": (
        seen(request(status=QUEUED, queueDeadlineSeconds=59), slot_held=False),
        60,
        ["refund", "Warning event QueueDeadlineExceeded", "status Failed QueueDeadlineExceeded"],
        None,
    ),
    "a request cancelled before it began": (
        seen(request(cancel=True), slot_held=True),
        0,
        ["refund", "Normal event Cancelled", "status Cancelled Cancelled", "release the slot"],
        None,
    ),
    "a request suspended before it began": (
        seen(request(suspend=True), slot_held=True),
        0,
        ["release the slot", "Normal event Suspended", "status Queued Suspended"],
        3600,
    ),
    "a request that nobody attested": (
        seen(request(submittedBy=None)),
        0,
        ["Warning event Rejected", "status Rejected IdentityNotAttested"],
        None,
    ),
    "a source that may yet appear": (
        seen(catalogue=Catalogue()),
        4,
        ["status Pending SourceNotFound"],
        6.1,
    ),
    "a source that did not appear": (
        seen(catalogue=Catalogue()),
        10,
        ["refund", "Warning event Rejected", "status Rejected SourceNotFound"],
        None,
    ),
    "a column that is not there is not waited for": (
        seen(request(source={"name": "app-db", "dataset": "users", "columns": ["x"]})),
        0,
        ["refund", "Warning event Rejected", "status Rejected ColumnNotFound"],
        None,
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_is_done_about(situation: str) -> None:
    observed, seconds, expected, requeue = SITUATIONS[situation]
    assert outcome(observed, seconds) == (expected, requeue)


def test_a_job_that_the_api_server_does_not_take_is_tried_until_the_start_deadline() -> None:
    told = "ResourceQuotaExceeded", "exceeded quota: few"
    first = refused(seen(slot_held=True), *told, SETTINGS, NOW)
    status = status_of(first)
    assert (summary(first), first.requeue_after) == (
        ["Warning event ResourceQuotaExceeded", "status Pending ResourceQuotaExceeded"],
        10,
    )
    again = refused(seen(request(status=status), slot_held=True), *told, SETTINGS, later(300))
    assert (summary(again), again.requeue_after) == ([], 10)
    last = refused(seen(request(status=status), slot_held=True), *told, SETTINGS, later(301))
    assert summary(last) == [
        "refund",
        "Warning event ResourceQuotaExceeded",
        "status Failed ResourceQuotaExceeded",
        "release the slot",
    ]
    failure = status_of(last)["failure"]
    assert (failure["class"], failure["message"]) == ("Quota", "exceeded quota: few (start deadline 300 s)")


def test_what_it_waited_for_before_is_not_counted_to_the_start_deadline() -> None:
    """`Reconciling` holds since the request could not be admitted at all."""
    since = [
        {
            "type": "Reconciling",
            "status": "True",
            "reason": "IdentityNotEnforced",
            "message": "",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-11-24T12:00:00Z",
        }
    ]
    observed = seen(request(status={"phase": "Pending", "runID": "", "run": RUN, "conditions": since}))
    found = status_of(refused(observed, "JobNotCreated", "no", SETTINGS, later(9000)))
    assert (found["phase"], found["conditions"][0]["lastTransitionTime"]) == ("Pending", "2026-11-24T14:30:00Z")


QUOTA_RESERVED = {
    "type": "QuotaReserved",
    "status": "True",
    "reason": "Reserved",
    "message": "a place in every window is reserved",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-11-24T12:00:00Z",
}


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ((), {"QuotaReserved": ("False", "LedgerUnavailable")}),
        ((QUOTA_RESERVED,), {"QuotaReserved": ("True", "Reserved")}),  # what is reserved stays so
    ],
    ids=["nothing is reserved", "a place is reserved"],
)
def test_a_ledger_that_cannot_be_read_is_a_condition(
    known: tuple[dict[str, Any], ...], expected: dict[str, tuple[str, str]]
) -> None:
    observed = seen(request(status=QUEUED | {"conditions": list(known)}))
    found = status_of(held(observed, "LedgerUnavailable", "it is damaged", SETTINGS, NOW))
    conditions = {item["type"]: (item["status"], item["reason"]) for item in found["conditions"]}
    assert (found["phase"], conditions) == ("Pending", expected)
