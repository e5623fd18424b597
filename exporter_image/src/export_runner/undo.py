"""Removes what a run has left in its places, once nothing works at it any more: for places that only an export pod
reaches, such as a bucket by web identity, or a database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg import sql

from export_contract.leftovers import doomed, folder_of, owns
from export_contract.runspec import Destination, FallbackDatabase, RunSpec
from export_runner import fallback
from export_runner.retry import Retrier
from export_runner.sinks import client, delivery, tables
from export_runner.sinks.database import Database
from export_runner.sinks.errors import ABSENT, NOT_READABLE, S3Error
from export_runner.sinks.upload import abort_strangers
from export_runner.source.connect import Connection

_NOT_THERE = ABSENT | {"NoSuchBucket"}


def undo(spec: RunSpec, retrier: Retrier, *, objects: bool) -> Iterator[str]:
    """Remove uploads, the checkpoint and what no manifest makes an export; with `objects` what was delivered too. Gives
    what was removed, as sentences. Whatever is gone already is fine. Raises `ExportError`, `Stopped`."""
    target, chosen = spec.destination, spec.destination.fallback
    made = client.make(target, 2)
    for bucket in dict.fromkeys((target.checkpoint_bucket or target.bucket, target.bucket)):
        if target.checkpoint_key:
            place = client.Caller(made, bucket, retrier)
            yield from _clean(place, folder_of(target.checkpoint_key), (target.checkpoint_key,), objects=objects)
    yield from _export(client.Caller(made, target.bucket, retrier), target, spec.run.id, objects=objects)
    if chosen is not None and chosen.bucket is not None:
        there = fallback.destination(chosen, chosen.bucket)
        caller = client.Caller(client.make(there, 2, client.fallback_keys()), there.bucket, retrier)
        yield from _export(caller, there, spec.run.id, objects=objects)
    if chosen is not None and (tables_of := chosen.database) is not None:
        database = Database(tables_of, retrier)
        rows = database("Removing an artifact", lambda one: _forget(one, tables_of, spec.run.id, objects=objects))
        yield from [f"{rows} rows of the fallback's tables"] if rows else []


def _export(caller: client.Caller, place: Destination, run: str, *, objects: bool) -> Iterator[str]:
    manifest = delivery.read(caller, place, run) if objects else None
    told = [each.key for each in manifest.objects] if manifest is not None else []
    known = (place.manifest_key, place.key, *told)
    yield from _clean(caller, folder_of(place.key), known, data=True, objects=objects)


def _clean(
    caller: client.Caller, folder: str, known: tuple[str, ...], *, data: bool = False, objects: bool
) -> Iterator[str]:
    abort_strangers(caller, folder, lambda key: owns(folder, key, data=data))
    try:
        found = _listed(caller, folder)
    except S3Error as error:
        if error.code in _NOT_THERE:
            return
        if error.code not in NOT_READABLE:
            raise
        # Without s3:ListBucket nobody knows what is there beside the export.
        found = list(known) if objects or not data else []
    for key in doomed(found, folder, data=data, objects=objects):
        try:
            caller("DeleteObject", lambda key=key: caller.client.delete_object(Bucket=caller.bucket, Key=key))  # type: ignore[misc]
        except S3Error as error:
            if error.code in NOT_READABLE and not (data and objects):
                return  # a lifecycle rule has to
            if error.code not in _NOT_THERE:
                raise
        else:
            yield f"s3://{caller.bucket}/{key}"


def _listed(caller: client.Caller, folder: str) -> list[str]:
    found: list[str] = []
    more: Mapping[str, Any] = {}
    while True:
        answer = caller(
            "ListObjectsV2",
            lambda more=more: caller.client.list_objects_v2(Bucket=caller.bucket, Prefix=folder, **more),  # type: ignore[misc]
        )
        found += [each["Key"] for each in answer.get("Contents", [])]
        if not answer.get("NextContinuationToken"):
            return found
        more = {"ContinuationToken": answer["NextContinuationToken"]}


def _forget(connection: Connection, target: FallbackDatabase, run: str, *, objects: bool) -> int:
    """The number of rows that went."""
    parts, artifacts = (tables.table(target.schema, name) for name in (tables.PARTS, tables.ARTIFACTS))
    if not tables.exist(connection, target.schema):
        return 0
    gone = 0
    if objects:
        gone += connection.execute(sql.SQL("DELETE FROM {} WHERE run = %s").format(artifacts), (run,)).rowcount
    statement = sql.SQL(
        "DELETE FROM {} WHERE run = %s AND NOT EXISTS (SELECT FROM {} AS done WHERE done.run = %s)"
    ).format(parts, artifacts)
    return gone + connection.execute(statement, (run, run)).rowcount
