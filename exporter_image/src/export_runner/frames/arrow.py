"""numpy arrays to polars without a copy, by the Arrow C data interface (arrow.apache.org/docs/format/CDataInterface).

polars reads any object with `__arrow_c_array__`. Strings and byte strings are given as views (format `vu`, `vz`): 16
bytes a value that hold up to 12 bytes themselves or point into the block as it came from PostgreSQL.

The arrays stay alive until polars releases them. polars releases on the thread that drops the last reference, so a
series made here must be kept by the caller until polars is done with everything made of it: `series` is then dropped
on the caller's thread, which holds Python's lock, and never on one of polars' own.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray


class _Schema(ctypes.Structure):
    pass


class _Array(ctypes.Structure):
    pass


_ReleaseSchema = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Schema))
_ReleaseArray = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Array))

_Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_char_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.c_void_p),
    ("dictionary", ctypes.c_void_p),
    ("release", _ReleaseSchema),
    ("private_data", ctypes.c_void_p),
]
_Array._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.c_void_p),
    ("dictionary", ctypes.c_void_p),
    ("release", _ReleaseArray),
    ("private_data", ctypes.c_void_p),
]
_NULLABLE = 2  # ARROW_FLAG_NULLABLE

_alive: dict[int, tuple[object, ...]] = {}
_numbers = itertools.count(1)


def _on_schema_released(pointer: Any) -> None:
    pointer.contents.release = _ReleaseSchema()


def _on_array_released(pointer: Any) -> None:
    _alive.pop(pointer.contents.private_data, None)
    pointer.contents.release = _ReleaseArray()


_release_schema = _ReleaseSchema(_on_schema_released)
_release_array = _ReleaseArray(_on_array_released)


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class _Exported:
    """One array, handed over once."""

    def __init__(self, arrow_format: bytes, length: int, nulls: int, buffers: Sequence[NDArray[Any] | None]) -> None:
        pointers = (ctypes.c_void_p * len(buffers))(
            *(None if buffer is None else buffer.ctypes.data for buffer in buffers)
        )
        number = next(_numbers)
        self._schema = _Schema(format=arrow_format, name=b"", flags=_NULLABLE, release=_release_schema)
        self._array = _Array(
            length=length,
            null_count=nulls,
            n_buffers=len(buffers),
            buffers=pointers,
            release=_release_array,
            private_data=number,
        )
        _alive[number] = (tuple(buffers), pointers)

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[Any, Any]:
        del requested_schema  # a wish that the protocol allows to ignore
        return (
            _new_capsule(ctypes.addressof(self._schema), b"arrow_schema", None),
            _new_capsule(ctypes.addressof(self._array), b"arrow_array", None),
        )


def series(arrow_format: bytes, length: int, valid: NDArray[np.bool_] | None, *buffers: NDArray[Any]) -> pl.Series:
    """A series over the buffers, which must be contiguous; `valid` is None when no value is NULL."""
    bitmap = None if valid is None else np.packbits(valid, bitorder="little")
    nulls = 0 if valid is None else int(length - np.count_nonzero(valid))
    exported = _Exported(arrow_format, length, nulls, (bitmap, *buffers))
    return pl.Series(exported)


def live_arrays() -> int:
    """How many arrays polars holds now; a test that none stays."""
    return len(_alive)
