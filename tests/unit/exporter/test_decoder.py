"""Columns hold what psycopg dumped, at any row, beside any neighbours."""

import gc
import io
import json
import struct
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from export_contract.runspec import Compression, Output
from export_runner.errors import ExportError
from export_runner.formats.base import load
from export_runner.frames import arrow
from export_runner.frames.blocks import CorruptCopy
from export_runner.frames.decoder import SLICE_BYTES, decode, slices
from tests.unit.exporter.copies import block, dumped, field

pytestmark = pytest.mark.unit


def packed(layout: str) -> Callable[[Any], bytes]:
    return lambda value: struct.pack(layout, value)


Values = dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], bytes]]]

VALUES: Values = {
    "bool": (st.booleans(), dumped),
    "int2": (st.integers(-(2**15), 2**15 - 1), packed("!h")),
    "int4": (st.integers(-(2**31), 2**31 - 1), packed("!i")),
    "int8": (st.integers(-(2**63), 2**63 - 1), packed("!q")),
    "float8": (st.floats(allow_nan=False), packed("!d")),
    "text": (st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), str.encode),
    "bytea": (st.binary(), bytes),
    "date": (st.dates(), dumped),
    "timestamptz": (st.datetimes(timezones=st.just(UTC)), dumped),
    "uuid": (st.uuids(), dumped),
}


@st.composite
def tables(draw: st.DrawFn, values: Values = VALUES) -> tuple[list[str], list[list[Any]]]:
    """Types of columns, and rows of values or None."""
    types = draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=6))
    row = st.tuples(*(st.none() | values[name][0] for name in types)).map(list)
    return types, draw(st.lists(row, min_size=1, max_size=20))


def encoded(types: list[str], rows: list[list[Any]], values: Values = VALUES) -> list[list[bytes | None]]:
    return [
        [None if value is None else values[name][1](value) for name, value in zip(types, row, strict=True)]
        for row in rows
    ]


@given(tables())
def test_parquet_holds_the_values_that_were_dumped(table: tuple[list[str], list[list[Any]]]) -> None:
    types, rows = table
    fields = [field(f"c{number}", name) for number, name in enumerate(types)]
    made = load("Parquet")(fields, Output(compression="Zstd"))
    file = made.header() + made.block(decode(block(encoded(types, rows)), fields)) + made.footer()
    seen = [list(row) for row in pl.read_parquet(io.BytesIO(file)).rows()]
    assert seen == [[str(value) if isinstance(value, uuid.UUID) else value for value in row] for row in rows]


def as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, float) and value in {float("inf"), float("-inf")}:
        return "Infinity" if value > 0 else "-Infinity"
    return str(value) if isinstance(value, uuid.UUID) else value


@given(tables())
def test_ndjson_holds_the_values_that_were_dumped(table: tuple[list[str], list[list[Any]]]) -> None:
    types, rows = table
    fields = [field(f'"{number}"\n', name) for number, name in enumerate(types)]
    lines = load("NDJSON")(fields, Output()).block(decode(block(encoded(types, rows)), fields)).split(b"\n")
    assert lines.pop() == b""
    assert [list(json.loads(line).values()) for line in lines] == [[as_json(value) for value in row] for row in rows]


def test_slices_cover_a_block_in_order_and_hold_a_large_row_alone() -> None:
    fields = [field("n", "int4"), field("t", "text")]
    texts = [b"x" * (SLICE_BYTES * 2 if number == 5 else 200_000) for number in range(12)]
    made = block([[struct.pack("!i", number), text] for number, text in enumerate(texts)])
    parts = list(slices(made, fields))
    seen = [int(value) for columns in parts for value in columns[0].values]  # type: ignore[union-attr]
    assert seen == list(range(12))
    assert len(parts) > 2


SLICED = {**VALUES, "float8": (st.floats(), packed("!d")), "float4": (st.floats(width=32), packed("!f"))}


@example((["float8"], [[1.0], [float("nan")]]), 1, "CSV")
@given(tables(SLICED), st.integers(1, 200), st.sampled_from(["CSV", "NDJSON", "JSON"]))
def test_a_file_does_not_depend_on_how_its_blocks_are_sliced(
    table: tuple[list[str], list[list[Any]]], slice_bytes: int, name: str
) -> None:
    types, rows = table
    fields = [field(f"c{number}", each) for number, each in enumerate(types)]
    whole, sliced = (load(name)(fields, Output()) for _ in range(2))
    made = block(encoded(types, rows, SLICED))
    parts = list(slices(made, fields, slice_bytes))
    assert b"".join(map(sliced.block, parts)) == whole.block(decode(made, fields))


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([[b"\0\0\0\1", b"a"]], "number of fields"),
        ([[b"\0\0\1"]], "not 4 bytes"),
    ],
)
def test_rows_of_another_form_are_refused(rows: list[list[bytes | None]], what: str) -> None:
    with pytest.raises(CorruptCopy, match=what):
        decode(block(rows), [field("n", "int4")])


def test_polars_gives_every_array_back() -> None:
    before = arrow.live_arrays()
    fields = [field("n", "int4"), field("t", "text"), field("b", "bytea"), field("d", "date")]
    rows = block([[struct.pack("!i", 1), b"a text that is no view's own", b"\0", struct.pack("!i", 0)]] * 100)
    for name in ("CSV", "NDJSON", "Parquet"):
        load(name)(fields, Output()).block(decode(rows, fields))
    gc.collect()
    assert arrow.live_arrays() == before


@pytest.mark.parametrize("compression", ["None", "Gzip", "Zstd"])
def test_parquet_of_many_blocks_is_one_file_with_a_group_for_each(compression: Compression) -> None:
    fields = [field("n", "int4"), field("t", "text")]
    made = load("Parquet")(fields, Output(compression=compression))
    file = made.header()
    for first in range(0, 50, 5):
        rows: list[list[bytes | None]] = [[struct.pack("!i", n), b"text %d" % n] for n in range(first, first + 5)]
        file += made.block(decode(block(rows), fields))
    file += made.footer()
    frame = pl.read_parquet(io.BytesIO(file))
    assert frame.rows() == [(n, f"text {n}") for n in range(50)]


def test_parquet_has_no_two_columns_of_one_name() -> None:
    with pytest.raises(ExportError, match="'n' is there twice"):
        load("Parquet")([field("n", "int4"), field("n", "int4")], Output())


def test_an_unknown_format_is_named_with_those_that_are_known() -> None:
    with pytest.raises(ExportError, match=r"'XLSX' is installed; known: ArrowStream, CSV, JSON, NDJSON, Parquet"):
        load("XLSX")
