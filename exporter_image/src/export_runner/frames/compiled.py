"""Blocks to columns by the compiled helper. Missing, `decoder.decode` makes the same with numpy, slower."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export_runner.frames import native
from export_runner.frames.blocks import Block
from export_runner.frames.decoder import WIRE, Fixed
from export_runner.frames.kinds import Field, Kind

PLACES = 2048
"""Values whose places are found before they are taken, column by column: what that needs stays in the processor's
nearest cache."""
_TEXTS = frozenset({Kind.ARRAY, Kind.UUID})
"""What `native.texts` makes text of."""


@dataclass(frozen=True, slots=True)
class Viewed:
    """Texts, or byte strings, as Arrow's views of `buffers`; see `series.views`. NULL has length 0."""

    field: Field
    views: NDArray[np.uint64]
    buffers: tuple[NDArray[np.uint8], ...]
    valid: NDArray[np.bool_] | None


class _Column(ctypes.Structure):
    """`Column` of native/zig/columns.zig."""

    _fields_ = (
        ("valid", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("views", ctypes.c_void_p),
        ("begin", ctypes.c_void_p),
        ("length", ctypes.c_void_p),
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
        ("first", ctypes.c_size_t),
        ("buffer", ctypes.c_uint32),
        ("places", ctypes.c_void_p),
        ("places_size", ctypes.c_size_t),
        ("wrong", ctypes.c_uint8),
    )


def decode(block: Block, fields: Sequence[Field]) -> list[Fixed | Viewed]:
    """The block's columns, as `decoder.decode` gives them, but for decimals, which are numbers (see `decoder.Fixed`),
    and for texts, which are views of the chunks as they came, and UUIDs, which are texts. Where `native.library` is
    there.

    Raises `CorruptCopy`.
    """
    found = native.library()
    assert found is not None, "the compiled helper is there"
    arrays = [_arrays(field, block.rows) for field in fields]
    columns = (_Column * len(fields))(
        *(
            _Column(**{name: array.ctypes.data for name, array in each.items()}, scale=(field.decimal or (0, 0))[1])
            for field, each in zip(fields, arrays, strict=True)
        )
    )
    places = np.empty(max(PLACES, len(fields)), dtype=np.uint64)
    job = _Job(
        kinds=native.kinds(fields),
        fields=len(fields),
        columns=ctypes.addressof(columns),
        places=places.ctypes.data,
        places_size=len(places),
    )
    chunks: list[tuple[NDArray[np.uint8], slice]] = []
    for chunk in block.chunks:
        data = np.frombuffer(chunk.data, dtype=np.uint8)
        lengths: NDArray[np.int64] = np.ascontiguousarray(chunk.lengths, dtype=np.int64)
        job.data, job.data_size, job.buffer = data.ctypes.data, len(data), len(chunks)
        job.lengths, job.rows = lengths.ctypes.data, len(lengths)
        native.check(found.export_columns(ctypes.byref(job)), job.wrong)
        chunks.append((data, slice(job.first, job.first + chunk.rows)))
        job.first += chunk.rows
    return [_column(*each, chunks) for each in zip(fields, arrays, columns, strict=True)]


def _arrays(field: Field, rows: int) -> dict[str, NDArray[Any]]:
    made: dict[str, NDArray[Any]] = {"valid": np.empty(rows, dtype=np.bool_)}
    if (wire := WIRE.get(field.kind)) is not None:
        return made | {"values": np.empty(rows, dtype=np.dtype(wire).newbyteorder("="))}
    if field.kind is Kind.DECIMAL:
        return made | {"values": np.empty((rows, 2), dtype=np.uint64)}
    if field.kind in _TEXTS:
        made |= {"begin": np.empty(rows, dtype=np.int64), "length": np.empty(rows, dtype=np.int64)}
    return made | {"views": np.empty((rows, 2), dtype=np.uint64)}


def _column(
    field: Field, arrays: dict[str, NDArray[Any]], told: _Column, chunks: Sequence[tuple[NDArray[np.uint8], slice]]
) -> Fixed | Viewed:
    valid = arrays["valid"] if told.nulls else None
    if "values" in arrays:
        return Fixed(field, arrays["values"], valid)
    views = arrays["views"]
    if "begin" not in arrays:
        return Viewed(field, views, tuple(data for data, _ in chunks), valid)
    texts = [
        native.texts(
            field.kind,
            data,
            arrays["begin"][rows],
            arrays["length"][rows],
            None if valid is None else valid[rows],
            views=(number, views[rows]),
        )[0]
        for number, (data, rows) in enumerate(chunks)
    ]
    return Viewed(field, views, tuple(texts), valid)
