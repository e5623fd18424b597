"""What those whom a policy selects use, as its status tells."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.domain.identity import Subject
from export_operator.domain.model import Key
from export_operator.domain.pages import Bucket, Entry, Page, State
from export_operator.domain.policy_usage import Tally
from export_operator.domain.windows import Sliding, Window

from .builders import NOW, later

pytestmark = pytest.mark.unit

HOUR: Window = Sliding(timedelta(hours=1))
ALICE, BOB = Subject("User", "alice"), Subject("User", "bob")
TEAM = Subject("Namespace", "team-a")
ROBOT = "system:serviceaccount:ci:exporter"
NOTHING = {"running": 0, "queued": 0, "requests": 0, "rows": 0, "bytes": 0}
COUNTED = Entry(run="1", request=Key("team-a", "x"), uid="u", time=NOW, user="alice", policy="mine", rows=10, bytes=100)


def told(*pages: tuple[Subject, Page], requests: tuple[dict[str, Any], ...] = (), window: Window = HOUR) -> Any:
    tally = Tally({"mine": window}, NOW)
    for whose, page in pages:
        tally.add_page(whose, page)
    for status in requests:
        tally.add_request(status)
    return tally.as_status("mine")


def share(name: str, requests: int = 1, rows: int = 10, size: int = 100) -> dict[str, Any]:
    return {"name": name, "requests": requests, "rows": rows, "bytes": size}


def test_nothing_is_nought() -> None:
    assert told() == NOTHING


def test_a_policy_that_the_tally_does_not_know_has_no_usage() -> None:
    tally = Tally({}, NOW)
    tally.add_page(ALICE, Page((COUNTED,)))
    tally.add_page(Subject("Policy", "mine"), Page((COUNTED,)))
    tally.add_request({"phase": "Running", "effective": {"policy": "mine"}})
    assert tally.as_status("mine") is None


def test_a_run_is_counted_once_though_it_stands_in_the_pages_of_several_subjects() -> None:
    page = Page((COUNTED,))
    assert told((ALICE, page), (TEAM, page), (Subject("Cluster", "all"), page)) == NOTHING | {
        "requests": 1,
        "rows": 10,
        "bytes": 100,
        "users": [share("alice")],
        "namespaces": [share("team-a")],
    }


def test_a_service_account_is_counted_in_its_namespace() -> None:
    page = Page((replace(COUNTED, user=ROBOT),))
    found = told((TEAM, page))
    assert (found["users"], found["namespaces"]) == ([share(ROBOT)], [share("team-a")])


@pytest.mark.parametrize(
    "other",
    [
        replace(COUNTED, policy="other"),
        replace(COUNTED, time=later(-3600)),
        replace(COUNTED, state=State.REFUNDED, rows=0, bytes=0),
    ],
    ids=["another policy's", "out of the window", "refunded"],
)
def test_what_does_not_count_under_the_policy_is_left_out(other: Entry) -> None:
    assert told((ALICE, Page((other,)))) == NOTHING


def test_a_policy_with_a_page_of_its_own_counts_also_what_that_has_summed_up() -> None:
    folded = Bucket(since=later(-600), until=later(-300), requests=7, launches=7, rows=70, bytes=700)
    found = told((ALICE, Page((COUNTED,))), (Subject("Policy", "mine"), Page((COUNTED,), (folded,))))
    assert found == NOTHING | {
        "requests": 8,
        "rows": 80,
        "bytes": 800,
        "users": [share("alice")],
        "namespaces": [share("team-a")],
    }


def test_the_five_that_use_most_are_named_and_among_equals_the_first_by_name() -> None:
    entries = [
        replace(COUNTED, run=f"{user}{number}", user=user)
        for user, runs in (("a", 1), ("b", 3), ("c", 2), ("d", 1), ("e", 1), ("f", 2))
        for number in range(runs)
    ]
    pages = [(Subject("User", user), Page(tuple(e for e in entries if e.user == user))) for user in "abcdef"]
    assert told(*pages)["users"] == [
        share("b", 3, 30, 300),
        share("c", 2, 20, 200),
        share("f", 2, 20, 200),
        share("a"),
        share("d"),
    ]


@pytest.mark.parametrize(
    ("status", "counted"),
    [
        ({"phase": "Queued"}, {"queued": 1}),
        ({"phase": "Running"}, {"running": 1}),
        ({"phase": "Pending", "jobRef": {"name": "j"}}, {"running": 1}),
        ({"phase": "Pending"}, {}),
        ({"phase": "Succeeded", "jobRef": {"name": "j"}}, {}),
        ({"phase": "Queued", "effective": {"policy": "other"}}, {}),
        ({}, {}),
    ],
)
def test_requests_that_wait_and_runs_that_are_live_are_counted(status: dict[str, Any], counted: dict[str, int]) -> None:
    assert told(requests=({"effective": {"policy": "mine"}} | status,)) == NOTHING | counted


entries = st.builds(
    Entry,
    run=st.uuids().map(str),
    request=st.builds(Key, st.sampled_from(("team-a", "team-b")), st.just("x")),
    uid=st.just("u"),
    time=st.integers(-7200, 0).map(later),
    user=st.sampled_from(("alice", "bob", ROBOT)),
    policy=st.sampled_from(("mine", "other")),
    state=st.sampled_from((State.RESERVED, State.SETTLED)),
    rows=st.integers(0, 100),
    bytes=st.integers(0, 100),
)


@given(st.lists(entries, max_size=30))
def test_the_sum_is_that_of_the_runs_however_they_are_spread_over_pages(found: list[Entry]) -> None:
    subjects: dict[Subject, list[Entry]] = {}
    for entry in found:
        if entry.user != ROBOT:
            subjects.setdefault(Subject("User", entry.user), []).append(entry)
        subjects.setdefault(Subject("Namespace", entry.request.namespace), []).append(entry)
    counted = [entry for entry in found if entry.policy == "mine" and entry.time > later(-3600)]
    usage = told(*((whose, Page(tuple(page))) for whose, page in subjects.items()))
    assert {name: usage[name] for name in ("requests", "rows", "bytes")} == {
        "requests": len(counted),
        "rows": sum(entry.rows for entry in counted),
        "bytes": sum(entry.bytes for entry in counted),
    }
    assert [sum(one["requests"] for one in usage.get(kind, ())) for kind in ("users", "namespaces")] == [
        len(counted)
    ] * 2
