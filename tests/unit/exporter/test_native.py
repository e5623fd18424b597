"""The compiled helper writes and decodes what polars and numpy do, byte by byte."""

import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from export_contract.runspec import CsvOptions, Output
from export_runner.formats.base import Format, load
from export_runner.frames import compiled, native, texts
from export_runner.frames.blocks import Block, CorruptCopy
from export_runner.frames.compiled import Viewed
from export_runner.frames.decoder import Column, Fixed, Varying, decode
from export_runner.frames.kinds import Field, Kind
from export_runner.frames.native import TextEncoder, library
from export_runner.frames.native import texts as compiled_texts
from export_runner.frames.text import POSTGRESQL, rendered
from tests.unit.exporter.copies import array, block, decimal, dumped, field, whole

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


def scaled(scales: st.SearchStrategy[int]) -> st.SearchStrategy[Decimal]:
    """Of up to 38 digits, and NaN."""
    number = st.integers(-(10**38) + 1, 10**38 - 1) | st.integers(-(10**6), 10**6)
    return st.just(Decimal("NaN")) | st.builds(_decimal, number, scales)


def _decimal(number: int, scale: int) -> Decimal:
    return Decimal((number < 0, tuple(map(int, str(abs(number)))), -scale))


SCALE = 19
"""Of the columns here."""


@st.composite
def arrays(draw: st.DrawFn, oid: int, values: st.SearchStrategy[bytes]) -> bytes:
    shape = draw(st.lists(st.integers(1, 3), max_size=3) | st.lists(st.integers(1, 1), max_size=6))
    firsts = draw(st.just([1] * len(shape)) | st.tuples(*(st.integers(-(2**31), 2**31 - 4) for _ in shape)))
    count = math.prod(shape) if shape else 0
    return array(oid, shape, firsts, draw(st.lists(st.none() | values, min_size=count, max_size=count)))


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
ELEMENTS = {"bool": 16, "int8": 20, "int2": 21, "int4": 23, "text": 25, "oid": 26, "uuid": 2950}
WORDS = st.sampled_from([b"", b"NULL", b"null", b"a b", b"a,b", b"{", b"}", b'"', b"\\", b"\t", b"\v", b"\x1f", b";|"])
WIRE |= {
    f"{name}[]": arrays(oid, WIRE[name] | WORDS if name == "text" else WIRE[name]) for name, oid in ELEMENTS.items()
}
WIRE["decimal"] = scaled(st.just(SCALE)).map(dumped)
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


def column(number: int, name: str) -> Field:
    title = f'"{number}"\n'
    return decimal(title, 38, SCALE) if name == "decimal" else field(title, name)


def referred(rows: Block, fields: list[Any]) -> list[Column]:
    """The columns, of which the helper has no part."""
    with patch.object(native, "library", return_value=None):
        return decode(rows, fields)


def both(made: Format, rows: Block, fields: list[Any]) -> tuple[bytes, bytes]:
    lines = made.compiled(rows)
    assert lines is not None, "the compiled helper is there: make .venv builds it"
    return b"".join(lines), made.block(referred(rows, fields))


@given(tables(), OUTPUTS)
def test_lines_of_csv_are_those_of_the_reference(table: tuple[list[str], list[Any]], options: CsvOptions) -> None:
    types, rows = table
    fields = [column(number, name) for number, name in enumerate(types)]
    lines, reference = both(load("CSV")(fields, Output(csv=options)), block(rows), fields)
    assert lines == reference


@given(tables(), st.sampled_from(["NDJSON", "JSON"]))
def test_lines_of_json_are_those_of_the_reference(table: tuple[list[str], list[Any]], name: str) -> None:
    types, rows = table
    fields = [column(number, each) for number, each in enumerate(types)]
    lines, reference = both(load(name)(fields, Output(format=name)), block(rows), fields)  # type: ignore[arg-type]
    assert lines == reference


@given(st.lists(st.binary(max_size=300), min_size=1), st.integers(1, 64))
def test_a_small_buffer_changes_nothing_but_the_pieces(values: list[bytes], size: int) -> None:
    fields = [field("a", "bytea"), field("b", "int4")]
    rows = block([[value, struct.pack("!i", len(value))] for value in values])
    small = TextEncoder(fields, line_end="\n", buffer=size).block(rows)
    assert b"".join(small) == b"".join(TextEncoder(fields, line_end="\n").block(rows))


def seen(columns: Sequence[Column | Viewed]) -> list[tuple[Any, ...]]:
    """What the columns hold. What stands in for NULL means nothing."""
    return [(each.field, *_values(each, _told(each))) for each in columns]


def _told(column: Column | Viewed) -> list[Any]:
    if isinstance(column, Viewed):
        return [told_by(view.tobytes(), column.buffers) for view in column.views]
    if isinstance(column, Varying):
        return slices_of(rendered(column, POSTGRESQL) if column.field.kind is Kind.UUID else column)
    if column.field.kind is Kind.DECIMAL:
        return [_text(int.from_bytes(value.tobytes(), "little", signed=True)) for value in column.values]
    return list(column.values.tolist())


def told_by(view: bytes, buffers: Sequence[NDArray[np.uint8]]) -> bytes:
    """arrow.apache.org/docs/format/Columnar.html, "Variable-size Binary View Layout"."""
    (length,) = struct.unpack_from("<i", view)
    if length <= 12:
        assert not any(view[4 + length :]), "padding is zero"
        return view[4 : 4 + length]
    head, buffer, begin = struct.unpack_from("<4sii", view, 4)
    value = bytes(buffers[buffer][begin : begin + length])
    assert (len(value), value[:4]) == (length, head)
    return value


