"""Readers that share no code with the exporter. Each gives rows of texts as PostgreSQL's input functions take them.

What they see is copied into a table of the same shape and compared there by `record_image_ne`, which compares the
bytes of values: 1.0 differs from 1.00, 0 from -0, and NULL only from what is not NULL.
"""

import io
import json
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import nanoarrow
import numpy as np
import psycopg
import pyarrow.ipc
import pyarrow.parquet
from psycopg import sql

from tests.services.host import PostgresServer

Rows = list[tuple[str | None, ...]]


def rows_of(name: str, data: bytes, postgres: PostgresServer) -> Rows:
    """What the format's reader sees."""
    if name == "CSV":
        return csv(data)
    if name in {"NDJSON", "JSON"}:
        return json_rows(data, postgres)
    return typed(table(name, data))


def csv(data: bytes) -> Rows:
    """By DuckDB, which reads an empty field as NULL and `""` as the empty text."""
    with tempfile.NamedTemporaryFile(suffix=".csv") as file, duckdb.connect() as database:
        file.write(data)
        file.flush()
        return database.execute(
            "SELECT * FROM read_csv(?, header = true, all_varchar = true, allow_quoted_nulls = false, quote = '\"',"
            " escape = '\"', delim = ',', strict_mode = true, parallel = false, auto_detect = false,"
            " new_line = '\\n', columns = ?)",
            [file.name, {f"c{n}": "VARCHAR" for n in range(data.split(b"\n", 1)[0].count(b",") + 1)}],
        ).fetchall()


def json_rows(data: bytes, postgres: PostgresServer) -> Rows:
    """Lines as Python reads them, and their values as PostgreSQL's parser cuts them; json keeps its own text."""
    lines = [line.removesuffix(b",").decode() for line in data.split(b"\n") if line.startswith(b"{")]
    documents = json.loads(data) if data.startswith(b"[") else [json.loads(line) for line in lines]
    assert len(documents) == len(lines)
    with psycopg.connect(postgres.dsn) as connection:
        return [
            tuple(value for (value,) in connection.execute("SELECT value::text FROM json_each(%s::json)", [line]))
            for line in lines
        ]


def value_of_json(text: str | None, *, raw: bool) -> str | None:
    """A value of `json_rows` as the text of a column's value; `raw` for a column of json."""
    if text is None or text == "null":
        return None
    if raw or text.startswith(("{", "[")):
        return text
    value = json.loads(text, parse_int=str, parse_float=str)
    return str(value).lower() if isinstance(value, bool) else str(value)


def table(name: str, data: bytes) -> Any:
    """By pyarrow."""
    source = io.BytesIO(data)
    return pyarrow.parquet.read_table(source) if name == "Parquet" else pyarrow.ipc.open_stream(source).read_all()


def other_table(name: str, data: bytes) -> Any:
    """By a second reader: DuckDB or nanoarrow. pyarrow is only handed what they have read."""
    if name == "ArrowStream":
        return pyarrow.table(nanoarrow.ArrayStream.from_readable(io.BytesIO(data)))
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file, duckdb.connect() as database:
        file.write(data)
        file.flush()
        database.execute("SET TimeZone = 'UTC'")
        return database.read_parquet(file.name).to_arrow_table()


def typed(arrow: Any) -> Rows:
    columns = [_texts(column) for column in arrow.columns]
    return list(zip(*columns, strict=True)) if columns else []


def _texts(column: Any) -> list[str | None]:
    kind = str(column.type)
    convert: Callable[[Any], str] = str
    if kind.startswith("date32"):
        column, convert = column.cast("int32"), lambda days: moment(np.datetime64(days, "D"))
    elif kind.startswith("timestamp"):
        zone = "+00" if "UTC" in kind else ""
        column, convert = column.cast("int64"), lambda micros: moment(np.datetime64(micros, "us"), zone)
    elif kind in {"float", "double"}:
        convert = repr
    elif "binary" in kind:
        convert = lambda value: "\\x" + value.hex()  # noqa: E731 - a table of conversions
    return [None if value is None else convert(value) for value in column.to_pylist()]


def moment(value: Any, zone: str = "") -> str:
    """numpy counts years as astronomers do: 0 is 1 BC."""
    text = str(value).replace("T", " ")
    year, rest = text[: text.index("-", 1)], text[text.index("-", 1) :]
    if int(year) > 0:
        return f"{int(year):04d}{rest}{zone}"
    return f"{1 - int(year):04d}{rest}{zone} BC"


def differing(
    connection: psycopg.Connection[Any], table_name: sql.Identifier, rows: Rows, columns: Sequence[str], key: str
) -> list[tuple[str, int]]:
    """Columns in which rows as read differ from the table's, and in how many. Raises for a lost or doubled row."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    connection.execute("DROP TABLE IF EXISTS copy")
    connection.execute(sql.SQL("CREATE TEMPORARY TABLE copy AS SELECT {} FROM {} LIMIT 0").format(names, table_name))
    with connection.cursor().copy("COPY copy FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    return compared(connection, table_name, columns, key)


def compared(
    connection: psycopg.Connection[Any], table_name: sql.Identifier, columns: Sequence[str], key: str
) -> list[tuple[str, int]]:
    """The same for rows that are in the table `copy` already."""
    counted = sql.SQL(
        "SELECT (SELECT count(*) FROM copy), (SELECT count(*) FROM {table}), (SELECT count(*) FROM copy"
        " JOIN {table} USING ({key}))"
    ).format(table=table_name, key=sql.Identifier(key))
    ours, theirs, both = connection.execute(counted).fetchall()[0]
    assert ours == theirs == both
    differences = sql.SQL(", ").join(
        sql.SQL("count(*) FILTER (WHERE record_image_ne(ROW(a.{name}), ROW(b.{name})))").format(
            name=sql.Identifier(name)
        )
        for name in columns
    )
    statement = sql.SQL("SELECT {} FROM {} AS a JOIN copy AS b USING ({})").format(
        differences, table_name, sql.Identifier(key)
    )
    (counts,) = connection.execute(statement).fetchall()
    return [(name, count) for name, count in zip(columns, counts, strict=True) if count]
