"""What follows from the answers of windows and slots."""

from __future__ import annotations

from dataclasses import replace

import pytest

from export_operator.domain.actions import (
    CreateJob,
    Decision,
    Learn,
)
from export_operator.domain.admission import MAX_WAIT_SECONDS
from export_operator.domain.breaker import Failed, Verdict
from export_operator.domain.decide import decide
from export_operator.domain.forecast import Forecast
from export_operator.domain.identity import Subject
from export_operator.domain.jobs import build_job
from export_operator.domain.model import Named
from export_operator.domain.pages import Entry
from export_operator.domain.queue import Waiting
from export_operator.domain.quota import Admission
from export_operator.domain.slots import Level

from .builders import (
    NOW,
    RUN,
    SETTINGS,
    catalogue,
    ended_pod,
    failure,
    job,
    later,
    plan,
    request,
    seen,
)
from .deciding import (
    ALICE,
    CROWDED,
    DOWN,
    HERE,
    LAUNCHED,
    POLICY,
    QUEUED,
    ROOM,
    SUSPENDED,
    TEAM,
    answered,
    ask,
    full,
    status_of,
    summary,
)
from .world import run_spec

pytestmark = pytest.mark.unit


ADMITTED: dict[str, tuple[Decision, list[str], float | None]] = {
    "a place and a slot": (
        answered(seen(), ROOM),
        ["create the Job", "Normal event Started", "status Pending PodStarting"],
        None,
    ),
    "a place but no slot": (
        answered(seen(), ROOM, "UserConcurrency"),
        ["wait", "status Queued UserConcurrency"],
        MAX_WAIT_SECONDS,
    ),
    "no place, and it will wait": (
        answered(seen(), full(100)),
        ["wait", "refund", "Normal event QuotaExceeded", "status Queued QuotaExceeded"],
        MAX_WAIT_SECONDS,
    ),
    "no slot, and little time to wait": (
        answered(seen(request(status=QUEUED, queueDeadlineSeconds=90)), ROOM, "UserConcurrency"),
        ["wait", "status Queued UserConcurrency"],
        91,
    ),
    "no slot, and as many wait as may": (
        answered(seen(queued={ALICE: 2}, catalogue=catalogue(policies=CROWDED)), ROOM, "UserConcurrency"),
        ["refund", "Warning event Rejected", "status Rejected TooManyQueued"],
        None,
    ),
    "no place, and as many of the namespace wait as may": (
        answered(seen(queued={TEAM: 3}, catalogue=catalogue(policies=CROWDED)), full(100)),
        ["refund", "Warning event Rejected", "status Rejected TooManyQueued"],
        None,
    ),
    "no slot, and as many of the policy wait as may": (
        answered(seen(queued={POLICY: 4}, catalogue=catalogue(policies=CROWDED)), ROOM, "ClusterConcurrency"),
        ["refund", "Warning event Rejected", "status Rejected TooManyQueued"],
        None,
    ),
    "no slot, as many wait as may, and it is one of them": (
        answered(seen(queued={ALICE: 2}, waits=True, catalogue=catalogue(policies=CROWDED)), ROOM, "UserConcurrency"),
        ["wait", "status Queued UserConcurrency"],
        MAX_WAIT_SECONDS,
    ),
    "no slot, as many wait as may, and it waited before the operator began": (
        answered(
            seen(request(status=QUEUED), queued={ALICE: 2}, catalogue=catalogue(policies=CROWDED)),
            ROOM,
            "UserConcurrency",
        ),
        ["wait", "status Queued UserConcurrency"],
        MAX_WAIT_SECONDS,
    ),
    "no slot for a run that was suspended, and as many wait as may": (
        answered(
            seen(
                request(status=LAUNCHED | {"phase": "Queued", "reason": "Suspended"}),
                job=job(suspended=True),
                queued={ALICE: 2},
                catalogue=catalogue(policies=CROWDED),
            ),
            ROOM,
            "UserConcurrency",
        ),
        ["wait", "status Queued UserConcurrency"],
        MAX_WAIT_SECONDS,
    ),
    "no place although it holds a slot": (
        answered(seen(slot_held=True), full(100)),
        ["wait", "refund", "release the slot", "Normal event QuotaExceeded", "status Queued QuotaExceeded"],
        MAX_WAIT_SECONDS,
    ),
    "no place, and it wants no wait": (
        answered(seen(request(onQuotaExceeded="Reject")), full(100)),
        ["refund", "Warning event Rejected", "status Rejected QuotaExceeded"],
        None,
    ),
    "no place, ever": (
        answered(seen(), full(None)),
        ["refund", "Warning event Rejected", "status Rejected QuotaExceeded"],
        None,
    ),
    "a slot for a run that was suspended": (
        answered(seen(request(status=SUSPENDED), job=job(suspended=True)), ROOM),
        ["let go on", "Normal event Resumed", "status Pending PodStarting"],
        None,
    ),
}


