"""Arrow IPC, stream format: a schema, one record batch a block, an end mark. Typed as PostgreSQL's columns are.

polars writes each block as a small stream of its own, of which the batch is taken; the schema stands in the header once
(arrow.apache.org/docs/format/Columnar.html, "IPC Streaming Format"). Texts and byte strings have 64-bit offsets, which
readers have known longer than views. Compression is that of the batches' buffers.
"""

from __future__ import annotations

import io
import struct
from typing import ClassVar

import polars as pl

from export_runner.formats.typed import TypedFormat

_END = struct.pack("<II", 0xFFFFFFFF, 0)
"""A message of no bytes ends a stream."""


class ArrowStreamFormat(TypedFormat):
    """Every field is nullable."""

    name: ClassVar[str] = "Arrow"
    content_type: ClassVar[str] = "application/vnd.apache.arrow.stream"

    def header(self) -> bytes:
        return _parted(self.file(self.empty()))[0]

    def footer(self) -> bytes:
        return _END

    def file(self, frame: pl.DataFrame) -> bytes:
        out = io.BytesIO()
        frame.write_ipc_stream(
            out,
            compression="zstd" if self._output.compression == "Zstd" else "uncompressed",
            compat_level=pl.CompatLevel.oldest(),
        )
        return out.getvalue()

    def taken(self, file: bytes) -> bytes:
        return _parted(file)[1]


def _parted(stream: bytes) -> tuple[bytes, bytes]:
    """The schema's message, and the messages of the rows."""
    _, length = struct.unpack_from("<II", stream)  # the mark of a message, and its metadata's length
    edge = 8 + length  # a schema has no body
    return stream[:edge], stream[edge : -len(_END)]
