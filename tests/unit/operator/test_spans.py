"""A run's trace as the operator tells it: once, whoever leads at its end, of what its status says."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.domain.spans import Span, of_run
from export_operator.traces import Traces

from .builders import KEY, NOW, RUN, later, plan, request
from .hand import Hand
from .world import Operator, World, settle

pytestmark = pytest.mark.unit

EFFECTIVE = plan().effective.as_status()
TOLD: dict[str, Any] = {
    "phase": "Succeeded",
    "reason": "Delivered",
    "message": "delivered 100 rows, says 'secret'",
    "run": RUN,
    "runID": "",
    "attempts": 1,
    "effective": EFFECTIVE,
    "queuedTime": "2026-11-24T12:00:01Z",
    "startTime": "2026-11-24T12:00:10Z",
    "completionTime": "2026-11-24T12:00:20Z",
    "result": {"rows": 100, "bytes": 2048, "usedFallback": False, "uri": "s3://exports/of/alice"},
}
ATTRIBUTES = {
    "k8s.namespace.name": "team-a",
    "export.request": "users-2026-11",
    "export.run": RUN,
    "export.phase": "Succeeded",
    "export.reason": "Delivered",
    "export.attempts": 1,
    "export.policy": EFFECTIVE["policy"],
    "export.source": "app-db",
    "export.dataset": "users",
    "export.destination": "bucket",
    "export.format": "CSV",
    "export.compression": EFFECTIVE["compression"],
    "export.rows": 100,
    "export.bytes": 2048,
    "export.used_fallback": False,
}


def span(name: str, began: float, ended: float, parent: str = "export", **changes: Any) -> Span:
    return Span(run=RUN, name=name, parent=parent, began=later(began), ended=later(ended), **changes)


def test_what_this_process_saw_is_told_exactly() -> None:
    moments = {"queued": later(0.25), "creating": later(9.5), "created": later(9.75)}
    assert of_run(request(), TOLD, moments, later(21.5)) == (
        span("admission", 0, 9.5),
        span("queue", 0.25, 9.5, "admission"),
        span("create job", 9.5, 9.75),
        span("run", 9.75, 21),
        span("closing", 21, 21.5),
        span("export", 0, 21.5, "", attributes=ATTRIBUTES),
    )


def test_what_another_saw_is_told_as_status_keeps_it() -> None:
    assert of_run(request(), TOLD, {}, later(20.5)) == (
        span("admission", 0, 10),
        span("queue", 1, 10, "admission"),
        span("run", 10, 20.5),
        span("closing", 20.5, 20.5),
        span("export", 0, 20.5, "", attributes=ATTRIBUTES),
    )


def test_one_that_was_refused_has_no_run_and_says_why() -> None:
    told = {"phase": "Rejected", "reason": "UnknownDataset", "run": RUN, "completionTime": "2026-11-24T12:00:00Z"}
    attributes = {
        "k8s.namespace.name": "team-a",
        "export.request": "users-2026-11",
        "export.run": RUN,
        "export.phase": "Rejected",
        "export.reason": "UnknownDataset",
    }
    assert of_run(request(), told, {}, later(0.5)) == (
        span("admission", 0, 0),
        span("export", 0, 0.5, "", attributes=attributes, error="UnknownDataset"),
    )


def test_a_run_that_was_asked_for_later_begins_when_it_waited() -> None:
    *_, whole = of_run(request(created=NOW - timedelta(days=3)), TOLD | {"runID": "again"}, {}, later(21))
    assert whole.began == later(1)


moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(lambda each: each.replace(tzinfo=NOW.tzinfo))  # noqa: DTZ001


@given(st.dictionaries(st.sampled_from(["queued", "creating", "created"]), moments), moments)
def test_whatever_the_clocks_say_no_span_ends_before_it_begins(seen: dict[str, datetime], now: datetime) -> None:
    assert [each for each in of_run(request(), TOLD, seen, now) if each.ended < each.began] == []


@pytest.mark.parametrize("replaced", [False, True], ids=["one operator", "another takes over while it runs"])
def test_a_run_is_told_once_by_whoever_leads_at_its_end(replaced: bool) -> None:
    world, hand = World(), Hand()
    told: list[tuple[Span, ...]] = []

    def operator() -> Operator:
        return Operator(world, hand, traces=Traces(told.append, lambda: world.now))

    world.apply(KEY)
    present = settle(world, operator(), hand)
    (name,) = world.jobs
    world.start(name)
    present = settle(world, operator() if replaced else present, hand)
    world.deliver(name)
    present = settle(world, present, hand)
    settle(world, operator() if replaced else present, hand)
    (spans,) = told
    assert {(each.run, each.parent) for each in spans} == {(world.status(KEY)["run"], ""), (spans[0].run, "export")}
    assert {each.name for each in spans} - {"create job"} == {"admission", "run", "closing", "export"}