@pytest.mark.parametrize("case", ADMITTED)
def test_what_follows_from_the_ledgers_answer(case: str) -> None:
    decision, expected, requeue = ADMITTED[case]
    assert (summary(decision), decision.requeue_after) == (expected, requeue)


def test_a_held_request_says_since_when_and_what_was_seen_and_reserves_nothing() -> None:
    found = status_of(decide(seen(breakers=DOWN), SETTINGS, NOW))
    seen_wrong = "source 'app-db' is down since 2026-11-24T11:59:00Z: connection refused."
    assert (found["queue"], found["message"], "quota" in found) == (
        {"reason": "SourceUnavailable", "since": "2026-11-24T12:00:00Z"},
        f"{seen_wrong} It starts by itself when that is mended.",
        False,
    )


def test_the_breakers_learn_who_failed_when_and_since_when_the_run_was_there() -> None:
    ended = seen(request(status=LAUNCHED), job=job(failed=True, finished=later(9)), pods=(ended_pod(67, failure()),))
    learned = [action for action in decide(ended, SETTINGS, later(20)).actions if isinstance(action, Learn)]
    assert learned == [Learn((Verdict(HERE, "SourceAuthenticationFailed"),), Failed(RUN, "alice", later(9)), later(1))]


@pytest.mark.parametrize(
    ("maxima", "reserved_rows", "expected"),
    [({}, None, 0), ({}, 70, 70), ({"rows": 50}, None, 50), ({"rows": 50}, 70, 50), ({"rows": 50}, 40, 40)],
)
def test_a_pod_may_deliver_what_is_reserved_and_the_policy_allows(
    maxima: dict[str, int], reserved_rows: int | None, expected: int
) -> None:
    known = catalogue(policies=(Named("capped", {"maxima": maxima}),))
    decision = answered(seen(catalogue=known), Admission(True, max_rows=reserved_rows))
    (create,) = (action for action in decision.actions if isinstance(action, CreateJob))
    assert run_spec(create.manifest).limits.max_rows == expected


def test_the_job_that_is_created_is_the_plans() -> None:
    decision = answered(seen(), ROOM)
    assert decision.actions[0] == CreateJob(build_job(request(), plan(), SETTINGS.pods))


def test_only_the_job_of_a_run_that_no_window_knew_before_is_created_without_another_look_at_its_request() -> None:
    decision = answered(seen(), replace(ROOM, first=True))
    assert decision.actions[0] == CreateJob(build_job(request(), plan(), SETTINGS.pods), confirm=False)


def test_a_queued_request_says_why_since_when_and_until_when() -> None:
    found = status_of(answered(seen(), full(100)))
    assert (found["queue"], found["message"]) == (
        {
            "reason": "QuotaExceeded",
            "since": "2026-11-24T12:00:00Z",
            "nextEligibleTime": "2026-11-24T12:01:40Z",
        },
        (
            "5 of 5 requests of 'alice' within 24 h are used (policy 'built-in'). It starts by itself at"
            " 2026-11-24T12:01:40Z."
        ),
    )


def test_a_queued_request_is_told_its_place_and_its_start() -> None:
    found = status_of(answered(seen(forecast=Forecast(3, later(100))), ROOM, "ClusterConcurrency"))
    assert found["queue"] == {
        "reason": "ClusterConcurrency",
        "since": "2026-11-24T12:00:00Z",
        "position": 3,
        "estimatedStartTime": "2026-11-24T12:01:40Z",
    }


def test_one_who_stands_behind_others_is_not_told_that_it_starts_when_the_first_may() -> None:
    found = status_of(answered(seen(forecast=Forecast(3)), full(100)))
    assert (found["queue"]["position"], found["message"]) == (
        3,
        (
            "5 of 5 requests of 'alice' within 24 h are used (policy 'built-in'). It is number 3 in line; the first"
            " starts at 2026-11-24T12:01:40Z."
        ),
    )


def test_one_too_many_is_told_who_waits_and_what_to_do() -> None:
    observed = seen(queued={ALICE: 2}, catalogue=catalogue(policies=CROWDED))
    assert status_of(answered(observed, ROOM, "UserConcurrency"))["message"] == (
        "2 requests of user 'alice' wait already, as many as policy 'crowded' allows. Wait until one has ended, or"
        " cancel one; then set a new spec.runID."
    )


def test_what_asks_for_a_place_is_the_plans_run_in_the_users_name() -> None:
    given = request(status=QUEUED | {"queuedTime": "2026-11-24T11:00:00Z"}, priority="Low")
    found = ask(seen(given, catalogue=catalogue(policies=(Named("heavy", {"weight": 7}),)))).waiting
    assert found == Waiting(
        entry=Entry(
            run=RUN,
            request=given.key,
            uid=given.uid,
            time=NOW,
            user="alice",
            source="app-db",
            destination="bucket",
            policy="heavy",
        ),
        levels=(
            Level(Subject("Source", "app-db"), None),
            Level(Subject("Destination", "bucket"), None),
            Level(Subject("Cluster", "all"), 20),
        ),
        owner=ALICE,
        since=later(-3600),
        weight=7,
        priority="Low",
        dataset="users",
    )
