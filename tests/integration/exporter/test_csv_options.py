"""Whatever the options of CSV, PostgreSQL reads the same rows back, NULL apart from every text."""

import itertools
from typing import get_args, get_type_hints

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from export_contract.outputs import problem
from export_contract.runspec import CsvOptions, Output
from tests.integration.exporter import readers
from tests.integration.exporter.exporting import exported
from tests.services.host import PostgresServer

pytestmark = pytest.mark.integration

TABLE = sql.Identifier("csv", "rows")
COLUMNS = ("n", "t", "i", "f", "b", "d", "a")
TEXTS = (
    "",
    "NULL",
    "\\N",
    "\\.",
    "NaN",
    "0",
    "true",
    "-",
    "a,b",
    "c;d",
    "e|f",
    "g\th",
    " i ",
    'j"k',
    "l\nm",
    "n\r\no",
    "'",
)
DELIMITERS = (",", ";", "|", "\t", " ", "'", "\\", ":")
NULLS = ("", "NULL", "\\N", "NaN", "0", "true", "-", "2026-01-01", "∅")
HINTS = get_type_hints(CsvOptions)

OPTIONS = st.builds(
    CsvOptions,
    delimiter=st.sampled_from(DELIMITERS),
    header=st.booleans(),
    null_text=st.sampled_from(NULLS),
    quoting=st.sampled_from(get_args(HINTS["quoting"])),
    line_end=st.sampled_from(get_args(HINTS["line_end"])),
).filter(lambda options: problem(Output(csv=options)) is None)


@pytest.fixture(scope="module")
def texts(postgres: PostgresServer) -> PostgresServer:
    """Each text beside each sort of NULL and of number."""
    postgres.psql(
        "DROP SCHEMA IF EXISTS csv CASCADE; CREATE SCHEMA csv; CREATE TABLE csv.rows"
        " (n serial, t text, i integer, f double precision, b boolean, d date, a text[])"
    )
    others = [(0, "NaN", True, "2026-01-01", ["a,b", "NULL", None]), (None, None, None, None, None)]
    with psycopg.connect(postgres.dsn) as connection, connection.cursor() as cursor:
        for text, rest in itertools.product((*TEXTS, None), others):
            cursor.execute("INSERT INTO csv.rows (t, i, f, b, d, a) VALUES (%s, %s, %s, %s, %s, %s)", (text, *rest))
    return postgres


@settings(derandomize=True, max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=OPTIONS, columns=st.sampled_from([COLUMNS, ("n", "t"), ("t",)]))
def test_postgresql_reads_the_same_rows_back(
    texts: PostgresServer, options: CsvOptions, columns: tuple[str, ...]
) -> None:
    query = "SELECT * FROM csv.rows ORDER BY n"
    data = exported(texts, columns, query, Output(csv=options)).data
    null = options.null_text or ("\\N" if len(columns) == 1 else "")
    with psycopg.connect(texts.dsn) as connection:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        connection.execute("CREATE TEMPORARY TABLE copy (LIKE csv.rows)")
        connection.execute("CREATE SEQUENCE pg_temp.line; ALTER TABLE copy ALTER n SET DEFAULT nextval('pg_temp.line')")
        statement = sql.SQL("COPY copy ({}) FROM STDIN (FORMAT csv, HEADER {}, DELIMITER {}, NULL {})").format(
            names, sql.SQL("match" if options.header else "false"), sql.Literal(options.delimiter), sql.Literal(null)
        )
        with connection.cursor().copy(statement) as copy:
            copy.write(data)
        assert readers.compared(connection, TABLE, columns, "n") == []
