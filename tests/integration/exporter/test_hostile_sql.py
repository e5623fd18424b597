"""Names, values and texts made to break out of their quotes, against a real PostgreSQL.

Whatever they are: a value comes back as it was given, no statement runs but the exporter's own, and what cannot be run
is refused by a permanent failure. The role here is a superuser, so that a statement that got through would succeed;
each injection ends the read-only transaction first. What ran is what `pg_stat_statements` counted.
"""

import contextlib
import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from export_contract.failures import Failure
from export_contract.runspec import Mask, Output, Parameter, ParameterType, Relation
from export_runner import parameters
from export_runner.errors import ExportError
from export_runner.source import keys
from tests.integration.exporter.exporting import exported, snapshot
from tests.integration.exporter.hostile import CANARY, INJECTION, NAMES, PARAMETERS, SOUP, TEXTS
from tests.services import host
from tests.services.host import PostgresServer

pytestmark = pytest.mark.integration

BOUNDED = settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), max_examples=60)
LINES = Output(format="NDJSON")
MAKE_CANARY = f"CREATE TABLE {CANARY} AS SELECT true AS alive"
PARAMETER = (Parameter(name="p", type="text", value=f"'; {INJECTION} --"),)


@dataclass(frozen=True)
class Watched:
    """One server twice: as the tests' own role, and as the one whose statements are counted."""

    server: PostgresServer
    exporter: PostgresServer

    def ran(self) -> set[str]:
        """The first words of all that the exporter's sessions ran."""
        lines = self.server.psql(
            "SELECT DISTINCT upper(substring(query FROM '^\\s*(\\w+)')) FROM pg_stat_statements"
            " WHERE userid = 'exporter'::regrole"
        )
        return set(lines.split("\n")) - {""}


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with host.postgres_server(settings={"shared_preload_libraries": "pg_stat_statements"}) as server:
        server.psql(
            f"CREATE EXTENSION pg_stat_statements; {MAKE_CANARY};"
            "CREATE TABLE public.soup AS SELECT n AS x FROM generate_series(1, 3) AS n;"
            "CREATE ROLE exporter SUPERUSER LOGIN PASSWORD 'exporter'"
        )
        exporter = copy.copy(server)
        exporter.user = exporter.password = "exporter"
        yield Watched(server, exporter)


@pytest.fixture(autouse=True)
def nothing_else_ran(watched: Watched) -> Iterator[None]:
    watched.server.psql("SELECT pg_stat_statements_reset()")
    yield
    assert watched.server.psql(f"SELECT alive FROM {CANARY}") == "t"
    assert watched.ran() <= {"BEGIN", "SET", "SELECT", "WITH", "LOCK", "EXPLAIN", "SAVEPOINT", "COPY"}


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def test_an_injection_that_gets_through_would_be_seen(watched: Watched) -> None:
    with psycopg.connect(watched.exporter.dsn, autocommit=True) as connection:
        connection.execute(f"BEGIN READ ONLY; SELECT ''; {INJECTION} --'")
    assert watched.ran() > {"COMMIT", "UPDATE", "DROP"}
    watched.server.psql(f"{MAKE_CANARY}; SELECT pg_stat_statements_reset()")


def test_every_type_of_parameter_is_tried() -> None:
    assert set(PARAMETERS) == set(get_args(ParameterType))


@BOUNDED
@given(st.data())
def test_a_parameter_comes_back_as_it_was_given_whatever_it_holds(watched: Watched, data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(PARAMETERS)), min_size=1, max_size=6))
    given_values = tuple(
        Parameter(name=f"p{number}", type=kind, value=data.draw(PARAMETERS[kind])) for number, kind in enumerate(kinds)
    )
    parameters.validate(given_values)
    columns = tuple(f"c{number}" for number in range(len(kinds)))
    query = ", ".join(f"({{p{number}}})::text AS c{number}" for number in range(len(kinds)))
    made = exported(watched.exporter, columns, f"SELECT {query} -- {{p}}", LINES, parameters=given_values)
    with psycopg.connect(watched.server.dsn) as connection:
        cells = sql.SQL(", ").join(sql.SQL(f"%s::{kind}::text") for kind in kinds)
        bound = connection.execute(sql.SQL("SELECT {}").format(cells), [each.value for each in given_values]).fetchone()
    assert lines(made.data) == [dict(zip(columns, bound or (), strict=True))]


