"""The compiled helper: rows out of libpq, and rows to lines of text. Missing, numpy and polars do the same, slower.

The library is written in Zig (`exporter_image/native`) and called by ctypes. It allocates nothing and keeps nothing:
all memory is given with each call. ADR 0006 says what it saves.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from export_runner.frames.blocks import PADDING, Block, Bytes, CorruptCopy
from export_runner.frames.kinds import Field, Kind

VERSION = 4
"""Of the interface: `export_native_version` in native/zig/library.zig."""
BUFFER = 1024 * 1024
"""Bytes of memory that lines are written to. All pieces have it, as have those that rows are read into, so that each
fits where another was: pieces of several sizes leave gaps, and the process grows with the number of rows."""
SCRATCH = 4 * 1024
"""Bytes of memory for one array's text, at first, and beside what texts will take."""

_KINDS: dict[Kind, int] = {
    Kind.BOOL: 0,
    Kind.INT2: 1,
    Kind.INT4: 2,
    Kind.INT8: 3,
    Kind.OID: 4,
    Kind.FLOAT4: 5,
    Kind.FLOAT8: 6,
    Kind.TEXT: 7,
    Kind.RENDERED: 7,
    Kind.JSON: 8,
    Kind.JSONB: 9,
    Kind.BYTEA: 10,
    Kind.DATE: 11,
    Kind.TIMESTAMP: 12,
    Kind.TIMESTAMPTZ: 13,
    Kind.UUID: 14,
    Kind.NUMERIC: 15,
    Kind.DECIMAL: 16,
    Kind.ARRAY: 17,
}
_NAMES = {number: kind.name for kind, number in _KINDS.items()}
_QUOTING = {"Needed": 0, "Text": 1, "All": 2}
_DONE, _FULL, _FIELD_COUNT, _NEGATIVE_LENGTH, _ROW_END, _WIDTH, _JSONB_VERSION, _BEYOND = range(8)
_DECIMAL, _ARRAY, _SCRATCH = range(8, 11)
_SAID = {
    _FIELD_COUNT: "a row has another number of fields than the query has columns",
    _NEGATIVE_LENGTH: "a field has a negative length",
    _ROW_END: "the fields of a row do not end where the row does",
    _JSONB_VERSION: "jsonb of an unknown version",
    _BEYOND: "a row goes on beyond its block",
    _DECIMAL: "a value of kind DECIMAL is none",
    _ARRAY: "a value of kind ARRAY is none",
}


class _Job(ctypes.Structure):
    """`Job` of native/zig/text.zig."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("data_size", ctypes.c_size_t),
        ("lengths", ctypes.c_void_p),
        ("rows", ctypes.c_size_t),
        ("kinds", ctypes.c_char_p),
        ("fields", ctypes.c_size_t),
        ("keys", ctypes.c_char_p),
        ("key_ends", ctypes.c_void_p),
        ("null_text", ctypes.c_char_p),
        ("null_size", ctypes.c_size_t),
        ("line_end", ctypes.c_char_p),
        ("line_end_size", ctypes.c_size_t),
        ("delimiter", ctypes.c_uint8),
        ("quoting", ctypes.c_uint8),
        ("scratch", ctypes.c_void_p),
        ("scratch_size", ctypes.c_size_t),
        ("out", ctypes.c_void_p),
        ("out_size", ctypes.c_size_t),
        ("row", ctypes.c_size_t),
        ("offset", ctypes.c_size_t),
        ("written", ctypes.c_size_t),
        ("wrong", ctypes.c_uint8),
    )


class _Texts(ctypes.Structure):
    """`Job` of native/zig/texts.zig."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("data_size", ctypes.c_size_t),
        ("rows", ctypes.c_size_t),
        ("valid", ctypes.c_void_p),
        ("begin", ctypes.c_void_p),
        ("length", ctypes.c_void_p),
        ("views", ctypes.c_void_p),
        ("buffer", ctypes.c_uint32),
        ("out", ctypes.c_void_p),
        ("out_size", ctypes.c_size_t),
        ("row", ctypes.c_size_t),
        ("written", ctypes.c_size_t),
        ("kind", ctypes.c_uint8),
    )


@functools.cache
def library() -> ctypes.CDLL | None:
    """The helper, if it was built for this machine. Its functions run without Python's lock."""
    try:
        from export_native import LIBRARY

        loaded = ctypes.CDLL(str(LIBRARY))
        version = ctypes.c_uint32.in_dll(loaded, "export_native_version").value
    except (ImportError, OSError, ValueError):
        return None
    return loaded if version == VERSION else None


