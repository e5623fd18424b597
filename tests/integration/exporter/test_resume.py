"""A run that keeps a checkpoint goes on where it was, whatever was killed, and its object is as if nothing had been."""

import dataclasses
import signal
import threading
import time
from typing import Any

import pytest

from export_contract.failures import FAILURES, Failure
from export_contract.runspec import Limits
from tests.integration.exporter.resuming import (
    ROWS,
    checkpoint,
    killed_at,
    listed,
    of_another_encoder,
    sent,
    spec_of,
    through,
    told_of,
    until_parts,
)
from tests.integration.exporter.runner import Exporter, json_lines, with_limits
from tests.services.host import PostgresServer
from tests.services.meddler import Meddler

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("form", [("CSV", "Gzip"), ("NDJSON", "Zstd"), ("JSON", "None")])
def test_an_export_that_is_killed_again_and_again_has_the_bytes_of_an_undisturbed_one(
    exporter: Exporter, wide: str, form: tuple[Any, Any]
) -> None:
    undisturbed, spec = spec_of(exporter, form, wide), spec_of(exporter, form, wide)
    assert exporter.run(undisturbed).code == 0
    for number in range(3):
        running = exporter.start(spec)
        before = sent(exporter, spec)
        while number % 3 != 1 and running.process.poll() is None and sent(exporter, spec) == before:
            time.sleep(0.005)
        running.signal(signal.SIGKILL)
        running.end()
    done = exporter.run(spec)
    assert done.code == 0, done.said
    assert exporter.read(spec.destination.key) == exporter.read(undisturbed.destination.key)
    manifest, plain = exporter.manifest(spec), exporter.manifest(undisturbed)
    assert (manifest.rows, manifest.objects[0].sha256) == (ROWS, plain.objects[0].sha256)
    assert sum(segment.rows for segment in manifest.segments) == ROWS
    assert (manifest.consistency, manifest.sha256_source) == ("Segmented", "ReadBack")
    assert (plain.consistency, plain.sha256_source, plain.resumed) == ("Snapshot", "Stream", 0)
    assert manifest.resumed >= 1
    assert done.outcome.delivered is not None
    assert done.outcome.delivered.resumed == manifest.resumed
    assert checkpoint(exporter, spec) == b""
    assert not exporter.uploads(spec)


def test_of_what_was_stored_while_a_checkpoint_was_on_its_way_one_part_is_sent_again(
    exporter: Exporter, between: Meddler, wide: str
) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    fourth = between.hold("UploadPart", "partNumber=4")
    running = exporter.start(through(spec, between.endpoint))
    running.until(lambda: told_of(exporter, spec) == [4, 5], "a checkpoint that tells of the fifth part")
    between.hold("PutObject", spec.destination.checkpoint_key)
    fourth.release()
    running.until(lambda: listed(exporter, spec) == [1, 2, 3, 4, 5, 6], "the sixth part")
    running.signal(signal.SIGKILL)
    running.end()
    assert (sent(exporter, spec), told_of(exporter, spec)) == (3, [4, 5])
    between.seen.clear()
    done = exporter.run(through(spec, between.endpoint))
    assert done.code == 0, done.said
    manifest = exporter.manifest(spec)
    assert between.seen.count("UploadPart") == manifest.objects[0].parts - 5
    assert (manifest.resumed, sum(segment.rows for segment in manifest.segments)) == (1, ROWS)
    assert not exporter.uploads(spec)


@pytest.mark.parametrize("reason", ["SourceAuthenticationFailed", "DatasetInvalid"])
def test_a_failure_for_good_takes_back_also_what_an_earlier_attempt_left(
    exporter: Exporter, wide: str, reason: str
) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    killed_at(exporter, spec, 2)
    assert exporter.uploads(spec)
    if reason == "DatasetInvalid":
        done = exporter.run(dataclasses.replace(spec, source=dataclasses.replace(spec.source, columns=("id", "gone"))))
    else:
        done = exporter.run(spec, PGPASSWORD="wrong")
    assert (done.reason, done.outcome.checkpoint_rows) == (reason, None), done.said
    assert checkpoint(exporter, spec) == b""
    assert exporter.leaves_nothing(spec)


