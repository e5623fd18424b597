"""What a run reads from, and the odd shapes of it: no rows, one column, names that are no names."""

import csv
import io
import json
from datetime import UTC, date, datetime

import psycopg
import pyarrow.ipc
import pyarrow.parquet
import pytest

from export_contract.failures import Failure
from export_contract.runspec import Format, Output, Relation
from export_runner.errors import ExportError
from tests.integration.exporter import readers
from tests.integration.exporter.exporting import exported
from tests.integration.exporter.runner import Exporter
from tests.services.host import PostgresServer

pytestmark = pytest.mark.integration


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
    ("output_format", "right"),
    [("CSV", b'id,"a,b"\n'), ("NDJSON", b""), ("JSON", b"[]\n"), ("Parquet", b"PAR1"), ("ArrowStream", b"")],
)
def test_no_rows_make_a_valid_file(exporter: Exporter, output_format: Format, right: bytes) -> None:
    text = 'SELECT id, 1 AS "a,b" FROM public.users WHERE false'
    spec = exporter.spec(("id", "a,b"), table=None, query=text, output=(output_format, "None"))
    done = exporter.run(spec)
    assert done.code == 0, done.said
    data = exporter.read(spec.destination.key)
    if output_format in {"Parquet", "ArrowStream"}:
        table = readers.table(output_format, data)
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


FOREIGN = """
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
DROP SERVER IF EXISTS itself CASCADE;
CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{host}', port '{port}', dbname 'app');
CREATE USER MAPPING FOR CURRENT_USER SERVER itself OPTIONS (user '{user}', password '{password}');
DROP SCHEMA IF EXISTS away CASCADE; CREATE SCHEMA away;
CREATE TABLE away.here (id integer, twice integer GENERATED ALWAYS AS (id * 2) STORED, t text);
INSERT INTO away.here (id, t) VALUES (1, ''), (2, NULL), (3, 'x');
CREATE FOREIGN TABLE away.there (id integer, twice integer, t text) SERVER itself
  OPTIONS (schema_name 'away', table_name 'here');
"""


@pytest.mark.parametrize("table", ["here", "there"])
def test_generated_columns_and_foreign_tables_are_read_like_others(postgres: PostgresServer, table: str) -> None:
    options = {"host": postgres.host, "port": postgres.port, "user": postgres.user, "password": postgres.password}
    postgres.psql(FOREIGN.format(**options))
    relation = Relation(schema="away", table=table)
    made = exported(postgres, ("id", "twice", "t"), None, Output(), relation=relation, order_by=("id",))
    assert made.data == b'id,twice,t\n1,2,""\n2,4,\n3,6,x\n'


FILE = """
CREATE EXTENSION IF NOT EXISTS file_fdw;
DROP SERVER IF EXISTS files CASCADE; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
DROP SCHEMA IF EXISTS filed CASCADE; CREATE SCHEMA filed;
CREATE FOREIGN TABLE filed.echoed (id integer, t text) SERVER files
  OPTIONS (program 'printf "3,x\\n1,\\n2,a b\\n"', format 'csv');
"""


def test_a_foreign_table_that_is_a_file_is_read_in_the_order_asked_for_or_in_its_own(postgres: PostgresServer) -> None:
    postgres.psql(FILE)
    relation, columns = Relation(schema="filed", table="echoed"), ("id", "t")
    made = [exported(postgres, columns, None, Output(), relation=relation, order_by=by) for by in ((), ("id",))]
    assert [each.data for each in made] == [b"id,t\n3,x\n1,\n2,a b\n", b"id,t\n1,\n2,a b\n3,x\n"]


ODD_NAMES = ("a,b", 'q"q', " both ", "", "l\nf", "=x", "é😀", "select", "\\", "{", "%s")


def test_odd_names_of_columns_are_those_that_readers_see(postgres: PostgresServer) -> None:
    names = tuple(name for name in ODD_NAMES if name)  # PostgreSQL has no empty names
    aliases = ", ".join(f'{number} AS "{name.replace(chr(34), chr(34) * 2)}"' for number, name in enumerate(names))
    made: dict[Format, bytes] = {
        form: exported(postgres, names, f"SELECT {aliases}", Output(format=form)).data
        for form in ("CSV", "NDJSON", "JSON", "Parquet", "ArrowStream")
    }
    seen = [
        next(csv.reader(io.StringIO(made["CSV"].decode(), newline=""))),
        list(json.loads(made["NDJSON"])),
        list(json.loads(made["JSON"])[0]),
        pyarrow.parquet.read_table(io.BytesIO(made["Parquet"])).column_names,
        pyarrow.ipc.open_stream(io.BytesIO(made["ArrowStream"])).schema.names,
    ]
    assert seen == [list(names)] * 5


def test_two_columns_of_one_name_stay_two_or_are_refused(postgres: PostgresServer) -> None:
    columns, query = ("x", "x"), "SELECT 1 AS x"
    assert exported(postgres, columns, query, Output()).data == b"x,x\n1,1\n"
    assert exported(postgres, columns, query, Output(format="NDJSON")).data == b'{"x":1,"x":1}\n'
    for form in ("Parquet", "ArrowStream"):
        with pytest.raises(ExportError, match="'x' is there twice") as caught:
            exported(postgres, columns, query, Output(format=form))
        assert caught.value.failure is Failure.VALUE_NOT_REPRESENTABLE
