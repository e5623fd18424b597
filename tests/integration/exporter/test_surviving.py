"""Whatever breaks, there is one object a run with the right rows, or none, and no upload is left behind."""

import dataclasses
import itertools
import random
import signal

import pytest

from export_contract.failures import FAILURES, Failure
from export_contract.runspec import Limits, RunSpec
from tests.integration.exporter.runner import BUCKET, Exporter
from tests.services.host import PostgresServer, S3Server

pytestmark = pytest.mark.integration

SLOW = (
    "SELECT n AS x, pg_catalog.repeat('é', 2000) AS y, pg_sleep(0.0005)::text AS z FROM generate_series(1, 3000) AS n"
)
"""Takes a few seconds and makes several parts."""
ROWS = 3000


def slow(exporter: Exporter) -> RunSpec:
    limits = Limits(block_rows=200, block_bytes=1024 * 1024)
    return exporter.spec(("x", "y"), table=None, query=SLOW, limits=limits)


def is_whole(exporter: Exporter, spec: RunSpec) -> bool:
    lines = exporter.read(spec.destination.key).decode().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    right = [int(row[0]) for row in rows] == list(range(1, ROWS + 1)) and {row[1] for row in rows} == {"é" * 2000}
    return right and exporter.keys(spec) == ["manifest.json", "users.out"] and not exporter.uploads(spec)


def test_after_sigkill_at_any_moment_the_next_attempt_delivers_one_object_and_leaves_no_upload(
    exporter: Exporter,
) -> None:
    chance = random.Random(7)
    for _ in range(2):
        spec = slow(exporter)
        running = exporter.start(spec)
        running.until_rows(chance.randrange(0, ROWS - 500))
        running.signal(signal.SIGKILL)
        running.end()
        assert exporter.keys(spec) == []
        done = exporter.run(spec)
        assert done.code == 0, done.said
        assert is_whole(exporter, spec)


def test_a_second_attempt_of_a_delivered_run_reports_the_first_ones_result(exporter: Exporter) -> None:
    spec = exporter.spec()
    first = exporter.run(spec)
    before = exporter.client().head_object(Bucket=BUCKET, Key=spec.destination.key)
    again = exporter.run(spec)
    after = exporter.client().head_object(Bucket=BUCKET, Key=spec.destination.key)
    assert again.code == 0
    assert again.outcome.delivered == first.outcome.delivered
    assert after["LastModified"] == before["LastModified"]
    assert after["ETag"] == before["ETag"]


def test_the_manifest_counts_by_column_what_became_null_for_want_of_a_place(exporter: Exporter) -> None:
    values = "(1, date 'infinity', timestamp 'infinity'), (2, '2026-01-01', '-infinity'), (3, NULL, '2026-01-01')"
    query = f"SELECT id, d, t FROM (VALUES {values}) AS v (id, d, t)"
    made = exporter.spec(("id", "d", "t"), table=None, query=query, output=("Parquet", "None"))
    spec = dataclasses.replace(made, output=dataclasses.replace(made.output, on_unrepresentable="Null"))
    done = exporter.run(spec)
    assert done.code == 0, done.said
    assert (exporter.manifest(spec).rows, exporter.manifest(spec).nulled) == (3, {"d": 1, "t": 2})


def test_a_manifest_without_its_object_is_not_believed(exporter: Exporter) -> None:
    spec = exporter.spec(("id",))
    exporter.run(spec)
    exporter.client().delete_object(Bucket=BUCKET, Key=spec.destination.key)
    assert exporter.run(spec).code == 0
    assert exporter.keys(spec) == ["manifest.json", "users.out"]


def test_another_runs_manifest_is_not_believed(exporter: Exporter) -> None:
    spec = exporter.spec(("id",))
    exporter.run(spec)
    stranger = dataclasses.replace(spec, run=dataclasses.replace(spec.run, id="f" * 20))
    done = exporter.run(stranger)
    assert done.code == 0
    assert exporter.manifest(stranger).run.id == "f" * 20


