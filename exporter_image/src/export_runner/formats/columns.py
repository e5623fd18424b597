"""Columns as the text formats write them: what CSV and JSON share."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl

from export_runner.frames import series
from export_runner.frames.decoder import Column, Fixed, Varying
from export_runner.frames.kinds import FLOATS, MOMENTS, Kind
from export_runner.frames.text import Style, rendered

NOT_FINITE = ("NaN", "Infinity", "-Infinity")
"""As PostgreSQL writes them."""


class Kept:
    """Makes series and keeps them until it is dropped, as `frames.arrow` asks."""

    def __init__(self, style: Style, bytea: Literal["Hex", "Base64"] = "Hex") -> None:
        self._style = style
        self._bytea = bytea
        self._series: list[pl.Series] = []

    def plain(self, column: Column) -> pl.Series:
        """The column with numbers and booleans as such, and everything else as text."""
        kind = column.field.kind
        if kind in MOMENTS or kind is Kind.UUID:
            return self._keep(series.strings(rendered(column, self._style)))
        if isinstance(column, Fixed):
            return self._keep(series.fixed(column))
        if kind is Kind.BYTEA:
            return self._bytes(column)
        return self._keep(series.strings(column))

    def _bytes(self, column: Varying) -> pl.Series:
        """bytea as PostgreSQL writes it with `bytea_output = hex`, `\\x00ff`, or as RFC 4648 does with padding."""
        made = self._keep(series.binary(column))
        if self._bytea == "Base64":
            return made.bin.encode("base64")
        return made.to_frame("").select(pl.lit("\\x") + pl.col("").bin.encode("hex")).to_series()

    def _keep(self, made: pl.Series) -> pl.Series:
        self._series.append(made)
        return made


def has_special_floats(column: Column) -> bool:
    """Does a float column hold NaN or an infinity? (What stands in for NULL is zero bytes, so never one.)"""
    return special_floats(column) > 0


def special_floats(column: Column) -> int:
    """How many values of a float column are NaN or an infinity."""
    if not isinstance(column, Fixed) or column.field.kind not in FLOATS:
        return 0
    return len(column.values) - int(np.count_nonzero(np.isfinite(column.values)))


def float_text(value: pl.Expr) -> pl.Expr:
    """Floats as the shortest text that reads back the same; NaN and infinities as PostgreSQL writes them."""
    return (
        pl.when(value.is_nan())
        .then(pl.lit("NaN"))
        .when(value.is_infinite())
        .then(pl.when(value > 0).then(pl.lit("Infinity")).otherwise(pl.lit("-Infinity")))
        .otherwise(value.cast(pl.String))
    )
