"""A run goes on within its process after a failure that passes, and leaves a checkpoint for another after one that does
not."""

import dataclasses
import random
import signal
from typing import Any

import pytest

from export_contract.failures import FAILURES, Failure
from export_contract.runspec import RunSpec
from export_runner.checkpoint import Checkpoint
from tests.integration.exporter.resuming import ROWS, checkpoint, killed_at, spec_of, through, until_parts
from tests.integration.exporter.runner import PATIENCE, Exporter, with_limits
from tests.services.meddler import Meddler
from tests.services.proxies import Toxiproxy

pytestmark = pytest.mark.integration

PACE = 3_000
"""Kilobytes a second from PostgreSQL: ten seconds of rows are still there when two parts have been sent. Of a run that
reads as fast as it can all rows may be under way by then, and what happens to the session changes nothing."""


@pytest.fixture(scope="module")
def undisturbed() -> list[bytes]:
    """What every object of this table is; empty until the first is asked for."""
    return []


def is_right(exporter: Exporter, spec: RunSpec, undisturbed: list[bytes]) -> bool:
    if not undisturbed:
        plain = spec_of(exporter, ("CSV", "None"))
        assert exporter.run(plain).code == 0
        undisturbed.append(exporter.read(plain.destination.key))
    return [exporter.read(spec.destination.key)] == undisturbed and not exporter.uploads(spec)


def reading_by(spec: RunSpec, port: int) -> RunSpec:
    return dataclasses.replace(spec, source=dataclasses.replace(spec.source, port=port))


def test_a_lost_session_is_gone_on_from_within_the_process(
    exporter: Exporter, wide: str, proxies: Toxiproxy, undisturbed: list[bytes]
) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    mine = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'export-runner'"
    with proxies.to(exporter.postgres.port) as link:
        link.add("bandwidth", rate=PACE)
        running = exporter.start(reading_by(spec, link.port))
        until_parts(exporter, spec, running, 2)
        exporter.postgres.psql(mine)
        done = running.finish()
    assert done.code == 0, done.said
    assert "The export failed" in done.said
    manifest = exporter.manifest(spec)
    assert (manifest.resumed, len(manifest.segments), manifest.rows) == (1, 2, ROWS)
    assert is_right(exporter, spec, undisturbed)


@pytest.mark.parametrize(
    ("lost", "failure"), [("source", Failure.SOURCE_UNAVAILABLE), ("destination", Failure.DESTINATION_UNAVAILABLE)]
)
def test_what_is_gone_for_good_ends_the_process_after_its_tries_and_leaves_the_checkpoint(
    exporter: Exporter, wide: str, proxies: Toxiproxy, undisturbed: list[bytes], *, lost: str, failure: Failure
) -> None:
    made = spec_of(exporter, ("CSV", "None"), wide)
    of_source = lost == "source"
    with proxies.to(exporter.postgres.port if of_source else exporter.s3.port) as link:
        if of_source:
            link.add("bandwidth", rate=PACE)
            spec = reading_by(made, link.port)
        else:
            spec = through(made, f"http://127.0.0.1:{link.port}")
        running = exporter.start(spec)
        until_parts(exporter, spec, running, 2)
        link.cut()
        done = running.finish()
    assert (done.reason, done.code) == (failure, FAILURES[failure].exit_code), done.said
    assert "Gave up after 4 tries" in done.message
    assert [f"tried again in {seconds} s" in done.said for seconds in (1, 2, 4)] == [True] * 3
    assert checkpoint(exporter, made)
    assert len(exporter.uploads(made)) == 1
    assert exporter.run(made).code == 0
    assert exporter.manifest(made).resumed >= 1
    assert is_right(exporter, made, undisturbed)


def test_a_run_that_was_resumed_has_time_left_to_read_its_object_back_when_its_deadline_delivers_a_part(
    exporter: Exporter, wide: str, proxies: Toxiproxy, undisturbed: list[bytes]
) -> None:
    spec = with_limits(spec_of(exporter, ("CSV", "None"), wide), on_deadline="Partial")
    killed_at(exporter, spec, 2)
    with proxies.to(exporter.postgres.port) as link:
        link.add("bandwidth", rate=1_000)  # a busy machine takes seconds to start
        done = exporter.run(reading_by(with_limits(spec, run_deadline_seconds=20), link.port))
    assert done.code == 0, done.said
    manifest, data = exporter.manifest(spec), exporter.read(spec.destination.key)
    told = (manifest.complete, manifest.resumed, manifest.consistency, manifest.sha256_source)
    assert told == (False, 1, "Segmented", "ReadBack")
    assert 0 < manifest.rows < ROWS
    assert data.count(b"\n") == manifest.rows + 1
    assert not undisturbed or undisturbed[0].startswith(data)


MOMENTS = ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "GetObject", "checkpoint", "manifest")


@pytest.mark.parametrize("moment", MOMENTS)
def test_sigterm_at_any_request_leaves_a_run_that_another_process_ends(
    exporter: Exporter, between: Meddler, wide: str, undisturbed: list[bytes], moment: str
) -> None:
    """The request that waits reaches S3 when the process is gone."""
    spec = spec_of(exporter, ("CSV", "None"), wide)
    target = spec.destination
    if moment == "GetObject":  # of the object itself, to get its hash
        killed_at(exporter, spec, 2)
    documents = {"checkpoint": target.checkpoint_key, "manifest": target.manifest_key, "GetObject": target.key}
    gate = between.hold(moment if moment in MOMENTS[:4] else "PutObject", documents.get(moment, ""))
    running = exporter.start(through(spec, between.endpoint))
    assert gate.reached.wait(PATIENCE)
    running.signal(signal.SIGTERM)
    done = running.finish()
    assert done.reason == "Interrupted", done.said
    gate.release()
    again = exporter.run(spec)
    assert again.code == 0, again.said
    assert is_right(exporter, spec, undisturbed)


