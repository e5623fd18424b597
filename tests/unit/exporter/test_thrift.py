"""What is changed is as if it had been written so, all else stays byte for byte: held against a writer of structs."""

import io
from dataclasses import dataclass
from typing import TypeAlias

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_runner.formats import thrift
from export_runner.formats.thrift import BINARY, BYTE, DOUBLE, FALSE, I16, I32, I64, LIST, STRUCT, TRUE

pytestmark = pytest.mark.unit

Value: TypeAlias = "bool | int | bytes | list[Value] | Struct"


@dataclass(frozen=True)
class Struct:
    """Types and values by field number, in ascending order."""

    fields: dict[int, tuple[int, Value]]


def encoded(struct: Struct) -> bytes:
    out, last = b"", 0
    for number, (kind, value) in struct.fields.items():
        short = number - last < 16
        out += bytes([(number - last) << 4 | kind]) if short else bytes([kind]) + thrift.written(number)
        out += b"" if kind in {TRUE, FALSE} else _value(kind, value)
        last = number
    return out + b"\0"


def _value(kind: int, value: Value) -> bytes:
    if isinstance(value, Struct):
        return encoded(value)
    if isinstance(value, list):  # of one type, which is told by the first
        of = _type(value)
        return thrift.head(len(value), of) + b"".join(_value(of, each) for each in value)
    if isinstance(value, bytes):
        return value if kind == DOUBLE else thrift.written(value)
    return bytes([value]) if kind in {BYTE, TRUE} else thrift.written(value)


def _type(items: list[Value]) -> int:
    first = items[0] if items else 0
    return next(of for kind, of in KINDS.items() if isinstance(first, kind))


KINDS: dict[type, int] = {Struct: STRUCT, bytes: BINARY, bool: TRUE, int: I32, list: LIST}
SCALARS: st.SearchStrategy[tuple[int, Value]] = st.one_of(
    st.tuples(st.just(I16), st.integers(-(2**15), 2**15 - 1)),
    st.tuples(st.just(I32), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just(I64), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(BINARY), st.binary(max_size=300)),
    st.tuples(st.just(DOUBLE), st.binary(min_size=8, max_size=8)),
    st.tuples(st.just(BYTE), st.integers(0, 255)),
    st.booleans().map(lambda value: (TRUE if value else FALSE, value)),
    st.lists(st.booleans(), max_size=20).map(lambda items: (LIST, list(items))),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20).map(lambda items: (LIST, list(items))),
    st.lists(st.binary(max_size=5), max_size=20).map(lambda items: (LIST, list(items))),
)


def plain(values: st.SearchStrategy[tuple[int, Value]]) -> st.SearchStrategy[Struct]:
    return st.dictionaries(st.integers(1, 300), values, max_size=5).map(lambda each: Struct(dict(sorted(each.items()))))


def nested(values: st.SearchStrategy[tuple[int, Value]]) -> st.SearchStrategy[tuple[int, Value]]:
    made = plain(values)
    alone: st.SearchStrategy[tuple[int, Value]] = made.map(lambda each: (STRUCT, each))
    listed: st.SearchStrategy[tuple[int, Value]] = st.lists(made, max_size=20).map(lambda items: (LIST, list(items)))
    return alone | listed


STRUCTS = plain(st.recursive(SCALARS, nested, max_leaves=12))


@st.composite
def changed(draw: st.DrawFn, struct: Struct) -> tuple[thrift.Changes, Struct]:
    """Changes to the struct, and the struct with them."""
    changes: dict[int, int | bytes | thrift.Changes] = {}
    fields = dict(struct.fields)
    for number, (kind, value) in struct.fields.items():
        if not draw(st.booleans()):
            continue
        if isinstance(value, Struct):
            changes[number], inner = draw(changed(value))
            fields[number] = (kind, inner)
        elif isinstance(value, list) and value and isinstance(value[0], Struct):
            inner_structs = [each for each in value if isinstance(each, Struct)]
            if all(map(_is_flat, inner_structs)):
                changes[number] = dict.fromkeys(range(1, 301), 7)
                fields[number] = (kind, list(map(_added, inner_structs)))
        elif kind in {I16, I32, I64} and isinstance(value, int) and draw(st.booleans()):
            changes[number] = by = draw(st.integers(0, 2**40))
            fields[number] = (kind, value + by if value else 0)
        elif kind == BINARY:
            other = draw(st.binary(max_size=200))
            changes[number], fields[number] = thrift.written(other), (kind, other)
        elif kind == I64:
            small = draw(st.integers(-100, 100))
            changes[number], fields[number] = thrift.written(small), (kind, small)
    missing = draw(st.sets(st.integers(301, 400), max_size=2))
    return {**changes, **dict.fromkeys(missing, 1)}, Struct(fields)


def _added(struct: Struct) -> Struct:
    """Seven more in every integer that is not 0."""
    added: dict[int, tuple[int, Value]] = {
        number: (kind, value + 7 if value else 0)
        for number, (kind, value) in struct.fields.items()
        if isinstance(value, int)
    }
    return Struct(added)


def _is_flat(struct: Struct) -> bool:
    return all(kind in {I16, I32, I64} for kind, _ in struct.fields.values())


@given(st.data(), STRUCTS)
def test_what_is_changed_is_as_if_it_had_been_written_so(data: st.DataObject, struct: Struct) -> None:
    changes, expected = data.draw(changed(struct))
    assert thrift.rewritten(b"before" + encoded(struct) + b"behind", changes, 6) == encoded(expected)


@given(STRUCTS)
def test_fields_begin_where_their_values_do(struct: Struct) -> None:
    data = encoded(struct)
    found = thrift.fields(data)
    told = {
        number: data[found[number] :].startswith(b"" if kind in {TRUE, FALSE} else _value(kind, value))
        for number, (kind, value) in struct.fields.items()
    }
    assert told == dict.fromkeys(found, True)


@given(STRUCTS.filter(lambda struct: len(struct.fields) > 0))
def test_the_last_field_can_be_left_out_and_no_other(struct: Struct) -> None:
    *others, last = struct.fields
    shorter = Struct({number: struct.fields[number] for number in others})
    assert thrift.rewritten(encoded(struct), {last: thrift.LEFT_OUT}) == encoded(shorter)
    for number in others:
        with pytest.raises(ValueError, match="only the last field"):
            thrift.rewritten(encoded(struct), {number: thrift.LEFT_OUT})


def test_the_footer_of_polars_without_changes_is_kept_byte_for_byte() -> None:
    out = io.BytesIO()
    pl.DataFrame({"a": [1, None], "b": ["x", "y"], "c": [1.5, None]}).write_parquet(out)
    file = out.getvalue()
    footer = file[-8 - int.from_bytes(file[-8:-4], "little") : -8]
    assert thrift.rewritten(footer, {}) == footer


@pytest.mark.parametrize("bytes_", [b"", b"\x18", b"\x18\x05abc", b"\x15", b"\x1c\x15"])
def test_bytes_that_end_too_soon_are_refused(bytes_: bytes) -> None:
    with pytest.raises(IndexError):
        thrift.rewritten(bytes_, {})
    with pytest.raises(IndexError):
        thrift.fields(bytes_)
