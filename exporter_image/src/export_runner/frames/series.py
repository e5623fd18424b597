"""Decoded columns as polars series, over the same memory. Keep what is returned until polars is done (see `arrow`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from export_runner.frames import arrow
from export_runner.frames.compiled import Viewed
from export_runner.frames.decoder import Fixed, Varying
from export_runner.frames.kinds import Kind
from export_runner.frames.text import DAY_US, EPOCH_DAYS

_FORMATS: dict[Kind, bytes] = {
    Kind.INT2: b"s",
    Kind.INT4: b"i",
    Kind.INT8: b"l",
    Kind.OID: b"I",
    Kind.FLOAT4: b"f",
    Kind.FLOAT8: b"g",
    Kind.DATE: b"tdD",
    Kind.TIMESTAMP: b"tsu:",
    Kind.TIMESTAMPTZ: b"tsu:UTC",
}
_INLINE = 12  # bytes that a view holds itself
_SHORT_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], dtype=np.uint64)


def fixed(column: Fixed) -> pl.Series:
    """Booleans, numbers, dates and timestamps as what they are. Dates and timestamps must be finite and fit, and no
    decimal be NaN."""
    values = column.values
    if column.field.kind is Kind.BOOL:
        return arrow.series(b"b", len(values), column.valid, np.packbits(values != 0, bitorder="little"))
    if column.field.kind is Kind.DATE:
        values = values + np.int32(EPOCH_DAYS)
    elif column.field.decimal is not None:
        return arrow.series(b"d:%d,%d" % column.field.decimal, len(values), column.valid, values)
    elif column.field.kind in {Kind.TIMESTAMP, Kind.TIMESTAMPTZ}:
        values = values + np.int64(EPOCH_DAYS * DAY_US)
    return arrow.series(_FORMATS[column.field.kind], len(values), column.valid, np.ascontiguousarray(values))


def strings(column: Varying | Viewed) -> pl.Series:
    """Values as text; the bytes must be UTF-8, which polars does not check."""
    return _views(b"vu", column)


def binary(column: Varying | Viewed) -> pl.Series:
    """Values as byte strings."""
    return _views(b"vz", column)


def _views(arrow_format: bytes, column: Varying | Viewed) -> pl.Series:
    seen = column if isinstance(column, Viewed) else Viewed(column.field, views(column), (column.data,), column.valid)
    sizes = np.array([len(each) for each in seen.buffers], dtype=np.int64)
    return arrow.series(arrow_format, len(seen.views), seen.valid, seen.views, *seen.buffers, sizes)


def views(column: Varying) -> NDArray[np.uint64]:
    """arrow.apache.org/docs/format/Columnar.html, "Variable-size Binary View Layout", little-endian."""
    begin = column.begin if column.valid is None else np.where(column.valid, column.begin, 0)
    length = column.length
    head = _raw(column.data, "<u4", begin).astype(np.uint64) & _SHORT_MASKS[np.minimum(length, 4)]
    tail = _raw(column.data, "<u8", begin + 4) & _SHORT_MASKS[np.clip(length - 4, 0, 8)]
    made = np.empty((len(begin), 2), dtype=np.uint64)
    made[:, 0] = length.astype(np.uint64) | (head << np.uint64(32))
    made[:, 1] = np.where(length <= _INLINE, tail, begin.astype(np.uint64) << np.uint64(32))
    return made


def _raw(data: NDArray[np.uint8], dtype: str, positions: NDArray[np.int64]) -> NDArray[Any]:
    width = np.dtype(dtype).itemsize
    every: NDArray[Any] = np.ndarray((len(data) - width + 1,), dtype=dtype, buffer=data, strides=(1,))
    return every[positions]
