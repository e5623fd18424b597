"""What the end of a run adds, and the totals as they are kept."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.report import Redelivered
from export_operator.domain import times
from export_operator.domain.model import Named, Pod
from export_operator.domain.series import MAX_SERIES, MAX_TENANTS, OTHER, Labels
from export_operator.domain.totals import (
    DOWNLOADS,
    DURATION,
    MAX_FACTS,
    REDELIVERIES,
    End,
    Fact,
    Totals,
    TotalsError,
    answer_of,
    end_of,
    minute_of,
    moves_of,
)

from .builders import NOW, ended_pod, later, running_pod, spec

pytestmark = pytest.mark.unit

AT = times.render(NOW)
MINUTE = minute_of(later(125))
DELIVERED: dict[str, Any] = {
    "phase": "Succeeded",
    "reason": "Delivered",
    "run": "run-1",
    "runID": "",
    "jobRef": {"name": "a"},
    "queuedTime": times.render(later(1)),
    "startTime": times.render(later(61)),
    "completionTime": times.render(later(125)),
    "attempts": 2,
    "effective": {
        "policy": "default",
        "source": "app-db",
        "destination": "bucket",
        "format": "CSV",
        "runDeadlineSeconds": 60,
    },
    "retries": {"UploadPart/DestinationUnavailable": 3},
    "result": {"rows": 5000, "bytes": 70_000, "timings": {"total": 50.0}, "usedFallback": True},
}
LABELS = Labels("Succeeded", "Delivered", "", "default", "app-db", "bucket", "CSV")


def document(**changes: Any) -> dict[str, Any]:
    status = {name: value for name, value in (DELIVERED | changes).items() if value is not None}
    metadata = {
        "namespace": "team-a",
        "name": "a",
        "uid": "uid",
        "resourceVersion": "1",
        "creationTimestamp": times.render(NOW),
    }
    return {"metadata": metadata, "spec": spec(), "status": status}


def numbers(**changes: Any) -> dict[str, float]:
    end = end_of(document(**changes), {})
    assert end is not None
    return dict(end.numbers)


def test_a_delivered_run_adds_all_that_its_status_tells() -> None:
    added = {
        "runs": 1,
        "attempts": 2,
        "rows": 5000,
        "bytes": 70_000,
        "retries:UploadPart/DestinationUnavailable": 3,
        "fallbacks": 1,
        "near_deadline": 1,
        "wait_60": 1,
        "wait_sum": 60,
        "duration_120": 1,
        "duration_sum": 64,
        "speed_100": 1,
        "speed_sum": 100,
    }
    assert end_of(document(), {}) == End("run-1", MINUTE, "team-a", LABELS, added)


@pytest.mark.parametrize("phase", [None, "Queued", "Pending", "Running", "Expired"])
def test_what_has_not_ended_adds_nothing(phase: str | None) -> None:
    assert end_of(document(phase=phase), {}) is None


def test_who_is_refused_before_it_began_has_waited_for_nothing() -> None:
    refused = {"phase": "Rejected", "result": None, "startTime": None, "queuedTime": None, "jobRef": None}
    assert numbers(**refused, retries=None) == {"runs": 1}


def test_who_gives_up_waiting_has_waited_to_the_end() -> None:
    late = {"phase": "Failed", "result": None, "startTime": None, "jobRef": None, "attempts": 0}
    assert numbers(**late, retries=None) == {"runs": 1, "wait_300": 1, "wait_sum": 124}


def test_a_run_that_was_never_queued_has_waited_since_its_request_was_made_if_it_is_the_first() -> None:
    assert numbers(queuedTime=None)["wait_sum"] == 61
    assert "wait_sum" not in numbers(queuedTime=None, runID="again")


@pytest.mark.parametrize(
    ("change", "near"),
    [
        ({"result": {"timings": {"total": 47.9}}}, 0),
        ({"result": {"timings": {"total": 48.0}}}, 1),
        ({"phase": "Failed", "reason": "DeadlineExceeded", "result": None}, 1),
        ({"phase": "PartiallySucceeded", "reason": "DeadlineReached", "result": None}, 1),
        ({"phase": "Failed", "reason": "OutOfMemory", "result": None}, 0),
    ],
)
def test_a_run_that_nearly_missed_its_deadline_is_told(change: dict[str, Any], near: int) -> None:
    assert numbers(**change).get("near_deadline", 0) == near


@pytest.mark.parametrize(("forgiven", "refunds"), [(["Source"], 1), (["Destination"], 0)])
def test_a_refund_is_counted_as_the_policy_grants_it(forgiven: list[str], refunds: int) -> None:
    policies = {"p": Named("p", {"limits": {"refundOn": forgiven}})}
    failed = document(phase="Failed", result=None, failure={"class": "Source"})
    end = end_of(failed, policies)
    assert end is not None
    assert end.numbers.get("refunds", 0) == refunds


def test_a_histogram_counts_each_value_once_and_tells_of_all_below_each_bound() -> None:
    found: defaultdict[str, float] = defaultdict(float)
    for value in (0, 1, 1.5, 60, 100_000):
        DURATION.observe(found, value)
    cumulative = dict(DURATION.cumulative(found))
    assert (cumulative["1"], cumulative["2"], cumulative["60"], cumulative["14400"], cumulative["+Inf"]) == (
        2,
        3,
        4,
        4,
        5,
    )
    assert found["duration_sum"] == 100_062.5


ENDS = st.builds(
    End,
    st.text("abcdef0123456789", min_size=20, max_size=20),
    st.integers(0, 40),
    st.sampled_from(["team-a", "team-b"]),
    st.builds(Labels, *[st.sampled_from(["", "a", "ü"])] * 7),
    st.dictionaries(st.sampled_from(["runs", "rows", "of a newer release"]), st.integers(1, 2**40)),
)


FACTS = st.builds(
    Fact,
    st.text("abcdef0123456789", min_size=20, max_size=20),
    st.integers(0, 40),
    st.dictionaries(st.sampled_from([(DOWNLOADS, "Ready", "LinksMade"), (REDELIVERIES, "ü")]), st.integers(1, 2**40)),
)


@given(st.lists(ENDS | FACTS), st.integers(0, 40))
def test_totals_are_read_as_they_were_written(ends: list[End | Fact], horizon: int) -> None:
    totals = Totals(0)
    for end in ends:
        totals.add(end)
    totals.forget(horizon)
    text = totals.render()
    assert Totals.parse(text) == totals
    assert Totals.parse(text).render() == text
    assert all(totals.knows(end) for end in ends)


@given(st.lists(ENDS | FACTS, unique_by=lambda end: end.run))
def test_the_order_of_ends_changes_nothing(ends: list[End | Fact]) -> None:
    one, other = Totals(0), Totals(0)
    for end in ends:
        one.add(end)
    for end in reversed(ends):
        other.add(end)
    assert one.render() == other.render()


def test_totals_of_a_newer_form_are_refused() -> None:
    with pytest.raises(TotalsError, match="version is 2"):
        Totals.parse('{"version": 2}')


def test_the_largest_totals_fit_into_their_object() -> None:
    """As many labels as are told apart, each of names as long as Kubernetes allows, and a burst of ends."""
    most = {"runs": 2.0**40, "rows": 2.0**53, "bytes": 2.0**53, "wait_sum": 2.0**40, "duration_sum": 2.0**40}
    totals = Totals(0)
    for number in range(2 * MAX_TENANTS):
        name = f"{number}".rjust(40, "n")
        labels = Labels("PartiallySucceeded", f"Reason{number}", "", name, name, name, "CSV")
        totals.add(End(f"{number:020}", number % 10, f"{number}".rjust(63, "t"), labels, most))
        totals.add(Fact(f"fact-{number}", number % 10, {(REDELIVERIES, name.rjust(253, "n")): 2.0**53}))
    assert len(totals.rows) == MAX_SERIES + 1
    assert len(totals.tenants) == MAX_TENANTS + 1
    assert totals.rows[Labels("PartiallySucceeded", OTHER, "", "", "", "", "")]["runs"] > 0
    assert (len(totals.facts), totals.facts[REDELIVERIES, OTHER] > 0) == (MAX_FACTS + 1, True)
    assert len(totals.render()) < 1_000_000


DOWNLOADED: dict[str, tuple[dict[str, Any], dict[tuple[str, ...], float] | None]] = {
    "links were made": (
        {"phase": "Ready", "reason": "LinksMade", "conditions": [{"type": "Ready", "lastTransitionTime": AT}]},
        {(DOWNLOADS, "Ready", "LinksMade"): 1},
    ),
    "there will be none": (
        {
            "phase": "Failed",
            "reason": "NotAllowed",
            "conditions": [
                {"type": "Ready", "lastTransitionTime": "2026-11-24T09:00:00Z"},
                {"type": "Stalled", "lastTransitionTime": AT},
            ],
        },
        {(DOWNLOADS, "Failed", "NotAllowed"): 1},
    ),
    "it waits": ({"phase": "Pending", "conditions": [{"type": "Ready", "lastTransitionTime": AT}]}, None),
    "the links have ended": ({"phase": "Expired", "conditions": [{"type": "Expired", "lastTransitionTime": AT}]}, None),
    "nobody has looked": ({}, None),
    "without a time": ({"phase": "Ready", "conditions": [{"type": "Ready"}]}, None),
}


@pytest.mark.parametrize(("status", "adds"), DOWNLOADED.values(), ids=list(DOWNLOADED))
def test_a_download_tells_how_it_was_answered(
    status: dict[str, Any], adds: dict[tuple[str, ...], float] | None
) -> None:
    expected = None if adds is None else Fact("download-d", minute_of(NOW), adds)
    assert answer_of({"metadata": {"uid": "d"}, "status": status}) == expected


SAID: dict[str, tuple[Pod, dict[tuple[str, ...], float] | None]] = {
    "that it has moved some": (
        ended_pod(0, Redelivered(moved={"bucket": 3, "other": 0}).to_json()),
        {(REDELIVERIES, "bucket"): 3},
    ),
    "the same, though one failed": (
        ended_pod(81, Redelivered(moved={"bucket": 3}).to_json()),
        {(REDELIVERIES, "bucket"): 3},
    ),
    "nothing yet": (running_pod(), None),
    "that there was none": (ended_pod(0, Redelivered(moved={}).to_json()), None),
    "nonsense": (ended_pod(0, '{"type":"redelivered","moved":{"bucket":-1}}'), None),
    "nothing": (ended_pod(1), None),
}


@pytest.mark.parametrize(("pod", "adds"), SAID.values(), ids=list(SAID))
def test_a_pod_that_redelivers_says_what_it_has_moved(pod: Pod, adds: dict[tuple[str, ...], float] | None) -> None:
    assert moves_of(pod) == (None if adds is None else Fact("redelivery-pod-uid", minute_of(later(5)), adds))
