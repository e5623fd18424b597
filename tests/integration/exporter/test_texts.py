"""Decimals and arrays, which are sent in binary, are written as PostgreSQL itself writes them."""

from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_runner.frames import native, texts
from export_runner.frames.kinds import Kind
from tests.services.host import PostgresServer

pytestmark = pytest.mark.integration

WORDS = st.sampled_from(
    ["", "NULL", "Null", "null.", '"', "\\", "{", "}", ",", ";", "\v", "\f", "\u00a0", "\x1f", "[1:1]={}"]
)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20) | WORDS
ELEMENTS: dict[str, st.SearchStrategy[str]] = {
    "boolean": st.booleans().map(str),
    "smallint": st.integers(-(2**15), 2**15 - 1).map(str),
    "integer": st.integers(-(2**31), 2**31 - 1).map(str),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "oid": st.integers(0, 2**32 - 1).map(str),
    "text": TEXT,
    "varchar(25)": TEXT,
    "char(22)": TEXT,
    "uuid": st.uuids().map(str),
}


@st.composite
def literals(draw: st.DrawFn, items: st.SearchStrategy[str]) -> str:
    """Of any dimensions and bounds, with NULLs, in PostgreSQL's notation."""
    shape = draw(st.lists(st.integers(1, 3), max_size=4) | st.lists(st.just(1), max_size=6))
    firsts = draw(st.tuples(*(st.just(1) | st.integers(-(2**31), 2**31 - 5) for _ in shape)))

    def nested(sizes: list[int]) -> str:
        if sizes:
            return "{" + ",".join(nested(sizes[1:]) for _ in range(sizes[0])) + "}"
        item = draw(st.none() | items)
        return "NULL" if item is None else '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'

    head = "".join(f"[{first}:{first + size - 1}]" for first, size in zip(firsts, shape, strict=True))
    return f"{head}={nested(shape)}" if shape else "{}"


def check(connection: psycopg.Connection[Any], kind: Kind, type_name: str, values: list[str | None]) -> None:
    send = "numeric_send" if kind is Kind.DECIMAL else "array_send"
    # The type's name is one of this module's.
    query = (
        f"SELECT {send}(v), CASE WHEN v IS NOT NULL THEN concat(v) END"
        f" FROM unnest(%s::text[]) AS t (literal), LATERAL (SELECT literal::{type_name} AS v) AS typed"
    )
    found = connection.execute(query.encode(), (values,)).fetchall()
    sent = [b"" if each is None else bytes(each) for each, _ in found]
    lengths = np.array([len(each) for each in sent], dtype=np.int64)
    valid = np.array([each is not None for each, _ in found], dtype=np.bool_)
    data = np.frombuffer(b"".join(sent) + bytes(16), dtype=np.uint8)
    for write in (texts.one_by_one, native.texts):
        made, begins, sizes = write(kind, data, np.cumsum(lengths) - lengths, lengths, valid)
        ends = begins + sizes
        seen = [made[a:b].tobytes().decode() for a, b in zip(begins.tolist(), ends.tolist(), strict=True)]
        assert seen == [text or "" for _, text in found]


@settings(derandomize=True, max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.data())
@pytest.mark.parametrize("element", ELEMENTS)
def test_arrays_look_as_postgresql_writes_them(postgres: PostgresServer, element: str, drawn: st.DataObject) -> None:
    values = drawn.draw(st.lists(st.none() | literals(ELEMENTS[element]), min_size=1, max_size=8))
    with psycopg.connect(postgres.dsn) as connection:
        check(connection, Kind.ARRAY, f"{element}[]", values)


@settings(derandomize=True, max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.data(), precision=st.integers(1, 38))
def test_decimals_look_as_postgresql_writes_them(
    postgres: PostgresServer, precision: int, drawn: st.DataObject
) -> None:
    scale = drawn.draw(st.integers(0, precision))
    number = st.integers(-(10**precision) + 1, 10**precision - 1) | st.integers(-1000, 1000).filter(
        lambda value: abs(value) < 10**precision
    )
    literal = number.map(lambda value: f"{value}e-{scale}") | st.just("NaN")
    values = drawn.draw(st.lists(st.none() | literal, min_size=1, max_size=20))
    with psycopg.connect(postgres.dsn) as connection:
        check(connection, Kind.DECIMAL, f"numeric({precision},{scale})", values)