def test_who_is_told_to_stop_says_behind_which_row_another_goes_on_and_that_one_says_so_too(
    exporter: Exporter, wide: str, undisturbed: list[bytes]
) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    running = exporter.start(spec)
    until_parts(exporter, spec, running, 2)
    running.signal(signal.SIGTERM)
    done = running.finish()
    kept = Checkpoint.from_json(checkpoint(exporter, spec)).mark.rows
    told = (done.outcome.checkpoint_rows, done.progress[-1].checkpoint_rows, done.progress[-1].resumed_rows)
    assert told == (kept, kept, None)
    again = exporter.run(spec)
    assert (again.progress[-1].resumed_rows, again.outcome.checkpoint_rows) == (kept, None)
    assert is_right(exporter, spec, undisturbed)


def test_after_a_failure_for_good_nobody_is_told_to_go_on(exporter: Exporter, wide: str) -> None:
    spec = with_limits(spec_of(exporter, ("CSV", "None"), wide), max_bytes=20_000_000)
    done = exporter.run(spec)
    told = (done.reason, done.outcome.checkpoint_rows, checkpoint(exporter, spec))
    assert told == ("ByteLimitExceeded", None, b"")


def test_sigterm_at_random_moments_leaves_what_the_next_process_goes_on_from(
    exporter: Exporter, wide: str, undisturbed: list[bytes]
) -> None:
    spec, chance = spec_of(exporter, ("CSV", "None"), wide), random.Random(11)
    for _ in range(6):
        running = exporter.start(spec)
        running.ends_within(chance.uniform(0.1, 1.5))
        running.signal(signal.SIGTERM)
        running.end()
        assert running.process.returncode in {0, FAILURES[Failure.INTERRUPTED].exit_code, -signal.SIGTERM}
        assert len(exporter.uploads(spec)) <= (1 if checkpoint(exporter, spec) else 0)
    assert exporter.run(spec).code == 0
    assert is_right(exporter, spec, undisturbed)


@pytest.mark.parametrize(
    ("asked", "reached"),
    [
        ({"resume": "Never"}, ("Snapshot", 0, 1)),
        ({"resume": "Always", "consistency": "Snapshot"}, ("Snapshot", 0, 1)),
        ({"resume": "Always"}, ("Segmented", 1, 2)),
        ({"resume": "Always", "consistency": "Segmented"}, ("Segmented", 1, 2)),
        ({"resume": "Auto", "consistency": "Segmented"}, ("Segmented", 1, 2)),
        ({"resume": "Auto"}, ("Snapshot", 0, 1)),
        ({"resume": "Auto", "above": 1}, ("Segmented", 1, 2)),
    ],
    ids=str,
)
def test_the_result_says_what_was_read_in_which_snapshot(
    exporter: Exporter, between: Meddler, wide: str, asked: dict[str, Any], reached: tuple[str, int, int]
) -> None:
    fields = {name: value for name, value in asked.items() if name != "above"}
    spec = spec_of(exporter, ("CSV", "None"), wide, **fields)
    spec = with_limits(spec, resume_above_bytes=asked.get("above", spec.limits.resume_above_bytes))
    gate = between.hold("UploadPart", "partNumber=6")
    running = exporter.start(through(spec, between.endpoint))
    assert gate.reached.wait(PATIENCE)
    if reached[1]:
        until_parts(exporter, spec, running, 2)
    running.signal(signal.SIGKILL)
    running.end()
    gate.release()
    told = exporter.run(spec).outcome.delivered
    assert told is not None
    assert (told.consistency, told.resumed, told.segments) == reached
    manifest = exporter.manifest(spec)
    assert (manifest.consistency, manifest.resumed, max(1, len(manifest.segments))) == reached


def test_the_key_that_a_dataset_declares_is_the_order_of_its_object(exporter: Exporter) -> None:
    exporter.postgres.psql(
        "CREATE TABLE keyed (id bigint PRIMARY KEY, code text NOT NULL UNIQUE, other text NOT NULL);"
        "INSERT INTO keyed SELECT n, pg_catalog.md5(n::text), 'x' FROM generate_series(1, 1000) AS n"
    )
    spec = _keyed_by(exporter, "code")
    done = exporter.run(spec)
    assert done.code == 0, done.said
    codes = [line.split(",")[1] for line in exporter.read(spec.destination.key).decode().splitlines()[1:]]
    assert codes == sorted(codes)
    assert len(codes) == 1000
    refused = exporter.run(_keyed_by(exporter, "other"))
    assert refused.reason == "DatasetInvalid", refused.said
    assert "is not that of a valid, complete unique index" in refused.message
    exporter.postgres.psql("DROP TABLE keyed")


def _keyed_by(exporter: Exporter, column: str) -> RunSpec:
    made = spec_of(exporter, ("CSV", "None"), "keyed")
    return dataclasses.replace(made, source=dataclasses.replace(made.source, columns=("id", column), key=(column,)))
