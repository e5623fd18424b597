"""Thrift's compact protocol, as far as Parquet's footer needs it: some values are changed, all else is copied as it is.

github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md. Whatever is not known here is kept. All
functions raise IndexError and ValueError for bytes that are not what they should be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)

LEFT_OUT: Final = b""
"""Instead of the last field of a struct."""

Changes: TypeAlias = "Mapping[int, int | bytes | Changes]"
"""By a field's number: what is added to an integer, unless that is 0; what stands instead of the value; or what changes
within a struct, or within each struct of a list."""


def rewritten(data: bytes, changes: Changes, at: int = 0) -> bytes:
    """The struct that begins at `at`, with changes to the fields that it has."""
    out = bytearray()
    _rewrite(out, data, at, changes)
    return bytes(out)


def fields(data: bytes) -> dict[int, int]:
    """Where the values of the struct's fields begin, by their numbers."""
    found, number, at = dict[int, int](), 0, 0
    while header := data[at]:
        number, at = _number(data, at, number)
        found[number] = at
        at = _behind(data, at, header & 15)
    return found


def items(data: bytes, at: int) -> tuple[int, int]:
    """How many items the list has that begins at `at`, and where the first of them begins."""
    count = data[at] >> 4
    return (count, at + 1) if count < 15 else varint(data, at + 1)


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The integer of no sign that begins at `at`, and where what follows it begins."""
    value = shift = 0
    while (byte := data[at]) > 0x7F:
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
    return value | byte << shift, at + 1


def integer(data: bytes, at: int) -> tuple[int, int]:
    """The integer that begins at `at`, and where what follows it begins."""
    value, at = varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def written(value: int | bytes) -> bytes:
    """A value as `Changes` has it."""
    out = bytearray()
    if isinstance(value, int):
        _put_varint(out, value << 1 if value >= 0 else (-value << 1) - 1)
    else:
        _put_varint(out, len(value))
        out += value
    return bytes(out)


def head(count: int, item_type: int) -> bytes:
    """What a list begins with."""
    out = bytearray([min(count, 15) << 4 | item_type])
    if count >= 15:
        _put_varint(out, count)
    return bytes(out)


def _rewrite(out: bytearray, data: bytes, at: int, changes: Changes) -> int:
    """Says where the struct ends."""
    kept, number = at, 0  # what is before `kept` has been copied
    while header := data[at]:
        begin, kind = at, header & 15
        number, at = _number(data, at, number)
        change = changes.get(number)
        if change is None:
            at = _behind(data, at, kind)
            continue
        out += data[kept : begin if change == LEFT_OUT else at]
        if isinstance(change, int):
            value, at = integer(data, at)
            out += written(value + change if value else 0)
        elif isinstance(change, bytes):
            at = _behind(data, at, kind)
            out += change
            if change == LEFT_OUT and data[at]:
                raise ValueError("only the last field can be left out")
        elif kind == LIST:
            count, first = items(data, at)
            out += data[at:first]
            at = first
            for _ in range(count):
                at = _rewrite(out, data, at, change)
        else:
            at = _rewrite(out, data, at, change)
        kept = at
    out += data[kept : at + 1]
    return at + 1


def _number(data: bytes, at: int, last: int) -> tuple[int, int]:
    """Of the field that begins at `at`, behind that of number `last`; and where its value begins."""
    delta = data[at] >> 4
    return (last + delta, at + 1) if delta else integer(data, at + 1)


def _behind(data: bytes, at: int, kind: int) -> int:
    """Where what follows a field's value begins."""
    if I16 <= kind <= I64:
        while data[at] > 0x7F:
            at += 1
        return at + 1
    if kind == BINARY:
        size, at = varint(data, at)
        return at + size
    if kind == STRUCT:
        while header := data[at]:
            at = at + 1 if header > 0xF else _behind(data, at + 1, I16)
            at = _behind(data, at, header & 0xF)
        return at + 1
    if kind in {LIST, SET}:
        item_type = data[at] & 15
        count, at = items(data, at)
        for _ in range(count):
            at = at + 1 if item_type in {TRUE, FALSE} else _behind(data, at, item_type)
        return at
    if kind in {TRUE, FALSE}:  # the field's type is its value
        return at
    if kind in {BYTE, DOUBLE}:
        return at + (1 if kind == BYTE else 8)
    raise ValueError(f"type {kind} does not occur in Parquet's metadata")


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
