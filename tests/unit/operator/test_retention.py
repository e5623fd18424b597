"""Delivered objects that have a time of their own: when they go, by whom, and what stays until they are gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from export_operator.domain import leftovers
from export_operator.domain.actions import Bury, Decision, DeleteRequest, Undo, WriteStatus
from export_operator.domain.decide import decide
from export_operator.domain.model import Named
from export_operator.domain.places import coordinates

from .builders import (
    RUN,
    SETTINGS,
    URI,
    catalogue,
    destination,
    ended_pod,
    job,
    later,
    plan,
    request,
    seen,
    source,
    success,
)

pytestmark = pytest.mark.unit

EFFECTIVE = plan().effective.as_status()
RESULT: dict[str, Any] = {"uri": URI, "rows": 100, "expirationTime": "2026-11-24T12:10:00Z"}
STATUS: dict[str, Any] = {
    "phase": "Succeeded",
    "runID": "",
    "run": RUN,
    "observedGeneration": 1,
    "completionTime": "2026-11-24T12:00:00Z",
    "effective": EFFECTIVE,
    "result": RESULT,
}
ENDED = request(status=STATUS, ttlSecondsAfterFinished=60)
AT = leftovers.at(coordinates(ENDED, EFFECTIVE, RUN), "bucket", destination().spec)
BY_POD = catalogue(source(), destination(credentialsSecret=None))
DONE = job(complete=True, destination="bucket")


def at(seconds: float, **changes: Any) -> Decision:
    return decide(seen(changes.pop("given", ENDED), **changes), SETTINGS, later(seconds))


@pytest.mark.parametrize(
    ("retention", "fallback", "expected"),
    [
        ({}, False, None),
        ({"objectTTLSeconds": 60}, False, "2026-11-24T12:01:05Z"),
        ({"objectTTLSeconds": 60, "fallbackTTLSeconds": 90}, False, "2026-11-24T12:01:05Z"),
        ({"objectTTLSeconds": 60, "fallbackTTLSeconds": 90}, True, "2026-11-24T12:01:35Z"),
        ({"objectTTLSeconds": 60}, True, "2026-11-24T12:01:05Z"),
        ({"fallbackTTLSeconds": 90}, False, None),
    ],
)
def test_the_policy_gives_what_was_delivered_a_time(
    retention: dict[str, int], fallback: bool, expected: str | None
) -> None:
    spare = {"bucket": {"bucket": "spare", "prefix": "held", "credentialsSecret": {"name": "spare"}}}
    told = (
        success(uri=f"s3://spare/held/team-a/users-2026-11/{RUN}/users-2026-11.csv", used_fallback=True)
        if fallback
        else success()
    )
    known = catalogue(source(), destination(fallback=spare), policies=(Named("p", {"retention": retention}),))
    launched = {"phase": "Running", "runID": "", "run": RUN, "jobRef": {"name": job().name}, "effective": EFFECTIVE}
    observed = seen(
        request(status=launched),
        catalogue=known,
        job=job(complete=True, finished=later(5)),
        pods=(ended_pod(0, told),),
    )
    (write,) = (each for each in decide(observed, SETTINGS, later(6)).actions if isinstance(each, WriteStatus))
    assert (write.status["phase"], write.status["result"].get("expirationTime")) == ("Succeeded", expected)


def test_until_then_the_request_stays_though_its_own_time_is_over() -> None:
    assert at(70) == Decision((), 530.5)


def test_they_are_deleted_when_their_time_is_over() -> None:
    assert at(600) == Decision((Undo(RUN, "bucket", objects=True, at=AT),), 5)


def test_then_the_status_says_so_and_the_request_may_go() -> None:
    (write,) = at(601, undone=True, given=replace(ENDED, spec={**ENDED.spec, "ttlSecondsAfterFinished": 700})).actions
    assert write == WriteStatus(STATUS | {"result": RESULT | {"deleted": True}})
    gone = replace(ENDED, status=write.status)
    bury, delete = at(760, given=gone).actions
    assert isinstance(bury, Bury)
    assert (bury.stone.result["deleted"], delete) == (True, DeleteRequest(gone))


def test_a_job_deletes_them_as_long_as_there_is_one() -> None:
    long = replace(ENDED, spec={**ENDED.spec, "ttlSecondsAfterFinished": 7000})
    assert at(600, given=long, job=DONE).actions == (Undo(RUN, "bucket", True, DONE),)
    assert at(600, given=long, job=DONE, pod_lives=True).actions == ()


def test_a_job_stays_where_nothing_else_reaches_them() -> None:
    assert at(70, job=DONE, catalogue=BY_POD).actions == ()
    assert [type(each).__name__ for each in at(70, job=DONE).actions] == ["DeleteJob"]


@pytest.mark.parametrize("known", [None, BY_POD], ids=["by the operator", "by a pod"])
def test_a_job_whose_time_is_over_with_theirs_does_not_go_before_them(known: Any) -> None:
    changes = {} if known is None else {"catalogue": known}
    assert at(600, job=DONE, **changes).actions == (Undo(RUN, "bucket", True, DONE),)


def test_who_has_adopted_them_deletes_those_of_the_earlier_run() -> None:
    again = request(uid="another")
    adopted = replace(ENDED, uid="another", status=STATUS | {"run": again.run, "adopted": {"run": RUN}})
    assert at(600, given=adopted).actions == (Undo(RUN, "bucket", objects=True, at=AT),)


def test_where_nobody_knows_any_more_where_they_are_the_request_goes() -> None:
    decision = at(601, catalogue=catalogue(source(), replace(destination(), name="other")))
    assert [type(each).__name__ for each in decision.actions] == ["Bury", "DeleteRequest"]
