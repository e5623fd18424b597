"""The fallback's tables, the one source of their SQL: the exporter creates them where its role may, and
`export-runner artifact-tables` prints them for whoever creates them by hand.
"""

from __future__ import annotations

from psycopg import sql

from export_contract.names import ARTIFACT_PARTS as PARTS
from export_contract.names import ARTIFACTS
from export_runner.source.connect import Connection

__all__ = ["ARTIFACTS", "MAX_PIECE", "PARTS", "exist", "script", "table"]

MAX_PIECE = 8 * 1024 * 1024
"""Bytes of one row's data: what the server and the client hold of it at once stays small."""

_SCRIPT = """\
-- Exports that could not reach S3 wait here, whole, until `export-runner redeliver` moves them.
-- An export is there when export_artifacts says so; rows of parts alone are an attempt that still runs or was cut off.
CREATE TABLE IF NOT EXISTS {artifacts} (
    run text PRIMARY KEY,
    attempt text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    requester text NOT NULL,
    source text NOT NULL,
    dataset text NOT NULL,
    format text NOT NULL,
    compression text NOT NULL,
    object_key text NOT NULL,
    content_type text NOT NULL,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    sha256 text NOT NULL,
    parts integer NOT NULL,
    complete boolean NOT NULL,
    destination jsonb NOT NULL,
    manifest jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now(),
    redelivered_at timestamp with time zone
);
CREATE TABLE IF NOT EXISTS {parts} (
    run text NOT NULL,
    attempt text NOT NULL,
    object integer NOT NULL,
    number integer NOT NULL,
    piece integer NOT NULL,
    data bytea NOT NULL CHECK (pg_catalog.octet_length(data) <= {most}),
    crc32 bigint NOT NULL,
    PRIMARY KEY (run, attempt, object, number, piece)
);
-- Compressed already, or not worth the server's time: stored as it is.
ALTER TABLE {parts} ALTER COLUMN data SET STORAGE EXTERNAL;
"""


def table(schema: str, name: str) -> sql.SQL:
    """The qualified name of one of the tables, for statements with parameters: there psycopg takes a % for one."""
    return sql.SQL(sql.Identifier(schema, name).as_string(None).replace("%", "%%"))


def script(schema: str) -> sql.Composed:
    """Creates what is not there; to be run by the owner."""
    return sql.SQL(_SCRIPT).format(
        artifacts=sql.Identifier(schema, ARTIFACTS), parts=sql.Identifier(schema, PARTS), most=sql.Literal(MAX_PIECE)
    )


def exist(connection: Connection, schema: str) -> bool:
    """Both tables are there. Raises `psycopg.Error`."""
    names = ['"' + schema.replace('"', '""') + f'".{name}' for name in (ARTIFACTS, PARTS)]
    found = connection.execute(
        "SELECT pg_catalog.to_regclass(%s) IS NOT NULL AND pg_catalog.to_regclass(%s) IS NOT NULL", names
    ).fetchone()
    return found is not None and bool(found[0])
