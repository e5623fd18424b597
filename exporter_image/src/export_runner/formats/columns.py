"""Columns as the text formats write them: what CSV and JSON share."""

from __future__ import annotations

import numpy as np
import polars as pl

from export_runner.frames import series
from export_runner.frames.decoder import Column, Fixed, Varying
from export_runner.frames.kinds import Kind
from export_runner.frames.text import Style, rendered

MOMENTS = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
FLOATS = frozenset({Kind.FLOAT4, Kind.FLOAT8})


class Kept:
    """Makes series and keeps them until it is dropped, as `frames.arrow` asks."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._series: list[pl.Series] = []

    def plain(self, column: Column) -> pl.Series:
        """The column with numbers and booleans as such, and everything else as text."""
        kind = column.field.kind
        if kind in MOMENTS or kind is Kind.UUID:
            return self._keep(series.strings(rendered(column, self._style)))
        if isinstance(column, Fixed):
            return self._keep(series.fixed(column))
        if kind is Kind.BYTEA:
            return self._hex(column)
        return self._keep(series.strings(column))

    def _hex(self, column: Varying) -> pl.Series:
        """bytea as PostgreSQL writes it with `bytea_output = hex`: `\\x00ff`."""
        made = self._keep(series.binary(column))
        return made.to_frame("").select(pl.lit("\\x") + pl.col("").bin.encode("hex")).to_series()

    def _keep(self, made: pl.Series) -> pl.Series:
        self._series.append(made)
        return made


def has_special_floats(column: Column) -> bool:
    """Does a float column hold NaN or an infinity? (What stands in for NULL is zero bytes, so never one.)"""
    return isinstance(column, Fixed) and column.field.kind in FLOATS and not bool(np.isfinite(column.values).all())


def float_text(value: pl.Expr) -> pl.Expr:
    """Floats as the shortest text that reads back the same; NaN and infinities as PostgreSQL writes them."""
    return (
        pl.when(value.is_nan())
        .then(pl.lit("NaN"))
        .when(value.is_infinite())
        .then(pl.when(value > 0).then(pl.lit("Infinity")).otherwise(pl.lit("-Infinity")))
        .otherwise(value.cast(pl.String))
    )
