"""Exports out of the fallback to where they were meant to go, now that S3 is back. Nothing counts before the manifest
is there, and what is not to the byte what was exported never gets one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from export_contract.codec import encode
from export_contract.failures import Failure
from export_contract.manifest import Manifest
from export_contract.names import export_uri
from export_contract.runspec import Compression, Destination, FallbackDatabase, Format, Limits, Output, RunSpec, Source
from export_runner import fallback, record
from export_runner.errors import ExportError
from export_runner.retry import Retrier
from export_runner.sinks import client, layouts, tables
from export_runner.sinks.bucket import Bucket
from export_runner.sinks.database import Database, refused
from export_runner.sinks.parts import PartCutter, Whole
from export_runner.sinks.stored import Artifact, Stored, absent, artifact, damaged, in_bucket
from export_runner.source.connect import Connection

Beat = Callable[[str, int, int], None]
"""What is told on the way: of which run, bytes moved, bytes in all."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An artifact that is still in the fallback."""

    run: str
    rows: int
    bytes: int
    created_at: str
    to: str


def waiting(database: Database) -> list[Waiting]:
    """Oldest first. Raises `ExportError`, `Stopped`."""
    statement = sql.SQL(
        "SELECT run, rows, bytes, pg_catalog.to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
        " pg_catalog.concat('s3://', destination->>'bucket', '/', object_key) FROM {}"
        " WHERE redelivered_at IS NULL ORDER BY created_at, run"
    ).format(tables.table(database.target.schema, tables.ARTIFACTS))
    rows = database("Listing artifacts", lambda connection: connection.execute(statement, ()).fetchall())
    return [
        Waiting(str(run), cast("int", count), cast("int", size), str(at), str(to)) for run, count, size, at, to in rows
    ]


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of an export, in words; and the destination that it was moved to, "" if it was not."""

    words: str
    destination: str = ""


def from_database(database: Database, run: str, retrier: Retrier, *, keep: bool, beat: Beat) -> Moved:
    """Moves one artifact. Another process that moves the same one does not wait for us.

    Raises `ExportError`, `Stopped`.
    """
    with database.lent() as connection:
        try:
            with connection.transaction():
                return _locked(connection, database.target, run, retrier, keep=keep, beat=beat)
        except psycopg.Error as error:
            raise refused(error) from None


def _locked(
    connection: Connection, target: FallbackDatabase, run: str, retrier: Retrier, *, keep: bool, beat: Beat
) -> Moved:
    def read(function: Callable[[Connection], object]) -> object:
        return function(connection)

    found = artifact(read, target, run, lock=True)
    if found is None:
        if artifact(read, target, run) is None:
            raise absent(f"{target.schema}.{tables.ARTIFACTS} for run {run}")
        return Moved("is being redelivered by another process")
    if found.redelivered:
        return Moved("was redelivered before")
    manifest = move(found, found.destination, retrier, beat=beat)
    _mark(connection, found, manifest, keep=keep)
    return _moved(found.destination, manifest)


def _mark(connection: Connection, found: Artifact, manifest: Manifest, *, keep: bool) -> None:
    schema, run = found.target.schema, manifest.run.id
    connection.execute(
        sql.SQL("UPDATE {} SET manifest = %s, redelivered_at = pg_catalog.now() WHERE run = %s").format(
            tables.table(schema, tables.ARTIFACTS)
        ),
        (Jsonb(encode(manifest)), run),
    )
    if not keep:
        connection.execute(sql.SQL("DELETE FROM {} WHERE run = %s").format(tables.table(schema, tables.PARTS)), (run,))


def _moved(destination: Destination, manifest: Manifest) -> Moved:
    uri = export_uri(destination.bucket, destination.key, manifest.layout)
    return Moved(f"redelivered to {uri}", destination.name)


def from_bucket(spec: RunSpec, retrier: Retrier, *, keep: bool, beat: Beat) -> Moved:
    """Moves the export of one run. Raises `ExportError`, `Stopped`."""
    chosen = spec.destination.fallback
    if chosen is None or chosen.bucket is None:
        raise ExportError(Failure.INVALID_RUN_SPEC, "The spec's destination has no fallback bucket.")
    there = fallback.destination(chosen, chosen.bucket)
    caller = client.Caller(client.make(there, 2, client.fallback_keys()), there.bucket, retrier)
    try:
        found = in_bucket(caller, there.manifest_key)
    except ExportError as error:
        if error.failure is Failure.ARTIFACT_NOT_FOUND and layouts.bucket(spec, retrier).find() is not None:
            return Moved("was redelivered before, or never needed to be")
        raise
    if found.manifest.run.id != spec.run.id:
        raise absent(f"s3://{there.bucket}/{there.manifest_key} for run {spec.run.id}")
    manifest = move(found, replace(spec.destination, fallback=None), retrier, beat=beat)
    if not keep:
        # The manifest goes first: what it tells of is never missing.
        for key in (there.manifest_key, *(each.key for each in found.manifest.objects)):
            caller("DeleteObject", lambda key=key: caller.client.delete_object(Bucket=there.bucket, Key=key))  # type: ignore[misc]
    return _moved(spec.destination, manifest)


def move(stored: Stored, destination: Destination, retrier: Retrier, *, beat: Beat) -> Manifest:
    """Copies an export to S3, verified on the way and afterwards, then writes its manifest, and returns it.

    An export of the same run that is there already stays; so a second call does nothing. Raises `ExportError`,
    `Stopped`.
    """
    told = stored.manifest
    manifest = replace(told, used_fallback=False, redelivered_at=record.now())
    sink = layouts.bucket(_spec(told, destination), retrier)
    if sink.find() is None:
        sink.begin()
        sink.settle(None)  # an attempt that lost S3 half-way may have left its checkpoint
        try:
            wholes = [_send(stored, number, sink, beat) for number in range(1, len(told.objects) + 1)]
            manifest = replace(manifest, objects=sink.complete(wholes))
        except BaseException:
            sink.abort()
            raise
        sink.commit(manifest)
        if sink.find() is None:
            raise damaged(f"s3://{destination.bucket}/{destination.key}", "is not what was just written")
        return manifest
    objects = tuple(replace(each, bucket=destination.bucket) for each in told.objects)
    return replace(manifest, objects=objects)


def _send(stored: Stored, number: int, sink: Bucket, beat: Beat) -> Whole:
    """One object. Nothing of it is visible unless it is what the manifest says. Raises `ExportError`."""
    told, run = stored.manifest.objects[number - 1], stored.manifest.run.id
    cutter = PartCutter(Limits().part_bytes, number=number)
    for piece in stored.pieces(number):
        for part in cutter.add([piece]):
            sink.send(part)
        beat(run, cutter.bytes, told.bytes)
    for part in cutter.rest():
        sink.send(part)
    whole = replace(cutter.whole(), rows=told.rows)
    verify(run, whole.bytes, whole.sha256, stored.manifest, number)
    return whole


def verify(run: str, size: int, sha256: str, manifest: Manifest, number: int) -> None:
    """Raises `ExportError` unless these are the bytes that the manifest tells of."""
    told = manifest.objects[number - 1]
    if (size, sha256) != (told.bytes, told.sha256):
        raise damaged(
            f"The export of run {run}",
            f"has {size:,} bytes with SHA-256 {sha256}; its manifest tells of {told.bytes:,} with {told.sha256}",
        )


def _spec(manifest: Manifest, destination: Destination) -> RunSpec:
    """As much of the run's spec as its sink looks at."""
    return RunSpec(
        run=manifest.run,
        source=Source(
            name=manifest.source,
            dataset=manifest.dataset,
            host="",
            database="",
            query="",
            columns=tuple(column.name for column in manifest.columns) or ("none",),
        ),
        destination=destination,
        output=Output(
            format=cast("Format", manifest.format),
            compression=cast("Compression", manifest.compression),
            layout=manifest.layout,
        ),
    )
