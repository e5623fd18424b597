"""Only declared placeholders become values, and only where a value may stand."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.failures import Failure
from export_contract.runspec import Parameter, Relation, Source
from export_runner.errors import ExportError
from export_runner.source import sql

pytestmark = pytest.mark.unit


def text(name: str = "p", value: str = "v") -> Parameter:
    return Parameter(name=name, type="text", value=value)


def filled(query: str, *parameters: Parameter) -> str:
    return sql.fill(query, parameters).as_string(None)


@pytest.mark.parametrize(
    ("query", "right"),
    [
        ("SELECT {p}", "SELECT 'v'::text"),
        ("SELECT {p},{p};", "SELECT 'v'::text,'v'::text"),
        ("SELECT {other} {p }", "SELECT {other} {p }"),
        ("SELECT '{1,2}'::int[], {p}", "SELECT '{1,2}'::int[], 'v'::text"),
        ("SELECT 'it''s', {p}", "SELECT 'it''s', 'v'::text"),
        (r"SELECT E'it\'s', {p}", r"SELECT E'it\'s', 'v'::text"),
        ('SELECT "a""b", {p}', 'SELECT "a""b", \'v\'::text'),
        ("SELECT $1$ {p}", None),
        ("SELECT $$a'b$$, {p}", "SELECT $$a'b$$, 'v'::text"),
        ("SELECT $t$a$$b$t$, {p}", "SELECT $t$a$$b$t$, 'v'::text"),
        ("SELECT 1 -- it's\n, {p}", "SELECT 1 -- it's\n, 'v'::text"),
        ("SELECT /* it's /* nested */ */ {p}", "SELECT /* it's /* nested */ */ 'v'::text"),
        ("SELECT a % 2, '%s', {p}", "SELECT a % 2, '%s', 'v'::text"),
    ],
)
def test_a_declared_placeholder_becomes_a_typed_literal_and_all_else_stays(query: str, right: str | None) -> None:
    if right is None:
        with pytest.raises(ExportError, match="does not end"):
            filled(query, text())
    else:
        assert filled(query, text()) == right


@pytest.mark.parametrize(
    "query",
    ["SELECT '{p}'", 'SELECT "{p}"', "SELECT $${p}$$", "SELECT $a${p}$a$", "SELECT 1 -- {p}", "SELECT 1 /* {p} */",
     r"SELECT E'\'{p}'", "SELECT 1 /* {p}"],
)  # fmt: skip
def test_a_placeholder_inside_quotes_or_a_comment_is_refused(query: str) -> None:
    with pytest.raises(ExportError, match=r"\{p\} inside quotes or a comment") as caught:
        filled(query, text())
    assert caught.value.failure is Failure.DATASET_INVALID


@pytest.mark.parametrize("query", ["SELECT '{p}", 'SELECT "x {p}', "SELECT $a$ {p}", "SELECT $$ {p}"])
def test_a_quote_without_end_is_refused_because_a_value_could_end_it(query: str) -> None:
    with pytest.raises(ExportError, match="does not end"):
        filled(query, text())


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_no_value_leaves_its_literal(value: str) -> None:
    made = filled("SELECT {p} AS x", text(value=value))
    literal = made.removeprefix("SELECT ").removesuffix("::text AS x").lstrip()
    if literal.startswith("E"):
        assert re.fullmatch(r"E'(?:[^'\\]|''|\\\\)*'", literal)
        assert literal[2:-1].replace("''", "'").replace("\\\\", "\\") == value
    else:
        assert re.fullmatch(r"'(?:[^'\\]|'')*'", literal)
        assert literal[1:-1].replace("''", "'") == value


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_no_name_leaves_its_quotes(name: str) -> None:
    relation = Relation(schema="public", table=name)
    source = Source(name="s", dataset="d", host="h", database="b", columns=(name,), relation=relation)
    quoted = '"' + name.replace('"', '""') + '"'
    assert sql.rows(source).as_string(None) == f'SELECT {quoted} FROM "public".{quoted}'


def test_a_query_that_ends_with_a_comment_is_still_closed() -> None:
    source = Source(name="s", dataset="d", host="h", database="b", columns=("x",), query="SELECT 1 AS x -- one")
    assert sql.rows(source).as_string(None) == 'SELECT "x" FROM (SELECT 1 AS x -- one\n) AS dataset'