@dataclass(frozen=True)
class Hostile:
    """A table of which every name is one; the first column is its key. `hidden` has a mask for columns behind it."""

    schema: str
    table: str
    columns: tuple[str, ...]
    rows: list[tuple[str | None, ...]]
    hidden: tuple[Mask, ...]
    unwanted: str

    def seen(self) -> list[dict[str, Any]]:
        """What is to be delivered."""
        masks = {mask.column: mask for mask in self.hidden}
        return [
            {
                self.columns[0]: number,
                **{
                    name: masked(masks[name], value) if name in masks else value
                    for name, value in zip(self.columns[1:], row, strict=True)
                },
            }
            for number, row in enumerate(self.rows)
            if row[0] != self.unwanted
        ]


def masked(mask: Mask, value: str | None) -> str | None:
    if value is None or mask.kind == "Null":
        return None
    if mask.kind == "Redact":
        return mask.text
    kept, mark = mask.keep_first + mask.keep_last, mask.text or "*"
    if len(value) <= kept:
        return mark * len(value)
    tail = value[len(value) - mask.keep_last :]
    return value[: mask.keep_first] + mark * (len(value) - kept) + tail


@st.composite
def tables(draw: st.DrawFn) -> Hostile:
    columns = tuple(draw(st.lists(NAMES, min_size=2, max_size=4, unique=True)))
    row = st.tuples(*[st.none() | TEXTS] * (len(columns) - 1))
    rows = draw(st.lists(row, min_size=1, max_size=5))
    kinds: st.SearchStrategy[Any] = st.sampled_from(["Redact", "Partial", "Null"])
    hidden = tuple(
        Mask(
            column=name,
            kind=draw(kinds),
            text=draw(TEXTS),
            keep_first=draw(st.integers(0, 3)),
            keep_last=draw(st.integers(0, 3)),
        )
        for name in columns[1:]
        if draw(st.booleans())
    )
    unwanted = draw(TEXTS | st.sampled_from([each[0] or "" for each in rows]))
    return Hostile(
        draw(NAMES.filter(lambda name: not name.startswith("pg_"))), draw(NAMES), columns, rows, hidden, unwanted
    )


@contextlib.contextmanager
def standing(server: PostgresServer, table: Hostile) -> Iterator[psycopg.Connection[Any]]:
    name = sql.Identifier(table.schema, table.table)
    shape = sql.SQL(", ").join(
        [
            sql.SQL("{} integer PRIMARY KEY").format(sql.Identifier(table.columns[0])),
            *(sql.SQL("{} text").format(sql.Identifier(each)) for each in table.columns[1:]),
        ]
    )
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(table.schema)))
        try:
            connection.execute(sql.SQL("CREATE TABLE {} ({})").format(name, shape))
            with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(name)) as copying:
                for number, row in enumerate(table.rows):
                    copying.write_row((number, *row))
            yield connection
        finally:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(table.schema)))


@BOUNDED
@given(table=tables(), by_query=st.booleans())
def test_names_filters_and_masks_are_what_they_say_whatever_they_hold(
    watched: Watched, table: Hostile, *, by_query: bool
) -> None:
    key, first = (sql.Identifier(each).as_string(None) for each in table.columns[:2])
    place = sql.Identifier(table.schema, table.table).as_string(None)
    condition = f"{first} IS DISTINCT FROM {sql.Literal(table.unwanted).as_string(None)} -- and no more"
    with standing(watched.server, table):
        made = exported(
            watched.exporter,
            table.columns,
            f"SELECT * FROM {place} /* {key.replace('*/', '').replace('/*', '')} */" if by_query else None,
            LINES,
            relation=None if by_query else Relation(schema=table.schema, table=table.table),
            masks=table.hidden,
            row_filter=condition,
            order_by=table.columns[:1],
        )
    found = lines(made.data)
    assert found == table.seen()
    assert all(list(each) == list(table.columns) for each in found)


