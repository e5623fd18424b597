"""The status document: conditions, bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.report import MAX_RETRIED
from export_operator.domain.actions import Decision, Reserve, TakeSlot, WriteStatus
from export_operator.domain.attempts import RING, ring
from export_operator.domain.decide import admitted, decide, reserved
from export_operator.domain.endings import Problem
from export_operator.domain.identity import Subject
from export_operator.domain.manifests import Sought
from export_operator.domain.model import Key, Named, Pod
from export_operator.domain.quota import Admission, WindowLimit, WindowState
from export_operator.domain.status import Document, clip, failure_status, quota_status
from export_operator.domain.windows import Sliding

from .builders import (
    NOW,
    RUN,
    SETTINGS,
    catalogue,
    destination,
    ended_pod,
    failure,
    job,
    later,
    request,
    seen,
    source,
    success,
)
from .test_progress import SHOWN

pytestmark = pytest.mark.unit

BOUND = 8 * 1024
DAY = 86_400


def document(*conditions: dict[str, Any], now: datetime = NOW, generation: int = 1) -> Document:
    return Document({}, list(conditions), generation, now)


ACCEPTED = {
    "type": "Accepted",
    "status": "True",
    "reason": "Valid",
    "message": "fine",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-11-24T12:00:00Z",
}


def test_a_new_condition_turns_now() -> None:
    found = document()
    found.condition("Accepted", True, "Valid", "fine")
    assert found.conditions == [ACCEPTED]


def test_a_condition_that_stays_keeps_its_time() -> None:
    found = document(ACCEPTED, now=later(60), generation=2)
    found.condition("Accepted", True, "Other", "still fine")
    assert found.conditions == [ACCEPTED | {"reason": "Other", "message": "still fine", "observedGeneration": 2}]


def test_a_condition_that_turns_has_a_new_time() -> None:
    found = document(ACCEPTED, now=later(60))
    found.condition("Accepted", False, "Invalid", "bad")
    assert found.conditions == [
        ACCEPTED
        | {"status": "False", "reason": "Invalid", "message": "bad", "lastTransitionTime": "2026-11-24T12:01:00Z"}
    ]


def test_conditions_are_written_in_the_order_of_their_types() -> None:
    found = document()
    for kind in ("Failed", "Accepted", "Complete"):
        found.condition(kind, True, "R", "m")
    assert [item["type"] for item in found.compose()["conditions"]] == ["Accepted", "Complete", "Failed"]


def test_waiting_again_keeps_the_first_moment_of_waiting() -> None:
    found = document()
    found.queue("QuotaExceeded", "full", later(DAY))
    again = Document(found.fields, [], 1, later(60))
    again.queue("UserConcurrency", "busy")
    assert again.fields == {
        "queuedTime": "2026-11-24T12:00:00Z",
        "queue": {"reason": "UserConcurrency", "since": "2026-11-24T12:00:00Z"},
        "phase": "Queued",
        "reason": "UserConcurrency",
        "message": "busy",
    }


def test_quota_names_policy_scope_and_room() -> None:
    limit = WindowLimit(Subject("User", "alice"), "User", Sliding(later(DAY) - NOW), "default", 5, 1000)
    states = [WindowState(limit, "rows", 999, 1000), WindowState(limit, "requests", 5, 5, True, later(60))]
    assert quota_status(states) == [
        {
            "policy": "default",
            "scope": "User",
            "resource": "requests",
            "used": 5,
            "limit": 5,
            "nextEligibleTime": "2026-11-24T12:01:00Z",
        },
        {"policy": "default", "scope": "User", "resource": "rows", "used": 999, "limit": 1000},
    ]


def test_a_failure_is_the_dead_letter() -> None:
    problem = Problem("PodCrashed", "Infrastructure", "it crashed", "Try again.", True, 1, "Traceback")
    assert failure_status(problem, 4) == {
        "reason": "PodCrashed",
        "class": "Infrastructure",
        "message": "it crashed",
        "advice": "Try again.",
        "retryable": True,
        "attempts": 4,
        "exitCode": 1,
        "logTail": "Traceback",
    }


def test_a_log_is_cut_at_its_beginning() -> None:
    problem = Problem("PodCrashed", "Infrastructure", "", "", True, 1, "early " * 1000 + "the error")
    tail = failure_status(problem, 1)["logTail"]
    assert (tail[0], tail[-9:]) == ("…", "the error")


@given(st.text(max_size=400), st.integers(10, 200))
def test_a_cut_text_fits_and_is_the_beginning(text: str, limit: int) -> None:
    cut = clip(text, limit)
    sound = text.encode("utf-8", "replace").decode()
    fits = len(json.dumps(cut, ensure_ascii=False).encode()) - 2 <= limit
    assert (fits, cut == sound or (cut.endswith("…") and sound.startswith(cut[:-1]))) == (True, True)


# The largest of everything that the API lets through.
LONG = "l" * 63
NAME = "n" * 253
WIDE = "語" * 63
KEYS = {"name": NAME, "keyPrefix": "k" * 256}
MANY = [f"{WIDE[3:]}{number:03}" for number in range(256)]
FEW = MANY[:3]  # as many bytes as a status shows


def wide_source(columns: list[str]) -> Named:
    return Named(NAME, source(datasets=[{"name": LONG, "table": {"name": WIDE}, "columns": columns}]).spec)


BIG_SOURCE = wide_source(FEW)
BIG_DESTINATION = Named(NAME, destination(bucket="b" * 63, prefix="p" * 256).spec)
BIG_POLICY = Named("p" * 253, {"selector": {"users": ["語" * 512]}, "limits": {"namespace": {"requests": 1}}})
BIG = request(
    key=Key(LONG, LONG),
    source={"name": NAME, "dataset": LONG},
    destination=KEYS,
    runID="r" * 63,
    requester={"username": "語" * 512},
    submittedBy={"username": "語" * 512},
    onQuotaExceeded="Reject",
)
KNOWN = catalogue(BIG_SOURCE, BIG_DESTINATION, policies=(BIG_POLICY,))


def size(decision: Decision) -> int:
    written = [action.status for action in decision.actions if isinstance(action, WriteStatus)]
    assert len(written) == 1
    return len(json.dumps(written[0], ensure_ascii=False, separators=(",", ":")).encode())


def big_reserve() -> Reserve:
    action = decide(seen(BIG, catalogue=KNOWN), SETTINGS, NOW).actions[0]
    assert isinstance(action, Reserve)
    return action


def big_states(reserve: Reserve) -> tuple[WindowState, ...]:
    """Every limit that there can be, each of them full."""
    return tuple(
        WindowState(replace(reserve.limits[0], scope=scope), resource, 10**15, 10**15, True, later(DAY))
        for scope in ("User", "Namespace", "Policy", "Cluster")
        for resource in ("requests", "launches", "rows", "bytes")
    )


def big_status() -> dict[str, Any]:
    """Of a run that waited, was admitted and has a Job: all that a status can hold before the end."""
    reserve = big_reserve()
    take = TakeSlot(reserve.plan, reserve.waiting, Admission(True, big_states(reserve)))
    found = admitted(seen(BIG, catalogue=KNOWN), take, "", SETTINGS, NOW)
    status = dict(next(action.status for action in found.actions if isinstance(action, WriteStatus)))
    return status | {
        "queuedTime": "2026-11-24T12:00:00Z",
        "progress": dict.fromkeys(SHOWN, 2**53)
        | {"heartbeatTime": "2026-11-24T12:00:00Z", "estimateSource": "StaleStatistics"},
        "recentAttempts": ring([], [*attempts(137, "")], ""),
        "conditions": [
            *status["conditions"],
            {**ACCEPTED, "type": "Suspended", "reason": "Resumed", "message": "it goes on"},
        ],
    }


def attempts(code: int, told: str, **changes: Any) -> Iterator[Pod]:
    return (ended_pod(code, told, name=f"{'p' * 62}{number}", **changes) for number in range(RING))


def big_end(message: str, code: int, log_tail: str = "") -> Decision:
    """The end of a run that has had as many attempts as are told of; the last one leaves this."""
    given_request = request(key=BIG.key, status=big_status(), **BIG.spec)
    run = given_request.run
    pods = tuple(attempts(code, message.replace(RUN, run), run=run))
    ended = job(run=run, complete=code == 0, failed=code != 0)
    sought = Sought(fault="f" * 400)  # asked for where the message is none
    observed = seen(given_request, catalogue=KNOWN, job=ended, pods=pods, log_tail=log_tail, sought=sought)
    return decide(observed, SETTINGS, NOW)


def test_columns_are_shown_as_long_as_they_are_few() -> None:
    assert big_status()["effective"]["columns"] == FEW


def test_a_long_list_of_columns_is_left_out_of_status() -> None:
    known = catalogue(wide_source(MANY), BIG_DESTINATION)
    action = decide(seen(BIG, catalogue=known), SETTINGS, NOW).actions[0]
    assert isinstance(action, Reserve)
    take = TakeSlot(action.plan, action.waiting, Admission(granted=True))
    found = admitted(seen(BIG, catalogue=known), take, "ClusterConcurrency", SETTINGS, NOW)
    written = next(action.status for action in found.actions if isinstance(action, WriteStatus))
    assert "columns" not in written["effective"]


def test_a_status_before_the_end_is_small() -> None:
    assert len(json.dumps(big_status(), ensure_ascii=False).encode()) <= BOUND


@pytest.mark.parametrize("text", ["x", "語", "🎉", '"', "\\", "\x01"], ids=ascii)
def test_a_failure_told_by_the_pod_leaves_a_small_status(text: str) -> None:
    assert size(big_end(failure(message=text * 4096), 67, text * 16384)) <= BOUND


@pytest.mark.parametrize("text", ["x", "語", "🎉", '"', "\\", "\x01", "\ud800"], ids=ascii)
def test_a_crash_with_any_log_leaves_a_small_status(text: str) -> None:
    assert size(big_end(text * 4096, 1)) <= BOUND


def test_a_delivery_leaves_a_small_status() -> None:
    run = request(key=BIG.key, **BIG.spec).run
    place = f"s3://{'b' * 63}/{'p' * 256}/{LONG}/{'k' * 256}/{LONG}/{run}/{LONG}.csv"
    timings = json.dumps({f"{'s' * 30}{index}": 1.123456 for index in range(20)})
    warnings = json.dumps(["語" * 400] * 20)
    tried = json.dumps({f"{'c' * 38}{index}/{'f' * 40}": 2**31 - 1 for index in range(MAX_RETRIED)})
    message = success(uri=place).replace('{"total":1.25}', timings).replace('"retries":{}', f'"retries":{tried}')
    message = message[:-1] + f',"warnings":{warnings}}}'
    assert '"retries":{"c' in message
    assert size(big_end(message, 0)) <= BOUND


def test_a_refusal_leaves_a_small_status() -> None:
    wrong = request(key=BIG.key, **(dict(BIG.spec) | {"source": {"name": NAME, "dataset": LONG, "columns": [WIDE]}}))
    assert size(decide(seen(wrong, catalogue=KNOWN), SETTINGS, NOW)) <= BOUND


def test_a_refusal_for_want_of_quota_leaves_a_small_status() -> None:
    reserve = big_reserve()
    answer = Admission(False, big_states(reserve))
    given_request = request(key=BIG.key, status=big_status() | {"phase": "Queued", "jobRef": {}}, **BIG.spec)
    assert size(reserved(seen(given_request, catalogue=KNOWN), reserve, answer, SETTINGS, NOW)) <= BOUND
