"""Thrift's compact protocol, as far as Parquet's footer needs it: read into a tree, changed, written back.

github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md. Nothing is lost that was read: a field that
is not known here is kept with its number and type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)

Value: TypeAlias = "bool | int | bytes | List | Written | Struct"


@dataclass(slots=True)
class List:
    """Items of one type."""

    item_type: int
    items: list[Value]


@dataclass(slots=True)
class Written:
    """Items of one type that have been written already, one after the other. Only for what is to be written."""

    item_type: int
    count: int
    items: bytes | bytearray


@dataclass(slots=True)
class Struct:
    """Fields by number, each with its type, in ascending order."""

    fields: dict[int, tuple[int, Value]]

    def integer(self, number: int) -> int:
        """Raises KeyError without the field, TypeError for another type."""
        value = self.fields[number][1]
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"field {number} is no integer")
        return value

    def shift(self, number: int, by: int) -> None:
        """Adds to an integer field, if there is one."""
        if number in self.fields:
            self.fields[number] = (self.fields[number][0], self.integer(number) + by)

    def set(self, number: int, kind: int, value: Value) -> None:
        """A new value; a new field takes its place in the order."""
        self.fields[number] = (kind, value)
        self.fields = dict(sorted(self.fields.items()))

    def structs(self, number: int) -> list[Struct]:
        """The items of a list of structs. Raises KeyError and TypeError likewise."""
        value = self.fields[number][1]
        if not isinstance(value, List):
            raise TypeError(f"field {number} is no list")
        return [item for item in value.items if isinstance(item, Struct)]

    def struct(self, number: int) -> Struct:
        """Raises KeyError and TypeError likewise."""
        value = self.fields[number][1]
        if not isinstance(value, Struct):
            raise TypeError(f"field {number} is no struct")
        return value


class Reader:
    """Raises IndexError and ValueError for bytes that are not what they should be."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self) -> Struct:
        # Most fields are here: one byte that says which, and an integer of one or of a few.
        data, fields, number = self._data, dict[int, tuple[int, Value]](), 0
        while header := data[self._at]:
            self._at += 1
            kind = header & 15
            number = number + (header >> 4) if header > 15 else self._zigzag()
            if I16 <= kind <= I64:
                value = data[self._at]
                if value < 0x80:
                    self._at += 1
                    fields[number] = (kind, value >> 1 ^ -(value & 1))
                else:
                    fields[number] = (kind, self._zigzag())
            else:
                fields[number] = (kind, kind == TRUE if kind <= FALSE else self._value(kind))
        self._at += 1
        return Struct(fields)

    def _value(self, kind: int) -> Value:
        if kind == STRUCT:
            return self.struct()
        if kind == BINARY:
            return self._take(self._varint())
        if kind in {LIST, SET}:
            header = self._byte()
            count = header >> 4 if header >> 4 < 15 else self._varint()
            return List(header & 15, [self._value(header & 15) for _ in range(count)])
        if kind in {I16, I32, I64}:
            return self._zigzag()
        if kind == DOUBLE:
            return self._take(8)
        if kind == BYTE:
            return self._byte()
        if kind in {TRUE, FALSE}:
            return self._byte() == TRUE
        raise ValueError(f"type {kind} does not occur in Parquet's metadata")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _take(self, count: int) -> bytes:
        self._at += count
        if self._at > len(self._data):
            raise IndexError("the bytes end too soon")
        return self._data[self._at - count : self._at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def write(struct: Struct) -> bytes:
    """The struct as the reader read it."""
    out = bytearray()
    _write_struct(out, struct)
    return bytes(out)


def _write_struct(out: bytearray, struct: Struct) -> None:
    last = 0
    for number, (kind, value) in struct.fields.items():
        wire = (TRUE if value else FALSE) if kind in {TRUE, FALSE} else kind
        if 0 < number - last < 16:
            out.append((number - last) << 4 | wire)
        else:
            out.append(wire)
            _write_varint(out, _zigzagged(number))
        last = number
        if kind not in {TRUE, FALSE}:
            _write_value(out, kind, value)
    out.append(0)


def _write_value(out: bytearray, kind: int, value: Value) -> None:
    if isinstance(value, Struct):
        _write_struct(out, value)
    elif isinstance(value, Written):
        _write_head(out, value.item_type, value.count)
        out += value.items
    elif isinstance(value, List):
        _write_head(out, value.item_type, len(value.items))
        for item in value.items:
            _write_value(out, value.item_type, item)
    elif isinstance(value, bytes):
        if kind == BINARY:
            _write_varint(out, len(value))
        out += value
    elif kind in {TRUE, FALSE}:
        out.append(TRUE if value else FALSE)
    elif kind == BYTE:
        out.append(value)
    else:
        _write_varint(out, _zigzagged(value))


def _write_head(out: bytearray, item_type: int, count: int) -> None:
    out.append(min(count, 15) << 4 | item_type)
    if count >= 15:
        _write_varint(out, count)


def _zigzagged(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _write_varint(out: bytearray, value: int) -> None:
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
