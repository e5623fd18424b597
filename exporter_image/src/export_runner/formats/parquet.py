"""Parquet: one file, one row group a block, typed as PostgreSQL's columns are.

polars writes each block as a small file of its own; its row group is taken over as it is, and only the footer is made
anew, with every offset moved to where the bytes now are. So nothing but the footer's entries (about 100 bytes a column
and block) is kept in memory. ADR 0003 says why not another writer.

What Parquet's types cannot hold is refused by the column's name: infinite dates and timestamps, timestamps whose
microseconds since 1970 do not fit into 64 bits, NaN in `numeric(p, s)`. numeric without precision, or of more than 38
digits, is text from the start, as are all types without a counterpart.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from export_contract.failures import Failure
from export_contract.runspec import Compression, Output
from export_runner.errors import ExportError
from export_runner.formats import thrift
from export_runner.formats.base import Format, Resumes
from export_runner.frames import series
from export_runner.frames.decoder import Column, Fixed
from export_runner.frames.kinds import Field, Kind
from export_runner.frames.text import DAY_US, EPOCH_DAYS, POSTGRESQL, is_infinite, rendered

_MAGIC = b"PAR1"
_CODECS: dict[Compression, Literal["uncompressed", "gzip", "zstd"]] = {
    "None": "uncompressed",
    "Gzip": "gzip",
    "Zstd": "zstd",
}
_LEVELS: dict[Compression, int | None] = {"None": None, "Gzip": 1, "Zstd": 1}
_MAX_DIGITS = 38  # of a decimal in 128 bits
_LAST_TIMESTAMP = 2**63 - 1 - EPOCH_DAYS * DAY_US

# Field numbers of github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
_FILE_ROWS, _FILE_ROW_GROUPS, _FILE_CREATED_BY = 3, 4, 6
_GROUP_COLUMNS, _GROUP_ROWS, _GROUP_FILE_OFFSET, _GROUP_ORDINAL = 1, 3, 5, 7
_CHUNK_FILE_OFFSET, _CHUNK_METADATA = 2, 3
_CHUNK_INDEX_OFFSETS = (4, 6)  # offset index, column index
_METADATA_OFFSETS = (9, 10, 11, 14)  # data page, index page, dictionary page, bloom filter
_CREATED_BY = b"export-runner (polars)"
_MAX_ORDINAL = 2**15 - 1


class ParquetFormat(Format):
    """Every column is optional, as any column of a query may be NULL."""

    content_type: ClassVar[str] = "application/vnd.apache.parquet"
    compresses_inside: ClassVar[bool] = True
    whole_blocks: ClassVar[bool] = True
    resumes: ClassVar[Resumes] = "Objects"

    def __init__(self, fields: Sequence[Field], output: Output) -> None:
        super().__init__(fields, output)
        names = [field.name for field in fields]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ExportError(
                Failure.VALUE_NOT_REPRESENTABLE, f"Parquet has no two columns of one name; {twice!r} is there twice."
            )
        self._compression = output.compression
        self._schema = {field.name: _type(field) for field in fields}
        self._offset = len(_MAGIC)
        self._rows = 0
        self._groups: list[thrift.Value] = []
        self._footer: thrift.Struct | None = None

    def header(self) -> bytes:
        return _MAGIC

    def block(self, columns: Sequence[Column]) -> bytes:
        kept: list[pl.Series] = []
        for column in columns:  # a comprehension's list would be dropped while an exception is raised
            kept.append(_series(column))
        body, footer = self._written(pl.DataFrame([_typed(*pair) for pair in zip(kept, columns, strict=True)]))
        for group in footer.structs(_FILE_ROW_GROUPS):
            self._take(group)
        self._footer = footer
        self._offset += len(body)
        return body

    def footer(self) -> bytes:
        if self._footer is None:
            _, self._footer = self._written(pl.DataFrame(schema=self._schema))
            self._groups = list(self._footer.structs(_FILE_ROW_GROUPS))
        self._footer.set(_FILE_ROWS, thrift.I64, self._rows)
        self._footer.set(_FILE_ROW_GROUPS, thrift.LIST, thrift.List(thrift.STRUCT, self._groups))
        self._footer.set(_FILE_CREATED_BY, thrift.BINARY, _CREATED_BY)
        metadata = thrift.write(self._footer)
        return metadata + struct.pack("<I", len(metadata)) + _MAGIC

    def _written(self, frame: pl.DataFrame) -> tuple[bytes, thrift.Struct]:
        """The frame as a file: what stands between its first magic number and its footer, and the footer."""
        out = io.BytesIO()
        frame.write_parquet(
            out,
            compression=_CODECS[self._compression],
            compression_level=_LEVELS[self._compression],
            statistics=True,
            row_group_size=max(1, frame.height),
        )
        file = out.getvalue()
        (length,) = struct.unpack("<I", file[-8:-4])
        edge = len(file) - 8 - length
        return file[len(_MAGIC) : edge], thrift.Reader(file[edge:-8]).struct()

    def _take(self, group: thrift.Struct) -> None:
        by = self._offset - len(_MAGIC)
        for chunk in group.structs(_GROUP_COLUMNS):
            for number in (_CHUNK_FILE_OFFSET, *_CHUNK_INDEX_OFFSETS):
                if chunk.fields.get(number, (0, 0))[1]:  # 0 stands for "nowhere"
                    chunk.shift(number, by)
            metadata = chunk.struct(_CHUNK_METADATA)
            for number in _METADATA_OFFSETS:
                metadata.shift(number, by)
        group.shift(_GROUP_FILE_OFFSET, by)
        if _GROUP_ORDINAL in group.fields:
            if len(self._groups) <= _MAX_ORDINAL:
                group.set(_GROUP_ORDINAL, thrift.I16, len(self._groups))
            else:
                del group.fields[_GROUP_ORDINAL]  # optional, and 16 bits wide
        self._rows += group.integer(_GROUP_ROWS)
        self._groups.append(group)


def _type(field: Field) -> pl.DataType:
    simple: dict[Kind, pl.DataType] = {
        Kind.BOOL: pl.Boolean(),
        Kind.INT2: pl.Int16(),
        Kind.INT4: pl.Int32(),
        Kind.INT8: pl.Int64(),
        Kind.OID: pl.UInt32(),
        Kind.FLOAT4: pl.Float32(),
        Kind.FLOAT8: pl.Float64(),
        Kind.BYTEA: pl.Binary(),
        Kind.DATE: pl.Date(),
        Kind.TIMESTAMP: pl.Datetime("us"),
        Kind.TIMESTAMPTZ: pl.Datetime("us", "UTC"),
    }
    if field.kind is Kind.NUMERIC and (digits := field.precision_and_scale) is not None:
        precision, scale = digits
        if precision <= _MAX_DIGITS and 0 <= scale <= precision:
            return pl.Decimal(precision, scale)
    return simple.get(field.kind, pl.String())


def _series(column: Column) -> pl.Series:
    kind = column.field.kind
    if isinstance(column, Fixed):
        _check(column)
        return series.fixed(column)
    if kind is Kind.UUID:
        return series.strings(rendered(column, POSTGRESQL))
    return series.binary(column) if kind is Kind.BYTEA else series.strings(column)


def _typed(made: pl.Series, column: Column) -> pl.Series:
    wanted = _type(column.field)
    if isinstance(wanted, pl.Decimal):
        try:
            made = made.cast(wanted, strict=True)
        except PolarsError:
            raise _refused(column, "NaN") from None
    return made.alias(column.field.name)


def _check(column: Fixed) -> None:
    """Raises `ExportError` for values that the typed column cannot hold."""
    kind = column.field.kind
    if kind not in {Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ}:
        return
    # What stands in for NULL is the row's own bytes read as a number; only values count.
    values = column.values if column.valid is None else column.values[column.valid]
    if is_infinite(values).any():
        raise _refused(column, "an infinite date or time")
    if kind is not Kind.DATE and bool(np.any(values > _LAST_TIMESTAMP)):
        raise _refused(column, "a time after the year 294246")


def _refused(column: Column, what: str) -> ExportError:
    field = column.field
    return ExportError(
        Failure.VALUE_NOT_REPRESENTABLE,
        f"Column {field.name!r} ({field.type_name}) holds {what}, which its Parquet type has no value for.",
    )
