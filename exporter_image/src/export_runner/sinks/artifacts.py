"""The sink that is a PostgreSQL database: parts as rows, then one row that says they are an export.

Each attempt writes under a name of its own, so a process that was thought dead cannot spoil what another finishes: the
first whose row of `export_artifacts` is written wins, and the other reports that one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from export_contract.codec import ContractError, decode, encode
from export_contract.failures import Failure
from export_contract.manifest import Manifest, ObjectRef
from export_contract.names import artifact_uri, export_key, export_keys
from export_contract.report import Delivered
from export_contract.runspec import Destination, FallbackDatabase, RunSpec
from export_runner.errors import ExportError
from export_runner.formats.base import load
from export_runner.formats.compression import content_type
from export_runner.retry import Retrier
from export_runner.sinks import delivery, tables
from export_runner.sinks.database import Database
from export_runner.sinks.parts import Part, Whole
from export_runner.source.connect import Connection

_LOCK = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%s, 0))"


class Artifacts:
    """See `sink.Sink`."""

    def __init__(self, spec: RunSpec, target: FallbackDatabase, retrier: Retrier) -> None:
        """Reaches nobody yet. Raises `ExportError`."""
        from isal import isal_zlib

        self._crc32 = isal_zlib.crc32
        self._spec = spec
        self._target = target
        self._attempt = secrets.token_hex(8)
        self._parts = tables.table(target.schema, tables.PARTS)
        self._artifacts = tables.table(target.schema, tables.ARTIFACTS)
        self._wholes: tuple[Whole, ...] = ()
        self._begun = False
        self.database = Database(target, retrier)

    def find(self) -> Delivered | None:
        return self.database("Looking for the run's artifact", self._find)

    def begin(self) -> None:
        self.database("Preparing the artifact's tables", self._prepare)
        self._begun = True

    def send(self, part: Part) -> None:
        view = memoryview(part.data)
        pieces = [view[at : at + tables.MAX_PIECE] for at in range(0, len(view), tables.MAX_PIECE)]
        for number, piece in enumerate(pieces, start=1):
            self.database("Writing a part", lambda connection, n=number, p=piece: self._write(connection, part, n, p))  # type: ignore[misc]

    def complete(self, wholes: Sequence[Whole]) -> tuple[ObjectRef, ...]:
        self._wholes = tuple(wholes)
        self.database("Checking the parts", self._check)
        keys = export_keys(self._spec.destination.key, self._spec.output.layout, len(wholes))
        return tuple(
            ObjectRef(
                bucket="",
                key=key,
                rows=whole.rows,
                bytes=whole.bytes,
                sha256=whole.sha256,
                etag="",
                parts=whole.parts,
            )
            for key, whole in zip(keys, wholes, strict=True)
        )

    def commit(self, manifest: Manifest) -> Delivered:
        return self.database("Writing the artifact", lambda connection: self._commit(connection, manifest))

    def abort(self) -> bool:
        try:
            if self._begun:
                self._forget()
        except ExportError:
            return False
        finally:
            self.database.close()
        return True

    def _forget(self) -> None:
        statement = sql.SQL(
            "DELETE FROM {} WHERE run = %s AND attempt = %s"
            " AND NOT EXISTS (SELECT FROM {} AS done WHERE done.run = %s AND done.attempt = %s)"
        ).format(self._parts, self._artifacts)
        self.database.once(lambda connection: connection.execute(statement, (self._spec.run.id, self._attempt) * 2))

    def _find(self, connection: Connection) -> Delivered | None:
        if not tables.exist(connection, self._target.schema):
            return None
        row = connection.execute(
            sql.SQL("SELECT manifest, destination FROM {} WHERE run = %s").format(self._artifacts),
            (self._spec.run.id,),
        ).fetchone()
        if row is None:
            return None
        try:
            manifest, destination = decode(Manifest, row[0]), decode(Destination, row[1])
        except ContractError:
            return None
        return delivered(manifest, destination, self._target)

    def _prepare(self, connection: Connection) -> None:
        connection.execute(_LOCK, (tables.ARTIFACTS,))
        if not tables.exist(connection, self._target.schema):
            try:
                connection.execute(tables.script(self._target.schema))
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidSchemaName):
                raise ExportError(
                    Failure.DESTINATION_ACCESS_DENIED,
                    f"The fallback's tables are not in schema {self._target.schema!r}, and the role may not create"
                    " them there. Create them: export-runner artifact-tables prints the SQL.",
                ) from None
        # What an attempt left that was cut off; one that still runs notices when it checks its parts.
        connection.execute(_LOCK, (self._spec.run.id,))
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE run = %s AND NOT EXISTS (SELECT FROM {} AS done WHERE done.run = %s)").format(
                self._parts, self._artifacts
            ),
            (self._spec.run.id, self._spec.run.id),
        )

    def _write(self, connection: Connection, part: Part, piece: int, data: memoryview) -> None:
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (run, attempt, object, number, piece, data, crc32)"
                " VALUES (%s, %s, %s, %s, %s, %b, %s) ON CONFLICT (run, attempt, object, number, piece)"
                " DO UPDATE SET data = EXCLUDED.data, crc32 = EXCLUDED.crc32"
            ).format(self._parts),
            (self._spec.run.id, self._attempt, part.object, part.number, piece, data, self._crc32(data)),
        )

    def _check(self, connection: Connection) -> None:
        stored = connection.execute(
            sql.SQL(
                "SELECT object, count(DISTINCT number), sum(pg_catalog.octet_length(data))::pg_catalog.int8 FROM {}"
                " WHERE run = %s AND attempt = %s GROUP BY object ORDER BY object"
            ).format(self._parts),
            (self._spec.run.id, self._attempt),
        ).fetchall()
        expected = [(whole.object, whole.parts, whole.bytes) for whole in self._wholes if whole.bytes]
        if [tuple(row) for row in stored] != expected:
            raise ExportError(
                Failure.DESTINATION_REFUSED,
                "The artifact's parts are not all there: another attempt of this run, or somebody else, removed some.",
            )

    def _commit(self, connection: Connection, manifest: Manifest) -> Delivered:
        connection.execute(_LOCK, (self._spec.run.id,))
        if (found := self._find(connection)) is not None:
            return found
        self._check(connection)
        spec, output = self._spec, self._spec.output
        made = load(output.format)
        values: dict[str, object] = {
            "run": spec.run.id,
            "attempt": self._attempt,
            "namespace": spec.run.namespace,
            "name": spec.run.name,
            "requester": spec.run.requester,
            "source": manifest.source,
            "dataset": manifest.dataset,
            "format": manifest.format,
            "compression": manifest.compression,
            "object_key": export_key(spec.destination.key, manifest.layout),
            "content_type": content_type(made.content_type, output.compression, inside=made.compresses_inside),
            "rows": manifest.rows,
            "bytes": sum(each.bytes for each in manifest.objects),
            "sha256": manifest.objects[0].sha256 if len(manifest.objects) == 1 else "",
            "parts": sum(each.parts for each in manifest.objects),
            "complete": manifest.complete,
            "destination": Jsonb(destination_record(spec.destination)),
            "manifest": Jsonb(json.loads(manifest.to_json())),
        }
        connection.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                self._artifacts,
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join([sql.Placeholder()] * len(values)),
            ),
            list(values.values()),
        )
        return delivered(manifest, spec.destination, self._target)


def destination_record(destination: Destination) -> dict[str, object]:
    """Where redelivery puts the export: no credentials are in a spec, and the fallback itself is left out."""
    record: dict[str, object] = encode(destination)
    record.pop("fallback", None)
    return record


def delivered(manifest: Manifest, destination: Destination, target: FallbackDatabase) -> Delivered:
    """What the operator is told of an artifact; of one that was redelivered, where it is now."""
    here = artifact_uri(target, manifest.run.id)
    return manifest.delivered(here, here) if manifest.used_fallback else delivery.delivered(manifest, destination)
