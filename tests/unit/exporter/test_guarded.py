"""Values are measured in SQL only where one could be too large."""

import pytest
from psycopg import sql

from export_runner.frames.kinds import Field
from export_runner.source.guarded import copy
from export_runner.source.table import Table

pytestmark = pytest.mark.unit

MOST = 16 * 1024 * 1024
TOASTED = Table(pages=9, page_bytes=8192, toasted=True)
PLAIN = Table(pages=9, page_bytes=8192, toasted=False)
QUERY = sql.Composed([sql.SQL("SELECT * FROM t")])
INT8, TEXT, JSONB = Field("a", "bigint", 20, fixed=True), Field("b", "text", 25), Field("c", "jsonb", 3802)
VARCHAR = Field("d", "character varying(50)", 1043, 54)
NUMERIC, ENUM = Field("e", "numeric", 1700), Field("f", "mood", 99_999, fixed=True)
ARRAY, RANGE = Field("g", "text[]", 1009), Field("h", "int4range", 3904)
DECIMAL, MOMENTS = Field("i", "numeric(14,2)", 1700, ((14 << 16) | 2) + 4), Field("j", "date[]", 1182)

_CHECKED = (
    "CASE WHEN pg_catalog.octet_length({value}) > 16777216 THEN CASE WHEN pg_catalog.concat("
    "'export-runner/value-too-large/0/', pg_catalog.octet_length({value}))::pg_catalog.int4 IS NULL"
    " THEN {value} END ELSE {value} END"
)
_LONGER = (
    'GREATEST(pg_catalog.octet_length(pg_catalog.concat("c0")), pg_catalog.octet_length(pg_catalog.array_send("c0")))'
)
_ARRAY = (
    f"CASE WHEN {_LONGER} > 16777216 THEN CASE WHEN pg_catalog.concat('export-runner/value-too-large/0/',"
    f' {_LONGER})::pg_catalog.int4 IS NULL THEN "c0" END ELSE "c0" END'
)
_TEXT = 'CASE WHEN "c0" IS DISTINCT FROM NULL THEN pg_catalog.concat("c0") END'


@pytest.mark.parametrize(
    ("field", "table", "right"),
    [
        (INT8, None, '"c0"'),
        (VARCHAR, TOASTED, '"c0"'),
        (NUMERIC, TOASTED, '"c0"::pg_catalog.text'),
        (ENUM, TOASTED, _TEXT),
        (TEXT, PLAIN, '"c0"'),
        (JSONB, PLAIN, '"c0"'),
        (TEXT, TOASTED, _CHECKED.format(value='"c0"')),
        (DECIMAL, TOASTED, '"c0"'),
        (ARRAY, PLAIN, f'CASE WHEN pg_catalog.pg_column_size("c0") > 1398 THEN {_ARRAY} ELSE "c0" END'),
        (
            MOMENTS,
            PLAIN,
            f'CASE WHEN pg_catalog.pg_column_size("c0") > 1398 THEN {_CHECKED.format(value=_TEXT)} ELSE {_TEXT} END',
        ),
    ],
)
def test_a_tables_own_columns_are_sent_from_its_scan(field: Field, table: Table | None, right: str) -> None:
    made = copy(QUERY, [field], MOST, table).as_string(None)
    inner = '(SELECT * FROM t) AS rows ("c0")'
    if table is None:
        inner = f'(SELECT {right} AS "c0" FROM {inner} OFFSET 0) AS sent'
    assert made == f"COPY (SELECT {right} FROM {inner}) TO STDOUT (FORMAT binary)"


@pytest.mark.parametrize(
    ("field", "table"),
    [
        (TEXT, None),
        (RANGE, PLAIN),
        (TEXT, Table(pages=9, page_bytes=8192, toasted=False, computed=True)),
    ],
)
def test_what_is_computed_or_written_out_is_made_once_and_measured(field: Field, table: Table | None) -> None:
    made = copy(QUERY, [field], MOST, table).as_string(None)
    sent = _TEXT if field is RANGE else '"c0"'
    inner = f'(SELECT {sent} AS "c0" FROM (SELECT * FROM t) AS rows ("c0") OFFSET 0) AS sent'
    assert (
        made
        == f"COPY (SELECT {_CHECKED.format(value=chr(34) + 'c0' + chr(34))} FROM {inner}) TO STDOUT (FORMAT binary)"
    )


@pytest.mark.parametrize("field", [TEXT, VARCHAR, NUMERIC, JSONB, ARRAY])
def test_a_small_limit_is_kept_whatever_the_table_says(field: Field) -> None:
    assert "value-too-large" in copy(QUERY, [field], 100, PLAIN).as_string(None)
