"""What is done about a schedule, by what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.domain import times
from export_operator.domain.actions import Emit, WriteStatus
from export_operator.domain.firing import (
    MAX_PASSED,
    NOT_ATTESTED,
    SPREAD,
    Action,
    Cancel,
    Decision,
    Delete,
    Make,
    Observation,
    Refused,
    answered,
    decide,
)
from export_operator.domain.identity import Finding
from export_operator.domain.model import EPOCH, Key, Request
from export_operator.domain.schedule import Schedule, last_edit, request_manifest, request_name

from .builders import ENFORCED, NOW, later

pytestmark = pytest.mark.unit

KEY = Key("team-a", "nightly")
UID = "7c1d5f0e-0000-4000-8000-000000000001"
DUE = datetime(2026, 11, 25, 2, 30, tzinfo=UTC)
BEFORE, AFTER = DUE - timedelta(seconds=1), DUE + timedelta(seconds=1)
SPEC: Mapping[str, Any] = {
    "schedule": "30 2 * * *",
    "template": {"spec": {"source": {"name": "app-db", "dataset": "users"}}},
    "requester": {"username": "alice"},
    "submittedBy": {"username": "alice", "groups": ["analysts"]},
}
NEXT = "2026-11-26T02:30:00Z"


def condition(kind: str, value: bool, reason: str, message: str, since: datetime = NOW) -> dict[str, Any]:
    return {
        "type": kind,
        "status": str(value),
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": times.render(since),
    }


VALID = condition("Accepted", True, "Valid", "schedule and template are valid, and who made it may ask so")
STATUS: Mapping[str, Any] = {
    "observedGeneration": 1,
    "effective": {"schedule": "30 2 * * *", "timeZone": "UTC"},
    "lastHandledTime": "2026-11-24T02:30:00Z",
    "nextScheduleTime": "2026-11-25T02:30:00Z",
    "reason": "Waiting",
    "message": "the next request is made at 2026-11-25T02:30:00Z",
    "active": [],
    "conditions": [VALID],
}


def schedule(status: Mapping[str, Any] = STATUS, **changes: Any) -> Schedule:
    """One that makes a request each night, and that has been looked at. A change to None takes the field away."""
    spec = {name: value for name, value in (dict(SPEC) | changes).items() if value is not None}
    return Schedule(KEY, UID, "7", 1, NOW - timedelta(days=3), spec, status)


def made(time: datetime, phase: str = "Running", **spec: Any) -> Request:
    """A request of the schedule."""
    kind = {"Succeeded": "Complete", "PartiallySucceeded": "Complete"}.get(phase, "Failed")
    ended = phase not in {"", "Pending", "Queued", "Running"}
    status: dict[str, Any] = {"phase": phase, "runID": ""}
    if ended:
        status |= {
            "completionTime": times.render(time + timedelta(minutes=1)),
            "conditions": [{"type": kind, "status": "True", "reason": phase}],
        }
    name = request_name(schedule(), time)
    return Request(
        Key("team-a", name), f"uid-{name}", "1", 1, time, {**spec, "requester": {"username": "alice"}}, status
    )


def seen(given: Schedule, *requests: Request, **changes: Any) -> Observation:
    known = Observation(schedule=given, made=requests, identity=ENFORCED, able=EPOCH, edited=NOW)
    return replace(known, **changes)


def status_of(decision: Decision) -> Mapping[str, Any]:
    """The one status that is written."""
    (found,) = (action.status for action in decision.actions if isinstance(action, WriteStatus))
    return found


def of(kind: type[Action], decision: Decision) -> list[Action]:
    return [action for action in decision.actions if isinstance(action, kind)]


def reasons(decision: Decision) -> list[str]:
    return [action.reason for action in decision.actions if isinstance(action, Emit)]


def fired(given: Schedule, now: datetime, *requests: Request, **changes: Any) -> Decision:
    """What follows when it is time, and the request has been made."""
    observation = seen(given, *requests, **changes)
    ((make,)) = decide(observation, now).actions
    assert isinstance(make, Make)
    return answered(replace(observation, made=(*requests, made(make.time, ""))), make, None, now)


# Until it is time.


def test_before_its_time_nothing_is_done_and_the_next_look_is_in_time() -> None:
    assert decide(seen(schedule()), BEFORE) == Decision(requeue_after=1.0)


def test_a_time_far_away_is_looked_at_each_minute_for_the_clock_may_be_set() -> None:
    assert decide(seen(schedule()), DUE - timedelta(hours=5)) == Decision(requeue_after=60.0)


def test_a_new_schedule_is_tried_before_it_is_accepted() -> None:
    given = schedule({"observedGeneration": -1})
    observation = seen(replace(given, created=NOW))
    assert decide(observation, NOW) == Decision((Make(DUE, trial=True),))
    assert answered(observation, Make(DUE, trial=True), None, NOW) == Decision(
        (WriteStatus({**STATUS, "lastHandledTime": times.render(NOW)}),), 60.0
    )


def test_a_template_that_the_api_server_refuses_is_told_at_once_and_tried_again() -> None:
    observation = seen(replace(schedule({}), created=NOW))
    refused = answered(observation, Make(DUE, trial=True), Refused("RequestRefused", "no such field"), NOW)
    status = status_of(refused)
    assert (status["reason"], status["message"], refused.requeue_after) == ("RequestRefused", "no such field", 60.0)
    assert "nextScheduleTime" not in status
    assert status["conditions"] == [
        condition("Accepted", False, "RequestRefused", "no such field"),
        condition("Stalled", True, "RequestRefused", "no such field"),
    ]
    assert reasons(refused) == ["RequestRefused"]
    again = seen(replace(schedule(status), created=NOW))
    assert decide(again, later(60)) == Decision((Make(DUE, trial=True),))
    assert reasons(answered(again, Make(DUE, trial=True), Refused("RequestRefused", "no"), NOW)) == []


# When it is time.


def test_when_it_is_time_the_request_is_made_and_then_written_down() -> None:
    assert decide(seen(schedule()), AFTER) == Decision((Make(DUE),))
    decision = fired(schedule(), AFTER)
    assert decision.actions == (
        Emit("Normal", "RequestMade", "made nightly-2611250230 for 2026-11-25T02:30:00Z", f"{UID}/1"),
        WriteStatus(
            {
                **STATUS,
                "lastHandledTime": "2026-11-25T02:30:00Z",
                "lastScheduleTime": "2026-11-25T02:30:00Z",
                "lastRequestName": "nightly-2611250230",
                "nextScheduleTime": NEXT,
                "message": f"the next request is made at {NEXT}",
                "active": [{"name": "nightly-2611250230", "uid": "uid-nightly-2611250230"}],
            }
        ),
    )


def test_the_request_is_the_template_in_its_requesters_name_and_says_whose_it_is() -> None:
    template = {
        "metadata": {"labels": {"team": "a"}, "annotations": {"note": "for the audit"}},
        "spec": {"source": {"name": "app-db"}, "deletionPolicy": "Retain"},
    }
    assert request_manifest(schedule(template=template), DUE) == {
        "apiVersion": "export-operator.io/v1alpha1",
        "kind": "ExportRequest",
        "metadata": {
            "name": "nightly-2611250230",
            "namespace": "team-a",
            "labels": {"team": "a", "export-operator.io/schedule": "nightly"},
            "annotations": {
                "note": "for the audit",
                "export-operator.io/scheduled-time": "2026-11-25T02:30:00Z",
            },
            "ownerReferences": [
                {
                    "apiVersion": "export-operator.io/v1alpha1",
                    "kind": "ScheduledExport",
                    "name": "nightly",
                    "uid": UID,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "source": {"name": "app-db"},
            "deletionPolicy": "Retain",
            "requester": {"username": "alice"},
        },
    }


def test_a_request_that_is_there_already_is_written_down_and_not_made_again() -> None:
    decision = decide(seen(schedule(), made(DUE)), later(86_400))
    assert of(Make, decision) == []
    assert status_of(decision)["lastScheduleTime"] == "2026-11-25T02:30:00Z"


def test_a_time_that_was_handled_is_over_even_if_the_clock_goes_back() -> None:
    handled = {**STATUS, "lastHandledTime": "2026-11-25T02:30:00Z"}
    for now in (BEFORE, DUE, AFTER):
        assert of(Make, decide(seen(schedule(handled)), now)) == []


def test_times_from_before_the_schedule_was_made_do_not_count() -> None:
    fresh = replace(schedule({}), created=DUE)
    assert decide(seen(fresh), AFTER) == Decision((Make(DUE + timedelta(days=1), trial=True),))


# What was missed.


def test_of_several_that_passed_the_last_is_made_up_and_the_others_are_counted() -> None:
    now = DUE + timedelta(days=3, hours=1)
    assert decide(seen(schedule()), now) == Decision((Make(DUE + timedelta(days=3)),))
    decision = fired(schedule({**STATUS, "missedSchedules": 2}), now)
    assert status_of(decision)["missedSchedules"] == 5
    assert decision.actions[0] == Emit(
        "Warning",
        "ScheduleMissed",
        "no request was made for 2026-11-25T02:30:00Z and 2 more times: of several that have passed only the last is"
        " made up",
        f"{UID}/1",
    )


def test_what_is_later_than_the_deadline_is_missed() -> None:
    given = schedule(startingDeadlineSeconds=60)
    assert of(Make, decide(seen(given), DUE + timedelta(seconds=60))) == [Make(DUE)]
    decision = decide(seen(given), DUE + timedelta(seconds=61))
    status = status_of(decision)
    assert (status["missedSchedules"], status["lastHandledTime"]) == (1, "2026-11-25T02:30:00Z")
    assert status["nextScheduleTime"] == NEXT
    assert reasons(decision) == ["ScheduleMissed"]
    assert "lastScheduleTime" not in status


def test_a_long_outage_is_counted_a_piece_at_a_time() -> None:
    given = schedule({**STATUS, "effective": {"schedule": "* * * * *", "timeZone": "UTC"}}, schedule="* * * * *")
    now = times.parse("2026-11-24T02:30:30Z")
    assert now is not None
    now += timedelta(minutes=MAX_PASSED + 5)
    first = decide(seen(given), now)
    assert (status_of(first)["missedSchedules"], status_of(first)["reason"]) == (MAX_PASSED, "CatchingUp")
    assert (of(Make, first), first.requeue_after) == ([], 0.0)
    second = fired(replace(given, status=status_of(first)), now)
    assert status_of(second)["missedSchedules"] == MAX_PASSED + 4


# After an outage.


def test_what_is_late_for_all_is_spread_over_a_minute_and_what_is_due_now_is_not() -> None:
    able = DUE + timedelta(hours=2)
    starts = []
    for number in range(200):
        given = replace(schedule(), uid=f"uid-{number}")
        decision = decide(seen(given, able=able), able)
        assert of(Make, decision) == []
        starts.append(decision.requeue_after or 0.0)
        assert decide(seen(given, able=able), able + SPREAD) == Decision((Make(DUE),))
        assert decide(seen(given, able=DUE), DUE) == Decision((Make(DUE),))
    by_ten_seconds = [sum(low <= start < low + 10 for start in starts) for low in range(0, 60, 10)]
    assert sum(by_ten_seconds) == 200
    assert max(by_ten_seconds) < 60


@given(late=st.integers(0, 120), deadline=st.integers(10, 120), uid=st.uuids())
def test_nothing_is_put_off_beyond_its_deadline(late: int, deadline: int, uid: object) -> None:
    able = DUE + timedelta(seconds=late)
    observation = seen(replace(schedule(startingDeadlineSeconds=deadline), uid=str(uid)), able=able)
    latest = DUE + timedelta(seconds=deadline)
    found = of(Make, decide(observation, max(able, latest)))
    assert found == ([Make(DUE)] if able <= latest else [])


# Jitter.


@given(jitter=st.integers(0, 3600), name=st.from_regex(r"[a-z]{1,20}", fullmatch=True))
def test_a_schedule_is_always_equally_late_and_never_more_than_its_jitter(jitter: int, name: str) -> None:
    given = replace(schedule(jitterSeconds=jitter), key=Key("team-a", name))
    assert given.offset == replace(given, uid="another").offset
    assert timedelta() <= given.offset <= timedelta(seconds=jitter)
    time = DUE + given.offset
    assert of(Make, decide(seen(given), time - timedelta(seconds=1))) == []
    assert of(Make, decide(seen(given), time)) == [Make(DUE)]


def test_jitter_is_spread_evenly_over_many() -> None:
    many = [replace(schedule(jitterSeconds=599), key=Key("team-a", f"s{number}")).offset for number in range(600)]
    by_minute = [sum(low <= offset.total_seconds() < low + 60 for offset in many) for low in range(0, 600, 60)]
    assert min(by_minute) > 30


# One at a time, or not.


def test_forbid_waits_for_the_earlier_one_and_makes_it_up() -> None:
    earlier = made(DUE - timedelta(days=1))
    decision = decide(seen(schedule(), earlier), AFTER)
    assert (status_of(decision)["reason"], of(Make, decision)) == ("EarlierNotEnded", [])
    assert status_of(decision)["lastHandledTime"] == "2026-11-24T02:30:00Z"
    ended = made(DUE - timedelta(days=1), "Succeeded")
    assert of(Make, decide(seen(schedule(status_of(decision)), ended), AFTER + timedelta(hours=3))) == [Make(DUE)]


def test_forbid_misses_what_comes_too_late() -> None:
    given = schedule(startingDeadlineSeconds=60)
    decision = decide(seen(given, made(DUE - timedelta(days=1))), AFTER)
    assert decision.requeue_after == 59.0
    late = decide(seen(given, made(DUE - timedelta(days=1))), DUE + timedelta(seconds=61))
    assert status_of(late)["missedSchedules"] == 1


def test_a_request_that_was_asked_for_anew_has_not_ended() -> None:
    anew = made(DUE - timedelta(days=1), "Succeeded", runID="again")
    assert of(Make, decide(seen(schedule(), anew), AFTER)) == []


def test_allow_makes_one_beside_the_other() -> None:
    assert of(Make, decide(seen(schedule(concurrencyPolicy="Allow"), made(DUE - timedelta(days=1))), AFTER)) != []


def test_replace_cancels_the_earlier_ones_when_the_next_is_there() -> None:
    earlier = made(DUE - timedelta(days=2)), made(DUE - timedelta(days=1), cancel=True)
    decision = fired(schedule(concurrencyPolicy="Replace"), AFTER, *earlier)
    assert of(Cancel, decision) == [Cancel(earlier[0])]


# Changes.


@pytest.mark.parametrize("change", [{"schedule": "0 1 * * *"}, {"timeZone": "Asia/Kathmandu"}])
def test_another_schedule_makes_up_nothing_from_before_it_was_written(change: dict[str, Any]) -> None:
    edited = times.parse("2026-11-25T14:00:00Z")
    assert edited is not None
    observation = seen(schedule({**STATUS, "lastHandledTime": "2026-11-25T02:30:00Z"}, **change), edited=edited)
    status = status_of(decide(observation, edited + timedelta(seconds=5)))
    assert status["lastHandledTime"] == "2026-11-25T14:00:00Z"
    assert "missedSchedules" not in status
    tomorrow = decide(observation, edited + timedelta(days=1))
    assert isinstance(tomorrow.actions[0], Make)


def test_another_template_changes_nothing_about_what_is_due() -> None:
    given = replace(schedule(template={"spec": {"source": {"name": "other"}}}), generation=2)
    assert decide(seen(given, edited=AFTER), AFTER) == Decision((Make(DUE),))


def test_a_suspended_schedule_makes_nothing_and_says_so() -> None:
    status = status_of(decide(seen(schedule(suspend=True)), AFTER))
    text = "suspended; set spec.suspend to false to let it go on"
    assert (status["reason"], status["message"]) == ("Suspended", text)
    assert "nextScheduleTime" not in status
    assert condition("Suspended", True, "Suspended", text, AFTER) in status["conditions"]


def test_what_passed_while_suspended_is_not_made_up() -> None:
    suspended = status_of(decide(seen(schedule(suspend=True)), BEFORE))
    resumed = schedule(suspended, suspend=False)
    assert resumed.turned
    decision = decide(seen(resumed, edited=AFTER), AFTER)
    assert (of(Make, decision), status_of(decision)["nextScheduleTime"]) == ([], NEXT)
    assert "missedSchedules" not in status_of(decision)
    assert [item["type"] for item in status_of(decision)["conditions"]] == ["Accepted"]


def test_the_time_of_an_edit_is_the_api_servers() -> None:
    fields = [
        {"manager": "kubectl", "time": "2026-11-20T00:00:00Z"},
        {"manager": "flux", "time": "2026-11-21T00:00:00Z"},
        {"manager": "export-operator", "subresource": "status", "time": "2026-11-23T00:00:00Z"},
    ]
    document = {"metadata": {"managedFields": fields}}
    assert last_edit(document, NOW) == datetime(2026, 11, 21, tzinfo=UTC)
    assert last_edit({"metadata": {}}, NOW) == NOW
    assert last_edit(document, EPOCH) == EPOCH


def test_a_suspended_schedule_is_tried_as_well_so_that_it_is_known_whether_it_could_go_on() -> None:
    observation = seen(replace(schedule({}, suspend=True), created=NOW))
    assert decide(observation, NOW) == Decision((Make(DUE, trial=True),))
    status = status_of(answered(observation, Make(DUE, trial=True), None, NOW))
    assert [(item["type"], item["status"]) for item in status["conditions"]] == [
        ("Accepted", "True"),
        ("Suspended", "True"),
    ]


# Who asks.


def test_nothing_is_made_while_nobody_attests_who_asks() -> None:
    blind = replace(ENFORCED, enforced=False, message="check-identity is missing")
    decision = decide(seen(schedule(), identity=blind), AFTER)
    assert (status_of(decision)["reason"], of(Make, decision)) == ("IdentityNotEnforced", [])
    assert decision.requeue_after == 60.0
    assert of(Make, decide(seen(schedule(status_of(decision))), AFTER)) == [Make(DUE)]


@pytest.mark.parametrize(
    "observation",
    [
        seen(schedule(requester=None)),
        seen(schedule(submittedBy=None)),
        seen(schedule(), suspect=True),
        seen(schedule(), identity=replace(ENFORCED, since=NOW)),
        seen(
            replace(schedule(), created=later(-3)),
            identity=ENFORCED.after(Finding(later(-5), True))
            .after(Finding(later(-1), False))
            .after(Finding(NOW, True)),
        ),
    ],
    ids=["no requester", "no submitter", "changed unseen", "older than the policies", "from a gap"],
)
def test_a_schedule_that_nobody_attests_makes_nothing_ever(observation: Observation) -> None:
    decision = decide(observation, AFTER)
    status = status_of(decision)
    assert (status["reason"], status["message"], of(Make, decision)) == ("IdentityNotAttested", NOT_ATTESTED, [])
    later_on = seen(replace(observation.schedule, spec=SPEC, status=status))
    assert decide(later_on, AFTER + timedelta(days=1)).actions == ()


def test_what_is_refused_when_it_is_time_is_tried_until_it_is_too_late() -> None:
    given = schedule(startingDeadlineSeconds=60)
    refused = answered(seen(given), Make(DUE), Refused("RequesterNotAllowed", "not any more"), AFTER)
    status = status_of(refused)
    assert (status["reason"], status["lastHandledTime"]) == ("RequesterNotAllowed", "2026-11-24T02:30:00Z")
    assert refused.requeue_after == 59.0
    again = schedule(status, startingDeadlineSeconds=60)
    assert of(Make, decide(seen(again), DUE + timedelta(seconds=60))) == [Make(DUE)]
    missed = decide(seen(again), DUE + timedelta(seconds=61))
    assert status_of(missed)["missedSchedules"] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schedule": "0 0 31 2 *"}, "ScheduleInvalid"),
        ({"schedule": "0 0 */31 2 6#5"}, "ScheduleInvalid"),
        ({"timeZone": "Nowhere"}, "TimeZoneNotFound"),
    ],
)
def test_a_schedule_that_cannot_be_read_stalls(change: dict[str, Any], reason: str) -> None:
    decision = decide(seen(schedule(**change)), AFTER)
    assert (status_of(decision)["reason"], decision.requeue_after) == (reason, None)
    assert reasons(decision) == [reason]


# What is kept.


def names(requests: Sequence[Action]) -> list[str]:
    return [action.request.key.name for action in requests if isinstance(action, Delete)]


def test_of_what_has_ended_the_newest_are_kept_of_either_kind() -> None:
    day = timedelta(days=1)
    succeeded = [made(DUE - number * day, "Succeeded") for number in (2, 4, 6, 8)]
    failed = [made(DUE - number * day, phase) for number, phase in ((3, "Failed"), (5, "Rejected"), (7, "Cancelled"))]
    given = schedule(successfulHistoryLimit=1, failedHistoryLimit=2)
    decision = decide(seen(given, *succeeded, *failed, made(DUE - 9 * day)), BEFORE)
    assert names(decision.actions) == [
        "nightly-2611210230",
        "nightly-2611190230",
        "nightly-2611170230",
        "nightly-2611180230",
    ]


def test_three_of_either_kind_are_kept_when_nothing_is_said() -> None:
    many = [made(DUE - timedelta(days=number), "Succeeded") for number in range(1, 6)]
    assert len(names(decide(seen(schedule(), *many), BEFORE).actions)) == 2


def test_a_success_stands_in_status_before_its_request_is_deleted() -> None:
    given = schedule(successfulHistoryLimit=0)
    decision = decide(seen(given, made(DUE - timedelta(days=1), "Succeeded")), BEFORE)
    assert [type(action) for action in decision.actions] == [WriteStatus, Delete]
    assert status_of(decision)["lastSuccessfulTime"] == "2026-11-24T02:31:00Z"
    assert decide(seen(schedule(status_of(decision))), BEFORE).actions == ()


# Names.

SCHEDULES = st.from_regex(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?", fullmatch=True)
TIMES = st.integers(0, 100 * 365 * 24 * 60 - 1).map(lambda minutes: DUE + timedelta(minutes=minutes))


@given(SCHEDULES, TIMES, SCHEDULES, TIMES)
def test_two_schedules_or_two_times_never_share_a_name(one: str, first: datetime, two: str, second: datetime) -> None:
    def name(of: str, time: datetime) -> str:
        return request_name(replace(schedule(), key=Key("team-a", of)), time)

    assert (name(one, first) == name(two, second)) == ((one, first) == (two, second))
    assert len(name(one, first)) <= 63


@pytest.mark.parametrize(
    "change",
    [
        {"ownerReferences": []},
        {"ownerReferences": [{"uid": "another"}]},
        {"ownerReferences": [{"controller": False}]},
        {"requester": "mallory"},
    ],
    ids=["nobody's", "an earlier schedule's", "not controlled", "another's in its name"],
)
def test_only_what_it_made_is_its_own(change: dict[str, Any]) -> None:
    document = request_manifest(schedule(), DUE)
    assert schedule().owns(document)
    (owner,) = document["metadata"]["ownerReferences"]
    if "requester" in change:
        document["spec"]["requester"] = {"username": change["requester"]}
    else:
        document["metadata"]["ownerReferences"] = [owner | each for each in change["ownerReferences"]]
    assert not schedule().owns(document)
