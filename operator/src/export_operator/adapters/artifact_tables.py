"""The tables of a fallback that is a database, as a sweep sees them.

Rows of parts have no age, so the sweep writes beside those of a run that are no export since when it knows of them; and
once, whose tables they are. Both are rows of parts under names that no run and no attempt has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from export_contract.names import ARTIFACT_PARTS, ARTIFACTS
from export_contract.runspec import FallbackDatabase
from export_operator.adapters.artifacts import connected, refused
from export_operator.adapters.kube import Fence, Kube
from export_operator.adapters.storage import StorageError, pass_fence, secret_values
from export_operator.domain import times
from export_operator.domain.model import Key
from export_operator.domain.sweep import Artifact, Parts

if TYPE_CHECKING:
    from psycopg import sql

    from export_operator.adapters.artifacts import Connection

SECONDS = 120.0  # for all that a pass does in one database
OWNER, SEEN = ".owner", ".seen"
"""A run that is none: whose data say who sweeps here. An attempt that is none: whose data say since when."""

_THERE = "SELECT to_regclass(%s) IS NOT NULL AND to_regclass(%s) IS NOT NULL"
_CLAIM = """
INSERT INTO {parts} (run, attempt, object, number, piece, data, crc32) VALUES (%s, '', 0, 0, 0, %s, 0)
ON CONFLICT DO NOTHING"""
_CLAIMED = "SELECT data FROM {parts} WHERE run = %s"
_LOOSE = """
SELECT run, coalesce(sum(octet_length(data)) FILTER (WHERE attempt <> %s), 0)::int8,
       max(convert_from(data, 'UTF8')) FILTER (WHERE attempt = %s)
FROM {parts} AS part
WHERE run <> %s AND NOT EXISTS (SELECT FROM {artifacts} AS done WHERE done.run = part.run)
GROUP BY run ORDER BY run LIMIT %s"""
_SEE = """
INSERT INTO {parts} (run, attempt, object, number, piece, data, crc32)
SELECT unnest(%s::text[]), %s, 0, 0, 0, %s, 0 ON CONFLICT DO NOTHING"""
_REMOVE = """
DELETE FROM {parts} AS part
WHERE run = %s AND NOT EXISTS (SELECT FROM {artifacts} AS done WHERE done.run = part.run)"""
_WAITING = """
SELECT run, namespace, name, bytes, created_at FROM {artifacts}
WHERE redelivered_at IS NULL ORDER BY run LIMIT %s"""


class Tables:
    """Those of one schema. `fence` is asked before what changes something there."""

    def __init__(self, connection: Connection, schema: str, fence: Fence = lambda _: None) -> None:
        self._connection = connection
        self._schema = schema
        self._fence = fence

    async def there(self) -> bool:
        """Both tables are."""
        from psycopg import sql

        quoted = [sql.Identifier(self._schema, name).as_string(None) for name in (ARTIFACTS, ARTIFACT_PARTS)]
        ((found,),) = await (await self._connection.execute(_THERE, quoted)).fetchall()
        return bool(found)

    async def claim(self, owner: bytes) -> None:
        """Say who sweeps here, unless somebody does."""
        pass_fence(self._fence, self._schema)
        await self._connection.execute(self._sql(_CLAIM), [OWNER, owner])

    async def claimed(self) -> bytes | None:
        """Who said so; None: nobody."""
        found = await (await self._connection.execute(self._sql(_CLAIMED), [OWNER])).fetchone()
        return None if found is None else bytes(found[0])

    async def loose(self, most: int) -> list[Parts]:
        """Parts of runs that have no artifact, of `most` runs."""
        values = [SEEN, SEEN, OWNER, most]
        rows = await (await self._connection.execute(self._sql(_LOOSE), values)).fetchall()
        return [Parts(run, size, times.parse(seen)) for run, size, seen in rows]

    async def see(self, runs: Sequence[str], now: datetime) -> None:
        """Note for these that they are known to be loose."""
        pass_fence(self._fence, self._schema)
        await self._connection.execute(self._sql(_SEE), [list(runs), SEEN, times.render(now).encode()])

    async def remove(self, run: str) -> int:
        """Delete the parts of a run that still has no artifact; how many rows."""
        pass_fence(self._fence, self._schema)
        return (await self._connection.execute(self._sql(_REMOVE), [run])).rowcount

    async def waiting(self, most: int) -> list[Artifact]:
        """Exports that nobody has moved to their destination yet."""
        rows = await (await self._connection.execute(self._sql(_WAITING), [most])).fetchall()
        return [Artifact(run, Key(namespace, name), size, created) for run, namespace, name, size, created in rows]

    def _sql(self, statement: str) -> sql.Composed:
        from psycopg import sql

        def table(name: str) -> sql.SQL:
            # In statements with parameters psycopg takes a % for one, also within a name.
            return sql.SQL(sql.Identifier(self._schema, name).as_string(None).replace("%", "%%"))

        return sql.SQL(statement).format(artifacts=table(ARTIFACTS), parts=table(ARTIFACT_PARTS))


@asynccontextmanager
async def opened(
    kube: Kube,
    run_namespace: str,
    target: FallbackDatabase,
    place: Mapping[str, Any],
    *,
    fence: Fence = lambda _: None,
) -> AsyncIterator[Tables]:
    """The tables of `target`, by the Secret that `place`, the fallback's database as its destination has it, names.
    Raises `StorageError`."""
    import psycopg

    name = (place.get("credentialsSecret") or {}).get("name") or ""
    try:
        async with (
            asyncio.timeout(SECONDS),
            connected(await secret_values(kube, run_namespace, name), target, {}, autocommit=True) as connection,
        ):
            yield Tables(connection, target.schema, fence)
    except psycopg.Error as error:
        raise refused(error, target) from None
    except TimeoutError:
        raise StorageError(f"database {target.database!r}: no answer within {SECONDS:.0f} s", passing=True) from None
