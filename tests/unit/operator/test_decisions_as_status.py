"""What a decision writes into status."""

from __future__ import annotations

from dataclasses import replace

import pytest

from export_contract import names
from export_operator.domain.actions import (
    Observation,
)
from export_operator.domain.decide import decide, held
from export_operator.domain.jobs import Tracing

from .builders import (
    NOW,
    RUN,
    SETTINGS,
    ended_pod,
    failure,
    job,
    later,
    request,
    running_pod,
    seen,
    success,
)
from .deciding import (
    EFFECTIVE,
    ENDED,
    LAUNCHED,
    status_of,
)

pytestmark = pytest.mark.unit


def test_a_rejected_request_is_this_status() -> None:
    text = "spec.source.columns[0]: dataset 'users' has no column 'x'. Known: created_at, email, id."
    rejected = {
        "status": "True",
        "reason": "ColumnNotFound",
        "message": text,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-24T12:00:00Z",
    }
    observed = seen(request(source={"name": "app-db", "dataset": "users", "columns": ["x"]}))
    assert status_of(decide(observed, SETTINGS, NOW)) == {
        "phase": "Rejected",
        "reason": "ColumnNotFound",
        "message": text,
        "observedGeneration": 1,
        "runID": "",
        "run": RUN,
        "completionTime": "2026-11-24T12:00:00Z",
        "conditions": [
            rejected | {"type": "Accepted", "status": "False"},
            rejected | {"type": "Failed"},
            rejected | {"type": "Stalled"},
        ],
    }


def test_a_delivered_run_tells_object_progress_and_how_long_it_took() -> None:
    observed = seen(request(status=LAUNCHED), job=job(complete=True), pods=(ended_pod(0, success()),))
    found = status_of(decide(observed, SETTINGS, NOW))
    assert {name: found[name] for name in ("result", "progress")} == {
        "result": {
            "uri": f"s3://exports/prod/team-a/users-2026-11/{RUN}/users-2026-11.csv",
            "manifestURI": f"s3://exports/prod/team-a/users-2026-11/{RUN}/manifest.json",
            "rows": 100,
            "bytes": 2048,
            "sha256": "ab" * 32,
            "objects": 1,
            "connections": 1,
            "complete": True,
            "consistency": "Snapshot",
            "snapshotTime": "2026-11-24T12:00:01Z",
            "segments": 1,
            "resumed": 0,
            "usedFallback": False,
            "peakMemoryBytes": 1 << 20,
            "timings": {"total": 1.25},
        },
        "progress": {
            "rows": 100,
            "bytes": 2048,
            "percent": 100,
            "rowsPerSecond": 80,
            "heartbeatTime": "2026-11-24T12:00:00Z",
        },
    }


def test_status_names_the_trace_of_a_run_where_there_are_traces() -> None:
    observed = seen(request(status=LAUNCHED), job=job(complete=True), pods=(ended_pod(0, success()),))
    tracing = replace(SETTINGS, pods=replace(SETTINGS.pods, tracing=Tracing({})))
    found = [status_of(decide(observed, each, NOW)).get("traceID") for each in (SETTINGS, tracing)]
    assert found == [None, names.trace_id(RUN)]


FORESEEN = LAUNCHED | {"progress": {"rows": 50, "percent": 5, "estimatedCompletionTime": "2026-11-24T12:09:00Z"}}
UNREACHABLE = failure(reason="SourceUnavailable", exit_code=80, retryable=True)


@pytest.mark.parametrize(
    ("observed", "phase"),
    [
        (seen(request(status=FORESEEN, suspend=True), job=job(), pods=(running_pod(),)), "Queued"),
        (seen(request(status=FORESEEN), job=job(), pods=(ended_pod(80, UNREACHABLE),)), "Running"),
        (seen(request(status=FORESEEN), job=job(failed=True), pods=(ended_pod(67, failure()),)), "Failed"),
        (seen(request(status=FORESEEN), job=job(complete=True), pods=(ended_pod(0, success()),)), "Succeeded"),
    ],
    ids=["it is suspended", "an attempt has failed", "it has failed", "it is delivered"],
)
def test_no_end_is_foreseen_any_more_when(observed: Observation, phase: str) -> None:
    status = status_of(decide(observed, SETTINGS, later(6)))
    assert (status["phase"], "estimatedCompletionTime" in status["progress"]) == (phase, False)


def test_what_the_exporter_warns_of_stands_in_the_message() -> None:
    told = success()[:-1].replace(',"warnings":[]', "") + ',"warnings":["The source is a hot standby."]}'
    found = status_of(
        decide(seen(request(status=LAUNCHED), job=job(complete=True), pods=(ended_pod(0, told),)), SETTINGS, NOW)
    )
    assert found["message"] == (
        f"delivered 100 rows (2048 bytes) to s3://exports/prod/team-a/users-2026-11/{RUN}/users-2026-11.csv."
        " The source is a hot standby."
    )


def test_of_several_objects_the_result_has_the_pattern_and_the_number() -> None:
    pattern = f"s3://exports/prod/team-a/users-2026-11/{RUN}/users-2026-11-*.csv"
    status = LAUNCHED | {"effective": EFFECTIVE | {"layout": "PartObjects"}}
    told = success(uri=pattern, objects=7, sha256="")
    result = status_of(
        decide(seen(request(status=status), job=job(complete=True), pods=(ended_pod(0, told),)), SETTINGS, NOW)
    )["result"]
    assert {name: result.get(name) for name in ("uri", "objects", "sha256")} == {
        "uri": pattern,
        "objects": 7,
        "sha256": None,
    }


def test_a_run_that_is_held_up_stays_the_run_of_record() -> None:
    observed = seen(request(runID="x", status=ENDED))
    found = status_of(held(observed, "JobNotCreated", "no room", SETTINGS, NOW))
    after = replace(observed.request, status=found)
    assert (found["phase"], found["reason"], after.run, after.launched) == (
        "Pending",
        "JobNotCreated",
        request(runID="x").run,
        False,
    )
