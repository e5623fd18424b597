"""Decoded columns as frames of polars, typed: what `typed.TypedFormat` loads when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from export_runner.frames import series
from export_runner.frames.compiled import Viewed
from export_runner.frames.decoder import Column, Fixed, Varying
from export_runner.frames.kinds import Field, Kind, may_not_fit
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


class Frames:
    """Makes frames of the columns of one result."""

    def __init__(self, fields: Sequence[Field], no_value: Callable[[Field, int, str], None]) -> None:
        """`no_value` is told of values that their column's type has no place for, how many, and what they are."""
        self._fields = tuple(fields)
        self._no_value = no_value
        self._types = [_type(field) for field in fields]

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
            return series.fixed(self._fitting(column) if may_not_fit(column.field) else column)
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


def _type(field: Field) -> pl.DataType:
    if field.decimal is not None:
        return pl.Decimal(*field.decimal)
    return _SIMPLE.get(field.kind, pl.String())


def _present(condition: NDArray[np.bool_], column: Fixed) -> NDArray[np.bool_]:
    """What stands in for NULL is no value, whatever it looks like."""
    return condition if column.valid is None else condition & column.valid
