"""What was exported, read back: out of a bucket or out of the fallback's tables, in pieces of at most 8 MiB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from psycopg import sql

from export_contract.codec import ContractError, decode
from export_contract.failures import Failure
from export_contract.manifest import Manifest
from export_contract.runspec import Destination, FallbackDatabase
from export_runner.errors import ExportError
from export_runner.sinks import documents, tables
from export_runner.sinks.client import Caller
from export_runner.sinks.errors import ABSENT, REPLACED, S3Error
from export_runner.source.connect import Connection


class Stored(Protocol):
    """An export with its manifest."""

    @property
    def manifest(self) -> Manifest: ...

    def pieces(self, number: int) -> Iterator[bytes]:
        """The bytes of object `number`, from 1, in order. Raises `ExportError`, `Stopped`."""


@dataclass(frozen=True, slots=True)
class InBucket:
    """See `Stored`."""

    caller: Caller
    manifest: Manifest

    def pieces(self, number: int) -> Iterator[bytes]:
        told = self.manifest.objects[number - 1]
        for start in range(0, told.bytes, tables.MAX_PIECE):
            yield self._range(told.key, told.etag, start, min(start + tables.MAX_PIECE, told.bytes) - 1)

    def _range(self, key: str, etag: str, first: int, last: int) -> bytes:
        client = self.caller.client

        def read() -> bytes:
            # If-Match: not half of one object and half of another.
            answer = client.get_object(
                Bucket=self.caller.bucket, Key=key, Range=f"bytes={first}-{last}", IfMatch=f'"{etag}"'
            )
            return bytes(answer["Body"].read())

        try:
            return self.caller("GetObject", read)
        except S3Error as error:
            if error.code in ABSENT:
                raise absent(f"s3://{self.caller.bucket}/{key}") from None
            if error.code in REPLACED | {"InvalidRange", "416"}:
                raise damaged(
                    f"s3://{self.caller.bucket}/{key}", "is another object than its manifest tells of"
                ) from None
            raise


def in_bucket(caller: Caller, manifest_key: str) -> InBucket:
    """Raises `ExportError`: also when there is no manifest, or none of ours."""
    place = f"s3://{caller.bucket}/{manifest_key}"
    try:
        text, _ = documents.read(caller, caller.bucket, manifest_key, documents.MAX_MANIFEST)
    except S3Error as error:
        if error.code in ABSENT:
            raise absent(place) from None
        raise
    try:
        return InBucket(caller, Manifest.from_json(text))
    except ContractError:
        raise damaged(place, "is no manifest") from None


Read = Callable[[Callable[[Connection], object]], object]
"""Calls with a connection: in a transaction of each call's own, tried again, or in one that is open already."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """See `Stored`. `destination` is where redelivery puts it; `redelivered`: it was moved there."""

    read: Read
    target: FallbackDatabase
    attempt: str
    manifest: Manifest
    destination: Destination
    redelivered: bool

    def pieces(self, number: int) -> Iterator[bytes]:
        parts = tables.table(self.target.schema, tables.PARTS)
        run = self.manifest.run.id
        listing = sql.SQL(
            "SELECT number, piece FROM {} WHERE run = %s AND attempt = %s AND object = %s ORDER BY number, piece"
        ).format(parts)
        reading = sql.SQL(
            "SELECT data, crc32 FROM {} WHERE run = %s AND attempt = %s AND object = %s AND number = %s AND piece = %s"
        ).format(parts)
        key = (run, self.attempt, number)
        for place in self._rows(listing, key):
            for data, crc32 in self._rows(reading, (*key, *place)):
                yield self._checked(data, crc32, place)

    def _rows(self, statement: sql.Composed, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        found = self.read(lambda connection: connection.cursor(binary=True).execute(statement, values).fetchall())
        assert isinstance(found, list)
        return found

    def _checked(self, data: object, crc32: object, place: tuple[object, ...]) -> bytes:
        from isal import isal_zlib

        assert isinstance(data, bytes)
        if isal_zlib.crc32(data) != crc32:
            number, piece = place
            raise damaged(f"The artifact of run {self.manifest.run.id}", f"has a changed part ({number}.{piece})")
        return data


def artifact(read: Read, target: FallbackDatabase, run: str, *, lock: bool = False) -> Artifact | None:
    """The artifact of a run, if it is there. `lock`: until the transaction ends; None also while another has it.

    Raises `ExportError`, `psycopg.Error`.
    """
    statement = sql.SQL(
        "SELECT attempt, manifest, destination, redelivered_at IS NOT NULL FROM {} WHERE run = %s{}"
    ).format(tables.table(target.schema, tables.ARTIFACTS), sql.SQL(" FOR UPDATE SKIP LOCKED" if lock else ""))
    row = read(lambda connection: connection.execute(statement, (run,)).fetchone())
    if row is None:
        return None
    assert isinstance(row, tuple)
    attempt, manifest, destination, redelivered = row
    try:
        return Artifact(
            read, target, str(attempt), decode(Manifest, manifest), decode(Destination, destination), bool(redelivered)
        )
    except ContractError:
        raise damaged(f"The artifact of run {run}", "has a manifest that is none") from None


def absent(place: str) -> ExportError:
    """The failure for what is not there."""
    return ExportError(Failure.ARTIFACT_NOT_FOUND, f"There is no export at {place}.")


def damaged(place: str, how: str) -> ExportError:
    """The failure for what is not what it should be."""
    return ExportError(Failure.ARTIFACT_DAMAGED, f"{place} {how}.")
