"""Runs that keep a checkpoint, and what they left in S3."""

import dataclasses
import re
import signal
from contextlib import suppress
from typing import Any

from export_contract.runspec import Limits, RunSpec
from export_runner.checkpoint import Checkpoint
from tests.integration.exporter.runner import BUCKET, Exporter, Running
from tests.services.host import PostgresServer

ROWS = 40_000
LIMITS = Limits(run_deadline_seconds=300, block_rows=1_000, part_bytes=5 * 1024 * 1024)


def load_wide(postgres: PostgresServer) -> None:
    """About 45 MB that do not compress, stored in another order than that of the key: nine parts."""
    postgres.psql(
        "CREATE TABLE big (region text NOT NULL, id bigint NOT NULL, made timestamptz NOT NULL, filler text,"
        " PRIMARY KEY (region, made, id));"
        "INSERT INTO big SELECT 'é' || n % 3, n, timestamptz '2026-01-01' + n * interval '1 second',"
        " (SELECT string_agg(encode(sha512((n::text || i)::bytea), 'hex'), '') FROM generate_series(1, 8) AS i)"
        f" FROM pg_catalog.generate_series(1, {ROWS}) AS n ORDER BY pg_catalog.md5(n::text); ANALYZE big"
    )


def spec_of(exporter: Exporter, form: tuple[Any, Any], table: str = "big", **changes: Any) -> RunSpec:
    made = exporter.spec(("id", "region", "made", "filler"), table=table, output=form, limits=LIMITS)
    place = f".export-operator/{made.run.id}/checkpoint.json"
    target = dataclasses.replace(made.destination, checkpoint_key=place)
    return dataclasses.replace(made, destination=target, **{"resume": "Always", **changes})


def checkpoint(exporter: Exporter, spec: RunSpec) -> bytes:
    """As it stands on the server's disk: asking the server takes longer than a part does."""
    with suppress(FileNotFoundError):
        target = spec.destination
        return (exporter.s3.data / (target.checkpoint_bucket or BUCKET) / target.checkpoint_key).read_bytes()
    return b""


def sent(exporter: Exporter, spec: RunSpec) -> int:
    """Parts that the checkpoint counts."""
    found = re.search(rb'"parts":(\d+)', checkpoint(exporter, spec))
    return int(found[1]) if found else 0


def told_of(exporter: Exporter, spec: RunSpec) -> list[int]:
    """Parts that the checkpoint does not count, and tells of."""
    found = checkpoint(exporter, spec)
    return [mark.parts for mark in Checkpoint.from_json(found).ahead] if found else []


def listed(exporter: Exporter, spec: RunSpec) -> list[int]:
    """Numbers of the parts that S3 has of the upload that the checkpoint names."""
    found = Checkpoint.from_json(checkpoint(exporter, spec))
    answer = exporter.client().list_parts(Bucket=BUCKET, Key=spec.destination.key, UploadId=found.upload_id)
    return [each["PartNumber"] for each in answer.get("Parts", [])]


def until_parts(exporter: Exporter, spec: RunSpec, running: Running, parts: int) -> None:
    running.until(lambda: sent(exporter, spec) >= parts, f"{parts} parts")


def killed_at(exporter: Exporter, spec: RunSpec, parts: int) -> None:
    """A process that is no more, and the checkpoint that it left."""
    running = exporter.start(spec)
    until_parts(exporter, spec, running, parts)
    running.signal(signal.SIGKILL)
    running.end()


def of_another_encoder(exporter: Exporter, spec: RunSpec) -> None:
    """Changes the checkpoint to one that is not gone on from."""
    text = checkpoint(exporter, spec)
    at = text.index(b'"fingerprint":"') + 15
    other = text[:at] + b"0" * 64 + text[at + 64 :]
    exporter.client().put_object(Bucket=BUCKET, Key=spec.destination.checkpoint_key, Body=other)


def through(spec: RunSpec, endpoint: str) -> RunSpec:
    """By another way to the same S3 server."""
    return dataclasses.replace(spec, destination=dataclasses.replace(spec.destination, endpoint=endpoint))
