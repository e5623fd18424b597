"""The compiled helper writes and decodes what polars and numpy do, byte by byte."""

import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_contract.runspec import CsvOptions, Output
from export_runner.formats.base import Format, load
from export_runner.frames import compiled
from export_runner.frames.blocks import Block
from export_runner.frames.decoder import Column, CorruptCopy, Fixed, Varying, decode
from export_runner.frames.native import TextEncoder, library
from export_runner.frames.series import views
from tests.unit.exporter.copies import block, field, whole

pytestmark = pytest.mark.unit

TEXTS = (
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
    | st.text('",;\r\n\\a=', max_size=40)
    | st.builds(
        lambda begin, middle, end: begin * "a" + middle + end * "é",
        st.integers(0, 40),
        st.text('"\n,\1'),
        st.integers(0, 40),
    )
)


def decimals(most: int) -> st.SearchStrategy[float]:
    """Floats of few digits, where the helper has a way of its own, and those beside them, where it must not take it."""
    exact = st.builds(lambda whole, places: whole / 10**places, st.integers(-most, most), st.integers(0, 8))
    return exact | st.builds(math.nextafter, exact, st.sampled_from([-math.inf, math.inf]))


WIRE: dict[str, st.SearchStrategy[bytes]] = {
    "bool": st.sampled_from([b"\0", b"\1"]),
    "int2": st.integers(-(2**15), 2**15 - 1).map(struct.Struct("!h").pack),
    "int4": st.integers(-(2**31), 2**31 - 1).map(struct.Struct("!i").pack),
    "int8": st.integers(-(2**63), 2**63 - 1).map(struct.Struct("!q").pack),
    "oid": st.integers(0, 2**32 - 1).map(struct.Struct("!I").pack),
    "float4": (st.floats(width=32) | decimals(10**7)).map(struct.Struct("!f").pack),
    "float8": (st.floats() | decimals(10**16) | decimals(10**6)).map(struct.Struct("!d").pack),
    "text": TEXTS.map(str.encode),
    "json": st.sampled_from([b'{"a": 1,\r\n "b": "x"}', b"null", b"[]"]),
    "jsonb": st.sampled_from([b'\1{"a": "\xc3\xa9, \\""}', b"\1[]"]),
    "bytea": st.binary(max_size=40),
    "date": (st.integers(-(2**31), 2**31 - 1) | st.integers(-800_000, 3_000_000)).map(struct.Struct("!i").pack),
    "timestamp": (st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**17), 10**17)).map(struct.Struct("!q").pack),
    "timestamptz": (st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**17), 10**17)).map(struct.Struct("!q").pack),
    "uuid": st.binary(min_size=16, max_size=16),
    "numeric": st.sampled_from([b"NaN", b"Infinity", b"-Infinity", b"-0.10", b"123456789012345678901234567890"]),
}
OUTPUTS = st.builds(
    CsvOptions,
    delimiter=st.sampled_from(",;\t|"),
    null_text=st.sampled_from(["", "NULL", "\\N", "0", "a", "true", "\\x"]),
    quoting=st.sampled_from(["Needed", "Text", "All"]),
    line_end=st.sampled_from(["LF", "CRLF"]),
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[bytes | None]]]:
    types = draw(st.lists(st.sampled_from(sorted(WIRE)), min_size=1, max_size=6))
    return types, draw(st.lists(st.tuples(*(st.none() | WIRE[name] for name in types)).map(list), min_size=1))


def both(made: Format, rows: Block, fields: list[Any]) -> tuple[bytes, bytes]:
    lines = made.compiled(rows)
    assert lines is not None, "the compiled helper is there: make .venv builds it"
    return b"".join(lines), made.block(decode(rows, fields))


@given(tables(), OUTPUTS)
def test_lines_of_csv_are_those_of_the_reference(table: tuple[list[str], list[Any]], options: CsvOptions) -> None:
    types, rows = table
    fields = [field(f"c{number}", name) for number, name in enumerate(types)]
    lines, reference = both(load("CSV")(fields, Output(csv=options)), block(rows), fields)
    assert lines == reference


@given(tables(), st.sampled_from(["NDJSON", "JSON"]))
def test_lines_of_json_are_those_of_the_reference(table: tuple[list[str], list[Any]], name: str) -> None:
    types, rows = table
    fields = [field(f'"{number}"\n', each) for number, each in enumerate(types)]
    lines, reference = both(load(name)(fields, Output(format=name)), block(rows), fields)  # type: ignore[arg-type]
    assert lines == reference


@given(st.lists(st.binary(max_size=300), min_size=1), st.integers(1, 64))
def test_a_small_buffer_changes_nothing_but_the_pieces(values: list[bytes], size: int) -> None:
    fields = [field("a", "bytea"), field("b", "int4")]
    rows = block([[value, struct.pack("!i", len(value))] for value in values])
    small = TextEncoder(fields, line_end="\n", buffer=size).block(rows)
    assert b"".join(small) == b"".join(TextEncoder(fields, line_end="\n").block(rows))


def seen(columns: Sequence[Column]) -> list[tuple[Any, ...]]:
    """What the columns hold: values, and views as Arrow has them. What stands in for NULL means nothing."""
    return [
        (each.field, str(each.values.dtype), *_values(each, each.values.tolist()))
        if isinstance(each, Fixed)
        else (each.field, *_values(each, slices_of(each)), (views(each) if each.views is None else each.views).tolist())
        for each in columns
    ]


def _values(column: Column, values: list[Any]) -> tuple[Any, ...]:
    valid = [True] * len(values) if column.valid is None else column.valid.tolist()
    # NaN differs from itself: its bits are looked at.
    return column.valid is None, [repr(value) if there else None for value, there in zip(values, valid, strict=True)]


def slices_of(column: Varying) -> list[bytes]:
    ends = column.begin + column.length
    return [column.data[a:b].tobytes() for a, b in zip(column.begin.tolist(), ends.tolist(), strict=True)]


@given(tables())
def test_columns_are_those_of_the_reference(table: tuple[list[str], list[Any]]) -> None:
    types, rows = table
    fields = [field(f"c{number}", name) for number, name in enumerate(types)]
    made = block(rows)
    assert seen(compiled.decode(made, fields)) == seen(decode(made, fields))


@given(st.binary(min_size=2, max_size=60), st.sampled_from(["int4", "text", "jsonb", "bool"]))
def test_columns_of_another_form_are_refused_as_the_reference_does(data: bytes, name: str) -> None:
    fields = [field("a", name)]
    broken = whole(data, [len(data)])
    with suppress(IndexError):  # what numpy says beyond the end, and CorruptCopy otherwise
        try:
            expected = seen(decode(broken, fields))
        except CorruptCopy:
            with pytest.raises(CorruptCopy):
                compiled.decode(broken, fields)
        else:
            assert seen(compiled.decode(broken, fields)) == expected


@given(st.binary(min_size=2, max_size=60))
def test_rows_of_another_form_are_refused_and_never_read_beyond(data: bytes) -> None:
    fields = [field("a", "int4"), field("b", "text"), field("c", "jsonb")]
    broken = whole(data, [len(data)])
    try:
        TextEncoder(fields, line_end="\n").block(broken)
    except CorruptCopy:
        return
    decode(broken, fields)


def test_the_helper_is_there() -> None:
    assert library() is not None