def test_sigterm_leaves_a_checkpoint_and_its_upload_for_the_next_attempt(exporter: Exporter, wide: str) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    running = exporter.start(spec)
    until_parts(exporter, spec, running, 2)
    running.signal(signal.SIGTERM)
    stopped = running.finish()
    assert (stopped.reason, stopped.code) == ("Interrupted", FAILURES[Failure.INTERRUPTED].exit_code)
    assert len(exporter.uploads(spec)) == 1
    assert checkpoint(exporter, spec)
    assert exporter.run(spec).code == 0
    assert exporter.manifest(spec).resumed == 1


def test_the_deadline_takes_back_upload_and_checkpoint(exporter: Exporter) -> None:
    slow = "SELECT n AS id, repeat('x', 5000) AS y, pg_sleep(0.001)::text AS z FROM generate_series(1, 100000) AS n"
    base = exporter.spec(("id", "y", "z"), table=None, query=slow, key=("id",), limits=Limits(block_rows=100))
    target = dataclasses.replace(base.destination, checkpoint_key=f".export-operator/{base.run.id}/checkpoint.json")
    spec = dataclasses.replace(base, destination=target, resume="Always")
    done = exporter.run(with_limits(spec, run_deadline_seconds=3))
    assert done.reason == "DeadlineExceeded"
    assert checkpoint(exporter, spec) == b""
    assert exporter.leaves_nothing(spec)


def test_no_row_is_doubled_or_lost_while_rows_change_and_processes_die(
    exporter: Exporter, postgres: PostgresServer
) -> None:
    postgres.psql(
        "CREATE TABLE moving (id bigint PRIMARY KEY, region text NOT NULL, made timestamptz NOT NULL, filler text);"
        "INSERT INTO moving SELECT n, 'r', now(), (SELECT string_agg(encode(sha512((n::text || i)::bytea), 'hex'), '')"
        " FROM generate_series(1, 8) AS i) FROM pg_catalog.generate_series(1, 30000) AS n"
        " ORDER BY pg_catalog.md5(n::text)"
    )
    ended = threading.Event()

    def change() -> None:
        while not ended.is_set():
            postgres.psql("UPDATE moving SET region = region || 'x' WHERE id % 7 = (random() * 7)::int")
            postgres.psql("DELETE FROM moving WHERE id % 1000 = 0; VACUUM moving")

    writer = threading.Thread(target=change)
    writer.start()
    try:
        spec = spec_of(exporter, ("NDJSON", "None"), "moving")
        killed_at(exporter, spec, 1)
        # The second has a part of its own, behind all that the first one sent.
        killed_at(exporter, spec, max([sent(exporter, spec), *told_of(exporter, spec)]) + 1)
        done = exporter.run(spec)
    finally:
        ended.set()
        writer.join()
        postgres.psql("DROP TABLE moving")
    assert done.code == 0, done.said
    ids = [row["id"] for row in json_lines(exporter.read(spec.destination.key))]
    assert ids == sorted(set(ids))
    assert {number for number in range(1, 30_001) if number % 1000} <= set(ids)
    assert len(exporter.manifest(spec).segments) == 3


def test_consistency_snapshot_starts_anew(exporter: Exporter, wide: str) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide, consistency="Snapshot")
    assert exporter.run(spec).code == 0
    assert (exporter.manifest(spec).consistency, exporter.manifest(spec).segments) == ("Snapshot", ())


def test_a_checkpoint_of_another_encoder_is_not_gone_on_from(exporter: Exporter, wide: str) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    killed_at(exporter, spec, 2)
    of_another_encoder(exporter, spec)
    assert exporter.run(spec).code == 0
    assert exporter.manifest(spec).resumed == 0
    assert not exporter.uploads(spec)


@pytest.mark.parametrize("changes", [{"resume": "Always"}, {"resume": "Auto", "consistency": "Segmented"}])
def test_what_needs_a_key_is_refused_without_one(exporter: Exporter, wide: str, changes: dict[str, Any]) -> None:
    whole = spec_of(exporter, ("CSV", "None"), wide, **changes)
    spec = dataclasses.replace(whole, source=dataclasses.replace(whole.source, columns=("id", "filler")))
    done = exporter.run(spec)
    assert done.reason == "DatasetInvalid"
    assert "needs a unique key" in done.message
    assert exporter.leaves_nothing(spec)
