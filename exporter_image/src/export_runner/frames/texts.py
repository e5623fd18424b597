"""Decimals and arrays, which arrive in binary, as PostgreSQL writes them, one value at a time: for where the compiled
helper, whose `native.texts` does the same, is missing."""

from __future__ import annotations

import math
import re
import struct
import uuid
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from export_runner.frames.blocks import PADDING, CorruptCopy
from export_runner.frames.kinds import Kind

LONGEST_DECIMAL = 64
"""Bytes that the text of a decimal takes at most, and what is cut off of its last digit."""
_WORDS = {0xC000: b"NaN", 0xD000: b"Infinity", 0xF000: b"-Infinity"}
_NEGATIVE = 0x4000
_PER_DIGIT = 4  # decimal digits to one of numeric
_MOST_DIMENSIONS = 6
_IS_NONE = "a value of kind {} is none"
_BARE = re.compile(rb'[^"\\{},\s]+')
_ESCAPED = re.compile(rb'["\\]')

Texts = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]
"""The data of a `Varying`, where values begin in it, and how long they are."""


def one_by_one(
    kind: Kind,
    data: NDArray[np.uint8],
    begin: NDArray[np.int64],
    length: NDArray[np.int64],
    valid: NDArray[np.bool_] | None,
) -> Texts:
    """The texts of values that are slices of `data`: what the compiled helper is held against. Raises `CorruptCopy`."""
    write = _WRITERS[kind]
    ends = begin + length
    there = [True] * len(begin) if valid is None else valid.tolist()
    try:
        made = [
            write(data[a:b].tobytes()) if known else b""
            for a, b, known in zip(begin.tolist(), ends.tolist(), there, strict=True)
        ]
    except struct.error:
        raise CorruptCopy(_IS_NONE.format(kind.name)) from None
    sizes = np.array([len(each) for each in made], dtype=np.int64)
    everything = np.frombuffer(b"".join((*made, PADDING)), dtype=np.uint8)
    return everything, np.cumsum(sizes) - sizes, sizes


def _decimal(sent: bytes) -> bytes:
    """numeric.c: `numeric_send`, and `get_str_from_var`."""
    count, weight, sign, scale = struct.unpack_from("!HhHH", sent)
    digits = struct.unpack(f"!{count}H", sent[8:])
    if sign in _WORDS:
        return _WORDS[sign]
    before = weight + 1  # the point
    if sign not in {0, _NEGATIVE} or max(_PER_DIGIT * before, 1) + scale + 2 + _PER_DIGIT > LONGEST_DECIMAL:
        raise CorruptCopy(_IS_NONE.format("DECIMAL"))

    def digit(at: int) -> int:
        value = digits[at] if 0 <= at < count else 0  # those that are not sent are zero
        if value >= 10**_PER_DIGIT:
            raise CorruptCopy(_IS_NONE.format("DECIMAL"))
        return value

    text = ("-" if sign else "") + str(digit(0) if before > 0 else 0)
    text += "".join(f"{digit(at):04d}" for at in range(1, before))
    if scale:
        behind = range(before, before - (-scale // _PER_DIGIT))
        text += "." + "".join(f"{digit(at):04d}" for at in behind)[:scale]
    return text.encode()


def _array(sent: bytes) -> bytes:
    """arrayfuncs.c: `array_send`, and `array_out`."""
    dimensions, _, oid = struct.unpack_from("!iiI", sent)
    write = _ELEMENTS.get(oid)
    if write is None or not 0 <= dimensions <= _MOST_DIMENSIONS:
        raise CorruptCopy(_IS_NONE.format("ARRAY"))
    bounds = [struct.unpack_from("!ii", sent, 12 + 8 * number) for number in range(dimensions)]
    if any(size < 1 for size, _ in bounds):
        raise CorruptCopy(_IS_NONE.format("ARRAY"))
    at = 12 + 8 * dimensions
    texts: list[bytes] = []
    for _ in range(math.prod(size for size, _ in bounds) if bounds else 0):
        (size,) = struct.unpack_from("!i", sent, at)
        at += 4
        if size < -1 or at + size > len(sent):
            raise CorruptCopy(_IS_NONE.format("ARRAY"))
        texts.append(b"NULL" if size == -1 else write(sent[at : at + size]))
        at += max(size, 0)
    if at != len(sent):
        raise CorruptCopy(_IS_NONE.format("ARRAY"))
    for size, _ in reversed(bounds):
        texts = [b"{" + b",".join(texts[first : first + size]) + b"}" for first in range(0, len(texts), size)]
    text = texts[0] if texts else b"{}"
    if all(first == 1 for _, first in bounds):
        return text
    return b"".join(f"[{first}:{first + size - 1}]".encode() for size, first in bounds) + b"=" + text


def _quoted(value: bytes) -> bytes:
    if _BARE.fullmatch(value) and value.upper() != b"NULL":
        return value
    return b'"' + _ESCAPED.sub(rb"\\\g<0>", value) + b'"'


def _integer(layout: str) -> Callable[[bytes], bytes]:
    return lambda value: str(*struct.unpack(layout, value)).encode()


def _uuid(value: bytes) -> bytes:
    (found,) = struct.unpack("!16s", value)
    return str(uuid.UUID(bytes=found)).encode()


_ELEMENTS: dict[int, Callable[[bytes], bytes]] = {
    16: lambda value: b"t" if struct.unpack("!?", value)[0] else b"f",
    20: _integer("!q"),
    21: _integer("!h"),
    23: _integer("!i"),
    25: _quoted,
    26: _integer("!I"),
    1042: _quoted,
    1043: _quoted,
    2950: _uuid,
}
"""By the OID of their type: `kinds` has those of the arrays."""

_WRITERS: dict[Kind, Callable[[bytes], bytes]] = {Kind.DECIMAL: _decimal, Kind.ARRAY: _array}
