"""What a request, a Job and a manifest prove of a run, each alone and all together."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from export_operator.domain import jobs, times
from export_operator.domain.evidence import Proof, Witness, combined, of_delivery, of_job, of_request
from export_operator.domain.identity import Subject
from export_operator.domain.model import LABEL_KUEUE_QUEUE, Request
from export_operator.domain.pages import Entry, State
from export_operator.domain.policy import REFUND_ON, Policy
from export_operator.domain.status import MAX_QUOTAS

from .builders import DELIVERY, KEY, RUN, SETTINGS, UID, later, limited, plan, request

pytestmark = pytest.mark.unit

RESERVED = later(5)
ENTRY = Entry(
    run=RUN,
    request=KEY,
    uid=UID,
    time=RESERVED,
    user="alice",
    source="app-db",
    destination="bucket",
    policy="default",
)


def condition(kind: str, value: str, when: datetime) -> dict[str, str]:
    return {"type": kind, "status": value, "lastTransitionTime": times.render(when)}


def window(scope: str, policy: str = "default") -> dict[str, Any]:
    return {"policy": policy, "scope": scope, "resource": "requests", "used": 1, "limit": 5}


def known(phase: str, **changes: Any) -> Request:
    """A request whose run has its places, and a Job unless `jobRef` is changed to None."""
    status = {
        "phase": phase,
        "runID": "",
        "run": RUN,
        "conditions": [condition("QuotaReserved", "True", RESERVED)],
        "effective": {"policy": "default", "source": "app-db", "destination": "bucket"},
        "quota": [window("User")],
        "jobRef": {"namespace": "export-runs", "name": f"export-{RUN}"},
        "startTime": times.render(later(60)),
    }
    return request(status={name: value for name, value in (status | changes).items() if value is not None})


def test_a_run_under_way_has_its_places_since_they_were_reserved() -> None:
    alice = frozenset({Subject("User", "alice")})
    assert of_request(known("Running"), REFUND_ON) == Proof(ENTRY, Witness.REQUEST, alice, more=False)


def test_a_run_that_waits_for_its_turn_has_its_places_already() -> None:
    proof = of_request(known("Queued", jobRef=None, startTime=None), REFUND_ON)
    assert proof is not None
    assert proof.entry == ENTRY


@pytest.mark.parametrize(
    "without",
    [
        known("Queued", jobRef=None, conditions=[condition("QuotaReserved", "False", RESERVED)]),
        known("Cancelled", jobRef=None),
        known("Failed", jobRef=None),
        known("Rejected", jobRef=None, conditions=[]),
        request(),
    ],
    ids=["over quota", "cancelled before it began", "queue deadline", "rejected", "not looked at yet"],
)
def test_a_request_without_places_proves_nothing(without: Request) -> None:
    assert of_request(without, REFUND_ON) is None


@pytest.mark.parametrize(
    ("phase", "changes", "state", "rows"),
    [
        ("Succeeded", {"result": {"rows": 100, "bytes": 2048}}, State.SETTLED, 100),
        ("PartiallySucceeded", {"result": {"rows": 40, "bytes": 2048}}, State.SETTLED, 40),
        ("Failed", {"failure": {"class": "User"}}, State.SETTLED, 0),
        ("Failed", {"failure": {"class": "Source"}}, State.REFUNDED, 0),
        ("Cancelled", {}, State.SETTLED, 0),
    ],
)
def test_a_run_that_is_over_counts_as_the_operator_settles_it(
    phase: str, changes: dict[str, Any], state: State, rows: int
) -> None:
    proof = of_request(known(phase, completionTime=times.render(later(90)), **changes), REFUND_ON)
    assert proof is not None
    assert (proof.entry.state, proof.entry.rows, proof.ended) == (state, rows, later(90))


def test_each_window_that_status_tells_is_one_of_the_runs() -> None:
    quota = [window("User"), window("Namespace"), window("Policy"), window("Cluster")]
    proof = of_request(known("Running", quota=quota), REFUND_ON)
    assert proof is not None
    assert proof.subjects == {
        Subject("User", "alice"),
        Subject("Namespace", "team-a"),
        Subject("Policy", "default"),
        Subject("Cluster", "all"),
    }


def test_a_status_that_is_full_of_windows_may_not_tell_all() -> None:
    proof = of_request(known("Running", quota=[window("User")] * MAX_QUOTAS), REFUND_ON)
    assert proof is not None
    assert proof.more


def job(rules: Policy | None = None, **status: Any) -> dict[str, Any]:
    """The Job that the operator makes, as the API server has it then."""
    manifest = jobs.build_job(request(), plan(rules=rules), SETTINGS.pods)
    stamped = {"uid": "job-uid", "creationTimestamp": times.render(later(60))}
    return {**manifest, "metadata": {**manifest["metadata"], **stamped}, "status": status}


def test_a_job_tells_what_its_pod_was_told() -> None:
    entry = replace(ENTRY, time=later(60), policy="")
    assert of_job(job()) == Proof(entry, Witness.JOB, live=True)


@pytest.mark.parametrize("label", [{}, {LABEL_KUEUE_QUEUE: "exports"}], ids=["ours", "Kueue's"])
def test_only_a_job_that_kueue_does_not_admit_needs_a_slot(label: dict[str, str]) -> None:
    made = job()
    made["metadata"]["labels"] = made["metadata"]["labels"] | label
    assert of_job(made).live == (not label)


def test_a_job_that_is_over_needs_no_slot() -> None:
    proof = of_job(job(conditions=[{"type": "Complete", "status": "True"}]))
    assert (proof.live, proof.entry.state) == (False, State.SETTLED)


LIMITED = limited({"maxima": {"rows": 500, "bytes": 9000}})


def test_a_job_takes_the_most_that_its_pod_may_deliver_until_others_tell() -> None:
    running = of_job(job(rules=LIMITED))
    assert (running.entry.rows, running.entry.bytes) == (500, 9000)
    delivered = combined([running, of_delivery(DELIVERY)])[RUN].entry
    assert (delivered.rows, delivered.bytes) == (100, 2048)


def test_a_job_whose_pod_was_told_something_else_still_tells_its_run() -> None:
    strange = job()
    strange["spec"]["template"]["spec"]["containers"][0]["env"] = []
    assert of_job(strange).entry == replace(ENTRY, time=later(60), policy="", source="", destination="")


def test_all_witnesses_together_tell_the_earliest_time_and_the_whole_use() -> None:
    under_way, over = of_request(known("Running"), REFUND_ON), of_job(job())
    assert under_way is not None
    assert combined([of_delivery(DELIVERY), over, under_way]) == {
        RUN: Proof(
            replace(ENTRY, state=State.SETTLED, rows=100, bytes=2048),
            Witness.REQUEST,
            frozenset({Subject("User", "alice")}),
            more=False,
            live=True,
            delivered=True,
        )
    }


def test_without_the_request_the_jobs_beginning_is_the_earliest_time_there_is() -> None:
    assert combined([of_job(job()), of_delivery(DELIVERY)])[RUN].entry.time == later(60)


def test_what_was_delivered_is_not_refunded() -> None:
    failed = of_request(known("Failed", failure={"class": "Infrastructure"}), REFUND_ON)
    assert failed is not None
    assert combined([failed, of_delivery(DELIVERY)])[RUN].entry.state is State.SETTLED
