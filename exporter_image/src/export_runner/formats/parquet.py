"""Parquet: one file, one row group a block, typed as PostgreSQL's columns are.

polars writes each block as a small file of its own; its row group is taken over as it is, and only the footer is made
anew, with every offset moved to where the bytes now are. So nothing but the footer's entries (about 100 bytes a column
and block, as they will be written) is kept in memory. ADR 0003 says why not another writer.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, ClassVar, Literal, cast

from export_contract.runspec import Compression, Output
from export_runner.formats import thrift
from export_runner.formats.base import Resumes
from export_runner.formats.typed import TypedFormat, Written
from export_runner.frames.blocks import Bytes
from export_runner.frames.kinds import Field

if TYPE_CHECKING:
    import polars as pl

USUAL_GROUP = 16 * 1024 * 1024
"""Bytes of rows in a row group where none are asked for: a block costs time whatever it holds, and who reads the file
likes few and large groups. ADR 0003 has what larger ones save, and take in memory."""
COLUMN_BYTES = 128 * 1024
"""Of a block, for each column: whatever it holds, a column of a row group has headers, a dictionary and statistics."""
WIDEST_BLOCK = 32 * 1024 * 1024
"""Memory is promised: however many columns there are, no block is made larger than that for them."""

_MAGIC = b"PAR1"
_CODECS: dict[Compression, Literal["uncompressed", "gzip", "zstd"]] = {
    "None": "uncompressed",
    "Gzip": "gzip",
    "Zstd": "zstd",
}
_LEVELS: dict[Compression, int | None] = {"None": None, "Gzip": 1, "Zstd": 1}

# Field numbers of github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
_FILE_ROWS, _FILE_ROW_GROUPS, _FILE_CREATED_BY = 3, 4, 6
_GROUP_COLUMNS, _GROUP_FILE_OFFSET, _GROUP_ORDINAL = 1, 5, 7
_CHUNK_FILE_OFFSET, _CHUNK_METADATA = 2, 3
_CHUNK_INDEX_OFFSETS = (4, 6)  # offset index, column index
_METADATA_OFFSETS = (9, 10, 11, 14)  # data page, index page, dictionary page, bloom filter
_CREATED_BY = b"export-runner (polars)"
_MAX_ORDINAL = 2**15 - 1


class ParquetFormat(TypedFormat):
    """Every column is optional."""

    name: ClassVar[str] = "Parquet"
    content_type: ClassVar[str] = "application/vnd.apache.parquet"
    usual_block: ClassVar[int] = USUAL_GROUP
    resumes: ClassVar[Resumes] = "Objects"

    def __init__(self, fields: Sequence[Field], output: Output) -> None:
        super().__init__(fields, output)
        self._compression = output.compression
        self._offset = len(_MAGIC)
        self._rows = 0
        self._groups = bytearray()
        self._group_count = 0
        self._footer: bytes | None = None

    @classmethod
    def block_bytes(cls, asked: int, fields: Sequence[Field]) -> int:
        return max(super().block_bytes(asked, fields), min(len(fields) * COLUMN_BYTES, WIDEST_BLOCK))

    def header(self) -> bytes:
        return _MAGIC

    def taken(self, file: Written) -> list[Bytes]:
        end, footer = _footer(file)
        at = thrift.fields(footer)
        rows, _ = thrift.integer(footer, at[_FILE_ROWS])
        count, group = thrift.items(footer, at[_FILE_ROW_GROUPS])
        if count != 1:
            raise ValueError(f"polars wrote {count} row groups instead of one")
        self._groups += thrift.rewritten(footer, self._moved(), group)
        self._group_count += 1
        self._rows += rows
        self._footer = footer
        self._offset += end - len(_MAGIC)
        return file.between(len(_MAGIC), end)

    def footer(self) -> bytes:
        if self._footer is None:
            _, self._footer = _footer(self.file(self.empty()))
        changes: thrift.Changes = {
            _FILE_ROWS: thrift.written(self._rows),
            _FILE_ROW_GROUPS: thrift.head(self._group_count, thrift.STRUCT) + self._groups,
            _FILE_CREATED_BY: thrift.written(_CREATED_BY),
        }
        metadata = thrift.rewritten(self._footer, changes)
        return metadata + struct.pack("<I", len(metadata)) + _MAGIC

    def file(self, frame: pl.DataFrame) -> Written:
        out = Written()
        frame.write_parquet(
            cast("IO[bytes]", out),  # it needs no more of it
            compression=_CODECS[self._compression],
            compression_level=_LEVELS[self._compression],
            statistics=True,
            row_group_size=max(1, frame.height),
        )
        return out

    def _moved(self) -> thrift.Changes:
        """What changes in a row group that is taken over as the next; an offset of 0 stands for "nowhere"."""
        by = self._offset - len(_MAGIC)
        metadata: thrift.Changes = dict.fromkeys(_METADATA_OFFSETS, by)
        chunk = dict.fromkeys((_CHUNK_FILE_OFFSET, *_CHUNK_INDEX_OFFSETS), by)
        # The ordinal is optional, and has 16 bits.
        ordinal = thrift.written(self._group_count) if self._group_count <= _MAX_ORDINAL else thrift.LEFT_OUT
        return {
            _GROUP_COLUMNS: {**chunk, _CHUNK_METADATA: metadata},
            _GROUP_FILE_OFFSET: by,
            _GROUP_ORDINAL: ordinal,
        }


def _footer(file: Written) -> tuple[int, bytes]:
    """Where a file's footer begins, and the footer."""
    end = file.size - 8
    (length,) = struct.unpack("<I", file.read(end, end + 4))
    return end - length, file.read(end - length, end)
