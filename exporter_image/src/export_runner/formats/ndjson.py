"""NDJSON, one object a line, and JSON, one array of the same lines.

Numbers are JSON numbers with all their digits; NaN and infinities, which JSON has no word for, are strings. json and
jsonb stand as they are, on one line. Everything else is a string: times after RFC 3339 in UTC, bytea as `\\x…`, other
types as PostgreSQL writes them. Two columns of one name give two members of one name.

Options: int8 and numeric as strings, for readers that hold numbers in 64-bit floats; NaN and infinities as values that
the format has no place for (`onUnrepresentable` decides then); bytea as base64.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import polars as pl

from export_contract.runspec import JsonOptions, Output
from export_runner.formats.base import Format
from export_runner.formats.columns import FLOATS, MOMENTS, NOT_FINITE, Kept, float_text, special_floats
from export_runner.frames import native
from export_runner.frames.blocks import Block
from export_runner.frames.decoder import Column
from export_runner.frames.kinds import Field, Kind
from export_runner.frames.text import RFC3339

_BARE = frozenset({Kind.BOOL, Kind.INT2, Kind.INT4, Kind.INT8, Kind.OID, *FLOATS})
_NEVER_ESCAPED = frozenset({Kind.UUID, *MOMENTS})
_MAY_NOT_BE_FINITE = frozenset({Kind.NUMERIC, *FLOATS})
_BIG = frozenset({Kind.INT8, Kind.NUMERIC})


class NdjsonFormat(Format):
    """Each row is one line."""

    content_type: ClassVar[str] = "application/x-ndjson"
    separator: ClassVar[str] = "\n"
    """Between rows, and behind the last where it is a line's end."""

    def __init__(self, fields: Sequence[Field], output: Output) -> None:
        super().__init__(fields, output)
        names = [json.dumps(field.name, ensure_ascii=False) for field in fields]
        self._keys = [("{" if number == 0 else ",") + name + ":" for number, name in enumerate(names)]
        self._compiled: native.TextEncoder | None = None
        if self._output.json == JsonOptions() and native.library() is not None:
            self._compiled = native.TextEncoder(self._fields, line_end=self.separator, keys=self._keys)

    @classmethod
    def reads(cls, fields: Sequence[Field], output: Output) -> tuple[Field, ...]:
        if output.json.non_finite == "String" or output.on_unrepresentable != "ColumnAsText":
            return tuple(fields)
        return tuple(replace(field, as_text=True) if field.kind in _MAY_NOT_BE_FINITE else field for field in fields)

    def compiled(self, block: Block) -> list[bytes] | None:
        return None if self._compiled is None else self._compiled.block(block)

    def block(self, columns: Sequence[Column]) -> bytes:
        return self._lines(columns)

    def _lines(self, columns: Sequence[Column]) -> bytes:
        """The rows, each followed by the separator."""
        kept = Kept(RFC3339, self._output.json.bytea)
        frame = pl.DataFrame([kept.plain(column).alias(str(number)) for number, column in enumerate(columns)])
        pieces: list[pl.Expr] = []
        for number, (key, column) in enumerate(zip(self._keys, columns, strict=True)):
            pieces += [pl.lit(key), self._value(column, frame.to_series(number))]
        lines = frame.select(pl.concat_str([*pieces, pl.lit("}")]))
        out = io.BytesIO()
        lines.write_csv(out, include_header=False, quote_style="never", line_terminator=self.separator)
        return out.getvalue()

    def _value(self, column: Column, made: pl.Series) -> pl.Expr:
        kind, value = column.field.kind, pl.col(made.name)
        special = _not_finite(column, made) if kind in _MAY_NOT_BE_FINITE else 0
        if special and self._output.json.non_finite == "Refuse":
            self.no_place(column.field, special, "NaN or an infinity, which JSON has no number for")
            value = _finite(value, kind)
            special = 0
        if special and kind in FLOATS:
            return _quote_words(float_text(value)).fill_null("null")
        if kind in _BIG and self._output.json.big_numbers == "String":
            return _quoted(value.cast(pl.String)).fill_null("null")
        if kind in _BARE:
            return value.cast(pl.String).fill_null("null")
        if kind is Kind.NUMERIC:
            return (_quote_words(value) if special else value).fill_null("null")
        if kind is Kind.JSONB:
            return value.fill_null("null")
        if kind is Kind.JSON:
            # A line break in json stands between tokens only: within strings PostgreSQL takes it escaped or not at all.
            return value.str.replace_all(r"[\r\n]", " ").fill_null("null")
        if kind in _NEVER_ESCAPED:
            return _quoted(value).fill_null("null")
        # polars escapes a text as a struct's member, NULL being null: `{"":"…"}`, of which the value is taken.
        return pl.struct(value.alias("")).struct.json_encode().str.slice(4).str.head(-1)


class JsonFormat(NdjsonFormat):
    """One array; each row is one line of it."""

    content_type: ClassVar[str] = "application/json"
    separator: ClassVar[str] = ",\n"

    def __init__(self, fields: Sequence[Field], output: Output) -> None:
        super().__init__(fields, output)
        self._started = True  # by another process, unless the header is asked for

    def header(self) -> bytes:
        self._started = False
        return b"["

    def compiled(self, block: Block) -> list[bytes] | None:
        if self._compiled is None:
            return None
        lead = b",\n" if self._started else b"\n"
        self._started = True
        pieces = self._compiled.block(block)
        return [lead, *pieces[:-1], pieces[-1][:-2]]

    def block(self, columns: Sequence[Column]) -> bytes:
        lead = b",\n" if self._started else b"\n"
        self._started = True
        return lead + self._lines(columns)[:-2]

    def footer(self) -> bytes:
        return b"\n]\n" if self._started else b"]\n"


def _not_finite(column: Column, made: pl.Series) -> int:
    """How many values are NaN or an infinity."""
    if column.field.kind in FLOATS:
        return special_floats(column)
    return int(made.is_in(NOT_FINITE).sum())


def _finite(value: pl.Expr, kind: Kind) -> pl.Expr:
    finite = value.is_finite() if kind in FLOATS else ~value.is_in(NOT_FINITE)
    return pl.when(finite).then(value)


def _quoted(value: pl.Expr) -> pl.Expr:
    return pl.concat_str([pl.lit('"'), value, pl.lit('"')])


def _quote_words(value: pl.Expr) -> pl.Expr:
    return pl.when(value.is_in(NOT_FINITE)).then(_quoted(value)).otherwise(value)
