"""Every type arrives exactly, or as PostgreSQL's own text: PostgreSQL and psycopg say what is right."""

import csv
import io
import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow.parquet
import pytest

from export_contract.runspec import Format, Limits, Relation
from tests.integration.exporter.runner import Exporter, json_lines

pytestmark = pytest.mark.integration

SETUP = """
DROP SCHEMA IF EXISTS odd CASCADE;
CREATE SCHEMA odd;
CREATE TYPE odd.mood AS ENUM ('sad', 'so-so', 'happy, "very"');
CREATE TYPE odd.pair AS (a integer, b text);
CREATE DOMAIN odd.positive AS integer CHECK (VALUE > 0);
CREATE FUNCTION odd.lie(odd.mood) RETURNS text LANGUAGE sql AS $$ SELECT 'a cast of its own' $$;
CREATE CAST (odd.mood AS text) WITH FUNCTION odd.lie(odd.mood);
"""

TEXTS: dict[str, list[str]] = {
    "boolean": ["true", "false"],
    "smallint": ["-32768", "0", "32767"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9007199254740993", "9223372036854775807"],
    "oid": ["0", "4294967295"],
    "real": ["1.1", "-0", "1e-45", "3.4028235e38", "NaN", "Infinity", "-Infinity"],
    "double precision": ["0.1", "-0", "5e-324", "1.7976931348623157e308", "NaN", "Infinity", "-Infinity", "1e22"],
    "numeric": ["0.1", "-123456789012345678901234567890.123456789012345678901234567890", "NaN", "Infinity", "1e50"],
    "numeric(14,2)": ["999999999999.99", "-0.01", "0.00"],
    "numeric(38,10)": ["1234567890123456789012345678.0123456789", "-0.0000000001"],
    "numeric(50,3)": ["12345678901234567890123456789012345678901234567.123"],
    "text": ["", " ", "a,b", 'q"q', "l\nf", "c\rr", "c\r\nl", "tab\t",
            "\\N", "\\.", "NULL", "é", "😀👩🏽‍🚀", "שלום", "\x01\x1f\x7f"],
    "varchar(20)": ["", "twelve bytes", "thirteen bytes"],
    "char(5)": ["a", "", "     "],
    "name": ["a_name"],
    '"char"': ["a"],
    "json": ['{"b": 1,\n "a": [1, 2.50], "b": null}', '"text"', "1e400"],
    "jsonb": ['{"b": 1, "a": [1, 2.50, "é\\n\\u0001"]}', "null", '""'],
    "bytea": ["", "\\x00", "\\x00ff22", "\\x" + "ab" * 40],
    "date": ["2000-01-01", "0001-01-01", "9999-12-31", "4713-01-01 BC", "5874897-12-31",
            "infinity", "-infinity", "2024-02-29"],
    "timestamp": [
        "2000-01-01 00:00:00", "1999-12-31 23:59:59.999999", "0001-01-01 00:00:00.000001", "9999-12-31 23:59:59.999999",
        "4713-01-01 00:00:00 BC", "0001-12-31 23:59:59.5 BC", "294276-12-31 23:59:59.999999", "infinity", "-infinity",
    ],
    "timestamptz": ["2026-06-30 12:34:56.789+02", "0044-03-15 12:00:00+00 BC", "10000-01-01 00:00:00+00", "infinity"],
    "time": ["00:00:00", "24:00:00", "12:34:56.789"],
    "timetz": ["12:34:56.789+05:30"],
    "interval": ["1 year 2 mons -3 days 04:05:06.789", "-1 mons"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "123e4567-e89b-12d3-a456-426614174000"],
    "inet": ["10.0.0.1", "10.0.0.1/8", "::1"],
    "cidr": ["10.0.0.0/8"],
    "macaddr": ["08:00:2b:01:02:03"],
    "bit(4)": ["1010"],
    "varbit": ["101"],
    "money": ["1234.56"],
    "point": ["(1.5,-2)"],
    "circle": ["<(1,2),3>"],
    "xml": ["<a>b</a>"],
    "tsvector": ["'fat':2 'rat':3"],
    "integer[]": ["{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={5,6}"],
    "text[]": ['{"",NULL,"NULL","a,b","q\\"q"}'],
    "int4range": ["[1,5)", "empty", "(,)"],
    "int4multirange": ["{[1,3),[5,7)}"],
    "odd.mood": ["so-so", 'happy, "very"'],
    "odd.pair": ["(,)", '(1,"a b")'],
    "odd.positive": ["7"],
    "pg_lsn": ["16/B374D848"],
}  # fmt: skip


@pytest.fixture
def odd(exporter: Exporter) -> Exporter:
    """A table with a column of each type and as many rows as the type with the most values has; the rest is NULL."""
    columns = ", ".join(f'"c{number}" {name}' for number, name in enumerate(TEXTS))
    exporter.postgres.psql(f"{SETUP} CREATE TABLE odd.types (n serial, {columns})")
    names = [f'"c{number}"' for number in range(len(TEXTS))]
    with psycopg.connect(exporter.postgres.dsn, autocommit=True) as connection:
        for row in range(max(map(len, TEXTS.values())) + 1):
            values = [texts[row] if row < len(texts) else None for texts in TEXTS.values()]
            casts = ", ".join(f"%s::{name}" for name in TEXTS)
            connection.execute(f"INSERT INTO odd.types ({', '.join(names)}) VALUES ({casts})", values)
    return exporter


def exported(odd: Exporter, output_format: Format, types: list[str] | None = None) -> bytes:
    wanted = [f"c{number}" for number, name in enumerate(TEXTS) if types is None or name in types]
    query = "SELECT * FROM odd.types ORDER BY n"
    # Blocks of three rows: what a block holds must not change what a value becomes.
    limits = Limits(block_rows=3)
    done = odd.run(odd.spec(("n", *wanted), table=None, query=query, output=(output_format, "None"), limits=limits))
    assert done.code == 0, done.said
    keys = [key for key in [done.outcome.delivered.uri.partition("exports/")[2]] if done.outcome.delivered]  # type: ignore[union-attr]
    return odd.read(keys[0])


def told(odd: Exporter) -> list[tuple[Any, ...]]:
    """Every value as its output function writes it."""
    columns = ", ".join(
        f'CASE WHEN "c{number}" IS DISTINCT FROM NULL THEN concat("c{number}") END' for number in range(len(TEXTS))
    )
    with psycopg.connect(odd.postgres.dsn) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET lc_monetary = 'C'")
        return connection.execute(f"SELECT {columns} FROM odd.types ORDER BY n").fetchall()


def test_csv_holds_every_value_of_every_type_and_postgresql_reads_it_back(odd: Exporter) -> None:
    data = exported(odd, "CSV")
    with psycopg.connect(odd.postgres.dsn) as connection:
        connection.execute("CREATE TEMPORARY TABLE copy (LIKE odd.types)")
        with connection.cursor().copy("COPY copy FROM STDIN (FORMAT csv, HEADER match)") as copy:
            copy.write(data)
        different = connection.execute(
            "SELECT count(*) FROM odd.types AS a JOIN copy AS b USING (n)"
            " WHERE row_to_json(a)::text <> row_to_json(b)::text"
        ).fetchone()
        counted = connection.execute("SELECT count(*) FROM copy").fetchone()
    assert different == (0,)
    assert counted == (len(told(odd)),)


def test_text_columns_of_csv_are_what_the_output_functions_write(odd: Exporter) -> None:
    rows = list(csv.reader(io.StringIO(exported(odd, "CSV").decode(), newline="")))[1:]
    for line, row in zip(rows, told(odd), strict=True):
        for name, seen, right in zip(TEXTS, line[1:], row, strict=True):
            if name not in {"boolean", "timestamp", "timestamptz", "real", "double precision"}:
                assert seen == (right or ""), name
            elif name in {"real", "double precision"} and right is not None:
                assert repr(float(seen)) == repr(float(right)), name


@pytest.mark.parametrize("output_format", ["NDJSON", "JSON"])
def test_json_holds_numbers_as_numbers_json_as_json_and_the_rest_as_text(odd: Exporter, output_format: Format) -> None:
    data = exported(odd, output_format)
    documents = json_lines(data) if output_format == "NDJSON" else json.loads(data)
    exact = [
        json.loads(line.removesuffix(b","), parse_float=Decimal, parse_int=Decimal)
        for line in data.splitlines()
        if line.startswith(b"{")
    ]
    assert len(documents) == len(exact) == len(told(odd))
    for document, numbers, row in zip(documents, exact, told(odd), strict=True):
        for number, (name, right) in enumerate(zip(TEXTS, row, strict=True)):
            check_json(name, document[f"c{number}"], numbers[f"c{number}"], right)


def check_json(name: str, seen: Any, exact: Any, right: str | None) -> None:
    if right is None:
        assert seen is None or name in {"json", "jsonb"}, name
    elif name == "boolean":
        assert seen is (right == "t"), name
    elif name in {"json", "jsonb"}:
        assert seen == json.loads(right), name
    elif name in {"real", "double precision"} and right not in {"NaN", "Infinity", "-Infinity"}:
        assert math.copysign(1, seen) == math.copysign(1, float(right)), name
        assert seen == float(right), name
    elif name in {"smallint", "integer", "bigint", "oid", "odd.positive"} or name.startswith("numeric"):
        assert (exact if isinstance(exact, str) else exact.as_tuple()) == (
            right if right in {"NaN", "Infinity"} else Decimal(right).as_tuple()
        ), name
    elif name in {"timestamp", "timestamptz"} and "infinity" not in right:
        moment, *era = seen.split(" ")
        day, _, clock = moment.partition("T")
        assert clock.endswith("Z") is (name == "timestamptz"), name
        before, _, rest = right.partition(" ")
        assert (day, era) == (before, ["BC"] if right.endswith("BC") else []), name
        assert clock.rstrip("Z").rstrip("0").rstrip(".") == rest.removesuffix(" BC").removesuffix("+00"), name
    else:
        assert seen == right, name


def test_parquet_holds_typed_values_and_text_for_the_rest(odd: Exporter) -> None:
    odd.postgres.psql(
        f"DELETE FROM odd.types WHERE c{list(TEXTS).index('date')} IN ('infinity', '-infinity');"
        f"UPDATE odd.types SET c{list(TEXTS).index('timestamptz')} = NULL, c{list(TEXTS).index('timestamp')} ="
        " '1999-12-31 23:59:59.999999'"
    )
    table = pyarrow.parquet.read_table(io.BytesIO(exported(odd, "Parquet")))
    types = {name: str(table.schema.field(f"c{number}").type) for number, name in enumerate(TEXTS)}
    assert types["boolean"] == "bool"
    assert [types[name] for name in ("smallint", "integer", "bigint", "oid")] == ["int16", "int32", "int64", "uint32"]
    assert [types[name] for name in ("real", "double precision")] == ["float", "double"]
    assert types["numeric(14,2)"] == "decimal128(14, 2)"
    assert types["numeric(38,10)"] == "decimal128(38, 10)"
    assert types["date"] == "date32[day]"
    assert types["timestamp"] == "timestamp[us]"
    assert types["timestamptz"] == "timestamp[us, tz=UTC]"
    assert "binary" in types["bytea"]
    # Dates of other years than Python's cannot become Python values; as days they can.
    days = table[f"c{list(TEXTS).index('date')}"].cast("int32").to_pylist()
    since = f"SELECT c{list(TEXTS).index('date')} - date '1970-01-01' FROM odd.types ORDER BY n"
    with psycopg.connect(odd.postgres.dsn) as connection:
        assert days == [row[0] for row in connection.execute(since)]
    for number, name in enumerate(TEXTS):
        if "string" in types[name]:
            assert table[f"c{number}"].to_pylist() == [row[number] for row in told(odd)], name
        elif "decimal" in types[name]:
            right = [row[number] and Decimal(row[number]) for row in told(odd)]
            assert table[f"c{number}"].to_pylist() == right, name
    assert table[f"c{list(TEXTS).index('bytea')}"].to_pylist()[:3] == [b"", b"\0", b"\0\xff\x22"]


def test_moments_of_parquet_are_those_of_the_table(exporter: Exporter) -> None:
    text = (
        "SELECT timestamptz '2026-06-30 12:34:56.789+02' AS a,"
        " timestamp '1969-12-31 23:59:59.999999' AS b, date '2024-02-29' AS c"
    )
    spec = exporter.spec(("a", "b", "c"), table=None, query=text, output=("Parquet", "Zstd"))
    assert exporter.run(spec).code == 0
    (row,) = pyarrow.parquet.read_table(io.BytesIO(exporter.read(spec.destination.key))).to_pylist()
    assert row["a"] == datetime(2026, 6, 30, 10, 34, 56, 789000, tzinfo=UTC)
    assert row["b"] == datetime(1969, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001 - timestamp has no zone
    assert row["c"] == date(2024, 2, 29)


def test_one_column_of_csv_has_no_line_that_readers_skip(exporter: Exporter) -> None:
    text = "SELECT * FROM (VALUES ('a'), (NULL), (''), ('\\N'), ('\\.')) AS v (x)"
    spec = exporter.spec(("x",), table=None, query=text)
    assert exporter.run(spec).code == 0
    data = exporter.read(spec.destination.key)
    assert data == b'x\n"a"\n\\N\n""\n"\\N"\n"\\."\n'
    with psycopg.connect(exporter.postgres.dsn) as connection:
        connection.execute("CREATE TEMPORARY TABLE copy (x text)")
        with connection.cursor().copy("COPY copy FROM STDIN (FORMAT csv, HEADER, NULL '\\N')") as copy:
            copy.write(data)
        assert connection.execute("SELECT x FROM copy").fetchall() == [("a",), (None,), ("",), ("\\N",), ("\\.",)]


@pytest.mark.parametrize(
    ("output_format", "right"), [("CSV", b'id,"a,b"\n'), ("NDJSON", b""), ("JSON", b"[]\n"), ("Parquet", b"PAR1")]
)
def test_no_rows_make_a_valid_file(exporter: Exporter, output_format: Format, right: bytes) -> None:
    text = 'SELECT id, 1 AS "a,b" FROM public.users WHERE false'
    spec = exporter.spec(("id", "a,b"), table=None, query=text, output=(output_format, "None"))
    done = exporter.run(spec)
    assert done.code == 0, done.said
    data = exporter.read(spec.destination.key)
    if output_format == "Parquet":
        table = pyarrow.parquet.read_table(io.BytesIO(data))
        assert (table.num_rows, table.column_names) == (0, ["id", "a,b"])
    else:
        assert data == right


def test_views_partitions_and_materialised_views_are_read_in_the_order_asked_for(exporter: Exporter) -> None:
    exporter.postgres.psql(
        "DROP SCHEMA IF EXISTS kinds CASCADE; CREATE SCHEMA kinds;"
        "CREATE TABLE kinds.parted (id integer) PARTITION BY RANGE (id);"
        "CREATE TABLE kinds.low PARTITION OF kinds.parted FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE kinds.high PARTITION OF kinds.parted FOR VALUES FROM (10) TO (20);"
        "INSERT INTO kinds.parted SELECT generate_series(0, 19);"
        "CREATE VIEW kinds.viewed AS SELECT * FROM kinds.parted;"
        "CREATE MATERIALIZED VIEW kinds.kept AS SELECT * FROM kinds.parted"
    )
    for table in ("parted", "viewed", "kept"):
        relation = Relation(schema="kinds", table=table)
        spec = exporter.spec(("id",), relation=relation, order_by=("id",))
        assert exporter.run(spec).code == 0
        assert exporter.read(spec.destination.key) == b"id\n" + b"".join(b"%d\n" % n for n in range(20))
