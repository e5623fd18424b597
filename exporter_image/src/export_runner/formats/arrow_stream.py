"""Arrow IPC, stream format: a schema, one record batch a block, an end mark. Typed as PostgreSQL's columns are.

polars writes each block as a small stream of its own, of which the batch is taken; the schema stands in the header once
(arrow.apache.org/docs/format/Columnar.html, "IPC Streaming Format"). Texts and byte strings have 64-bit offsets, which
readers have known longer than views. Compression is that of the batches' buffers.
"""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING, ClassVar, cast

from export_runner.formats.typed import TypedFormat, Written
from export_runner.frames.blocks import Bytes

if TYPE_CHECKING:
    import polars as pl

_END = struct.pack("<II", 0xFFFFFFFF, 0)
"""A message of no bytes ends a stream."""


class ArrowStreamFormat(TypedFormat):
    """Every field is nullable."""

    name: ClassVar[str] = "Arrow"
    content_type: ClassVar[str] = "application/vnd.apache.arrow.stream"

    def header(self) -> bytes:
        stream = self.file(self.empty())
        return stream.read(0, _edge(stream))

    def footer(self) -> bytes:
        return _END

    def file(self, frame: pl.DataFrame) -> Written:
        from polars import CompatLevel

        out = Written()
        frame.write_ipc_stream(
            cast("IO[bytes]", out),  # it needs no more of it
            compression="zstd" if self._output.compression == "Zstd" else "uncompressed",
            compat_level=CompatLevel.oldest(),
        )
        return out

    def taken(self, file: Written) -> list[Bytes]:
        return file.between(_edge(file), file.size - len(_END))


def _edge(stream: Written) -> int:
    """Where the schema's message ends and those of the rows begin."""
    _, length = struct.unpack("<II", stream.read(0, 8))  # the mark of a message, and its metadata's length
    return 8 + int(length)  # a schema has no body