@BOUNDED
@given(name=NAMES, values=st.lists(TEXTS, min_size=1, max_size=6, unique=True), at=st.integers(0, 5))
def test_reading_goes_on_behind_a_key_whatever_it_holds(
    watched: Watched, name: str, values: list[str], at: int
) -> None:
    column, after = sql.Identifier(name), values[at % len(values)]
    rows = sql.SQL(", ").join(sql.SQL("({})").format(sql.Literal(value)) for value in values)
    query = sql.SQL("SELECT * FROM (VALUES {}) AS v ({})").format(rows, column).as_string(None)
    with snapshot(watched.exporter, (name,), query) as (connection, opened):
        found = connection.execute(keys.ordered(opened.query, opened.fields, (name,), (after,))).fetchall()
    with psycopg.connect(watched.server.dsn) as other:
        right = other.execute("SELECT v FROM unnest(%s::text[]) AS v WHERE v > %s ORDER BY v", (values, after))
        assert found == right.fetchall()


def attempted(watched: Watched, query: str | None, **source: Any) -> list[dict[str, Any]]:
    """The rows; none where the run is refused for good, under a name that says who can mend it."""
    try:
        return lines(exported(watched.exporter, ("x",), query, LINES, **source).data)
    except ExportError as error:
        if error.transient or error.kind.retryable:
            raise
        return []


@settings(BOUNDED, max_examples=150)
@given(text=SOUP)
def test_a_row_filter_is_one_condition_or_is_refused(watched: Watched, text: str) -> None:
    found = attempted(watched, None, relation=Relation(schema="public", table="soup"), row_filter=text)
    assert {each["x"] for each in found} <= {1, 2, 3}


@settings(BOUNDED, max_examples=150)
@given(text=SOUP, whole=st.booleans())
def test_a_query_is_one_statement_that_reads_or_is_refused(watched: Watched, text: str, *, whole: bool) -> None:
    query = text if whole else f"SELECT x FROM public.soup WHERE {text}"
    attempted(watched, query, parameters=PARAMETER)  # what ran is looked at when the test ends


@pytest.mark.parametrize(
    "source",
    [
        {"columns": ("x\0",)},
        {"columns": ("",)},
        {"order_by": ("x\0y",)},
        {"key": ("\0",)},
        {"relation": Relation(schema="public\0", table="soup")},
        {"relation": Relation(schema="public", table="soup\0")},
        {"row_filter": "x = 1 \0"},
        {"masks": (Mask(column="x\0", kind="Null"),)},
        {"masks": (Mask(column="x", kind="Redact", text="\0"),)},
        {"relation": None, "query": "SELECT 1 AS x \0"},
    ],
    ids="-".join,
)
def test_a_nul_character_is_refused_before_postgresql_sees_it(watched: Watched, source: dict[str, Any]) -> None:
    given_source = {"relation": Relation(schema="public", table="soup"), "columns": ("x",), "query": None, **source}
    columns, query = given_source.pop("columns"), given_source.pop("query")
    with pytest.raises(ExportError) as caught:
        exported(watched.exporter, columns, query, LINES, **given_source)
    assert caught.value.failure is Failure.DATASET_INVALID
    assert watched.ran() == set()


def test_the_name_of_a_database_is_a_name_and_no_connection_string(watched: Watched) -> None:
    for name in ("host=elsewhere.invalid dbname=app", "postgresql://elsewhere.invalid/app", "app' host='elsewhere"):
        with pytest.raises(ExportError, match="does not exist") as caught:
            exported(watched.exporter, ("x",), "SELECT 1 AS x", LINES, database=name)
        assert caught.value.failure is Failure.SOURCE_NOT_FOUND
