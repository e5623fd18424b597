"""COPY BINARY, as PostgreSQL writes it, made by psycopg's own dumpers: the decoder's oracle."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from psycopg.adapt import PyFormat, Transformer

from export_runner.frames.blocks import Block, Chunk
from export_runner.frames.kinds import Field

TRANSFORMER = Transformer()


def dumped(value: Any) -> bytes:
    """A value in its binary form."""
    made = TRANSFORMER.get_dumper(value, PyFormat.BINARY).dump(value)
    assert made is not None
    return bytes(made)


def array(oid: int, shape: Sequence[int], firsts: Sequence[int], values: Sequence[bytes | None]) -> bytes:
    """An array of elements of type `oid`, so many in each dimension, which begins at `firsts`: as `array_send` does."""
    head = struct.pack("!iiI", len(shape), None in values, oid)
    bounds = [struct.pack("!ii", size, first) for size, first in zip(shape, firsts, strict=True)]
    sent = [struct.pack("!i", -1) if each is None else struct.pack("!i", len(each)) + each for each in values]
    return head + b"".join([*bounds, *sent])


def block(rows: Sequence[Sequence[bytes | None]]) -> Block:
    """Rows of values in their binary form."""
    made = [
        struct.pack("!h", len(row))
        + b"".join(struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value for value in row)
        for row in rows
    ]
    return whole(b"".join(made), [len(row) for row in made])


def whole(data: bytes, lengths: Sequence[int]) -> Block:
    """A block that came in one chunk."""
    return Block([Chunk(data, np.array(lengths, dtype=np.int64))], 0)


OIDS = {
    "bool": 16, "bytea": 17, "int8": 20, "int2": 21, "int4": 23, "text": 25, "oid": 26, "json": 114, "float4": 700,
    "float8": 701, "date": 1082, "timestamp": 1114, "timestamptz": 1184, "numeric": 1700, "uuid": 2950, "jsonb": 3802,
    "bool[]": 1000, "int2[]": 1005, "int4[]": 1007, "text[]": 1009, "int8[]": 1016, "oid[]": 1028, "uuid[]": 2951,
}  # fmt: skip


def field(name: str, type_name: str, modifier: int = -1) -> Field:
    return Field(name, type_name, OIDS[type_name], modifier)


def decimal(name: str, precision: int, scale: int) -> Field:
    return field(name, "numeric", ((precision << 16) | scale) + 4)
