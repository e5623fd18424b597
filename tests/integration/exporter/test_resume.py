"""A run that keeps a checkpoint goes on where it was, whatever was killed, and its object is as if nothing had been."""

import dataclasses
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from export_contract.failures import FAILURES, Failure
from export_contract.runspec import Limits, RunSpec
from tests.integration.exporter.runner import BUCKET, Exporter, Running, json_lines, with_limits
from tests.services.host import PostgresServer

pytestmark = pytest.mark.integration

ROWS = 40_000
LIMITS = Limits(run_deadline_seconds=300, block_rows=1_000, part_bytes=5 * 1024 * 1024)


@pytest.fixture(scope="module")
def wide(postgres: PostgresServer) -> Iterator[str]:
    """About 45 MB that do not compress, stored in another order than that of the key."""
    postgres.psql(
        "CREATE TABLE big (region text NOT NULL, id bigint NOT NULL, made timestamptz NOT NULL, filler text,"
        " PRIMARY KEY (region, made, id));"
        "INSERT INTO big SELECT 'é' || n % 3, n, timestamptz '2026-01-01' + n * interval '1 second',"
        " (SELECT string_agg(encode(sha512((n::text || i)::bytea), 'hex'), '') FROM generate_series(1, 8) AS i)"
        f" FROM pg_catalog.generate_series(1, {ROWS}) AS n ORDER BY pg_catalog.md5(n::text); ANALYZE big"
    )
    yield "big"
    postgres.psql("DROP TABLE big")


def spec_of(exporter: Exporter, form: tuple[Any, Any], table: str = "big", **changes: Any) -> RunSpec:
    made = exporter.spec(("id", "region", "made", "filler"), table=table, output=form, limits=LIMITS)
    place = f".export-operator/{made.run.id}/checkpoint.json"
    target = dataclasses.replace(made.destination, checkpoint_key=place)
    return dataclasses.replace(made, destination=target, **{"resume": "Always", **changes})


def checkpoint(exporter: Exporter, spec: RunSpec) -> bytes:
    """As it stands on the server's disk: asking the server takes longer than a part does."""
    with suppress(FileNotFoundError):
        return (exporter.s3.data / BUCKET / spec.destination.checkpoint_key).read_bytes()
    return b""


def sent(exporter: Exporter, spec: RunSpec) -> int:
    """Parts that the checkpoint counts."""
    found = re.search(rb'"parts":(\d+)', checkpoint(exporter, spec))
    return int(found[1]) if found else 0


def until_parts(exporter: Exporter, spec: RunSpec, running: Running, parts: int) -> None:
    running.until(lambda: sent(exporter, spec) >= parts, f"{parts} parts")


@pytest.mark.parametrize("form", [("CSV", "Gzip"), ("NDJSON", "Zstd"), ("JSON", "None")])
def test_an_export_that_is_killed_again_and_again_has_the_bytes_of_an_undisturbed_one(
    exporter: Exporter, wide: str, form: tuple[Any, Any]
) -> None:
    undisturbed, spec = spec_of(exporter, form, wide), spec_of(exporter, form, wide)
    assert exporter.run(undisturbed).code == 0
    for number in range(8 if form[0] == "CSV" else 3):
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


def test_a_process_that_slept_while_another_did_its_work_spoils_nothing(exporter: Exporter, wide: str) -> None:
    spec = spec_of(exporter, ("CSV", "None"), wide)
    zombie = exporter.start(spec)
    until_parts(exporter, spec, zombie, 2)
    zombie.signal(signal.SIGSTOP)
    done = exporter.run(spec)
    assert done.code == 0, done.said
    whole = exporter.read(spec.destination.key)
    told = exporter.manifest(spec)
    zombie.signal(signal.SIGCONT)
    late = zombie.finish()
    assert late.code == 0 or late.reason == "Interrupted"
    assert exporter.read(spec.destination.key) == whole
    assert exporter.manifest(spec) == told
    assert not exporter.uploads(spec)


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
        for parts in (1, 3):
            running = exporter.start(spec)
            until_parts(exporter, spec, running, parts)
            running.signal(signal.SIGKILL)
            running.end()
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
    running = exporter.start(spec)
    until_parts(exporter, spec, running, 2)
    running.signal(signal.SIGKILL)
    running.end()
    text = checkpoint(exporter, spec)
    at = text.index(b'"fingerprint":"') + 15
    other = text[:at] + b"0" * 64 + text[at + 64 :]
    exporter.client().put_object(Bucket=BUCKET, Key=spec.destination.checkpoint_key, Body=other)
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
