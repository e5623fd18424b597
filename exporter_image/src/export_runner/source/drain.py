"""Rows out of libpq, as many as there are: compiled, or by psycopg one at a time."""

from __future__ import annotations

import ctypes
from typing import Any, Protocol

import numpy as np
import psycopg
from psycopg import pq

from export_runner.frames import native
from export_runner.frames.blocks import Chunk

CHUNK_BYTES = 1024 * 1024
CHUNK_ROWS = 8192
"""A chunk ends at either; both only bound memory and latency, nothing of them shows in the output."""


class Drain(Protocol):
    """What arrived and was not taken yet. Messages of COPY are rows, but for what stands before and behind them."""

    @property
    def rows(self) -> int: ...

    def fill(self) -> int:
        """1 when a chunk is full, 0 when nothing more is there yet, -1 at the end. Raises `psycopg.Error`."""

    def take(self) -> Chunk: ...

    def close(self) -> None:
        """Lets go of what was not taken."""


class PythonDrain:
    """By psycopg alone."""

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self._pgconn = pgconn
        self._pieces: list[bytes | memoryview] = []
        self._size = 0

    @property
    def rows(self) -> int:
        return len(self._pieces)

    def fill(self) -> int:
        get, pieces, size = self._pgconn.get_copy_data, self._pieces, self._size
        while size < CHUNK_BYTES and len(pieces) < CHUNK_ROWS:
            length, data = get(1)
            if length <= 0:
                self._size = size
                return -1 if length < 0 else 0
            pieces.append(data)
            size += length
        return 1

    def take(self) -> Chunk:
        pieces, self._pieces, self._size = self._pieces, [], 0
        return Chunk(b"".join(pieces), np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces)))

    def close(self) -> None:
        self._pieces = []


class _Drain(ctypes.Structure):
    """`Drain` of native/zig/rows.zig."""

    _fields_ = (
        ("get", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
        ("connection", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("out_size", ctypes.c_size_t),
        ("lengths", ctypes.c_void_p),
        ("most_rows", ctypes.c_size_t),
        ("written", ctypes.c_size_t),
        ("rows", ctypes.c_size_t),
        ("pending", ctypes.c_void_p),
        ("pending_size", ctypes.c_size_t),
        ("said", ctypes.c_int),
    )


class NativeDrain:
    """By the compiled helper, which calls the libpq that psycopg has loaded. Holds Python's lock meanwhile, as psycopg
    does, so that nobody closes the connection under it."""

    def __init__(self, pgconn: pq.abc.PGconn, helper: str, libpq: str) -> None:
        self._pgconn: Any = pgconn  # its pointer is psycopg's own, and in no protocol
        self._function: Any = ctypes.PyDLL(helper).export_drain
        functions = ctypes.PyDLL(libpq)
        self._free: Any = functions.PQfreemem
        self._out = np.empty(CHUNK_BYTES, dtype=np.uint8)
        self._lengths = np.empty(CHUNK_ROWS, dtype=np.int64)
        self._state = _Drain(
            get=ctypes.cast(functions.PQgetCopyData, ctypes.c_void_p),
            free=ctypes.cast(self._free, ctypes.c_void_p),
            lengths=self._lengths.ctypes.data,
            most_rows=CHUNK_ROWS,
        )

    @property
    def rows(self) -> int:
        return int(self._state.rows)

    def fill(self) -> int:
        state = self._state
        while True:
            if (connection := self._pgconn.pgconn_ptr) is None:
                raise psycopg.OperationalError("the connection is closed")
            state.connection, state.out, state.out_size = connection, self._out.ctypes.data, len(self._out)
            full: int = self._function(ctypes.byref(state))
            if full != 1:
                break
            if state.rows:
                return 1
            self._out = np.empty(state.pending_size, dtype=np.uint8)  # one row is larger than a chunk
        if state.said == -2:  # as psycopg says it
            raise psycopg.OperationalError(f"getting copy data: {self._pgconn.error_message.decode(errors='replace')}")
        return -1 if state.said < 0 else 0

    def take(self) -> Chunk:
        state = self._state
        data: bytes | memoryview = self._out[: state.written].data
        full = 2 * state.written > len(self._out)
        if not full:
            data = bytes(data)
        if full or len(self._out) > CHUNK_BYTES:
            self._out = np.empty(CHUNK_BYTES, dtype=np.uint8)  # given away, not copied
        chunk = Chunk(data, self._lengths[: state.rows].copy())
        state.written = state.rows = 0
        return chunk

    def close(self) -> None:
        if self._state.pending:
            self._free(ctypes.c_void_p(self._state.pending))
            self._state.pending = None


def drain(pgconn: pq.abc.PGconn) -> Drain:
    """The compiled one where it and psycopg's own libpq are there."""
    if pq.__impl__ == "binary" and (helper := native.library()) is not None:
        import psycopg_binary._psycopg

        # What it links is found through it, whatever its file is called.
        return NativeDrain(pgconn, helper._name, psycopg_binary._psycopg.__file__)
    return PythonDrain(pgconn)
