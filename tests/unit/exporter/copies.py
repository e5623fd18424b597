"""COPY BINARY, as PostgreSQL writes it, made by psycopg's own dumpers: the decoder's oracle."""

import struct
from collections.abc import Sequence

import numpy as np

from export_runner.frames.blocks import Block, Chunk
from export_runner.frames.kinds import Field


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
}  # fmt: skip


def field(name: str, type_name: str, modifier: int = -1) -> Field:
    return Field(name, type_name, OIDS[type_name], modifier)
