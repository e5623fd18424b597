"""The table of the history, in a PostgreSQL of the platform team.

Each call opens a connection of its own: calls are seconds apart, a new password is used at once, and no connection
outlives a failover of the server half-open. The driver is imported where it is used: it takes 26 MB, and an operator
without a history shall not pay for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from export_operator.adapters import postgres
from export_operator.domain.history import Row

if TYPE_CHECKING:
    import psycopg

    Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]

SCHEMA = "export_history"
CALL_SECONDS = 20.0  # for all of a call, so that a silent server holds nobody up for longer
FORGOTTEN = 10_000  # rows that one call deletes
# A row that is older than rows are kept would only come and go. Columns that this release does not know stay empty, and
# what the table does not know yet is left out, so that releases of operator and table may differ.
_INSERT = """
INSERT INTO export_history.export_jobs
SELECT told.* FROM jsonb_populate_recordset(NULL::export_history.export_jobs, %s) AS told, export_history.retention
WHERE keep IS NULL OR told.completed_at >= now() - keep
ON CONFLICT DO NOTHING
"""
_FORGET = "SELECT export_history.forget(%s)"
_UNGUARDED = "SELECT has_table_privilege('export_history.export_jobs', 'UPDATE, DELETE, TRUNCATE, TRIGGER')"

# What PostgreSQL takes for absent stands here, for columns that may not be NULL.
_EMPTY = {"run_id": "", "requester": "", "reason": ""}


class HistoryError(Exception):
    """The table cannot be reached, or does not answer as it should; no secret is in the message."""


@dataclass(frozen=True, slots=True)
class Database:
    """Where it is. `credentials` is a directory with files `username`, `password` and perhaps `ca.crt`."""

    host: str
    database: str
    credentials: Path
    port: int = 5432
    ssl_mode: str = "VerifyFull"

    def options(self) -> dict[str, Any]:
        """As libpq wants them; files are read anew. Raises `HistoryError`."""
        try:
            user = (self.credentials / postgres.USERNAME).read_text(encoding="utf-8").strip()
            password = (self.credentials / postgres.PASSWORD).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise HistoryError(f"credentials cannot be read: {error.strerror}: {error.filename}") from error
        except UnicodeDecodeError:
            raise HistoryError("credentials cannot be read: they are not UTF-8") from None
        authority = self.credentials / postgres.AUTHORITY
        return postgres.options(
            host=self.host,
            port=self.port,
            database=self.database,
            ssl_mode=self.ssl_mode,
            user=user,
            password=password,
            authority=authority if authority.exists() else None,
            settings={"synchronous_commit": "on"},  # what it says is written is written, whatever its default
        )


class HistoryTable:
    """Writes rows, and has those forgotten that are kept no longer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, rows: Sequence[Row]) -> Mapping[str, str]:
        """Write those that are not there yet. The answer: the runs whose row PostgreSQL refuses for what is in it, and
        why; all others are there then. Raises `HistoryError`."""
        import psycopg

        async with self._connection() as connection:
            try:
                await _insert(connection, rows)
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                if len(rows) == 1:
                    return {rows[0]["run"]: postgres.first_line(error)}
                return await _one_by_one(connection, rows)
        return {}

    async def forget(self) -> int:
        """Delete some of the rows that are kept no longer; how many. Raises `HistoryError`."""
        async with self._connection() as connection:
            cursor = await connection.execute(_FORGET, [FORGOTTEN])
            (number,) = await cursor.fetchone() or (0,)
            return int(number)

    async def unguarded(self) -> bool:
        """Whether this login may change or delete what is written. Raises `HistoryError`."""
        async with self._connection() as connection:
            cursor = await connection.execute(_UNGUARDED)
            (found,) = await cursor.fetchone() or (False,)
            return bool(found)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        import psycopg

        try:
            async with asyncio.timeout(CALL_SECONDS):
                options = self._database.options()
                async with await psycopg.AsyncConnection.connect(**options, autocommit=True) as connection:
                    yield connection
        except psycopg.Error as error:
            raise HistoryError(postgres.first_line(error)) from error
        except TimeoutError as error:
            raise HistoryError(f"no answer within {CALL_SECONDS:.0f} s") from error


async def _insert(connection: Connection, rows: Sequence[Row]) -> None:
    from psycopg.types.json import Jsonb

    await connection.execute(_INSERT, [Jsonb([_EMPTY | dict(row) for row in rows])])


async def _one_by_one(connection: Connection, rows: Sequence[Row]) -> Mapping[str, str]:
    import psycopg

    refused = {}
    for row in rows:
        try:
            await _insert(connection, [row])
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            refused[row["run"]] = postgres.first_line(error)
    return refused
