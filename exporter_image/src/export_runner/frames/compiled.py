"""Blocks to columns by the compiled helper. Missing, `decoder.decode` makes the same with numpy, slower."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export_runner.frames import native
from export_runner.frames.blocks import Block
from export_runner.frames.decoder import WIRE, Column, Fixed, Varying, legible
from export_runner.frames.kinds import Field, Kind


class _Column(ctypes.Structure):
    """`Column` of native/zig/columns.zig."""

    _fields_ = (
        ("valid", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("begin", ctypes.c_void_p),
        ("length", ctypes.c_void_p),
        ("views", ctypes.c_void_p),
        ("nulls", ctypes.c_size_t),
        ("scale", ctypes.c_size_t),
    )


class _Job(ctypes.Structure):
    """`Job` of native/zig/columns.zig."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("data_size", ctypes.c_size_t),
        ("lengths", ctypes.c_void_p),
        ("rows", ctypes.c_size_t),
        ("kinds", ctypes.c_char_p),
        ("fields", ctypes.c_size_t),
        ("columns", ctypes.c_void_p),
        ("wrong", ctypes.c_uint8),
    )


def decode(block: Block, fields: Sequence[Field]) -> list[Column]:
    """The block's columns, as `decoder.decode` gives them, with views; decimals as such, see `decoder.Fixed`. Where
    `native.library` is there.

    Raises `CorruptCopy`.
    """
    found = native.library()
    assert found is not None, "the compiled helper is there"
    data = np.frombuffer(block.data, dtype=np.uint8)
    lengths: NDArray[np.int64] = np.ascontiguousarray(block.lengths, dtype=np.int64)
    arrays = [_arrays(field, len(lengths)) for field in fields]
    columns = (_Column * len(fields))(
        *(
            _Column(**{name: array.ctypes.data for name, array in each.items()}, scale=(field.decimal or (0, 0))[1])
            for field, each in zip(fields, arrays, strict=True)
        )
    )
    job = _Job(
        data=data.ctypes.data,
        data_size=len(data),
        lengths=lengths.ctypes.data,
        rows=len(lengths),
        kinds=native.kinds(fields),
        fields=len(fields),
        columns=ctypes.addressof(columns),
    )
    native.check(found.export_columns(ctypes.byref(job)), job.wrong)
    return [_column(*each, data) for each in zip(fields, arrays, columns, strict=True)]


def _arrays(field: Field, rows: int) -> dict[str, NDArray[Any]]:
    made: dict[str, NDArray[Any]] = {"valid": np.empty(rows, dtype=np.bool_)}
    if (wire := WIRE.get(field.kind)) is not None:
        return made | {"values": np.empty(rows, dtype=np.dtype(wire).newbyteorder("="))}
    if field.kind is Kind.DECIMAL:
        return made | {"values": np.empty((rows, 2), dtype=np.uint64)}
    return made | {
        "begin": np.empty(rows, dtype=np.int64),
        "length": np.empty(rows, dtype=np.int64),
        "views": np.empty((rows, 2), dtype=np.uint64),
    }


def _column(field: Field, arrays: dict[str, NDArray[Any]], told: _Column, data: NDArray[np.uint8]) -> Column:
    valid = arrays["valid"] if told.nulls else None
    if "values" in arrays:
        return Fixed(field, arrays["values"], valid)
    return legible(Varying(field, data, arrays["begin"], arrays["length"], valid, arrays["views"]))
