"""Counting as requests come and go gives what counting anew would give."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_operator.domain import times
from export_operator.domain.census import STUCK_AFTER, Census
from export_operator.domain.jobs import active_deadline_seconds
from export_operator.domain.model import Key
from export_operator.domain.series import MAX_SERIES, OTHER, Labels, labels_of

from .builders import NOW, later

pytestmark = pytest.mark.unit

KEYS = [Key("team-a", f"r-{number}") for number in range(5)]
MOMENTS = st.sampled_from([None, *(times.render(later(seconds)) for seconds in (-90_000, -3600, -60, 0))])
STATUSES = st.fixed_dictionaries(
    {
        "phase": st.sampled_from(["", "Queued", "Pending", "Running", "Succeeded", "Failed"]),
        "reason": st.sampled_from(["", "QuotaExceeded", "ClusterConcurrency"]),
        "queuedTime": MOMENTS,
        "startTime": MOMENTS,
        "jobRef": st.sampled_from([None, {"name": "a"}]),
        "effective": st.sampled_from([{}, {"policy": "p", "source": "s", "destination": "d", "format": "CSV"}]),
        "failure": st.sampled_from([{}, {"class": "Source"}]),
    }
)


def facts(census: Census) -> tuple[Any, ...]:
    return dict(census.requests()), dict(census.tenants()), dict(census.oldest(NOW)), census.stuck(NOW)


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.none() | STATUSES), max_size=30))
def test_the_census_is_what_counting_anew_would_give(changes: list[tuple[Key, dict[str, Any] | None]]) -> None:
    census, present = Census(), dict[Key, dict[str, Any]]()
    for key, status in changes:
        if status is None:
            present.pop(key, None)
            census.drop(key)
        else:
            present[key] = {"status": status}
            census.put(key, present[key])
    anew = Census()
    for key, document in present.items():
        anew.put(key, document)
    assert facts(census) == facts(anew)
    assert sum(census.requests().values()) == len(present)


def test_who_waits_longest_is_told_by_the_reason_to_wait() -> None:
    census = Census()
    for key, reason, seconds in zip(KEYS, ("Full", "Full", "Down"), (60, 3600, 5), strict=False):
        census.put(key, {"status": {"phase": "Queued", "reason": reason, "queuedTime": times.render(later(-seconds))}})
    assert census.oldest(NOW) == {"Full": 3600.0, "Down": 5.0}
    assert census.oldest(later(-9000)) == {"Full": 0.0, "Down": 0.0}


@pytest.mark.parametrize(
    ("change", "stuck"),
    [
        ({}, 1),
        ({"phase": "Succeeded"}, 0),
        ({"phase": "Queued"}, 0),
        ({"jobRef": None}, 0),
        ({"startTime": times.render(NOW)}, 0),
        ({"conditions": [{"type": "Suspended", "status": "False", "lastTransitionTime": times.render(NOW)}]}, 0),
    ],
)
def test_a_run_is_stuck_a_while_after_all_its_attempts_must_be_over(change: dict[str, Any], stuck: int) -> None:
    must_end = timedelta(seconds=active_deadline_seconds(300, 60))
    status = {
        "phase": "Running",
        "jobRef": {"name": "a"},
        "startTime": times.render(NOW),
        "effective": {"startDeadlineSeconds": 300, "runDeadlineSeconds": 60},
    }
    census = Census()
    began = NOW - must_end - STUCK_AFTER - timedelta(seconds=2)
    census.put(KEYS[0], {"status": status | {"startTime": times.render(began)} | change})
    assert census.stuck(NOW) == stuck
    assert census.stuck(NOW - timedelta(seconds=4)) == 0


def test_reasons_that_pods_invent_do_not_make_series_without_end() -> None:
    census = Census()
    for number in range(MAX_SERIES + 50):
        census.put(Key("team-a", str(number)), {"status": {"phase": "Failed", "reason": f"Invented{number}"}})
    assert len(census.requests()) == MAX_SERIES + 1
    assert census.requests()[Labels("Failed", OTHER, "", "", "", "", "")] == 50
    for number in range(MAX_SERIES + 50):
        census.drop(Key("team-a", str(number)))
    assert census.requests() == {}


def test_what_a_tenant_wrote_is_no_label() -> None:
    """The names in its spec may be anything; those in `effective` exist."""
    assert labels_of({}) == Labels("Pending", "", "", "", "", "", "")