def kinds(fields: Sequence[Field]) -> bytes:
    """The columns' kinds, as the helper numbers them."""
    return bytes(_KINDS[field.kind] for field in fields)


def check(status: int, wrong: int) -> None:
    """Raises `CorruptCopy` for what the helper says, unless it is done; `wrong` is its word for a kind."""
    if status != _DONE:
        raise CorruptCopy(_SAID.get(status) or f"a value of kind {_NAMES[wrong]} is not of the kind's length")


def texts(
    kind: Kind,
    data: NDArray[np.uint8],
    begin: NDArray[np.int64],
    length: NDArray[np.int64],
    valid: NDArray[np.bool_] | None,
    *,
    views: tuple[int, NDArray[np.uint64]] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """What `frames.texts.one_by_one` makes of the values, and UUIDs as text as well. Where `library` is there. `views`
    are to become those of the texts, as of the buffer of that number.

    Raises `CorruptCopy`.
    """
    found = library()
    assert found is not None, "the compiled helper is there"
    begin, length = begin.astype(np.int64), length.astype(np.int64)  # copies: they become where the texts are
    job = _Texts(
        data=data.ctypes.data,
        data_size=len(data),
        rows=len(begin),
        valid=None if valid is None else valid.ctypes.data,
        begin=begin.ctypes.data,
        length=length.ctypes.data,
        buffer=0 if views is None else views[0],
        views=None if views is None else views[1].ctypes.data,
        kind=_KINDS[kind],
    )
    out = np.empty(3 * int(length.sum()) + SCRATCH, dtype=np.uint8)  # enough for all but decimals with many zeros
    while True:
        job.out, job.out_size = out.ctypes.data, len(out) - len(PADDING)
        status = found.export_texts(ctypes.byref(job))
        if status != _FULL:
            check(status, _KINDS[kind])
            return out[: job.written + len(PADDING)], begin, length
        out = np.concatenate([out, np.empty_like(out)])


class TextEncoder:
    """Blocks to lines, one a row. For one thread. Make it where `library` is there."""

    def __init__(
        self,
        fields: Sequence[Field],
        *,
        line_end: str,
        keys: Sequence[str] | None = None,
        delimiter: str = ",",
        null_text: str = "",
        quoting: Literal["Needed", "Text", "All"] = "Needed",
        buffer: int = BUFFER,
    ) -> None:
        """JSON with `keys`, which stand before each value; else CSV. Pieces have `buffer` bytes of memory, or what the
        largest row takes."""
        found = library()
        assert found is not None, "the compiled helper is there"
        self._function: Any = found.export_text
        self._buffer = buffer
        self._scratch = np.empty(SCRATCH, dtype=np.uint8)
        encoded = [key.encode() for key in keys or ()]
        self._ends = np.cumsum([len(key) for key in encoded] or [0], dtype=np.uintp)
        null, end = null_text.encode(), line_end.encode()
        self._job = _Job(
            kinds=kinds(fields),
            fields=len(fields),
            keys=None if keys is None else b"".join(encoded),
            key_ends=self._ends.ctypes.data,
            null_text=null,
            null_size=len(null),
            line_end=end,
            line_end_size=len(end),
            delimiter=ord(delimiter),
            quoting=_QUOTING[quoting],
        )

    def block(self, block: Block) -> list[Bytes]:
        """The block's lines, in pieces. Raises `CorruptCopy`."""
        job, pieces = self._job, list[Bytes]()
        out, at = np.empty(self._buffer, dtype=np.uint8), 0
        for chunk in block.chunks:
            data = np.frombuffer(chunk.data, dtype=np.uint8)
            lengths: NDArray[np.int64] = np.ascontiguousarray(chunk.lengths, dtype=np.int64)
            job.data, job.data_size = data.ctypes.data, len(data)
            job.lengths, job.rows = lengths.ctypes.data, len(lengths)
            job.row = job.offset = 0
            while True:
                job.out, job.out_size = out.ctypes.data + at, len(out) - at
                job.scratch, job.scratch_size = self._scratch.ctypes.data, len(self._scratch)
                status = self._function(ctypes.byref(job))
                at += job.written
                if status == _DONE:
                    break
                if status == _SCRATCH:
                    self._scratch = np.empty(2 * len(self._scratch), dtype=np.uint8)
                    continue
                if status != _FULL:
                    check(status, job.wrong)
                if at:
                    pieces.append(out[:at].data)
                # One row may be larger than all that was there.
                out, at = np.empty(self._buffer if at else 2 * len(out), dtype=np.uint8), 0
        pieces.append(out[:at].data)
        return pieces
