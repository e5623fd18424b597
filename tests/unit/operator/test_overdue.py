"""How late clean-up is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from export_operator.domain import times
from export_operator.domain.model import Job
from export_operator.overdue import Overdue
from export_operator.store import Store

from .builders import KEY, NOW, RUN, UID, job, later
from .hand import finish

pytestmark = pytest.mark.unit


def request(**changes: Any) -> dict[str, Any]:
    status = {"phase": "Failed", "run": RUN, "completionTime": times.render(NOW), **changes}
    metadata = {"namespace": KEY.namespace, "name": KEY.name, "uid": UID, "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {"ttlSecondsAfterFinished": 100}, "status": status}


def lag(seconds: float, found: Job | None, document: dict[str, Any] | None) -> float:
    """So many seconds after the end."""
    told: list[float] = []
    store = Store(lambda _: None)
    if document is not None:
        store.put_request(document)
    finish(Overdue(store, lambda: [found] if found else [], told.append, lambda: later(seconds)).look())
    (value,) = told
    return value


ENDED = job(failed=True)


def test_a_job_is_late_from_the_end_of_its_time_to_live() -> None:
    assert [lag(seconds, ENDED, request()) for seconds in (0, 100, 130)] == [0, 0, 30]


def test_what_the_request_asks_goes_before_what_holds_for_all() -> None:
    told = request(effective={"ttlSecondsAfterFinished": 10})
    asked = lag(130, ENDED, told)
    del told["spec"]["ttlSecondsAfterFinished"]
    assert (asked, lag(130, ENDED, told)) == (30, 120)


@pytest.mark.parametrize(
    ("found", "document"),
    [
        (None, request()),
        (ENDED, None),
        (ENDED, request(phase="Running")),
        (ENDED, request(run="another")),
        (replace(ENDED, deletes_objects=True), request()),
    ],
    ids=["no Job", "no request", "not over", "of an earlier run", "kept for its objects"],
)
def test_nothing_is_late_where(found: Job | None, document: dict[str, Any] | None) -> None:
    assert lag(10_000, found, document) == 0
