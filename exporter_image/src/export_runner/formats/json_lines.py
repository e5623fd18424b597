"""Columns as lines of JSON, by polars: what the compiled helper does not know, or where it is missing."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import polars as pl

from export_contract.runspec import JsonOptions
from export_runner.formats.columns import NOT_FINITE, Kept, float_text, special_floats
from export_runner.frames.decoder import Column
from export_runner.frames.kinds import FLOATS, MAY_NOT_BE_FINITE, MOMENTS, NUMERICS, Field, Kind
from export_runner.frames.text import RFC3339

_BARE = frozenset({Kind.BOOL, Kind.INT2, Kind.INT4, Kind.INT8, Kind.OID, *FLOATS})
_NEVER_ESCAPED = frozenset({Kind.UUID, *MOMENTS})
_BIG = frozenset({Kind.INT8, *NUMERICS})


def lines(
    columns: Sequence[Column],
    keys: Sequence[str],
    separator: str,
    options: JsonOptions,
    no_place: Callable[[Field, int, str], None],
) -> bytes:
    """The rows, each followed by the separator. `no_place` is `Format.no_place`, and raises what that does."""
    kept = Kept(RFC3339, options.bytea)
    frame = pl.DataFrame([kept.plain(column).alias(str(number)) for number, column in enumerate(columns)])
    pieces: list[pl.Expr] = []
    for number, (key, column) in enumerate(zip(keys, columns, strict=True)):
        pieces += [pl.lit(key), _value(column, frame.to_series(number), options, no_place)]
    made = frame.select(pl.concat_str([*pieces, pl.lit("}")]))
    out = io.BytesIO()
    made.write_csv(out, include_header=False, quote_style="never", line_terminator=separator)
    return out.getvalue()


def _value(
    column: Column, made: pl.Series, options: JsonOptions, no_place: Callable[[Field, int, str], None]
) -> pl.Expr:
    kind, value = column.field.kind, pl.col(made.name)
    special = _not_finite(column, made) if kind in MAY_NOT_BE_FINITE else 0
    if special and options.non_finite == "Refuse":
        no_place(column.field, special, "NaN or an infinity, which JSON has no number for")
        value = _finite(value, kind)
        special = 0
    if special and kind in FLOATS:
        return _quote_words(float_text(value)).fill_null("null")
    if kind in _BIG and options.big_numbers == "String":
        return _quoted(value.cast(pl.String)).fill_null("null")
    if kind in _BARE:
        return value.cast(pl.String).fill_null("null")
    if kind in NUMERICS:
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
