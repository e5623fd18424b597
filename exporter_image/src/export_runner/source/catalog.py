"""What is to be read: the relation, its columns' types, the estimate, the snapshot."""

from __future__ import annotations

from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from export_contract.failures import Failure
from export_contract.runspec import Relation, Source
from export_runner.errors import ExportError
from export_runner.frames.kinds import Field
from export_runner.source import masks, role
from export_runner.source import sql as statements
from export_runner.source.connect import Connection
from export_runner.source.errors import from_psycopg
from export_runner.source.estimate import Estimate, judged, statistics
from export_runner.source.keys import Candidate, candidates
from export_runner.source.table import Table, stored

_LOCKABLE = "rpv"  # tables, partitioned tables, views: what LOCK TABLE takes (pg_class.relkind)
_READABLE = _LOCKABLE + "mf"  # and materialised views and foreign tables
STANDBY = (
    "The source is a hot standby (hot_standby_feedback is {}, max_standby_streaming_delay is {}): what its primary"
    " changes may cancel the reading. A second time ends the run."
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`id` is `pg_current_snapshot()`, `time` RFC 3339 in UTC. `exported` is what other sessions import it by, if any
    are to."""

    id: str
    time: str
    exported: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """A transaction that is ready to COPY. It stands behind a savepoint: a COPY that is cancelled or fails is undone to
    there, and the transaction with its snapshot lives on. `scan` is the topmost node of the planner's way to the rows.
    """

    source: Source
    fields: tuple[Field, ...]
    query: sql.Composed
    snapshot: Snapshot
    estimate: Estimate
    warnings: tuple[str, ...] = ()
    """What may end a run over this source, and did not yet."""
    scan: str = ""
    table: Table | None = None
    keys: tuple[Candidate, ...] = ()
    """Unique keys of the relation, where they were looked for."""


def open_snapshot(
    connection: Connection, source: Source, statement_timeout_ms: int, *, with_keys: bool = False
) -> Opened:
    """Begins the transaction, locks the table, takes the snapshot and describes the columns. Raises `ExportError`."""
    try:
        opened = _open(connection, source, statement_timeout_ms)
        if with_keys and source.relation is not None:
            opened = replace(opened, keys=tuple(candidates(connection, source.relation)))
        connection.execute(statements.SAVEPOINT)
    except psycopg.Error as error:
        failure = from_psycopg(error, relation=source.relation)
        if failure.failure is Failure.DATASET_INVALID and error.sqlstate == "42P01" and source.query is not None:
            message = f"{failure.message} Names in a dataset's query carry their schema: search_path is empty."
            raise ExportError(failure.failure, message) from None
        raise failure from None
    return opened


def _open(connection: Connection, source: Source, statement_timeout_ms: int) -> Opened:
    query = statements.rows(source)
    lockable = source.relation is not None and _lockable(connection, source.relation)
    connection.execute(statements.begin(connection.info.server_version, statement_timeout_ms))
    role.check(connection, source)
    masks.set_key(connection, source.masks)
    if source.relation is not None and lockable:
        connection.execute(statements.lock(source.relation))
    state = connection.execute(
        "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text,"
        ' pg_catalog.to_char(pg_catalog.clock_timestamp(), \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\'),'
        " pg_catalog.current_setting('server_encoding'), pg_catalog.pg_is_in_recovery(),"
        " pg_catalog.current_setting('hot_standby_feedback'),"
        " pg_catalog.current_setting('max_standby_streaming_delay'),"
        + (" pg_catalog.pg_export_snapshot()" if source.connections > 1 else " ''")
    ).fetchone()
    assert state is not None
    snapshot, time, encoding, standby, feedback, delay, exported = state
    if encoding == "SQL_ASCII":
        raise ExportError(
            Failure.DATASET_INVALID,
            f"Database {source.database!r} has encoding SQL_ASCII: nobody knows which characters its bytes are.",
        )
    fields = _describe(connection, query)
    known = statistics(connection, source.relation) if source.relation is not None else None
    table = stored(connection, source.relation) if source.relation is not None else None
    rows, width, scan = _planned(connection, query)
    return Opened(
        source,
        fields,
        query,
        Snapshot(str(snapshot), str(time), str(exported)),
        judged(source, rows, width, known),
        (STANDBY.format(feedback, delay),) if standby else (),
        scan=scan,
        table=replace(table, computed=True) if table is not None and source.masks else table,
    )


def _lockable(connection: Connection, relation: Relation) -> bool:
    found = connection.execute(
        "SELECT c.relkind::pg_catalog.text FROM pg_catalog.pg_class AS c"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
        " WHERE n.nspname OPERATOR(pg_catalog.=) %s::pg_catalog.name"
        " AND c.relname OPERATOR(pg_catalog.=) %s::pg_catalog.name",
        (relation.schema, relation.table),
    ).fetchone()
    if found is None or str(found[0]) not in _READABLE:
        raise ExportError(Failure.DATASET_INVALID, f"Table {relation.schema}.{relation.table} does not exist.")
    return str(found[0]) in _LOCKABLE


def _describe(connection: Connection, query: sql.Composed) -> tuple[Field, ...]:
    cursor = connection.execute(statements.describe(query))
    assert cursor.pgresult is not None
    result = cursor.pgresult
    columns = [(result.fname(at) or b"", result.ftype(at), result.fmod(at)) for at in range(result.nfields)]
    named = connection.execute(
        "SELECT pg_catalog.format_type(oid, modifier), (SELECT t.typlen > 0 FROM pg_catalog.pg_type AS t"
        " WHERE t.oid OPERATOR(pg_catalog.=) described.oid) FROM"
        " ROWS FROM (pg_catalog.unnest(%s::pg_catalog.oid[]), pg_catalog.unnest(%s::pg_catalog.int4[]))"
        " WITH ORDINALITY AS described (oid, modifier, position) ORDER BY position",
        ([oid for _, oid, _ in columns], [modifier for _, _, modifier in columns]),
    ).fetchall()
    return tuple(
        Field(name.decode(), str(type_name), oid, modifier, fixed=bool(fixed))
        for (name, oid, modifier), (type_name, fixed) in zip(columns, named, strict=True)
    )


def _planned(connection: Connection, query: sql.Composed) -> tuple[int | None, int | None, str]:
    """Rows and bytes of a row that the planner expects, a guess, and its way to them: the topmost node's type. None and
    empty when there is no plan of the usual form."""
    answer = connection.execute(statements.explain(query)).fetchone()
    plan = statements.top_of(answer[0] if answer else None)
    rows, width = plan.get("Plan Rows"), plan.get("Plan Width")
    known = isinstance(rows, int) and isinstance(width, int)
    return (rows, width, str(plan.get("Node Type", ""))) if known else (None, None, "")
