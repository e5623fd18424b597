"""A block's bytes into columns, by numpy alone: no step of Python a row.

COPY BINARY (postgresql.org/docs/current/sql-copy.html, "Binary Format"): a row is a 16-bit count of fields, then for
each field a 32-bit length, -1 for NULL, and so many bytes. Where a row begins is known from its length, so the fields
of all rows are found column by column: the next field begins where the one before ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export_runner.frames import native, texts
from export_runner.frames.blocks import Block, CorruptCopy
from export_runner.frames.kinds import WIDTHS, WRITTEN, Field, Kind

WIRE: dict[Kind, str] = {
    Kind.BOOL: "u1",
    Kind.INT2: ">i2",
    Kind.INT4: ">i4",
    Kind.INT8: ">i8",
    Kind.OID: ">u4",
    Kind.FLOAT4: ">f4",
    Kind.FLOAT8: ">f8",
    Kind.DATE: ">i4",  # days since 2000-01-01
    Kind.TIMESTAMP: ">i8",  # microseconds since 2000-01-01
    Kind.TIMESTAMPTZ: ">i8",  # likewise, in UTC
}
_JSONB_VERSION = 1  # jsonb_send, src/backend/utils/adt/jsonb.c


@dataclass(frozen=True, slots=True)
class Fixed:
    """Values of one width, in native byte order. Where `valid` is False the value means nothing.

    Decimals are whole numbers of 128 bits, as two of 64, the lower first: the value times ten to the power of the
    column's scale. Only the compiled helper makes these.
    """

    field: Field
    values: NDArray[Any]
    valid: NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True)
class Varying:
    """Values as slices of `data`, which goes on for at least 16 bytes after each `begin`. NULL has length 0."""

    field: Field
    data: NDArray[np.uint8]
    begin: NDArray[np.int64]
    length: NDArray[np.int64]
    valid: NDArray[np.bool_] | None


Column = Fixed | Varying


SLICE_BYTES = 1024 * 1024
"""So much is decoded and encoded at once where the format allows it: what numpy and polars make of it stays in the
processor's cache and takes little memory. Measured best of 256 KiB to 8 MiB."""


def decode(block: Block, fields: Sequence[Field]) -> list[Column]:
    """The block's columns. They refer to the block's bytes. Raises `CorruptCopy`."""
    ends = np.cumsum(block.lengths)
    return list(_columns(block, fields, ends - block.lengths, ends))


def slices(block: Block, fields: Sequence[Field], slice_bytes: int = SLICE_BYTES) -> Iterator[list[Column]]:
    """The same, some rows at a time, in order: at least one row, and more up to `slice_bytes`. Raises `CorruptCopy`."""
    ends = np.cumsum(block.lengths)
    starts = ends - block.lengths
    first = 0
    while first < block.rows:
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + slice_bytes, side="right")))
        yield list(_columns(block, fields, starts[first:last], ends[first:last]))
        first = last


def _columns(
    block: Block, fields: Sequence[Field], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> Iterator[Column]:
    data = np.frombuffer(block.data, dtype=np.uint8)
    if (_gather(data, ">i2", starts) != len(fields)).any():
        raise CorruptCopy("a row has another number of fields than the query has columns")
    position = starts + 2
    for field in fields:
        length = _gather(data, ">i4", position).astype(np.int64)
        if (length < -1).any():
            raise CorruptCopy("a field has a negative length")
        present = length >= 0
        valid = None if present.all() else present
        begin = position + 4
        length = np.maximum(length, 0)
        position = begin + length
        yield _column(field, data, begin, length, valid)
    if (position != ends).any():
        raise CorruptCopy("the fields of a row do not end where the row does")


def _gather(data: NDArray[np.uint8], dtype: str, positions: NDArray[np.int64]) -> NDArray[Any]:
    """Values at any byte positions, aligned or not. Raises IndexError beyond the end, never reads there."""
    width = np.dtype(dtype).itemsize
    every: NDArray[Any] = np.ndarray((len(data) - width + 1,), dtype=dtype, buffer=data, strides=(1,))
    return every[positions]


def _column(
    field: Field,
    data: NDArray[np.uint8],
    begin: NDArray[np.int64],
    length: NDArray[np.int64],
    valid: NDArray[np.bool_] | None,
) -> Column:
    kind = field.kind
    if (width := WIDTHS.get(kind)) is not None:
        wrong = length != width
        if (wrong if valid is None else wrong & valid).any():
            raise CorruptCopy(f"a value of kind {kind.name} is not {width} bytes long")
        if kind is not Kind.UUID:
            wire = _gather(data, WIRE[kind], begin if valid is None else np.where(valid, begin, 0))
            return Fixed(field, wire.astype(wire.dtype.newbyteorder("=")), valid)
    if kind is Kind.JSONB:
        version = _gather(data, "u1", begin) != _JSONB_VERSION
        if (version if valid is None else version & valid).any():
            raise CorruptCopy("jsonb of an unknown version")
        begin, length = begin + 1, np.maximum(length - 1, 0)
    if kind in WRITTEN:
        write = texts.one_by_one if native.library() is None else native.texts
        data, begin, length = write(kind, data, begin, length, valid)
    return Varying(field, data, begin, length, valid)