def test_sigterm_ends_the_run_at_once_and_aborts_its_upload(exporter: Exporter) -> None:
    spec = slow(exporter)
    running = exporter.start(spec)
    running.until_rows(500)
    running.signal(signal.SIGTERM)
    running.process.wait(2)
    done = running.finish()
    assert (done.reason, done.code) == ("Interrupted", FAILURES[Failure.INTERRUPTED].exit_code)
    assert exporter.leaves_nothing(spec)


def test_postgresql_that_is_killed_and_comes_back_is_read_anew(
    exporter: Exporter, fragile_postgres: PostgresServer
) -> None:
    own = Exporter(fragile_postgres, exporter.s3, exporter.directory)
    spec = slow(own)
    running = own.start(spec)
    running.until_rows(500)
    fragile_postgres.kill()
    running.until(lambda: any("tried again" in line for line in running.errors), "a retry")
    fragile_postgres.start()
    done = running.finish()
    assert done.code == 0, done.said
    assert is_whole(own, spec)


def test_postgresql_that_is_killed_for_good_ends_the_run_with_a_transient_failure(
    exporter: Exporter, fragile_postgres: PostgresServer
) -> None:
    own = Exporter(fragile_postgres, exporter.s3, exporter.directory)
    spec = slow(own)
    running = own.start(spec)
    running.until_rows(500)
    fragile_postgres.kill()
    done = running.finish()
    assert (done.reason, done.code) == ("SourceUnavailable", FAILURES[Failure.SOURCE_UNAVAILABLE].exit_code)
    assert own.leaves_nothing(spec)


def test_s3_that_is_killed_and_comes_back_gets_its_parts_again(exporter: Exporter, fragile_s3: S3Server) -> None:
    own = Exporter(exporter.postgres, fragile_s3, exporter.directory)
    spec = slow(own)
    running = own.start(spec)
    running.until(lambda: any(each.bytes > 1_000_000 for each in running.progress()), "bytes")
    fragile_s3.kill()
    running.until(lambda: any("tried again" in line for line in running.errors), "a retry")
    fragile_s3.start()
    done = running.finish()
    assert done.code == 0, done.said
    assert is_whole(own, spec)


def test_s3_that_is_killed_for_good_ends_the_run_with_a_transient_failure(
    exporter: Exporter, fragile_s3: S3Server
) -> None:
    own = Exporter(exporter.postgres, fragile_s3, exporter.directory)
    spec = slow(own)
    running = own.start(spec)
    running.until(lambda: any(each.bytes > 1_000_000 for each in running.progress()), "bytes")
    fragile_s3.kill()
    done = running.finish()
    assert (done.reason, done.code) == ("DestinationUnavailable", FAILURES[Failure.DESTINATION_UNAVAILABLE].exit_code)
    fragile_s3.start()
    assert own.keys(spec) == []


def test_progress_comes_every_second_and_the_heartbeat_while_rows_move(exporter: Exporter) -> None:
    heartbeat = exporter.directory / "heartbeat"
    done = exporter.run(slow(exporter), EXPORT_HEARTBEAT_FILE=str(heartbeat))
    assert heartbeat.exists()
    elapsed = [each.elapsed_seconds for each in done.progress]
    assert len(elapsed) >= 2
    assert elapsed[0] < 5  # a busy machine delays a line: hence the slack
    assert all(0 < later - earlier < 5 for earlier, later in itertools.pairwise(elapsed))
    assert done.progress[-1].rows == ROWS
    assert [each.rows for each in done.progress] == sorted(each.rows for each in done.progress)
    assert {"connect", "firstRow", "read", "encode", "upload", "commit", "total"} <= set(done.outcome.timings)


def test_memory_does_not_grow_with_the_rows(exporter: Exporter) -> None:
    peaks = []
    for rows in (300_000, 900_000):  # 100,000 make too few parts to fill the queues
        text = f"SELECT u.* FROM generate_series(1, {rows // 100_000}) AS n CROSS JOIN public.users AS u"
        done = exporter.run(exporter.spec(table=None, query=text))
        assert done.outcome.rows == rows
        peaks.append(done.outcome.peak_memory_bytes)
    assert max(peaks) <= 256 * 1024 * 1024
    assert peaks[1] <= peaks[0] * 1.2
