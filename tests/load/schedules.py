"""What thousands of schedules cost the operator: python -m tests.load.schedules [SCHEDULES]. The deciding alone, of
schedules that are looked at each minute and of as many that are all due at one moment; no server, and no call."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from export_operator.domain import firing, times
from export_operator.domain.firing import LOOK_SECONDS, Decision, Make, Observation
from export_operator.domain.identity import Enforcement
from export_operator.domain.model import EPOCH, parse_request, parse_stamped
from export_operator.domain.schedule import Schedule, request_manifest

A = TypeVar("A")
B = TypeVar("B")

SCHEDULES, ROUNDS = 10_000, 5
DUE = datetime(2026, 11, 25, 2, 30, tzinfo=UTC)
REST = DUE - timedelta(hours=6)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
ENFORCED = Enforcement(enforced=True, message="", good=REST)


def document(number: int) -> Mapping[str, Any]:
    """A schedule that has made its request of last night, in one of four time zones; all are due at one moment."""
    zone = ZONES[number % len(ZONES)]
    local = DUE.astimezone(ZoneInfo(zone))
    settings = {"schedule": f"{local.minute} {local.hour} * * *", "timeZone": zone}
    handled = times.render(DUE - timedelta(days=1))
    return {
        "metadata": {
            "namespace": f"team-{number % 300}",
            "name": f"nightly-{number}",
            "uid": f"uid-{number}",
            "resourceVersion": str(number + 1),
            "generation": 1,
            "creationTimestamp": times.render(DUE - timedelta(days=30)),
        },
        "spec": {
            **settings,
            "template": {"spec": {"source": {"name": "app-db", "dataset": "users"}}},
            "requester": {"username": f"user-{number % 300}"},
            "submittedBy": {"username": f"user-{number % 300}", "groups": ["analysts"]},
        },
        "status": {
            "observedGeneration": 1,
            "effective": settings,
            "lastHandledTime": handled,
            "lastScheduleTime": handled,
            "nextScheduleTime": times.render(DUE),
            "reason": "Waiting",
            "message": f"the next request is made at {times.render(DUE)}",
            "active": [],
            "conditions": [
                {
                    "type": "Accepted",
                    "status": "True",
                    "reason": "Valid",
                    "message": "schedule and template are valid, and who made it may ask so",
                    "observedGeneration": 1,
                    "lastTransitionTime": handled,
                }
            ],
        },
    }


def observe(given: Mapping[str, Any]) -> Observation:
    return Observation(parse_stamped(given, Schedule), (), ENFORCED, EPOCH, REST)


def fire(seen: Observation) -> Decision:
    """It is due: its request is made, and that is written down."""
    (make,) = firing.decide(seen, DUE).actions
    assert isinstance(make, Make)
    manifest = request_manifest(seen.schedule, make.time)
    metadata = {**manifest["metadata"], "uid": "made", "resourceVersion": "1", "creationTimestamp": times.render(DUE)}
    made = parse_request({**manifest, "metadata": metadata})
    return firing.answered(replace(seen, made=(made,)), make, None, DUE)


def microseconds(work: Callable[[A], B], items: Sequence[A]) -> tuple[float, list[B]]:
    """Of CPU for each: what else the machine does is not ours."""
    began = time.process_time()
    made = [work(item) for item in items]
    return (time.process_time() - began) / len(items) * 1e6, made


def measure(schedules: int) -> str:
    """The figures, as lines."""
    documents = [document(number) for number in range(schedules)]
    rest, due = [], []
    for _ in range(ROUNDS):
        cost, decisions = microseconds(lambda each: firing.decide(observe(each), REST), documents)
        rest.append(cost)
        assert set(decisions) == {Decision(requeue_after=LOOK_SECONDS)}
        cost, decisions = microseconds(lambda each: fire(observe(each)), documents)
        due.append(cost)
        assert all(len(decision.actions) >= 1 for decision in decisions)
    share = statistics.median(rest) * schedules / LOOK_SECONDS / 1e4
    return (
        f"{schedules:,} schedules, {ROUNDS} rounds, median: a look at one that is not due {statistics.median(rest):.0f}"
        f" µs; all looked at each {LOOK_SECONDS:.0f} s: {share:.1f} % of a processor\n"
        f"all due at one moment: {statistics.median(due):.0f} µs each,"
        f" {statistics.median(due) * schedules / 1e6:.1f} s for all, calls apart"
    )


if __name__ == "__main__":
    print(measure(int(sys.argv[1]) if len(sys.argv) > 1 else SCHEDULES))
