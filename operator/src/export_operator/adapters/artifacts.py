"""Exports that wait in a PostgreSQL that is a fallback. Its table is read, and nothing there is changed."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from export_contract.names import ARTIFACTS
from export_contract.runspec import FallbackDatabase
from export_operator.adapters import postgres
from export_operator.adapters.kube import Kube
from export_operator.adapters.storage import StorageError, secret_values

if TYPE_CHECKING:
    import psycopg

    Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]

BATCH = 1000  # rows of which the manifests are here at once
SETTINGS = {"default_transaction_read_only": "on", "statement_timeout": "60s"}


@dataclass(frozen=True, slots=True)
class Artifact:
    """A row: `manifest` is the document beside the data, `destination` the name of the ExportDestination that could not
    be reached, `created` the database's own word on the row's age."""

    run: str
    manifest: bytes
    destination: str
    created: datetime


async def artifacts(
    kube: Kube, run_namespace: str, database: FallbackDatabase, secret: str, since: datetime
) -> AsyncIterator[Artifact]:
    """Those that were written after `since`, moved to S3 meanwhile or not. Where there is no table, nothing was ever
    written. Raises `StorageError`."""
    import psycopg
    from psycopg import sql

    table = sql.Identifier(database.schema, ARTIFACTS)
    statement = sql.SQL(
        "SELECT run, manifest::pg_catalog.text, coalesce(destination->>'name', ''), created_at FROM {}"
        " WHERE created_at > %s ORDER BY run"
    ).format(table)
    try:
        async with connected(await secret_values(kube, run_namespace, secret), database, SETTINGS) as connection:
            asked = await connection.execute("SELECT pg_catalog.to_regclass(%s)", [table.as_string(connection)])
            if await asked.fetchone() == (None,):
                return
            async with connection.cursor(name=ARTIFACTS) as cursor:
                cursor.itersize = BATCH
                await cursor.execute(statement, [since])
                async for run, manifest, destination, created in cursor:
                    yield Artifact(run, manifest.encode(), destination, created)
    except psycopg.Error as error:
        raise refused(error, database) from None


def refused(error: psycopg.Error, database: FallbackDatabase) -> StorageError:
    """What went wrong there."""
    return StorageError(f"database {database.database!r}: {postgres.first_line(error)}", passing=True)


@asynccontextmanager
async def connected(
    secret: Mapping[str, str], database: FallbackDatabase, settings: Mapping[str, str], *, autocommit: bool = False
) -> AsyncIterator[Connection]:
    """A connection with what the Secret holds, and PostgreSQL's `settings`. Raises `psycopg.Error`."""
    import psycopg

    with tempfile.TemporaryDirectory() as folder:
        authority = Path(folder) / postgres.AUTHORITY
        if trusted := secret.get(postgres.AUTHORITY):
            authority.write_text(trusted)
        given = postgres.options(
            host=database.host,
            port=database.port,
            database=database.database,
            ssl_mode=database.ssl_mode,
            user=secret.get(postgres.USERNAME, ""),
            password=secret.get(postgres.PASSWORD, ""),
            authority=authority if trusted else None,
            settings=settings,
        )
        async with await psycopg.AsyncConnection.connect(**given, autocommit=autocommit) as connection:
            yield connection
