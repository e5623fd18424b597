"""The COPY statement: each column as the decoder wants it, and no value larger than is allowed.

libpq holds a whole row in memory, so the client cannot refuse a large value: the statement fails on it. Looking at each
value costs the server time, so it looks only where a value could be too large. That follows from the type, or from the
table: where nothing lies outside of the rows' pages, no value is larger than a page can unfold to.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from export_runner.frames.kinds import (
    ARRAY_OIDS,
    MAX_DIGITS,
    NUMERIC_OID,
    RENDERED_IN_SQL,
    WIDTHS,
    WRITTEN,
    Field,
    Kind,
)
from export_runner.source import masks
from export_runner.source.errors import TooLargeMarker
from export_runner.source.table import Table

MAX_COMPRESSION = 300
"""No stored value is longer than so many times what it takes: lz4 reaches 255, pglz about 90."""
NUMERIC_DIGITS = 131_072 + 16_383
"""Before and after the point: postgresql.org/docs/current/datatype-numeric.html."""
SHORT = 1024
"""More than any type of fixed length has as text."""
_CHARACTER_BYTES = 4  # of UTF-8
_WITH_MODIFIER = frozenset({1042, 1043})  # char(n), varchar(n)
_MODIFIER_BASE = 4  # VARHDRSZ, which their modifiers have on top: src/backend/utils/adt/varchar.c

_ARRAYS = ARRAY_OIDS | {1001, 1021, 1022, 1115, 1182, 1185}
"""And of bytea, float4, float8, timestamp, date, timestamptz."""
ARRAY_UNFOLDS = 40
"""Characters of such an array to a byte of it at most: a NULL is a bit, and written `NULL,`. Sent it takes 4 bytes."""


def copy(
    query: sql.Composed, fields: Sequence[Field], max_value_bytes: int, table: Table | None = None
) -> sql.Composed:
    """COPY of the query's columns, by position: each decoded natively, or as text by its type's output function.
    `table` is the one whose own columns the query delivers, if it does."""
    columns = [sql.Identifier(f"c{number}") for number in range(len(fields))]
    source = sql.SQL("({}) AS rows ({})").format(query, sql.SQL(", ").join(columns))
    stored = table if table is not None and not table.computed else None
    made = [_sent(field, column) for field, column in zip(fields, columns, strict=True)]
    if stored is None or any(_is_costly(field, max_value_bytes) for field in fields):
        # OFFSET 0 keeps PostgreSQL from making a value twice, once to measure and once to send it.
        inner = sql.SQL(", ").join(sql.SQL("{} AS {}").format(*pair) for pair in zip(made, columns, strict=True))
        source = sql.SQL("(SELECT {} FROM {} OFFSET 0) AS sent").format(inner, source)
        made = [sql.Composed([column]) for column in columns]
    sent = [
        value if _fits(field, max_value_bytes, stored) else _guarded(field, number, column, value, max_value_bytes)
        for number, (field, column, value) in enumerate(zip(fields, columns, made, strict=True))
    ]
    return sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)").format(sql.SQL(", ").join(sent), source)


def _is_costly(field: Field, most: int) -> bool:
    """Would the value be written out twice?"""
    rendered = field.kind in RENDERED_IN_SQL and field.oid not in _ARRAYS
    return rendered and not _fits(field, most, None)


def _fits(field: Field, most: int, stored: Table | None) -> bool:
    """Can no value of the column be larger, as it is sent?"""
    largest: int | None = None
    if field.kind in WIDTHS:
        return True
    if field.kind is Kind.DECIMAL:
        largest = MAX_DIGITS + len("-0.")
    elif field.oid == NUMERIC_OID:
        largest = NUMERIC_DIGITS + len("-.")
    elif field.kind is Kind.RENDERED:
        largest = SHORT if field.fixed else None
    elif field.oid in _WITH_MODIFIER and field.modifier > _MODIFIER_BASE:
        largest = _CHARACTER_BYTES * (field.modifier - _MODIFIER_BASE)
    elif stored is not None and not stored.toasted:
        unfolds = ARRAY_UNFOLDS if field.kind is Kind.ARRAY else 1
        largest = MAX_COMPRESSION * unfolds * stored.page_bytes
    return largest is not None and largest <= most


def _sent(field: Field, column: sql.Composable) -> sql.Composed:
    if field.kind not in RENDERED_IN_SQL:
        return sql.Composed([column])
    if field.oid == NUMERIC_OID:
        return sql.SQL("{}::pg_catalog.text").format(column)  # by its output function, which has no cast beside it
    return masks.text(column)


def _guarded(field: Field, number: int, column: sql.Identifier, value: sql.Composable, most: int) -> sql.Composed:
    """The value, made of the column, unless it is too large: then the statement fails."""
    json = field.kind in {Kind.JSON, Kind.JSONB}
    # What has no octet_length of its own.
    written = json or field.kind in WRITTEN
    text = sql.SQL("pg_catalog.concat({})").format(value) if written else value
    size = sql.SQL("pg_catalog.octet_length({})").format(text)
    if field.kind is Kind.ARRAY:
        # Small elements are longer as they are sent than as they are written.
        size = sql.SQL("GREATEST({}, pg_catalog.octet_length(pg_catalog.array_send({})))").format(size, value)
    # Fails when it is evaluated: the text is no number, and the message quotes it.
    failing = sql.SQL("pg_catalog.concat({}, {})::pg_catalog.int4").format(
        sql.Literal(f"{TooLargeMarker.PREFIX}{number}/"), size
    )
    checked = sql.SQL("CASE WHEN {} > {} THEN CASE WHEN {} IS NULL THEN {} END ELSE {} END").format(
        size, sql.Literal(most), failing, value, value
    )
    if not json and field.oid not in _ARRAYS:
        return checked
    # Writing them out to measure is left to those that may be too long.
    unfolds = 1 if json else ARRAY_UNFOLDS
    return sql.SQL("CASE WHEN pg_catalog.pg_column_size({}) > {} THEN {} ELSE {} END").format(
        column, sql.Literal(most // (MAX_COMPRESSION * unfolds)), checked, value
    )
