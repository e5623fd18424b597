"""Tables of random types and values, through the pipeline from a real PostgreSQL, as independent readers see them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from export_contract.runspec import Limits, Output
from export_runner.frames.kinds import Kind
from tests.integration.exporter import readers
from tests.integration.exporter.exporting import exported
from tests.integration.exporter.formats.subjects import READERS, SUBJECTS, Subject
from tests.services.host import PostgresServer

pytestmark = pytest.mark.integration

TABLE = sql.Identifier("chance", "rows")
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
TEXT = st.text(CHARACTERS, max_size=30) | st.sampled_from(["", "NULL", "\\N", '"', ",", "\r\n", "\t", "\\", "'", " "])


@st.composite
def dates(draw: st.DrawFn, last_year: int) -> str:
    """From 4713 BC; Python's own dates begin at year 1 and end with 9999."""
    year = draw(st.integers(1, last_year) | st.integers(1, 9999) | st.integers(-4713, -1))
    era = "" if year > 0 else " BC"
    return f"{abs(year):04d}-{draw(st.integers(1, 12)):02d}-{draw(st.integers(1, 28)):02d}{era}"


@st.composite
def moments(draw: st.DrawFn, zone: str) -> str:
    day, _, era = draw(dates(294_245)).partition(" ")
    return f"{day} {draw(st.times())}{zone} {era}".strip()


def array(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """One dimension, with NULLs, in PostgreSQL's notation."""
    quoted = items.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    return st.lists(st.just("NULL") | quoted, max_size=4).map(lambda texts: "{" + ",".join(texts) + "}")


DOCUMENTS = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(CHARACTERS, max_size=8),
    lambda inner: st.lists(st.none() | inner, max_size=3) | st.dictionaries(st.text(CHARACTERS, max_size=5), inner),
    max_leaves=5,
).filter(lambda value: isinstance(value, (list, dict)))
"""No bare strings, which a reader that does not know the types cannot tell from texts."""

VALUES: dict[str, st.SearchStrategy[str]] = {
    "boolean": st.booleans().map(str),
    "smallint": st.integers(-(2**15), 2**15 - 1).map(str),
    "integer": st.integers(-(2**31), 2**31 - 1).map(str),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "oid": st.integers(0, 2**32 - 1).map(str),
    "real": st.floats(width=32).map(repr),
    "double precision": st.floats().map(repr),
    "numeric": st.decimals(allow_nan=False, allow_infinity=False).map(lambda value: f"{value:f}")
    | st.sampled_from(["NaN", "Infinity", "-Infinity"]),
    "numeric(38,10)": st.decimals(-(10**27), 10**27, places=10).map(lambda value: f"{value:f}"),
    "numeric(12,3)": st.decimals(-999_999_999, 999_999_999, places=3).map(str),
    "text": TEXT,
    "varchar(40)": TEXT,
    "char(31)": TEXT,
    "bytea": st.binary(max_size=40).map(lambda value: "\\x" + value.hex()),
    "uuid": st.uuids().map(str),
    "date": dates(5_874_896),
    "timestamp": moments(""),
    "timestamptz": moments("+00"),
    "interval": st.timedeltas().map(lambda value: f"{value.days} days {value.seconds} s {value.microseconds} us"),
    "json": DOCUMENTS.map(json.dumps),
    "jsonb": DOCUMENTS.map(json.dumps),
    "time": st.times().map(str),
    "int8range": st.tuples(st.integers(-(2**60), 0), st.integers(1, 2**60)).map(lambda pair: f"[{pair[0]},{pair[1]})"),
    "inet": st.ip_addresses().map(str),
    "varbit": st.text("01", max_size=20),
    "integer[]": array(st.integers(-(2**31), 2**31 - 1).map(str)),
    "text[]": array(TEXT),
}


@dataclass(frozen=True)
class Chance:
    """A table, and the bounds of the blocks that it is exported in."""

    types: Sequence[str]
    rows: list[tuple[str | None, ...]]
    block_rows: int

    @property
    def columns(self) -> tuple[str, ...]:
        return ("n", *(f"c{number}" for number in range(len(self.types))))


@st.composite
def tables(draw: st.DrawFn) -> Chance:
    types = draw(st.permutations(sorted(VALUES)))[: draw(st.integers(len(VALUES) // 2, len(VALUES)))]
    row: st.SearchStrategy[Any] = st.tuples(*(st.none() | VALUES[kind] for kind in types))
    return Chance(types, draw(st.lists(row, max_size=6)), draw(st.integers(1, 4)))


def make(connection: psycopg.Connection[Any], chance: Chance) -> None:
    columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(chance.types))
    connection.execute("DROP SCHEMA IF EXISTS chance CASCADE; CREATE SCHEMA chance")
    connection.execute(f"CREATE TABLE chance.rows (n integer, {columns})")
    with connection.cursor().copy("COPY chance.rows FROM STDIN") as copy:
        for number, row in enumerate(chance.rows):
            copy.write_row((number, *row))
    connection.commit()


@settings(derandomize=True, max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(chance=tables())
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda each: each.name)
def test_a_reader_sees_what_postgresql_holds(postgres: PostgresServer, subject: Subject, chance: Chance) -> None:
    name: Any = subject.name if subject.name in READERS else "CSV"
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        make(connection, chance)
        made = exported(
            postgres,
            chance.columns,
            "SELECT * FROM chance.rows ORDER BY n",
            Output(format=name),
            limits=Limits(block_rows=chance.block_rows),
            chosen=subject.format,
        )
        seen = [subject.read(made.data, postgres)]
        if name in {"Parquet", "ArrowStream"}:
            seen.append(readers.typed(readers.other_table(name, made.data)))
        for rows in seen:
            assert readers.differing(connection, TABLE, rows, chance.columns, "n") == []


def test_every_kind_of_column_is_drawn(postgres: PostgresServer) -> None:
    columns = tuple(f"c{number}" for number in range(len(VALUES)))
    nulls = ", ".join(f"NULL::{kind} AS {name}" for kind, name in zip(VALUES, columns, strict=True))
    assert {field.kind for field in exported(postgres, columns, f"SELECT {nulls}", Output()).fields} == set(Kind)