def _text(number: int) -> bytes:
    return b"NaN" if number == -(2**127) else f"{_decimal(number, SCALE):f}".encode()


def _values(column: Column | Viewed, values: list[Any]) -> tuple[Any, ...]:
    valid = [True] * len(values) if column.valid is None else column.valid.tolist()
    # NaN differs from itself: its bits are looked at.
    return column.valid is None, [repr(value) if there else None for value, there in zip(values, valid, strict=True)]


def slices_of(column: Varying) -> list[bytes]:
    ends = column.begin + column.length
    return [column.data[a:b].tobytes() for a, b in zip(column.begin.tolist(), ends.tolist(), strict=True)]


@given(tables(), st.sets(st.integers(1, 20)))
def test_columns_are_those_of_the_reference_in_whatever_chunks_they_come(
    table: tuple[list[str], list[Any]], cuts: set[int]
) -> None:
    types, rows = table
    fields = [column(number, name) for number, name in enumerate(types)]
    bounds = [0, *sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
    chunks = [chunk for first, last in pairwise(bounds) for chunk in block(rows[first:last]).chunks]
    assert seen(compiled.decode(Block(chunks, 0), fields)) == seen(referred(block(rows), fields))


def test_columns_of_many_rows_are_those_of_the_reference() -> None:
    fields = [column(number, name) for number, name in enumerate(["int4", "text", "decimal", "text[]", "bool"])]
    rows = [
        [
            struct.pack("!i", number) if number % 3 else None,
            b"\xc3\xa9" * (number % 30) if number % 5 else None,
            dumped(_decimal(number, SCALE)),
            array(25, [2], [1], [b"a" * (number % 20), None]),
            bytes([number % 2]),
        ]
        for number in range(5000)
    ]
    assert seen(compiled.decode(block(rows), fields)) == seen(referred(block(rows), fields))


def test_as_many_columns_as_a_query_can_have_are_those_of_the_reference() -> None:
    fields = [field(str(number), "text") for number in range(1664)]
    rows = block([[b"x" * (number % 40) for number in range(1664)]] * 3)
    assert seen(compiled.decode(rows, fields)) == seen(referred(rows, fields))


def test_decimals_whose_zeros_are_not_sent_may_take_more_than_all_memory_that_was_there_for_them() -> None:
    rows, fields = block([[dumped(Decimal("0e-38"))]] * 1000), [decimal("n", 38, 38)]
    assert seen(decode(rows, fields)) == seen(referred(rows, fields))


@given(scaled(st.integers(0, 38)))
@example(Decimal("0.00"))
@example(Decimal("1e37"))
@example(Decimal("-1e-38"))
def test_decimals_are_written_with_all_their_digits(value: Decimal) -> None:
    (column,) = referred(block([[dumped(value)]]), [decimal("n", 38, SCALE)])
    assert isinstance(column, Varying)
    assert slices_of(column) == [f"{value:f}".encode()]


@given(scaled(st.integers(0, 38)), st.integers(0, 38))
def test_a_decimal_of_more_digits_than_its_column_is_refused(value: Decimal, scale: int) -> None:
    rows, fields = block([[dumped(value)]]), [decimal("n", 38, scale)]
    whole = Fraction(-(2**127)) if value.is_nan() else Fraction(value) * 10**scale
    if whole.denominator > 1 or abs(whole) > 2**127:
        with pytest.raises(CorruptCopy):
            compiled.decode(rows, fields)
        return
    (column,) = compiled.decode(rows, fields)
    assert isinstance(column, Fixed)
    assert int.from_bytes(column.values[0].tobytes(), "little", signed=True) == whole


@given(
    st.sampled_from([Kind.DECIMAL, Kind.ARRAY]),
    st.binary(max_size=60)
    | st.builds(
        lambda sent, at, byte: sent[:at] + bytes([byte]) + sent[at + 1 :],
        WIRE["decimal"] | WIRE["text[]"] | WIRE["int2[]"],
        st.integers(0, 40),
        st.integers(0, 255),
    ),
)
def test_values_of_another_form_are_refused_as_the_reference_does(kind: Kind, sent: bytes) -> None:
    where = (np.frombuffer(sent + bytes(16), dtype=np.uint8), np.array([0]), np.array([len(sent)]), None)
    try:
        data, begin, length = texts.one_by_one(kind, *where)
    except CorruptCopy:
        with pytest.raises(CorruptCopy):
            compiled_texts(kind, *where)
    else:
        written, first, size = compiled_texts(kind, *where)
        assert written[first[0] : first[0] + size[0]].tobytes() == data[begin[0] : begin[0] + length[0]].tobytes()


def test_an_array_may_be_longer_than_all_memory_that_was_there_for_it() -> None:
    fields = [field("a", "text[]"), field("b", "int4")]
    large = array(25, [2], [1], [b'"' * 400_000, None])
    rows = block([[large, struct.pack("!i", 1)], [array(25, [], [], []), None]])
    lines, reference = both(load("CSV")(fields, Output()), rows, fields)
    assert lines == reference
    assert seen(compiled.decode(rows, fields)) == seen(referred(rows, fields))


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
