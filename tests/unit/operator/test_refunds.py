"""What remains of a place in a window when its run is over; and how large a run is expected to be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.domain.actions import Refund, Settle
from export_operator.domain.decide import decide
from export_operator.domain.estimates import declared, demand, remember
from export_operator.domain.model import DeliveredSize, Named, Request
from export_operator.domain.policy import REFUND_ON
from export_operator.domain.quota import Demand, Settlement, Size
from export_operator.domain.refunds import settlement, superseded

from .builders import NOW, RUN, SETTINGS, catalogue, job, request, seen

pytestmark = pytest.mark.unit


def ended(phase: str, **status: Any) -> dict[str, Any]:
    return {
        "phase": phase,
        "run": RUN,
        "runID": "",
        "observedGeneration": 1,
        "completionTime": "2026-11-24T12:00:00Z",
        "jobRef": {"namespace": "export-runs", "name": "x"},
        **status,
    }


def failed(failure_class: str, **failure: Any) -> dict[str, Any]:
    return ended("Failed", failure={"reason": "Any", "class": failure_class, **failure})


DELIVERED = {"uri": "s3://exports/x.csv", "rows": 7, "bytes": 70, "complete": True}
COUNTS = Settlement(RUN, rows=0, bytes=0)
REFUNDED = Settlement(RUN, refunded=True, rows=0, bytes=0)
ENDS: dict[str, tuple[dict[str, Any], Settlement]] = {
    "delivered": (ended("Succeeded", result=DELIVERED), Settlement(RUN, rows=7, bytes=70)),
    "delivered in part": (ended("PartiallySucceeded", result=DELIVERED), Settlement(RUN, rows=7, bytes=70)),
    "delivered, and nobody knows how much": (ended("Succeeded", result={"uri": "s3://x"}), Settlement(RUN)),
    "failed for the source": (failed("Source"), REFUNDED),
    "failed for the destination": (failed("Destination"), REFUNDED),
    "failed for the infrastructure": (failed("Infrastructure"), REFUNDED),
    "failed for its requester": (failed("User"), COUNTS),
    "failed for want of time": (failed("Deadline"), COUNTS),
    "failed for a reason of a class to come": (failed("Weather"), COUNTS),
    "refused before the first row": (failed("User", preflight=True), REFUNDED),
    "cancelled": (ended("Cancelled", attempts=1), COUNTS),
    "cancelled before Kueue let it begin": (ended("Cancelled", attempts=0), REFUNDED),
    "waited too long for Kueue": (ended("Failed", attempts=0, failure={"class": "Deadline"}), REFUNDED),
    "cancelled after an infrastructure failure was noted": (
        ended("Cancelled", failure={"class": "Infrastructure"}),
        COUNTS,
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_run_is_settled_by_its_end(end: str) -> None:
    status, expected = ENDS[end]
    assert settlement(request(status=status), REFUND_ON) == expected


def test_a_policy_may_refund_nothing() -> None:
    none = Named("strict", {"limits": {"refundOn": []}})
    given = seen(request(status=failed("Source")), unsettled=True, catalogue=catalogue(policies=(none,)))
    assert decide(given, SETTINGS, NOW).actions == (Settle(COUNTS),)


def test_a_policy_may_refund_more() -> None:
    kind = Named("kind", {"limits": {"refundOn": ["User"]}})
    given = seen(request(status=failed("User")), unsettled=True, catalogue=catalogue(policies=(kind,)))
    assert decide(given, SETTINGS, NOW).actions == (Settle(REFUNDED, soon=True),)


@pytest.mark.parametrize("end", ENDS)
def test_a_run_that_another_has_taken_the_place_of_is_settled_by_its_end(end: str) -> None:
    """As long as status tells of it."""
    status, expected = ENDS[end]
    assert superseded(request(status=status, runID="another"), RUN, {}) == expected


@pytest.mark.parametrize(
    "present",
    [
        None,
        request(status=ended("Succeeded", result=DELIVERED, run="of another that was made since")),
        request(status=ended("Running"), runID="another"),
    ],
    ids=["its request is gone", "status tells of another run", "it has not ended"],
)
def test_all_that_was_reserved_counts_when_nobody_knows_how_a_run_ended(present: Request | None) -> None:
    assert superseded(present, RUN, {}) == Settlement(RUN)


def test_an_ended_run_is_settled_once() -> None:
    status = ended("Succeeded", result=DELIVERED)
    assert decide(seen(request(status=status)), SETTINGS, NOW).actions == ()


def test_an_ended_run_that_never_had_a_job_gives_its_places_back() -> None:
    status = {name: value for name, value in ended("Cancelled").items() if name != "jobRef"}
    assert decide(seen(request(status=status), unsettled=True), SETTINGS, NOW).actions == (Refund(RUN),)


def test_a_job_that_came_late_is_a_launch() -> None:
    status = {name: value for name, value in ended("Cancelled").items() if name != "jobRef"}
    given = seen(request(status=status), unsettled=True, job=job(complete=True))
    assert Settle(COUNTS) in decide(given, SETTINGS, NOW).actions


# Estimates.

USERS = {"name": "users", "table": {"name": "users"}, "columns": ["id"]}


@pytest.mark.parametrize(
    ("told", "deliveries", "maxima", "expected"),
    [
        ({}, (), {}, Demand()),
        ({"rows": 100, "bytes": 900}, (), {}, Demand(Size(100), Size(900))),
        ({"rows": 100}, (), {"rows": 50, "bytes": 7}, Demand(Size(100, 50), Size(0, 7))),
        ({"rows": 100}, (DeliveredSize("a", 3, 30), DeliveredSize("b", 5, 20)), {}, Demand(Size(5), Size(30))),
        ({}, (DeliveredSize("a", 0, 0),), {}, Demand(Size(1), Size(1))),
    ],
    ids=["nobody knows", "declared", "bounded by maxima", "delivered of late", "empty"],
)
def test_a_run_is_expected_to_be_as_large_as(
    told: dict[str, int], deliveries: tuple[DeliveredSize, ...], maxima: dict[str, int], expected: Demand
) -> None:
    dataset = USERS | ({"expected": told} if told else {})
    assert demand(declared(dataset, maxima), deliveries) == expected


def told(run: str, rows: int, **result: Any) -> dict[str, Any]:
    return {
        "run": run,
        "effective": {"source": "app-db", "dataset": "users"},
        "result": {"rows": rows, "bytes": rows, "complete": True, **result},
    }


def test_the_last_deliveries_of_a_dataset_are_remembered() -> None:
    known: dict[tuple[str, str], tuple[DeliveredSize, ...]] = {}
    for number in range(8):
        for _ in range(2):  # each status is seen more than once
            remember(known, told(f"run-{number}", number))
    expected = tuple(DeliveredSize(f"run-{number}", number, number) for number in range(3, 8))
    assert known == {("app-db", "users"): expected}


@pytest.mark.parametrize("status", [{}, {"result": {}}, told("a", 5, complete=False), {"result": {"uri": "s3://x"}}])
def test_what_is_no_whole_delivery_tells_nothing(status: dict[str, Any]) -> None:
    known: dict[tuple[str, str], tuple[DeliveredSize, ...]] = {}
    remember(known, status)
    assert known == {}


@given(st.integers(0, 100), st.none() | st.integers(1, 100), st.integers(1, 100))
def test_a_run_that_may_begin_gets_at_least_what_it_needs(expected: int, most: int | None, limit: int) -> None:
    size = Size(expected, most)
    least = size.least(limit)
    assert least <= size.share(limit) <= min(limit, most or limit)
