"""Columns with types of their own: what Parquet and Arrow share.

What the types cannot hold is refused by the column's name, unless the run asks otherwise: infinite dates and times,
times whose microseconds since 1970 do not fit into 64 bits, NaN in `numeric(p, s)`. numeric without precision, or of
more than 38 digits, is text from the start, as are all types without a counterpart.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from export_contract.failures import Failure
from export_contract.runspec import Output
from export_runner.errors import ExportError
from export_runner.formats.base import Format
from export_runner.frames import compiled, native, series
from export_runner.frames.blocks import Block, Bytes
from export_runner.frames.compiled import Viewed
from export_runner.frames.decoder import Column, Fixed, Varying
from export_runner.frames.kinds import MOMENTS, Field, Kind
from export_runner.frames.text import DAY_US, EPOCH_DAYS, POSTGRESQL, is_infinite, rendered

_NAN = 1 << 63  # the upper half of what stands for it: native/zig/decimals.zig
_LAST_TIMESTAMP = 2**63 - 1 - EPOCH_DAYS * DAY_US
_SIMPLE: dict[Kind, pl.DataType] = {
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


class Written:
    """A file as it is written: its pieces, none of them copied."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> int:
        self._pieces.append(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """There is nothing to flush."""

    def between(self, start: int, end: int) -> list[Bytes]:
        """The bytes from `start` to before `end`."""
        found, at = list[Bytes](), 0
        for piece in self._pieces:
            cut = memoryview(piece)[max(0, start - at) : max(0, end - at)]
            if cut:
                found.append(cut)
            at += len(piece)
        return found

    def read(self, start: int, end: int) -> bytes:
        return b"".join(self.between(start, end))


class TypedFormat(Format):
    """Makes frames of blocks. Every column may hold NULL, as any column of a query may."""

    name: ClassVar[str]
    """As messages say it."""
    compresses_inside: ClassVar[bool] = True
    whole_blocks: ClassVar[bool] = True

    def __init__(self, fields: Sequence[Field], output: Output) -> None:
        super().__init__(fields, output)
        names = [field.name for field in fields]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ExportError(
                Failure.VALUE_NOT_REPRESENTABLE,
                f"{self.name} has no two columns of one name; {twice!r} is there twice.",
            )
        self._types = [_type(field) for field in fields]

    @classmethod
    def reads(cls, fields: Sequence[Field], output: Output) -> tuple[Field, ...]:
        if output.on_unrepresentable != "ColumnAsText":
            return tuple(fields)
        return tuple(replace(field, as_text=True) if _may_not_fit(field) else field for field in fields)

    @abstractmethod
    def file(self, frame: pl.DataFrame) -> Written:
        """The frame as a small file of its own."""

    @abstractmethod
    def taken(self, file: Written) -> list[Bytes]:
        """What the object takes over of it, as its next rows."""

    def block(self, columns: Sequence[Column]) -> bytes:
        return b"".join(self.taken(self.file(self.frame(columns))))

    def compiled(self, block: Block) -> list[Bytes] | None:
        if native.library() is None:
            return None
        # Step by step, so that each is given back when the next is made of it.
        return self.taken(self.file(self.frame(compiled.decode(block, self._fields))))

    def frame(self, columns: Sequence[Column | Viewed]) -> pl.DataFrame:
        """The rows with their types. Raises `ExportError` for a value that its type cannot hold."""
        kept: list[pl.Series] = []  # until polars is done with all that is made of them
        typed: list[pl.Series] = []
        for column, wanted in zip(columns, self._types, strict=True):
            kept.append(self._series(column))
            is_text = isinstance(wanted, pl.Decimal) and isinstance(column, Varying)
            typed.append(self._decimal(kept[-1], column.field, wanted) if is_text else kept[-1])
        return pl.DataFrame([each.alias(column.field.name) for each, column in zip(typed, columns, strict=True)])

    def empty(self) -> pl.DataFrame:
        """The columns without rows."""
        return pl.DataFrame(
            schema={field.name: wanted for field, wanted in zip(self._fields, self._types, strict=True)}
        )

    def _series(self, column: Column | Viewed) -> pl.Series:
        kind = column.field.kind
        if isinstance(column, Fixed):
            return series.fixed(self._fitting(column) if _may_not_fit(column.field) else column)
        if kind is Kind.UUID and isinstance(column, Varying):
            return series.strings(rendered(column, POSTGRESQL))
        return series.binary(column) if kind is Kind.BYTEA else series.strings(column)

    def _fitting(self, column: Fixed) -> Fixed:
        """Dates, times or decimals that fit; where it is asked for, NULL for those that do not."""
        if column.field.kind is Kind.DECIMAL:
            unfit, what = _present(column.values[:, 1] == _NAN, column), "NaN"
        else:
            unfit, what = _present(is_infinite(column.values), column), "an infinite date or time"
            if column.field.kind is not Kind.DATE:
                what = what if unfit.any() else "a time after the year 294246"
                unfit |= _present(column.values > _LAST_TIMESTAMP, column)
        if not unfit.any():
            return column
        self._no_value(column.field, int(np.count_nonzero(unfit)), what)
        valid = ~unfit if column.valid is None else column.valid & ~unfit
        values = column.values.copy()
        values[~valid] = 0
        return replace(column, valid=valid, values=values)

    def _decimal(self, made: pl.Series, field: Field, wanted: pl.DataType) -> pl.Series:
        nan = made == "NaN"
        if count := int(nan.sum()):
            self._no_value(field, count, "NaN")
            made = made.to_frame("").select(pl.when(pl.col("") != "NaN").then(pl.col(""))).to_series()
        return made.cast(wanted, strict=True)

    def _no_value(self, field: Field, count: int, what: str) -> None:
        self.no_place(field, count, f"{what}, which its {self.name} type has no value for")


def _type(field: Field) -> pl.DataType:
    if field.decimal is not None:
        return pl.Decimal(*field.decimal)
    return _SIMPLE.get(field.kind, pl.String())


def _may_not_fit(field: Field) -> bool:
    return field.kind in MOMENTS or field.kind is Kind.DECIMAL


def _present(condition: NDArray[np.bool_], column: Fixed) -> NDArray[np.bool_]:
    """What stands in for NULL is no value, whatever it looks like."""
    return condition if column.valid is None else condition & column.valid
