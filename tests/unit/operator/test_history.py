"""Each run that ends gets its row, once, whatever is away, deleted or killed meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from kubernetes.aio import client

from export_contract import names
from export_operator.adapters import kept, unwritten
from export_operator.adapters.elector import Elector
from export_operator.adapters.history import Database, HistoryError
from export_operator.adapters.kube import ApiError, Kube
from export_operator.adapters.metrics import Metrics
from export_operator.app import works_of_the_leader
from export_operator.beginning import Beginning
from export_operator.domain import decide
from export_operator.domain.actions import DeleteRequest, WriteStatus
from export_operator.domain.history import parameters_hash, row_of, row_of_job
from export_operator.domain.model import Key
from export_operator.history import MAX_ABSENT
from export_operator.parts import Parts
from export_operator.settings import read_settings

from .builders import KEY, MANIFEST_URI, NOW, RUN, SETTINGS, SHA, UID, URI, later, request, seen, spec
from .hand import Hand, Killed, finish
from .recording import Api, Cluster, Notebook, Process
from .stores import Shelf
from .world import Operator, World, settle

pytestmark = pytest.mark.unit

COMPLETE = {"type": "Complete", "status": "True", "reason": "Delivered"}
DELIVERED: dict[str, Any] = {
    "phase": "Succeeded",
    "reason": "Delivered",
    "message": "delivered 100 rows",
    "run": RUN,
    "runID": "",
    "queuedTime": "2026-11-24T12:00:01Z",
    "startTime": "2026-11-24T12:00:02Z",
    "completionTime": "2026-11-24T12:00:10Z",
    "attempts": 2,
    "conditions": [COMPLETE],
    "effective": {
        "policy": "default",
        "source": "app-db",
        "dataset": "users",
        "columns": ["id", "email"],
        "destination": "bucket",
        "format": "CSV",
        "compression": "Gzip",
        "layout": "SingleObject",
        "digest": "d" * 64,
    },
    "result": {
        "uri": URI,
        "manifestURI": MANIFEST_URI,
        "rows": 100,
        "bytes": 2048,
        "sha256": SHA,
        "objects": 1,
        "complete": True,
        "consistency": "Snapshot",
        "snapshotTime": "2026-11-24T12:00:03Z",
        "usedFallback": False,
        "expirationTime": "2026-12-24T12:00:10Z",
        "timings": {"read": 1.5, "total": 2.0},
        "deleted": True,
    },
}


def document(status: Mapping[str, Any], metadata: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    known = {
        "namespace": KEY.namespace,
        "name": KEY.name,
        "uid": UID,
        "resourceVersion": "7",
        "creationTimestamp": "2026-11-24T12:00:00Z",
    }
    return {"metadata": known | dict(metadata or {}), "spec": spec(**changes), "status": dict(status)}


ROW: Mapping[str, Any] = {
    "run": RUN,
    "request_uid": UID,
    "namespace": "team-a",
    "request": "users-2026-11",
    "requester": "alice",
    "submitted_by": "alice",
    "policy": "default",
    "source": "app-db",
    "dataset": "users",
    "columns": ["id", "email"],
    "digest": "d" * 64,
    "destination": "bucket",
    "format": "CSV",
    "compression": "Gzip",
    "layout": "SingleObject",
    "phase": "Succeeded",
    "reason": "Delivered",
    "attempts": 2,
    "rows": 100,
    "bytes": 2048,
    "objects": 1,
    "sha256": SHA,
    "complete": True,
    "used_fallback": False,
    "uri": URI,
    "manifest_uri": MANIFEST_URI,
    "expires_at": "2026-12-24T12:00:10Z",
    "consistency": "Snapshot",
    "snapshot_at": "2026-11-24T12:00:03Z",
    "requested_at": "2026-11-24T12:00:00Z",
    "queued_at": "2026-11-24T12:00:01Z",
    "started_at": "2026-11-24T12:00:02Z",
    "completed_at": "2026-11-24T12:00:10Z",
    "timings": {"read": 1.5, "total": 2.0},
    "told_by": "request",
}


def without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


RESULT = (
    *("rows", "bytes", "objects", "sha256", "complete", "used_fallback", "uri", "manifest_uri", "expires_at"),
    *("consistency", "snapshot_at", "timings"),
)


def test_a_row_tells_who_what_how_much_where_and_when() -> None:
    assert row_of(document(DELIVERED)) == ROW


def test_it_tells_on_behalf_of_whom_by_which_schedule_and_with_which_parameters_but_not_their_values() -> None:
    owner = {"kind": "ScheduledExport", "name": "nightly", "controller": True}
    given = {"name": "app-db", "dataset": "signups", "parameters": {"since": "2026-01-01", "count": "7"}}
    who = {"username": "system:serviceaccount:ci:deploy"}
    found = row_of(document(DELIVERED, {"ownerReferences": [owner]}, source=given, submittedBy=who))
    assert found == {
        **ROW,
        "submitted_by": "system:serviceaccount:ci:deploy",
        "schedule": "nightly",
        "parameters_sha256": parameters_hash({"count": "7", "since": "2026-01-01"}),
    }
    assert "2026-01-01" not in str(found)


def test_the_hash_of_parameters_is_that_of_their_json() -> None:
    # printf '%s' '{"a":"é","b":"2"}' | sha256sum
    wanted = "a16aa36b9222ad525685c64f8338e30ee3ff552637dc288190d87bc387ac132e"
    assert parameters_hash({"b": "2", "a": "é"}) == wanted
    assert parameters_hash({}) == ""


def test_a_failure_is_told_with_its_class_and_not_with_its_texts() -> None:
    failure = {"reason": "SourceUnavailable", "class": "Source", "message": "secret", "exitCode": 75, "logTail": "row"}
    told = {**without(DELIVERED, "result"), "phase": "Failed", "reason": "SourceUnavailable", "failure": failure}
    assert row_of(document(told)) == {
        **without(ROW, *RESULT),
        "phase": "Failed",
        "reason": "SourceUnavailable",
        "failure_class": "Source",
        "exit_code": 75,
    }


def test_one_that_was_refused_is_told_as_it_was_asked() -> None:
    told = {"phase": "Rejected", "reason": "ColumnNotFound", "run": RUN, "runID": ""}
    asked = {"name": "app-db", "dataset": "users", "columns": ["id", "ssn"]}
    found = row_of(document(told | {"completionTime": "2026-11-24T12:00:10Z"}, source=asked))
    assert found == {
        "run": RUN,
        "request_uid": UID,
        "namespace": "team-a",
        "request": "users-2026-11",
        "requester": "alice",
        "submitted_by": "alice",
        "source": "app-db",
        "dataset": "users",
        "columns": ["id", "ssn"],
        "phase": "Rejected",
        "reason": "ColumnNotFound",
        "requested_at": "2026-11-24T12:00:00Z",
        "completed_at": "2026-11-24T12:00:10Z",
        "told_by": "request",
    }


def test_one_that_adopts_names_the_run_and_tells_its_rows_not_again() -> None:
    told = {**DELIVERED, "reason": "Adopted", "attempts": 0, "adopted": {"run": "1" * 20}}
    assert row_of(document(told)) == {
        **without(ROW, *RESULT),
        "reason": "Adopted",
        "attempts": 0,
        "adopted_run": "1" * 20,
    }


def test_one_that_has_expired_is_told_as_it_ended() -> None:
    assert row_of(document(DELIVERED | {"phase": "Expired", "reason": "TTLExpired"})) == ROW


def test_when_a_later_run_was_asked_for_is_not_known() -> None:
    assert row_of(document(DELIVERED | {"runID": "again"})) == {**without(ROW, "requested_at"), "run_id": "again"}


def test_texts_that_postgresql_does_not_take_are_mended() -> None:
    found = row_of(document(DELIVERED, requester={"username": "a\0b\ud800"}))
    assert found == {**ROW, "requester": "a\ufffdb?"}


# Told by the Job, for the request is gone.


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def of_job(run: str, **changes: Any) -> dict[str, Any]:
    """The row of the first run of request `a`, whose Job tells of it."""
    folder = f"s3://exports/prod/team-a/a/{run}"
    return {
        **without(ROW, "policy", "expires_at", "queued_at", "requested_at", *RESULT),
        "run": run,
        "request_uid": "uid-1",
        "request": "a",
        "columns": ["id", "email", "created_at"],
        "compression": "None",
        "attempts": 1,
        "rows": 100,
        "bytes": 2048,
        "objects": 1,
        "sha256": SHA,
        "complete": True,
        "used_fallback": False,
        "uri": f"{folder}/a.csv",
        "manifest_uri": f"{folder}/manifest.json",
        "consistency": "Snapshot",
        "started_at": "2026-11-24T12:00:00Z",
        "completed_at": "2026-11-24T12:00:00Z",
        "told_by": "job",
        **changes,
    }


def told(cluster: Cluster, run: str) -> dict[str, Any]:
    """Without what other tests look at."""
    found = row_of_job(cluster.jobs[run], cluster.pods[run], later(60))
    assert found is not None
    return without(found, "digest", "snapshot_at")


def test_a_job_tells_what_its_request_cannot_any_more(cluster: Cluster) -> None:
    run = cluster.run("a")
    cluster.end_job(run)
    assert told(cluster, run) == without(of_job(run), "digest")


def test_a_job_that_was_stopped_for_its_request_went_is_told_as_cancelled(cluster: Cluster) -> None:
    run = cluster.run("a")
    annotations = cluster.jobs[run]["metadata"]["annotations"]
    annotations |= {"export-operator.io/stop-reason": "NotWanted", "export-operator.io/stop-message": "it was deleted"}
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
    cluster.jobs[run]["status"] = {"failed": 1, "conditions": [failed | {"lastTransitionTime": "2026-11-24T12:00:09Z"}]}
    assert told(cluster, run) == {
        **without(of_job(run, phase="Cancelled", reason="NotWanted"), "digest", *RESULT),
        "completed_at": "2026-11-24T12:00:09Z",
    }


def test_a_suspended_job_that_nobody_wants_is_told_as_cancelled(cluster: Cluster) -> None:
    run = cluster.run("a")
    assert told(cluster, run) == {
        **without(of_job(run, phase="Cancelled", reason="NotWanted", attempts=0), "digest", *RESULT),
        "completed_at": "2026-11-24T12:01:00Z",
    }


def test_what_a_pod_says_of_another_place_is_not_believed(cluster: Cluster) -> None:
    run = cluster.run("a")
    cluster.end_job(run)
    (pod,) = cluster.pods[run]
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    ended["message"] = ended["message"].replace("s3://exports/", "s3://elsewhere/")
    found = told(cluster, run)
    assert (found["phase"], found["reason"], found.get("rows")) == ("Failed", "ResultMismatch", None)


def test_a_job_without_a_run_spec_of_its_own_run_tells_nothing(cluster: Cluster) -> None:
    run, other = cluster.run("a"), cluster.run("b")
    cluster.jobs[run]["spec"] = cluster.jobs[other]["spec"]
    assert row_of_job(cluster.jobs[run], [], NOW) is None
    nothing = {"template": {"spec": {"containers": [{"env": [{"name": "EXPORT_RUN_SPEC", "value": "{}"}]}]}}}
    assert row_of_job({**cluster.jobs[run], "spec": nothing}, [], NOW) is None


# How rows come into the table.


def test_a_run_that_ends_is_written_once(cluster: Cluster) -> None:
    table = Shelf()
    process = Process(cluster, table)
    run = cluster.run("a")
    finish(process.look())
    assert table.rows == {}
    cluster.end("a")
    finish(process.look())
    assert list(table.rows) == [run]
    assert process.backlog == [0, 0]
    asked = table.asked
    for _ in range(3):
        cluster.end("a", "Expired")
        finish(process.look())
    assert table.asked == asked
    assert not process.history.unwritten(run)
    assert cluster.kept is None


def test_columns_too_many_for_a_status_are_told_by_the_job(cluster: Cluster) -> None:
    table = Shelf()
    process = Process(cluster, table)
    wide, bare = cluster.run("wide"), cluster.run("bare")
    effective = without(DELIVERED["effective"], "columns")
    for name in ("wide", "bare"):
        cluster.end(name, effective=effective)
    del cluster.jobs[bare]
    finish(process.look())
    assert {run: row.get("columns") for run, row in table.rows.items()} == {
        wide: ["id", "email", "created_at"],
        bare: None,
    }


def test_a_run_namespace_that_cannot_be_read_keeps_no_row_from_the_table(cluster: Cluster) -> None:
    hand = Hand("refused")
    table = Shelf()
    process = Process(cluster, table, hand)
    run = cluster.run("a")
    cluster.end("a", effective=DELIVERED["effective"])
    hand.when = hand.calls
    finish(process.look())
    assert list(table.rows) == [run]


def test_an_outage_holds_nothing_but_rows_and_is_caught_up_by_whoever_leads(cluster: Cluster) -> None:
    table = Shelf(away=True)
    process = Process(cluster, table)
    runs = [cluster.run(name) for name in ("a", "b", "c")]
    for name in ("a", "b", "c"):
        cluster.end(name)
        finish(process.look())
    assert process.backlog == [1, 2, 3]
    assert cluster.kept is None, "their requests tell of them"
    table.away = False
    finish(Process(cluster, table).look())
    assert sorted(table.rows) == sorted(runs)


def test_while_it_is_away_the_table_is_asked_ever_more_seldom(cluster: Cluster) -> None:
    table = Shelf(away=True)
    process = Process(cluster, table)
    cluster.run("a")
    cluster.end("a")
    asked = []
    for second in range(150):
        cluster.now = later(second)
        before = table.asked
        finish(process.look())
        asked += [second] if table.asked > before else []
    assert asked == [0, 2, 7, 22, 82, 142]


def test_what_is_deleted_meanwhile_is_kept_beside_the_jobs_until_it_is_written(cluster: Cluster) -> None:
    table = Shelf(away=True)
    process = Process(cluster, table)
    run = cluster.run("a")
    cluster.end("a")
    finish(process.look())
    del cluster.requests[Key("team-a", "a")], cluster.jobs[run]  # by a person
    finish(process.look())
    assert cluster.kept is not None
    table.away = False
    successor = Process(cluster, table)
    finish(successor.look())
    assert list(table.rows) == [run]
    assert finish(unwritten.Unwritten(cast("Any", Api(cluster, Hand())), "export-runs").load()).value == {}


def test_what_a_new_run_overwrites_is_kept_first(cluster: Cluster) -> None:
    table = Shelf(away=True)
    process = Process(cluster, table)
    first = cluster.run("a")
    cluster.end("a")
    second = finish(process.again("a", "again"))
    cluster.jobs.clear()
    table.away = False
    successor = Process(cluster, table)
    finish(successor.look())
    assert list(table.rows) == [first]
    cluster.end("a")
    finish(successor.look())
    assert list(table.rows) == [first, second]


def test_nothing_is_overwritten_or_deleted_while_it_can_be_kept_nowhere(cluster: Cluster) -> None:
    hand = Hand("refused")
    process = Process(cluster, Shelf(away=True), hand)
    cluster.run("a")
    cluster.end("a")
    for work in (process.again("a", "again"), process.delete("a")):
        hand.when = hand.calls
        with pytest.raises(ApiError):
            finish(work)
    assert cluster.requests[Key("team-a", "a")]["status"]["phase"] == "Succeeded"


def test_what_is_made_again_under_its_name_is_kept_as_what_is_deleted(cluster: Cluster) -> None:
    table = Shelf(away=True)
    process = Process(cluster, table)
    run = cluster.run("a")
    cluster.end("a")
    finish(process.look())
    del cluster.requests[Key("team-a", "a")], cluster.jobs[run]
    cluster.run("a")  # the watch tells of the new one alone
    finish(process.look())
    table.away = False
    finish(Process(cluster, table).look())
    assert list(table.rows) == [run]


def test_a_store_of_unwritten_rows_whose_answer_was_lost_is_read_again(cluster: Cluster) -> None:
    hand = Hand("lost")
    table = Shelf(away=True)
    process = Process(cluster, table, hand)
    runs = [cluster.run(name) for name in ("a", "b")]
    for name in ("a", "b"):
        cluster.end(name)
    finish(process.look())
    hand.when = hand.calls
    with pytest.raises(ApiError):
        finish(process.delete("a"))
    with pytest.raises(ApiError):  # the version is not the one that it knows: it looks
        finish(process.delete("b"))
    finish(process.delete("b"))
    finish(process.delete("a"))
    table.away = False
    finish(Process(cluster, table).look())
    assert sorted(table.rows) == sorted(runs)


def test_a_run_whose_request_was_deleted_under_it_is_told_by_its_job(cluster: Cluster) -> None:
    table = Shelf()
    process = Process(cluster, table)
    run = cluster.run("a")
    finish(process.look())
    del cluster.requests[Key("team-a", "a")]
    cluster.end_job(run)
    finish(process.part())
    assert {run: (row["told_by"], row["rows"]) for run, row in table.rows.items()} == {run: ("job", 100)}
    assert cluster.kept is None, "it was written at once"


def test_of_two_who_tell_of_a_run_the_request_is_believed(cluster: Cluster) -> None:
    table = Shelf(away=True)
    process = Process(cluster, table)
    run = cluster.run("a")
    cluster.end_job(run)
    cluster.end("a", policy="p")
    finish(process.look())
    del cluster.requests[Key("team-a", "a")]
    finish(process.look())
    table.away = False
    successor = Process(cluster, table)
    finish(successor.part())
    assert table.rows[run]["told_by"] == "request"


def test_a_row_that_is_refused_holds_up_no_other_and_is_not_lost(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [cluster.run(name) for name in ("a", "b", "c")]
    table = Shelf(refuses={runs[1]})
    process = Process(cluster, table)
    for name in ("a", "b", "c"):
        cluster.end(name)
    with caplog.at_level(logging.ERROR):
        finish(process.look())
        finish(process.look())
    assert sorted(table.rows) == sorted([runs[0], runs[2]])
    assert process.backlog == [1, 1]
    assert [record.message for record in caplog.records] == [
        f"history: PostgreSQL refuses the row of run {runs[1]}: no"
    ]
    finish(process.delete("b"))
    table.refuses.clear()
    finish(Process(cluster, table).look())
    assert sorted(table.rows) == sorted(runs)


async def test_a_bug_in_it_ends_neither_it_nor_the_process(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("export_operator.history.LOOK_SECONDS", 0.0)
    table = Shelf()
    process = Process(cluster, table)
    run = cluster.run("a")
    cluster.end("a")
    process.see()
    wrong: list[type[Exception]] = [RuntimeError, KeyError]
    written = asyncio.Event()

    def backlog(number: int) -> None:
        if wrong:
            raise wrong.pop()
        if number == 0:
            written.set()

    process.history._backlog = backlog
    task = asyncio.create_task(process.history.run())
    async with asyncio.timeout(30):
        await written.wait()
    task.cancel()
    assert list(table.rows) == [run]
    assert caplog.text.count("history: a bug keeps rows from being written") == 2


def test_a_store_of_unwritten_rows_that_is_full_stops_nobody(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kept, "MAX_BYTES", 100)
    table = Shelf(away=True)
    process = Process(cluster, table)
    run = cluster.run("a")
    cluster.end("a")
    finish(process.delete("a"))
    assert "ConfigMap export-operator-history holds 100 bytes" in caplog.text
    table.away = False
    cluster.now = later(600)
    finish(process.look())
    assert list(table.rows) == [run]


def test_a_store_of_unwritten_rows_that_somebody_has_damaged_is_written_anew(cluster: Cluster) -> None:
    table = Shelf(away=True)
    cluster.kept = {"metadata": {"resourceVersion": cluster.next()}, "binaryData": {unwritten.KEY: "nonsense"}}
    process = Process(cluster, table)
    run = cluster.run("a")
    cluster.end("a")
    finish(process.delete("a"))
    table.away = False
    finish(Process(cluster, table).look())
    assert list(table.rows) == [run]


def test_a_standby_remembers_what_was_deleted_only_so_far(cluster: Cluster) -> None:
    table = Shelf()
    process = Process(cluster, table, leading=False)
    runs = []
    for number in range(MAX_ABSENT + 5):
        runs.append(cluster.run(f"r{number}"))
        cluster.end(f"r{number}")
        process.see()
        cluster.requests.clear()
        process.see()
    process.lead()
    finish(process.look())
    assert list(table.rows) == runs[5:]


def test_rows_that_were_kept_long_enough_go_once_an_hour(cluster: Cluster) -> None:
    table = Shelf(forgets=[10_000, 10_000, 3])
    process = Process(cluster, table)
    finish(process.look())
    assert table.forgets == []
    asked = table.asked
    cluster.now = later(3599)
    finish(process.look())
    assert table.asked == asked
    cluster.now = later(3600)
    finish(process.look())
    assert table.asked == asked + 1


# For how long a request waits for its row.

WEEK = timedelta(days=7)


HELD: dict[str, Any] = {**DELIVERED, "result": without(DELIVERED["result"], "expirationTime")}


@pytest.mark.parametrize(
    ("after", "unrecorded", "looks_again"),
    [
        (timedelta(seconds=60), False, None),  # for which its tombstone may wait for another write of its page
        (timedelta(), True, 5.0),
        (timedelta(seconds=60), True, 60.0),
        (SETTINGS.history_hold - timedelta(seconds=1), True, 60.0),
        (SETTINGS.history_hold, True, None),
    ],
)
def test_a_request_stays_for_its_row_a_day_at_most(
    after: timedelta, unrecorded: bool, looks_again: float | None
) -> None:
    found = decide.decide(seen(request(status=HELD), unrecorded=unrecorded), SETTINGS, later(10) + WEEK + after)
    goes = any(isinstance(action, DeleteRequest) for action in found.actions)
    assert (goes, found.requeue_after) == (looks_again is None, looks_again)


def test_one_that_stays_anyway_expires_without_waiting_for_its_row() -> None:
    kept = request(status=HELD, expiry="Keep")
    found = [decide.decide(seen(kept, unrecorded=each), SETTINGS, later(10) + WEEK) for each in (True, False)]
    assert found[0] == found[1]
    (written,) = (action.status for action in found[0].actions if isinstance(action, WriteStatus))
    assert written["phase"] == "Expired"


def run_once(notebook: Notebook) -> tuple[World, Operator, str]:
    """A world in which the request has delivered."""
    world, hand = World(), Hand()
    operator = Operator(world, hand, history=notebook)
    world.apply(KEY)
    settle(world, operator, hand)
    (run,) = world.created
    world.start(names.job_name(run))
    world.deliver(names.job_name(run))
    settle(world, operator, hand)
    assert world.status(KEY)["phase"] == "Succeeded"
    assert notebook.asked == []
    return world, operator, run


def test_the_reconciler_lets_no_request_go_whose_run_is_kept_nowhere() -> None:
    notebook = Notebook()
    world, operator, run = run_once(notebook)
    world.wait(WEEK.total_seconds())
    settle(world, operator, Hand())
    assert KEY in world.requests, "its row may still be written"
    notebook.refuses = "secure"
    world.wait(SETTINGS.history_hold.total_seconds())
    settle(world, operator, Hand())
    assert KEY in world.requests
    assert {*notebook.asked} == {("secure", run)}
    notebook.refuses = ""
    settle(world, operator, Hand())
    assert KEY not in world.requests


def test_the_reconciler_begins_no_new_run_over_one_that_is_kept_nowhere() -> None:
    notebook = Notebook(refuses="secure")
    world, operator, run = run_once(notebook)
    told = world.status(KEY)
    world.apply(KEY, runID="again")
    settle(world, operator, Hand())
    assert world.status(KEY) == told
    assert {*notebook.asked} == {("part with", run), ("secure", run)}
    notebook.refuses = ""
    settle(world, operator, Hand())
    assert (world.status(KEY)["runID"], len(world.created)) == ("again", 2)


def test_the_reconciler_deletes_no_job_of_a_request_that_is_gone_whose_run_is_kept_nowhere() -> None:
    notebook = Notebook(refuses="part with")
    world, operator, run = run_once(notebook)
    world.delete(KEY)
    settle(world, operator, Hand())
    assert list(world.jobs) == [names.job_name(run)]
    assert {*notebook.asked} == {("part with", run)}
    notebook.refuses = ""
    settle(world, operator, Hand())
    assert world.jobs == {}


WHERE = {"HOST": "db", "DATABASE": "audit", "CREDENTIALS_DIR": "/etc/export-operator/history"}


@pytest.mark.parametrize("where", [{}, WHERE], ids=["off", "on"])
async def test_the_process_records_what_ends_and_what_goes_only_where_there_is_a_history(where: dict[str, str]) -> None:
    environ = {"EXPORT_OPERATOR_RUN_NAMESPACE": "export-runs", "EXPORT_OPERATOR_RUNNER_IMAGE": "image"}
    environ |= {f"EXPORT_OPERATOR_HISTORY_{name}": value for name, value in where.items()}
    kube = Kube(client.ApiClient())  # nobody is called
    try:
        parts = Parts(read_settings(environ), kube, Metrics(), Elector(kube, "exports", "me", lambda: NOW))
        works = works_of_the_leader(parts, Beginning(parts))
        assert ("history" in [work.name for work in works]) == bool(where)
        parts.store.put_request(document(DELIVERED))
        parts.store.drop_request(KEY)
        found = parts.history
        assert (found is not None and (found.unwritten(RUN), [*found._absent]) == (True, [RUN])) == bool(where)
    finally:
        await kube.close()


@hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
class Life(RuleBasedStateMachine):
    """People, tools, outages and deaths in any order. In the end each run that ended has its one row."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self.hand = Hand()
        self.table = Shelf(self.hand)
        self.process = Process(self.cluster, self.table, self.hand)
        self.ended: set[str] = set()
        self.number = 0

    def _do(self, work: Any) -> bool:
        """Whether it was done. An operator that is killed is started anew."""
        try:
            finish(work)
        except Killed:
            self.process = Process(self.cluster, self.table, self.hand)
        except ApiError:
            pass
        else:
            return True
        return False

    def _pick(self, data: st.DataObject, *phases: str) -> str:
        found = [key.name for key, each in self.cluster.requests.items() if each["status"]["phase"] in phases]
        return data.draw(st.sampled_from(sorted(found))) if found else ""

    def _run(self, name: str) -> str:
        return str(self.cluster.requests[Key("team-a", name)]["status"]["run"])

    @rule()
    def ask(self) -> None:
        self.number += 1
        self.cluster.run(f"r{self.number}")

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if name := self._pick(data, "Running"):
            self.cluster.end_job(self._run(name))
            self.ended.add(self.cluster.end(name))

    @rule(data=st.data())
    def reap(self, data: st.DataObject) -> None:
        """The Job's own time to live is over: its request tells of the run."""
        if name := self._pick(data, "Succeeded"):
            self.cluster.jobs.pop(self._run(name), None)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """By a person, who asks nobody; the Job is still there, for else an operator must be there to see it."""
        name = self._pick(data, "Running", "Succeeded")
        if name and self._run(name) in self.cluster.jobs:
            if self._run(name) not in self.ended:
                self.cluster.end_job(self._run(name))
                self.ended.add(self._run(name))
            del self.cluster.requests[Key("team-a", name)]

    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        if name := self._pick(data, "Succeeded"):
            self._do(self.process.delete(name))

    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        if name := self._pick(data, "Succeeded"):
            self.number += 1
            self._do(self.process.again(name, f"again-{self.number}"))

    @rule()
    def part(self) -> None:
        self._do(self.process.part())

    @rule(seconds=st.integers(0, 90))
    def look(self, seconds: int) -> None:
        self.cluster.now += timedelta(seconds=seconds)
        self._do(self.process.look())

    @rule(away=st.booleans())
    def outage(self, away: bool) -> None:
        self.table.away = away

    @rule(trouble=st.sampled_from(["killed", "refused", "lost"]), calls=st.integers(0, 4))
    def befall(self, trouble: Any, calls: int) -> None:
        self.hand.trouble, self.hand.when = trouble, self.hand.calls + calls

    @precondition(lambda self: not self.table.away)
    @rule()
    def restart(self) -> None:
        self.process = Process(self.cluster, self.table, self.hand)

    @invariant()
    def nothing_is_written_that_has_not_ended(self) -> None:
        assert set(self.table.rows) <= self.ended

    def teardown(self) -> None:
        self.table.away, self.hand.when = False, None
        for _ in range(4):
            self.cluster.now += timedelta(minutes=5)
            with suppress(Killed):
                finish(self.process.part())
                finish(self.process.look())
        assert set(self.table.rows) == self.ended
        assert self.process.backlog[-1] == 0


TestLife = Life.TestCase


def test_credentials_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="credentials cannot be read: No such file or directory"):
        Database(host="db", database="audit", credentials=tmp_path).options()
    (tmp_path / "username").write_bytes(b"\xff")
    with pytest.raises(HistoryError, match="credentials cannot be read: they are not UTF-8"):
        Database(host="db", database="audit", credentials=tmp_path).options()
